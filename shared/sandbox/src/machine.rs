//! What was found on this machine, and how a worker's processes are started on it.

use std::{
    io::{self, Seek as _, Write as _},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use domain::Language;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};

use crate::{
    FunctionCode, SandboxConfig, SandboxError,
    channel::Channel,
    control_group::{ControlGroup, GroupLimits, GroupParent},
    conversation::Conversation,
    environment,
    interpreter::{self, Interpreter},
    interpreters::Interpreters,
    jail::{self, Descriptors, Folder},
    launch::{gated_command, limited_launch_command},
    log_capture::LogCapture,
    process_tree::{Entry, Holdings, Keeper, ProcessTree},
    resource_limits::{ResourceLimits, whole_memory_bytes},
    runtime_api::{RuntimeApi, listen_inside},
    system_calls::SystemCalls,
    uid::{UidLease, UidRange},
};

/// `bwrap` itself, its init, and the shell before it becomes the interpreter.
const PROCESSES_OF_THE_SANDBOX: u32 = 4;

/// What was found on this machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) config: SandboxConfig,
    pub(crate) bwrap: PathBuf,
    pub(crate) interpreters: Interpreters,
    /// Only root can give each worker a user of its own.
    pub(crate) uids: Option<UidRange>,
    pub(crate) groups: Result<GroupParent, String>,
    /// Unless they are switched off.
    pub(crate) system_calls: Option<SystemCalls>,
    pub(crate) keeper: Keeper,
}

/// What a sandbox is made for.
struct Plan<'a> {
    language: Language,
    memory_bytes: u64,
    /// The folder of the interpreter's installation.
    prefix: Option<&'a Path>,
    folder: Folder<'a>,
    /// Arguments of `bwrap` that nobody else on the machine may read.
    private_arguments: Vec<u8>,
    command: Vec<String>,
}

impl Machine {
    /// A built-in worker's processes, with nothing loaded.
    pub(crate) async fn start_interpreter(
        &self,
        language: Language,
        memory_bytes: u64,
        interpreter: &Interpreter,
        folder: Folder<'_>,
    ) -> Result<(ProcessTree, Channel), SandboxError> {
        let processes = self.config.limits.processes;
        // Before bwrap is done there is no place to mount anything.
        let is_announced = matches!(folder, Folder::Later);
        let command = limited_launch_command(language, &interpreter.program, memory_bytes, processes, is_announced);
        let plan = Plan {
            language,
            memory_bytes,
            prefix: Some(&interpreter.prefix),
            folder,
            private_arguments: Vec::new(),
            command: command.expect("a language with an interpreter has a bootstrap"),
        };
        let (tree, mut ends) = self.spawn(plan).await?;
        if is_announced && let Err(source) = wait_until_made(&mut ends).await {
            return Err(ends.why("start bwrap", source).await);
        }
        let limits = &self.config.limits;
        let logs = LogCapture::of_pipe(ends.logs, limits.logs.as_usize());
        let frames = Conversation::new(ends.requests, ends.answers, logs, limits);
        Ok((tree, Channel::Frames(Box::new(frames))))
    }

    /// The processes of a program that speaks the Runtime API. It begins when its API is there.
    pub(crate) async fn start_runtime(
        &self,
        function: &FunctionCode,
        command: &[String],
        interpreter: Option<&Interpreter>,
    ) -> Result<(ProcessTree, Channel), SandboxError> {
        let filled = command.iter().map(|word| {
            let program = interpreter.map_or("", |interpreter| interpreter.program.as_str());
            word.replace("{interpreter}", program).replace("{handler}", &function.handler)
        });
        let plan = Plan {
            language: function.language,
            memory_bytes: function.memory_bytes,
            prefix: interpreter.map(|interpreter| interpreter.prefix.as_path()),
            folder: function.code.folder().map_or(Folder::Absent, Folder::Here),
            private_arguments: set_environment(function),
            command: gated_command(filled, self.config.limits.processes),
        };
        let (tree, mut ends) = self.spawn(plan).await?;
        if let Err(source) = wait_until_made(&mut ends).await {
            return Err(ends.why("start bwrap", source).await);
        }
        let listener = listen_inside(tree.init()).await.map_err(cannot("open the Runtime API in a sandbox"))?;
        // A program that is gone by now is found out by its end.
        let _ = ends.requests.write_all(b"\n").await;
        let api = RuntimeApi::new(listener, ends.logs, function, &self.config.limits);
        Ok((tree, Channel::RuntimeApi(Box::new(api))))
    }

    async fn spawn(&self, plan: Plan<'_>) -> Result<(ProcessTree, HostEnds), SandboxError> {
        let limits = &self.config.limits;
        let holdings = self.holdings(&plan)?;
        let (ends, child) = open_ends().map_err(cannot("open the worker's streams"))?;
        let (descriptors, files) = self.files(&plan, &child).map_err(cannot("hand bwrap its settings"))?;
        let mut command = Command::new(&self.bwrap);
        // bwrap clears the function's environment only: its own init keeps what it was started with, and
        // a function may read that in /proc/1/environ.
        command.env_clear();
        command.args(jail::arguments(limits, plan.prefix, plan.folder, &descriptors));
        command.args(plan.command);
        command.stdin(child.requests).stdout(child.answers).stderr(child.logs);
        interpreter::set_user(&mut command, holdings.uid.as_ref().map(UidLease::uid));
        Entry {
            limits: ResourceLimits::new(limits, plan.language, plan.memory_bytes),
            kept: descriptors.all(),
            doors: holdings.group.as_ref().map(ControlGroup::doors).unwrap_or_default(),
        }
        .install(&mut command);
        let child_ends = files.into_iter().chain([child.information]).collect();
        let spawned = self.keeper.spawn(command, holdings, child_ends).await;
        let mut tree = spawned.map_err(cannot("start a worker's process"))?;
        let mut ends = ends;
        if let Err(source) = identify_init(&mut tree, &mut ends.information).await {
            return Err(ends.why("start bwrap", source).await);
        }
        Ok((tree, ends))
    }

    /// What `bwrap` reads beside its command line. Each worker has files of its own, since who reads one moves its place.
    fn files(&self, plan: &Plan<'_>, child: &ChildEnds) -> io::Result<(Descriptors, Vec<OwnedFd>)> {
        let mut descriptors = Descriptors { information: child.information.as_raw_fd(), ..Descriptors::default() };
        let mut files = Vec::new();
        if !plan.private_arguments.is_empty() {
            let file = private_file(&plan.private_arguments)?;
            descriptors.private_arguments = Some(file.as_raw_fd());
            files.push(file);
        }
        for filter in self.system_calls.iter().flat_map(|filters| &filters.0) {
            let file = private_file(filter)?;
            descriptors.filters.push(file.as_raw_fd());
            files.push(file);
        }
        Ok((descriptors, files))
    }

    fn holdings(&self, plan: &Plan<'_>) -> Result<Holdings, SandboxError> {
        let limits = &self.config.limits;
        let group_limits = GroupLimits {
            memory_bytes: whole_memory_bytes(limits, plan.language, plan.memory_bytes),
            processes: limits.processes.saturating_add(PROCESSES_OF_THE_SANDBOX),
            cpu_cores: limits.cpu_cores,
        };
        let group = self.groups.as_ref().ok().map(|groups| groups.create(&group_limits)).transpose();
        Ok(Holdings {
            uid: self.uids.as_ref().map(UidRange::lease).transpose()?,
            group: group.map_err(cannot("make a worker's control group"))?,
        })
    }
}

/// The host's ends of a worker's streams.
struct HostEnds {
    requests: pipe::Sender,
    answers: pipe::Receiver,
    logs: pipe::Receiver,
    information: pipe::Receiver,
}

/// The worker's.
struct ChildEnds {
    requests: Stdio,
    answers: Stdio,
    logs: Stdio,
    information: OwnedFd,
}

impl HostEnds {
    /// An error with what `bwrap` said of it.
    async fn why(self, operation: &'static str, source: io::Error) -> SandboxError {
        let mut logs = LogCapture::of_pipe(self.logs, 4096);
        logs.read_what_is_there().await;
        let said = logs.take();
        let source = if said.is_empty() { source } else { io::Error::other(said.trim().to_owned()) };
        SandboxError::Start { operation, source }
    }
}

fn open_ends() -> io::Result<(HostEnds, ChildEnds)> {
    let (child_requests, requests) = io::pipe()?;
    let (answers, child_answers) = io::pipe()?;
    let (logs, child_logs) = io::pipe()?;
    let (information, child_information) = io::pipe()?;
    let host = HostEnds {
        requests: pipe::Sender::from_owned_fd(requests.into())?,
        answers: pipe::Receiver::from_owned_fd(answers.into())?,
        logs: pipe::Receiver::from_owned_fd(logs.into())?,
        information: pipe::Receiver::from_owned_fd(information.into())?,
    };
    let child = ChildEnds {
        requests: child_requests.into(),
        answers: child_answers.into(),
        logs: child_logs.into(),
        information: child_information.into(),
    };
    Ok((host, child))
}

/// Learns from `bwrap` which process is init; it says nothing when it cannot make a sandbox.
async fn identify_init(tree: &mut ProcessTree, information: &mut pipe::Receiver) -> io::Result<()> {
    let mut said = Vec::new();
    information.read_to_end(&mut said).await?;
    tree.identify_init(&said)
}

/// The shell in the sandbox says that it is made.
async fn wait_until_made(ends: &mut HostEnds) -> io::Result<()> {
    let mut said = [0];
    ends.answers.read_exact(&mut said).await.map(drop)
}

/// Arguments that set the function's environment. On a command line, every user of the machine could read it.
fn set_environment(function: &FunctionCode) -> Vec<u8> {
    let mut arguments = Vec::new();
    for (name, value) in environment::of_runtime_api(function) {
        for word in ["--setenv", &name, &value] {
            arguments.extend_from_slice(word.as_bytes());
            arguments.push(0);
        }
    }
    arguments
}

/// A file in memory that has no name.
fn private_file(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(c"settings", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

pub(crate) fn cannot(operation: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::Start { operation, source }
}
