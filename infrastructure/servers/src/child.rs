//! Child processes that cannot outlive this process.
//!
//! The kernel's parent-death signal does it (`PR_SET_PDEATHSIG`), with three traps taken care of: it
//! follows the *thread* that forked, so one thread that lives as long as the process forks them all; a
//! change of user clears it, so it is set after that; and the parent may die between fork and prctl, so
//! the child then looks whether its parent is still the one that forked it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getppid};
use tokio::sync::{oneshot, watch};

use crate::account::Account;
use crate::child_log::ChildLog;
use crate::successor::{Guard, Successor};

/// How long the last lines of a dead child may take to reach its log: somebody it started may still
/// hold its output open.
const LOG_FLUSH: Duration = Duration::from_millis(500);

/// What to start.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Its name in errors and logs.
    pub name: String,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set on top of this process's environment.
    pub env: BTreeMap<String, String>,
    /// Variables of this process that the child must not see: those whose name starts so.
    pub hidden_env_prefixes: Vec<String>,
    /// The folder it runs in; this process's when `None`.
    pub folder: Option<PathBuf>,
    /// The account it runs as; this process's when `None`.
    pub account: Option<Account>,
    /// Where its output goes.
    pub log: ChildLog,
    /// The signal the kernel sends it when this process is gone.
    pub orphan_signal: Signal,
    /// Where a program that replaces itself writes the id of the process that serves, before the one that it replaces
    /// ends. A process of the child's group that is named there then is the child from then on; without such a
    /// file everything that the child has started ends with it.
    pub pid_file: Option<PathBuf>,
}

impl ChildSpec {
    /// A child without arguments that is killed outright when this process is gone.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: ChildLog) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            hidden_env_prefixes: Vec::new(),
            folder: None,
            account: None,
            log,
            orphan_signal: Signal::SIGKILL,
            pid_file: None,
        }
    }
}

/// A child could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{name}` ({})", program.display())]
pub struct ChildError {
    /// The child's name.
    pub name: String,
    /// Its binary.
    pub program: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

/// How [`Child::stop`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The child ended by itself within its deadline.
    InTime(ExitStatus),
    /// It did not, and was killed with everything in its process group.
    Killed,
}

/// A running child and its process group. Dropping it kills both.
#[derive(Debug)]
pub struct Child {
    name: String,
    /// That of the process that was started, and of the group.
    pid: Pid,
    pid_file: Option<PathBuf>,
    log: ChildLog,
    /// The id of the last process that has taken over.
    successor: watch::Receiver<Option<u32>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Held while the process is reaped: whoever holds it and finds it `false` may signal the pid,
    /// which cannot have been given to another process.
    reaped: Arc<Mutex<bool>>,
}

impl Child {
    /// Starts a child in a process group of its own.
    ///
    /// # Errors
    /// The program cannot be started, or its log not be written.
    pub async fn start(spec: ChildSpec) -> Result<Self, ChildError> {
        let (name, program) = (spec.name.clone(), spec.program.clone());
        let failed = |source| ChildError { name, program, source };
        let (reply, started) = oneshot::channel();
        let sent = forker().send((spec, reply));
        let result = match sent {
            Ok(()) => started.await.unwrap_or_else(|_| Err(forker_gone())),
            Err(_) => Err(forker_gone()),
        };
        result.map_err(failed)
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id: that of the successor as soon as there is one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let serving = if *reaped { None } else { self.serving() };
        let last = || *self.successor.borrow();
        serving
            .map(|successor| successor.pid.as_raw().unsigned_abs())
            .or_else(last)
            .unwrap_or(self.pid.as_raw().unsigned_abs())
    }

    /// Who serves in its place by now. `reaped` is held meanwhile, and `false`.
    fn serving(&self) -> Option<Successor> {
        self.pid_file.as_deref().and_then(|file| Successor::named(file, self.pid))
    }

    /// The id of the process that has taken over, once its predecessor has ended; changes with each that does.
    #[must_use]
    pub fn successor(&self) -> watch::Receiver<Option<u32>> {
        self.successor.clone()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &ChildLog {
        &self.log
    }

    /// Its exit status once it has ended: that of the process that was started. How a successor ended only its own parent
    /// hears.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it has ended, and whoever took over from it.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let seen = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        // The waiting thread publishes before it ends; a lost one means SIGKILL to all of us.
        seen.unwrap_or_else(|| ExitStatus::from_raw(Signal::SIGKILL as i32))
    }

    /// Sends a signal to the child itself, not to its group; to its successor as soon as there is one. A child that has
    /// ended is left alone.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if *reaped {
            return Ok(());
        }
        match self.serving() {
            Some(successor) => successor.signal(signal),
            None => Ok(kill(self.pid, signal)?),
        }
    }

    /// Kills the child and everything in its process group.
    pub fn kill_group(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
    }

    /// Asks it to end with `signal`, and kills its group when it has not within `deadline`.
    pub async fn stop(&self, signal: Signal, deadline: Duration) -> Stopped {
        let _ = self.signal(signal);
        match tokio::time::timeout(deadline, self.exited()).await {
            Ok(status) => Stopped::InTime(status),
            Err(_) => {
                self.kill_group();
                self.exited().await;
                Stopped::Killed
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
    }
}

type Started = Result<Child, io::Error>;
type Request = (ChildSpec, oneshot::Sender<Started>);

/// The one thread that forks; it lives as long as the process.
fn forker() -> mpsc::Sender<Request> {
    static FORKER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    FORKER
        .get_or_init(|| {
            let (sender, requests) = mpsc::channel::<Request>();
            // A thread that cannot be started drops `requests`, and every start answers an error.
            let _ = std::thread::Builder::new().name("forker".to_owned()).spawn(move || {
                for (spec, reply) in requests {
                    // When nobody waits any more, the child comes back here and is killed by its drop.
                    let _ = reply.send(fork(&spec));
                }
            });
            sender
        })
        .clone()
}

fn forker_gone() -> io::Error {
    io::Error::other("the thread that starts children is gone")
}

fn fork(spec: &ChildSpec) -> Started {
    spec.log.rotate_if_large()?;
    // Opened once here so that an unwritable log is an error now, not silence later.
    spec.log.open()?;
    let (output, write_end) = io::pipe()?;
    let mut command = command(spec, write_end)?;
    let mut process = command.spawn()?;
    // The command holds the parent's copies of the write end; without this the log would never end.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(process.id()).map_err(io::Error::other)?);
    let (ended, exit) = watch::channel(None);
    let (succeeded, successor) = watch::channel(None);
    let reaped = Arc::new(Mutex::new(false));
    let child = Child {
        name: spec.name.clone(),
        pid,
        pid_file: spec.pid_file.clone(),
        log: spec.log.clone(),
        successor,
        exit,
        reaped: Arc::clone(&reaped),
    };
    let guard = spec.pid_file.as_ref().map(|_| Guard::start(pid)).transpose()?;

    let log = spec.log.clone();
    let (pumped, log_complete) = mpsc::channel::<()>();
    std::thread::Builder::new().name(format!("{}-log", spec.name)).spawn(move || {
        log.pump(output);
        drop(pumped);
    })?;
    let pid_file = spec.pid_file.clone();
    std::thread::Builder::new().name(format!("{}-wait", spec.name)).spawn(move || {
        // Not reaped yet, so that the pid, and with it the group's id, stays ours.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
        if let Some(file) = &pid_file {
            wait_for_successors(file, pid, &succeeded);
        }
        let status = {
            let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
            // Whatever it started in its group ends with it.
            let _ = killpg(pid, Signal::SIGKILL);
            *reaped = true;
            process.wait()
        };
        if let Some(guard) = guard {
            guard.reap();
        }
        let _ = log_complete.recv_timeout(LOG_FLUSH);
        let status = status.unwrap_or_else(|_| ExitStatus::from_raw(Signal::SIGKILL as i32));
        ended.send_replace(Some(status));
    })?;
    Ok(child)
}

/// Blocks until nobody serves in the place of a child that has ended. It is not reaped meanwhile.
fn wait_for_successors(file: &Path, group: Pid, succeeded: &watch::Sender<Option<u32>>) {
    let mut last = group;
    // One that was killed is still named there.
    while let Some(successor) = Successor::named(file, group).filter(|successor| successor.pid != last) {
        last = successor.pid;
        succeeded.send_replace(Some(last.as_raw().unsigned_abs()));
        successor.wait();
    }
}

fn command(spec: &ChildSpec, output: io::PipeWriter) -> io::Result<Command> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output).process_group(0);
    for (key, _) in std::env::vars_os() {
        let shown = key.to_string_lossy();
        if spec.hidden_env_prefixes.iter().any(|prefix| shown.starts_with(prefix)) {
            command.env_remove(&key);
        }
    }
    command.envs(&spec.env);
    if let Some(folder) = &spec.folder {
        command.current_dir(folder);
    }
    if let Some(account) = &spec.account {
        command.uid(account.uid).gid(account.gid);
    }
    die_with_parent(&mut command, spec.orphan_signal);
    Ok(command)
}

/// Makes the kernel send `signal` to the command's process when the *thread* that spawns it ends: spawn
/// it from one that lives as long as the process, such as the main thread.
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = Pid::this();
    // SAFETY: prctl and getppid are async-signal-safe and nothing is allocated. The standard library
    // runs this after it has changed the user and right before exec.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(signal)?;
            if getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &std::path::Path) -> ChildSpec {
        let mut spec = ChildSpec::new("shell", "/bin/sh", ChildLog::new(folder.join("shell.log")));
        spec.args = vec!["-c".into(), script.into()];
        spec
    }

    #[tokio::test]
    async fn output_and_exit_status_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = Child::start(shell("echo out; echo err >&2; exit 7", folder.path())).await.expect("sh starts");
        assert_eq!(child.exited().await.code(), Some(7));
        assert_eq!(child.log().tail(10), "out\nerr");
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_signal_is_killed_with_its_group() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "trap '' TERM; sleep 600 & echo $!; while :; do wait; done";
        let child = Child::start(shell(script, folder.path())).await.expect("sh starts");
        let grandchild = loop {
            if let Ok(pid) = child.log().tail(1).trim().parse::<i32>() {
                break Pid::from_raw(pid);
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(child.stop(Signal::SIGTERM, Duration::from_millis(50)).await, Stopped::Killed);
        // A signal that kills is delivered a moment after it is sent. Its new parent then reaps it; until it has, it is
        // a zombie.
        let stat = format!("/proc/{grandchild}/stat");
        let gone = || std::fs::read_to_string(&stat).map_or(true, |state| state.contains(") Z "));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(tokio::time::Instant::now() < deadline, "the grandchild outlived its group");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts another shell, which names itself in the file before this one ends.
    const REPLACES_ITSELF: &str = "sh -c 'echo $$ > pid.new; mv pid.new pid; sleep 600' & \
                                   until [ -s pid ]; do sleep 0.01; done; exit 3";

    fn replaces_itself(folder: &std::path::Path) -> ChildSpec {
        let pid_file = Some(folder.join("pid"));
        ChildSpec { folder: Some(folder.to_owned()), pid_file, ..shell(REPLACES_ITSELF, folder) }
    }

    async fn replaced(child: &Child) -> u32 {
        let mut successor = child.successor();
        let taken_over = tokio::time::timeout(Duration::from_secs(20), successor.wait_for(Option::is_some)).await;
        taken_over.expect("in time").expect("it was not reaped").expect("waited for")
    }

    #[tokio::test]
    async fn who_takes_over_is_the_child_from_then_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = Child::start(replaces_itself(folder.path())).await.expect("sh starts");
        let successor = replaced(&child).await;
        assert_eq!((child.pid(), child.exit_status()), (successor, None), "it goes on");
        assert!(matches!(child.stop(Signal::SIGTERM, Duration::from_secs(20)).await, Stopped::InTime(_)));
        // Named still, and gone: nobody is taken for it.
        assert!(folder.path().join("pid").exists());
    }

    #[tokio::test]
    async fn a_killed_successor_is_the_end_of_the_child() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = Child::start(replaces_itself(folder.path())).await.expect("sh starts");
        replaced(&child).await;
        child.signal(Signal::SIGKILL).expect("its group is the child's");
        tokio::time::timeout(Duration::from_secs(20), child.exited()).await.expect("in time");
    }

    #[tokio::test]
    async fn a_file_that_was_left_over_makes_nobody_the_child() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pid_file = folder.path().join("pid");
        // This very process: alive, and of another group.
        std::fs::write(&pid_file, std::process::id().to_string()).expect("our own folder");
        let spec = ChildSpec { pid_file: Some(pid_file), ..shell("exit 7", folder.path()) };
        let child = Child::start(spec).await.expect("sh starts");
        assert_eq!(child.exited().await.code(), Some(7));
        assert_eq!(*child.successor().borrow(), None);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spec = ChildSpec::new("ghost", "/nonexistent/ghost", ChildLog::new(folder.path().join("ghost.log")));
        let error = Child::start(spec).await.expect_err("nothing to start");
        assert_eq!(error.to_string(), "cannot start `ghost` (/nonexistent/ghost)");
    }
}
