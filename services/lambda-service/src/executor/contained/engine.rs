//! How a worker's container is made and entered.

use std::{path::Path, sync::Arc};

use containers::{ContainerPlan, Daemon, Household, ReadOnlyMount};
use domain::Language;
use runtimes::RuntimeSpec;
use sandbox::{
    Bounds, Code, DOORWAY_ROOT, Doorway, FunctionCode, Guest, Inhabitant, Protocol, SandboxError, TASK_ROOT,
    of_runtime_api,
};

use super::{ContainersConfig, body::ContainerBody};
use crate::executor::{StartError, Starter, assembly::at_fault};

/// A daemon that was there, and this life's containers on it.
#[derive(Debug)]
pub(crate) struct Engine {
    config: ContainersConfig,
    household: Household,
    /// Whether processes in containers can be reached, which only root on the daemon's own machine can.
    can_enter: bool,
}

/// What an interpreter that waits can be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    image: String,
    language: Language,
    interpreter: Option<Arc<Path>>,
    memory_bytes: u64,
}

/// An interpreter in a container that has seen no function.
#[derive(Debug)]
pub(crate) struct Waiting {
    guest: Guest<ContainerBody>,
    /// By which a package is mounted; without it, only functions of one source text can be loaded.
    inhabitant: Option<Inhabitant>,
}

/// What is made for a runtime's functions, if anything can wait for them.
pub(crate) fn kind_of(runtime: RuntimeSpec, memory_bytes: u64) -> Option<Kind> {
    let interpreter = runtime.interpreter.map(Into::into);
    Some(Kind { image: runtime.image?, language: runtime.language, interpreter, memory_bytes })
}

impl Kind {
    pub(super) fn of(code: &FunctionCode, image: &str) -> Option<Self> {
        let of_code = sandbox::Kind::of(code)?;
        Some(Self {
            image: image.to_owned(),
            language: of_code.language,
            interpreter: of_code.interpreter,
            memory_bytes: of_code.memory_bytes,
        })
    }
}

impl Waiting {
    pub(super) fn fits(&self, code: &FunctionCode) -> bool {
        self.inhabitant.is_some() || code.code.folder().is_none()
    }
}

impl Engine {
    /// Finds the daemon and removes what a former life of this service left on it.
    pub(crate) async fn prepare(config: ContainersConfig) -> anyhow::Result<Self> {
        let daemon = Daemon::connect(&config.daemon()).await?;
        let household = Household::open(daemon, &config.folder()).await?;
        let can_enter = nix::unistd::geteuid().is_root();
        Ok(Self { config, household, can_enter })
    }

    pub(crate) fn household(&self) -> &Household {
        &self.household
    }

    /// A worker from nothing.
    pub(super) async fn start(
        &self,
        code: &FunctionCode,
        image: &str,
    ) -> Result<sandbox::Worker<ContainerBody>, StartError> {
        let timeout = self.config.start_timeout.get();
        let limits = &self.config.limits;
        let doorway = self.doorway()?;
        let guest = match &code.launch.protocol {
            Protocol::Frames => {
                let interpreter = code.launch.interpreter.as_deref();
                let command = self.interpreter_command(code.language, interpreter, code.memory_bytes)?;
                let mut plan = self.plan(image, code.language, code.memory_bytes, &doorway, command);
                add_folder(&mut plan, code);
                let (body, _) = self.start_container(plan).await?;
                Guest::enter(body, doorway, limits, timeout).await
            }
            Protocol::RuntimeApi { command } => {
                if !self.can_enter {
                    let error = "programs of their own need a service that runs as root, beside Docker".to_owned();
                    return Err(at_fault(error));
                }
                let interpreter = self.interpreter(code.language, code.launch.interpreter.as_deref());
                let filled = command.iter().map(|word| {
                    word.replace("{interpreter}", interpreter.as_deref().unwrap_or_default())
                        .replace("{handler}", &code.handler)
                });
                let command = Doorway::runtime_command(filled);
                let mut plan = self.plan(image, code.language, code.memory_bytes, &doorway, command);
                add_folder(&mut plan, code);
                plan.environment.extend(of_runtime_api(code));
                let (body, process) = self.start_container(plan).await?;
                let inhabitant = process
                    .ok_or(std::io::ErrorKind::NotFound.into())
                    .and_then(|process| Inhabitant::find(process, body.id()));
                let inhabitant = inhabitant.map_err(cannot("find a container's first process"))?;
                Guest::enter_runtime(body, doorway, &inhabitant, code, limits, timeout).await
            }
        };
        let guest = guest.map_err(sandbox::StartError::from)?;
        Ok(guest.become_worker(code, limits, timeout).await?)
    }

    /// A worker out of an interpreter that waited.
    pub(super) async fn specialise(
        &self,
        waiting: Waiting,
        code: &FunctionCode,
    ) -> Result<sandbox::Worker<ContainerBody>, StartError> {
        if let (Some(folder), Some(inhabitant)) = (code.code.folder(), &waiting.inhabitant) {
            inhabitant.mount_code(folder).await.map_err(cannot("mount a package in a container"))?;
        }
        let (limits, timeout) = (&self.config.limits, self.config.start_timeout.get());
        Ok(waiting.guest.become_worker(code, limits, timeout).await?)
    }

    async fn start_container(&self, plan: ContainerPlan) -> Result<(ContainerBody, Option<u32>), StartError> {
        let container = self.household.start(plan).await?;
        let process = container.first_process().await?;
        Ok((ContainerBody::new(container, process), process))
    }

    fn doorway(&self) -> Result<Doorway, StartError> {
        let room = self.household.room()?;
        Doorway::open(&room).map_err(cannot("make a worker's streams"))
    }

    fn interpreter(&self, language: Language, named: Option<&Path>) -> Option<String> {
        let usual = match language {
            Language::Python => Some(&self.config.python),
            Language::Node => Some(&self.config.node),
            Language::Go | Language::Provided => None,
        };
        named.map(|path| path.to_string_lossy().into_owned()).or_else(|| usual.cloned())
    }

    fn interpreter_command(
        &self,
        language: Language,
        named: Option<&Path>,
        memory_bytes: u64,
    ) -> Result<Vec<String>, StartError> {
        let interpreter = self.interpreter(language, named);
        let command = interpreter.and_then(|path| Doorway::interpreter_command(language, &path, memory_bytes));
        command.ok_or_else(|| at_fault(format!("code in {language} cannot be run: it has no interpreter")))
    }

    fn plan(
        &self,
        image: &str,
        language: Language,
        memory_bytes: u64,
        doorway: &Doorway,
        command: Vec<String>,
    ) -> ContainerPlan {
        let bounds = Bounds::new(&self.config.limits, language, memory_bytes);
        let environment = [("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8")];
        ContainerPlan {
            image: image.to_owned(),
            command,
            // Not /tmp: Docker would make it in an image that has none, closed to others, before it is mounted.
            working_folder: "/".to_owned(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            user: self.config.user.clone(),
            mounts: vec![ReadOnlyMount { source: doorway.folder().to_owned(), target: DOORWAY_ROOT.to_owned() }],
            mount_point: None,
            memory_bytes: bounds.memory_bytes,
            tmp_bytes: bounds.tmp_bytes,
            processes: bounds.processes,
            cpu_cores: bounds.cpu_cores,
            limits_of_each_process: bounds.of_each_process.to_vec(),
        }
    }
}

/// The folder of the code, mounted or in the image.
fn add_folder(plan: &mut ContainerPlan, code: &FunctionCode) {
    let folder = code.code.folder();
    if let Some(folder) = folder {
        plan.mounts.push(ReadOnlyMount { source: folder.to_owned(), target: TASK_ROOT.to_owned() });
    }
    if folder.is_some() || matches!(code.code, Code::InPlace) {
        plan.working_folder = TASK_ROOT.to_owned();
        plan.environment.insert("LAMBDA_TASK_ROOT".to_owned(), TASK_ROOT.to_owned());
    }
}

fn cannot(operation: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::Sandbox(Arc::new(SandboxError::Start { operation, source }))
}

impl Starter for Engine {
    type Kind = Kind;
    type Waiting = Waiting;

    async fn prewarm(&self, kind: &Kind) -> Result<Waiting, StartError> {
        let doorway = self.doorway()?;
        let command = self.interpreter_command(kind.language, kind.interpreter.as_deref(), kind.memory_bytes)?;
        let mut plan = self.plan(&kind.image, kind.language, kind.memory_bytes, &doorway, command);
        plan.mount_point = self.can_enter.then(|| TASK_ROOT.to_owned());
        let (body, process) = self.start_container(plan).await?;
        let process = process.filter(|_| self.can_enter);
        let inhabitant = process.and_then(|process| Inhabitant::find(process, body.id()).ok());
        let timeout = self.config.start_timeout.get();
        let guest = Guest::enter(body, doorway, &self.config.limits, timeout).await;
        Ok(Waiting { guest: guest.map_err(sandbox::StartError::from)?, inhabitant })
    }

    fn is_alive(waiting: &mut Waiting) -> bool {
        waiting.guest.is_alive()
    }
}
