//! Starts workers.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use domain::Language;
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::{
    ControlGroups, FunctionCode, Invocation, Outcome, SandboxConfig, SandboxError, StartError, Worker,
    control_group::{GroupLimits, GroupParent},
    conversation::Conversation,
    interpreter::{self, Interpreter},
    jail,
    launch::limited_launch_command,
    process_tree::{Entry, Holdings, Keeper, ProcessTree},
    resource_limits::{Overhead, ResourceLimits},
    uid::UidRange,
    worker::Streams,
};

/// `bwrap` itself, its init, and the shell before it becomes the interpreter.
const PROCESSES_OF_THE_SANDBOX: u32 = 4;

/// Starts workers in `bwrap` sandboxes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandbox {
    machine: Arc<Machine>,
}

/// What was found on this machine.
#[derive(Debug)]
struct Machine {
    config: SandboxConfig,
    bwrap: PathBuf,
    interpreters: BTreeMap<Language, Interpreter>,
    /// Only root can give each worker a user of its own.
    uids: Option<UidRange>,
    groups: Result<GroupParent, String>,
    keeper: Keeper,
}

impl Sandbox {
    /// Finds `bwrap` and the interpreters, and tries each. Blocks for about 0.3 s.
    ///
    /// # Errors
    /// Says what is missing on this machine and how to mend it. One interpreter of the two is enough:
    /// functions in the other's language then fail to start.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let bwrap = interpreter::find_bwrap(&config)?;
        let uids = interpreter::runs_as_root().then(|| UidRange::new(config.first_uid, config.uid_count));
        let lease = uids.as_ref().map(UidRange::lease).transpose()?;
        let uid = lease.as_ref().map(super::uid::UidLease::uid);
        interpreter::try_bwrap(&bwrap, &config, uid)?;
        let interpreters = find_interpreters(&bwrap, &config, uid)?;
        let groups = match config.control_groups {
            ControlGroups::Off => Err("switched off".to_owned()),
            ControlGroups::Auto => GroupParent::find(&config.control_group_name),
            ControlGroups::Required => {
                let groups = GroupParent::find(&config.control_group_name);
                Ok(groups.map_err(|reason| SandboxError::NoControlGroups { reason })?)
            }
        };
        let keeper = Keeper::start()
            .map_err(|source| SandboxError::Start { operation: "start the threads that keep workers", source })?;
        let sandbox = Self { machine: Arc::new(Machine { config, bwrap, interpreters, uids, groups, keeper }) };
        tracing::info!(isolation = %sandbox.describe(), "the sandbox is ready");
        Ok(sandbox)
    }

    /// How workers are isolated on this machine, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let Machine { config, interpreters, uids, groups, .. } = &*self.machine;
        let languages: Vec<String> =
            interpreters.iter().map(|(language, found)| format!("{language:?} {}", found.version)).collect();
        let users = if uids.is_some() { "a user id per worker" } else { "the service's own user" };
        let groups = match groups {
            Ok(parent) => parent.describe(),
            Err(reason) => format!("no control groups ({reason}): resource limits of each process only"),
        };
        format!(
            "{} in bwrap, {users}, {groups}, at most {} processes and {} CPU each",
            languages.join(" and "),
            config.limits.processes,
            config.limits.cpu_cores
        )
    }

    /// Cold start: a worker with the function's code loaded.
    ///
    /// # Errors
    /// [`StartError::Function`] when the code is at fault, [`StartError::Sandbox`] when the machine is.
    pub async fn start(&self, function: &FunctionCode) -> Result<Worker, StartError> {
        let Some(interpreter) = self.machine.interpreters.get(&function.language) else {
            return Err(no_interpreter(function.language));
        };
        let worker = self.machine.start_process(function, interpreter).await?;
        worker.load(function, self.machine.config.start_timeout.get()).await
    }

    /// Starts a worker, calls it once and kills it: the monolith's way. A function that does not load is
    /// a failed outcome.
    ///
    /// # Errors
    /// Only when the machine is at fault.
    pub async fn call_once(&self, function: &FunctionCode, call: &Invocation) -> Result<Outcome, SandboxError> {
        let started = Instant::now();
        match self.start(function).await {
            Ok(mut worker) => {
                let mut outcome = worker.invoke(call).await;
                worker.kill().await;
                outcome.worker_reusable = false;
                Ok(outcome)
            }
            Err(StartError::Function { error, logs }) => Ok(Outcome::not_loaded(error, logs, started.elapsed())),
            Err(StartError::Sandbox(error)) => Err(error),
        }
    }
}

impl Machine {
    async fn start_process(&self, function: &FunctionCode, interpreter: &Interpreter) -> Result<Worker, SandboxError> {
        let limits = &self.config.limits;
        let holdings = self.holdings(function)?;
        let ends = Ends::open().map_err(cannot("open the worker's streams"))?;
        let information = ends.child_information.as_raw_fd();
        let mut command = Command::new(&self.bwrap);
        // bwrap clears the function's environment only: its own init keeps what it was started with, and
        // a function may read that in /proc/1/environ.
        command.env_clear();
        command.args(jail::arguments(limits, Some(&interpreter.prefix), information));
        command.args(
            limited_launch_command(function.language, &interpreter.program, function.memory_bytes, limits.processes)
                .expect("a language with an interpreter has a bootstrap"),
        );
        command.stdin(ends.child_requests).stdout(ends.child_answers).stderr(ends.child_logs);
        interpreter::set_user(&mut command, holdings.uid.as_ref().map(super::uid::UidLease::uid));
        Entry {
            limits: ResourceLimits::new(limits, function.language, function.memory_bytes),
            information,
            doors: holdings.group.as_ref().map(crate::control_group::ControlGroup::doors).unwrap_or_default(),
        }
        .install(&mut command);
        let mut tree = self
            .keeper
            .spawn(command, holdings, vec![ends.child_information])
            .await
            .map_err(cannot("start a worker's process"))?;
        let mut streams = Conversation::new(ends.requests, ends.answers, ends.logs, limits);
        identify_init(&mut tree, ends.information, &mut streams).await?;
        Worker::new(tree, streams, limits.event.as_usize(), function).map_err(cannot("watch a worker's process"))
    }

    fn holdings(&self, function: &FunctionCode) -> Result<Holdings, SandboxError> {
        let limits = &self.config.limits;
        let overhead = Overhead::of(function.language);
        let group_limits = GroupLimits {
            // /tmp is memory too, and has a limit of its own.
            memory_bytes: function
                .memory_bytes
                .saturating_add(overhead.resident_bytes)
                .saturating_add(limits.tmp.bytes()),
            processes: limits.processes.saturating_add(PROCESSES_OF_THE_SANDBOX),
            cpu_cores: limits.cpu_cores,
        };
        Ok(Holdings {
            uid: self.uids.as_ref().map(UidRange::lease).transpose()?,
            group: self
                .groups
                .as_ref()
                .ok()
                .map(|groups| groups.create(&group_limits))
                .transpose()
                .map_err(cannot("make a worker's control group"))?,
        })
    }
}

/// Both ends of a worker's streams.
struct Ends {
    requests: pipe::Sender,
    answers: pipe::Receiver,
    logs: pipe::Receiver,
    information: pipe::Receiver,
    child_requests: Stdio,
    child_answers: Stdio,
    child_logs: Stdio,
    child_information: OwnedFd,
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (child_requests, requests) = io::pipe()?;
        let (answers, child_answers) = io::pipe()?;
        let (logs, child_logs) = io::pipe()?;
        let (information, child_information) = io::pipe()?;
        Ok(Self {
            requests: pipe::Sender::from_owned_fd(requests.into())?,
            answers: pipe::Receiver::from_owned_fd(answers.into())?,
            logs: pipe::Receiver::from_owned_fd(logs.into())?,
            information: pipe::Receiver::from_owned_fd(information.into())?,
            child_requests: child_requests.into(),
            child_answers: child_answers.into(),
            child_logs: child_logs.into(),
            child_information: child_information.into(),
        })
    }
}

/// Learns from `bwrap` which process is init; it says nothing when it cannot make a sandbox.
async fn identify_init(
    tree: &mut ProcessTree,
    mut stream: pipe::Receiver,
    streams: &mut Streams,
) -> Result<(), SandboxError> {
    let mut information = Vec::new();
    let read = stream.read_to_end(&mut information).await;
    if let Err(source) = read.and_then(|_| tree.identify_init(&information)) {
        streams.logs.read_what_is_there().await;
        let said = streams.logs.take();
        let source = if said.is_empty() { source } else { io::Error::other(said.trim().to_owned()) };
        return Err(SandboxError::Start { operation: "start bwrap", source });
    }
    Ok(())
}

fn find_interpreters(
    bwrap: &std::path::Path,
    config: &SandboxConfig,
    uid: Option<u32>,
) -> Result<BTreeMap<Language, Interpreter>, SandboxError> {
    let mut interpreters = BTreeMap::new();
    let mut first_problem = None;
    for (language, found) in [
        (Language::Python, interpreter::find_python(bwrap, config, uid)),
        (Language::Node, interpreter::find_node(bwrap, config, uid)),
    ] {
        match found {
            Ok(interpreter) => drop(interpreters.insert(language, interpreter)),
            Err(problem) => {
                tracing::warn!(%problem, "functions in this language cannot run");
                first_problem.get_or_insert(problem);
            }
        }
    }
    match first_problem {
        Some(problem) if interpreters.is_empty() => Err(problem),
        _ => Ok(interpreters),
    }
}

fn no_interpreter(language: Language) -> StartError {
    match language {
        Language::Go => StartError::Function {
            error: "code in Go cannot be run: it has no interpreter".to_owned(),
            logs: String::new(),
        },
        Language::Python | Language::Node => StartError::Sandbox(SandboxError::NoInterpreter {
            language,
            reason: "none was found when the service started".to_owned(),
            package: if language == Language::Python { "python3" } else { "nodejs" },
        }),
    }
}

fn cannot(operation: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::Start { operation, source }
}
