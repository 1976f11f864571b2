//! How a worker in a container is spoken to: three FIFOs of the host, in a folder that the container sees.
//!
//! The container's engine is not in the way of a call then: it costs what a call into a sandbox does, and what was printed
//! before an answer is in the log before the answer is read, which two streams on their way through an engine do not
//! keep to. Both sides hold their ends when the worker says that it is there; the FIFOs' names go at that moment, so that
//! nothing in the container can open them anew.

use std::{
    fs::{self, File, Permissions},
    future::Future,
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use domain::Language;
use nix::{libc, sys::stat::Mode, unistd::mkfifo};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::{SandboxError, launch::interpreter_command, log_capture::LogCapture, machine::cannot};

/// Where the container must have the folder of a [`Doorway`], read-only.
pub const DOORWAY_ROOT: &str = "/run/doorway";

const REQUESTS: &str = "requests";
const ANSWERS: &str = "answers";
const LOGS: &str = "logs";

/// Moves the streams to where the bootstrap has them, says that the worker is there, and becomes the interpreter. Its
/// processes are counted by the container: a limit of each user would count those of all containers.
const ENTER: &str = r#"cd "$0" || exit 1; exec 3<requests 4>answers 1>logs 2>&1 0</dev/null
[ "$OLDPWD" = / ] && cd /tmp || cd "$OLDPWD"
command -v "$1" >/dev/null || { echo "$1 was not found in the image"; exit 127; }
echo >&4; exec "$@""#;

/// The same for a program of its own: it begins when it is told to, and is given none of the streams.
const ENTER_AND_WAIT: &str = r#"cd "$0" || exit 1; exec 3<requests 4>answers 1>logs 2>&1 0</dev/null
[ "$OLDPWD" = / ] && cd /tmp || cd "$OLDPWD"
echo >&4; read -r _ <&3 || exit 1; exec 3<&- 4>&-; exec "$@""#;

/// The host's ends, before the worker has taken its own.
#[derive(Debug)]
pub struct Doorway {
    names: Names,
    ends: Ends,
    /// The worker's ends, so that no stream has ended before it began.
    _others: [File; 3],
}

/// A folder that goes with this value.
#[derive(Debug)]
struct Names(PathBuf);

/// The host's ends.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) requests: pipe::Sender,
    pub(crate) answers: pipe::Receiver,
    pub(crate) logs: pipe::Receiver,
}

impl Doorway {
    /// Makes the FIFOs in an empty folder, for whichever user the worker runs as. The folder is removed with them.
    ///
    /// # Errors
    /// When they cannot be made.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let names = Names(folder.to_owned());
        let path = |name: &str| folder.join(name);
        for name in [REQUESTS, ANSWERS, LOGS] {
            mkfifo(&path(name), Mode::S_IRUSR | Mode::S_IWUSR)?;
            // Not at once: the process's mask would take it away again.
            fs::set_permissions(path(name), Permissions::from_mode(0o666))?;
        }
        let open = |name: &str, is_reader: bool| {
            let mut options = File::options();
            options.read(is_reader).write(!is_reader).custom_flags(libc::O_NONBLOCK).open(path(name))
        };
        // Readers first: a FIFO without one cannot be opened for writing.
        let requests_out = open(REQUESTS, true)?;
        let (answers, logs) = (open(ANSWERS, true)?, open(LOGS, true)?);
        let others = [requests_out, open(ANSWERS, false)?, open(LOGS, false)?];
        let ends = Ends {
            requests: pipe::Sender::from_file(open(REQUESTS, false)?)?,
            answers: pipe::Receiver::from_file(answers)?,
            logs: pipe::Receiver::from_file(logs)?,
        };
        Ok(Self { names, ends, _others: others })
    }

    /// The folder, to be mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.names.0
    }

    /// What a container is to run whose worker speaks the built-in protocol; `None` when code in the language cannot be
    /// run. The image needs `/bin/sh` and the interpreter.
    #[must_use]
    pub fn interpreter_command(language: Language, interpreter: &str, memory_bytes: u64) -> Option<Vec<String>> {
        let command = interpreter_command(language, interpreter, memory_bytes)?;
        Some(entry(ENTER).chain(command).collect())
    }

    /// What a container is to run for a program that speaks AWS's Runtime API.
    #[must_use]
    pub fn runtime_command(command: impl IntoIterator<Item = String>) -> Vec<String> {
        entry(ENTER_AND_WAIT).chain(command).collect()
    }

    /// Waits until the worker has taken its ends. `gone` ends when its process is known to have ended.
    pub(crate) async fn entered(
        mut self,
        gone: impl Future<Output = ()>,
        timeout: Duration,
    ) -> Result<Ends, SandboxError> {
        let mut said = [0];
        let failure = tokio::select! {
            biased;
            read = self.ends.answers.read_exact(&mut said) => read.err(),
            () = gone => Some(io::Error::other("the container ended")),
            () = tokio::time::sleep(timeout) => Some(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let Some(failure) = failure else { return Ok(self.ends) };
        let mut logs = LogCapture::of_pipe(self.ends.logs, 4096);
        logs.read_what_is_there().await;
        let said = logs.take();
        let source = if said.is_empty() { failure } else { io::Error::other(said.trim().to_owned()) };
        Err(cannot("start a worker in a container")(source))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // What is left behind is removed with the folder of this service's life.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(script: &str) -> impl Iterator<Item = String> {
    ["/bin/sh", "-c", script, DOORWAY_ROOT].into_iter().map(str::to_owned)
}
