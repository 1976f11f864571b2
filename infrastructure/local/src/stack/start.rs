//! From a document to a running stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use local_servers::{Account, ChildLog, ChildSpec, PortChoice, Postgres, PostgresOptions, S3Options, S3Server};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::data_folder::DataFolder;
use super::document::{DatabaseStep, ProcessPart, StackDocument, start_order};
use super::event::{Event, Events};
use super::part::{Launch, Live, Part, Surroundings, supervise};
use super::running::{RunningStack, Signals, SupervisedPart};
use super::source::StackSource;
use super::template::{Hole, Template};
use super::{StackError, database_step, program};

const POSTGRES: &str = "postgres";
const S3: &str = "s3";

/// How to start a stack.
#[derive(Debug)]
pub struct StackOptions {
    /// What to start.
    pub source: StackSource,
    /// The data folder. By default `/var/lib/strangler/NAME` for root, and for others
    /// `strangler/NAME` under `$XDG_STATE_HOME` or `~/.local/state`.
    pub data_folder: Option<PathBuf>,
    /// Folders to look for programs in, before the one this binary is in and `PATH`.
    pub programs: Vec<PathBuf>,
    /// Who is told what happens.
    pub events: Option<mpsc::UnboundedSender<Event>>,
}

impl StackOptions {
    /// The stack on its default data folder.
    #[must_use]
    pub fn new(source: StackSource) -> Self {
        Self { source, data_folder: None, programs: Vec::new(), events: None }
    }

    /// The data folder: the one that was asked for, or else the default.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.data_folder.clone().unwrap_or_else(|| DataFolder::default_path(self.source.name()))
    }
}

/// Starts stacks.
#[derive(Debug)]
pub struct Stack;

impl Stack {
    /// Starts a stack and waits until all of it is ready. When that fails, is interrupted by SIGINT or
    /// SIGTERM, or this future is dropped, nothing that was started goes on.
    ///
    /// # Errors
    /// What is missing or wrong, with the end of the log of the part that failed.
    pub async fn start(options: StackOptions) -> Result<RunningStack, StackError> {
        let mut signals = Signals::catch()?;
        let (data, values, urls, assembled) = tokio::select! {
            started = Self::start_parts(options) => started?,
            () = signals.any() => return Err(StackError::Interrupted),
        };
        Ok(RunningStack::new(data, urls, values.secrets, assembled, signals))
    }

    async fn start_parts(options: StackOptions) -> Result<Started, StackError> {
        let document = &options.source.document;
        let account = match &document.postgres {
            Some(postgres) => Account::for_server(postgres.account.as_deref())?,
            None => None,
        };
        let path = options.data_folder();
        let data = DataFolder::open(&path, account.as_ref())?;
        let outdated = data.bring(&options.source.files)?;
        let programs = find_programs(document, &options.programs)?;

        let mut names: Vec<String> = document.port_names().into_iter().collect();
        names.extend([POSTGRES, S3].map(|server| format!("_{server}")));
        let ports = data.ports(names.iter().map(String::as_str))?;
        let events = Events(options.events.clone());
        for file in outdated {
            events.emit(Event::Outdated { shipped: data.shipped(&file), file });
        }
        let (postgres, s3) = tokio::try_join!(
            start_postgres(document, &data, &ports, &events),
            start_s3(document, &data, &ports, &events),
        )?;
        let values = Values::gather(document, &data, ports, postgres.as_ref().map(|(_, server)| server), s3.as_ref())?;
        let urls = values.urls(document);
        for (name, text) in &document.generated {
            data.generate(name, &values.fill_outside(text))?;
        }
        let assembly = Assembly { document, data: &data, values: &values, programs: &programs, events };
        let assembled = assembly.run(postgres, s3).await?;
        Ok((data, values, urls, assembled))
    }
}

type Started = (DataFolder, Values, BTreeMap<String, String>, Assembled);

fn find_programs(document: &StackDocument, folders: &[PathBuf]) -> Result<Vec<PathBuf>, StackError> {
    document.process.iter().map(|process| program::find(&process.program, folders)).collect()
}

async fn start_postgres(
    document: &StackDocument,
    data: &DataFolder,
    ports: &BTreeMap<String, u16>,
    events: &Events,
) -> Result<Option<(PostgresOptions, Postgres)>, StackError> {
    let Some(part) = &document.postgres else { return Ok(None) };
    let mut options = PostgresOptions {
        port: PortChoice::Prefer(ports["_postgres"]),
        account: part.account.clone(),
        start_deadline: part.ready_deadline.get(),
        ..PostgresOptions::new(data.path().join(POSTGRES))
    };
    events.emit(Event::Starting { part: POSTGRES.to_owned() });
    let started = Instant::now();
    let server = Postgres::start(&options).await?;
    for database in &part.databases {
        server.ensure_database(database).await?;
    }
    events.emit(Event::Ready { part: POSTGRES.to_owned(), took: started.elapsed() });
    // Everybody is told this address now, so a restart must come back to it.
    options.port = PortChoice::Exactly(server.port());
    Ok(Some((options, server)))
}

async fn start_s3(
    document: &StackDocument,
    data: &DataFolder,
    ports: &BTreeMap<String, u16>,
    events: &Events,
) -> Result<Option<S3Server>, StackError> {
    let Some(part) = &document.s3 else { return Ok(None) };
    events.emit(Event::Starting { part: S3.to_owned() });
    let started = Instant::now();
    let server = S3Server::start(S3Options {
        folder: data.path().join(S3),
        port: PortChoice::Prefer(ports["_s3"]),
        access_key: document.name.clone(),
        secret_key: data.secret("_s3")?,
    })
    .await?;
    for bucket in &part.buckets {
        server.ensure_bucket(bucket)?;
    }
    events.emit(Event::Ready { part: S3.to_owned(), took: started.elapsed() });
    Ok(Some(server))
}

/// What templates are filled with.
struct Values {
    ports: BTreeMap<String, u16>,
    secrets: BTreeMap<String, String>,
    database_urls: BTreeMap<String, String>,
    s3: Option<[String; 3]>,
    data: PathBuf,
}

impl Values {
    fn gather(
        document: &StackDocument,
        data: &DataFolder,
        ports: BTreeMap<String, u16>,
        postgres: Option<&Postgres>,
        s3: Option<&S3Server>,
    ) -> Result<Self, StackError> {
        let databases = document.postgres.iter().flat_map(|part| &part.databases);
        let database_urls =
            postgres.map(|server| databases.map(|name| (name.clone(), server.url(name))).collect()).unwrap_or_default();
        let secrets = document.secret_names().into_iter().map(|name| Ok((name.clone(), data.secret(&name)?)));
        Ok(Self {
            ports,
            secrets: secrets.collect::<Result<_, StackError>>()?,
            database_urls,
            s3: s3.map(|server| [server.endpoint(), server.access_key().to_owned(), server.secret_key().to_owned()]),
            data: data.path().to_path_buf(),
        })
    }

    fn fill(&self, template: &Template, folders: &ProcessFolders) -> String {
        let s3 = |index: usize| self.s3.as_ref().map(|parts| parts[index].clone());
        let filled = template.resolve(|hole| {
            let value = match hole {
                Hole::PostgresUrl(name) => self.database_urls.get(name).cloned(),
                Hole::S3Endpoint => s3(0),
                Hole::S3AccessKey => s3(1),
                Hole::S3SecretKey => s3(2),
                Hole::Port(name) => self.ports.get(name).map(ToString::to_string),
                Hole::Secret(name) => self.secrets.get(name).cloned(),
                Hole::Data => Some(self.data.display().to_string()),
                Hole::Dir => Some(folders.own.display().to_string()),
                Hole::Scratch => folders.scratch.as_ref().map(|folder| folder.display().to_string()),
            };
            value.ok_or(())
        });
        filled.expect("the document's validation knows every hole")
    }

    fn urls(&self, document: &StackDocument) -> BTreeMap<String, String> {
        document.urls.iter().map(|(name, url)| (name.clone(), self.fill_outside(url))).collect()
    }

    /// Fills what is no process's.
    fn fill_outside(&self, template: &Template) -> String {
        self.fill(template, &ProcessFolders { own: self.data.clone(), scratch: None })
    }
}

/// What `{dir}` and `{scratch}` are to a process.
struct ProcessFolders {
    own: PathBuf,
    /// Where it asks for one.
    scratch: Option<PathBuf>,
}

/// The second half of a start: processes and steps, with their servers running.
struct Assembly<'a> {
    document: &'a StackDocument,
    data: &'a DataFolder,
    values: &'a Values,
    programs: &'a [PathBuf],
    events: Events,
}

/// Everything that runs, in the order of its start.
pub(super) struct Assembled {
    pub(super) parts: Vec<SupervisedPart>,
    pub(super) s3: Option<S3Server>,
    pub(super) events: Events,
    pub(super) failures: mpsc::UnboundedReceiver<StackError>,
}

/// The readiness of a part or step that others may wait for.
type Readiness = BTreeMap<String, watch::Receiver<bool>>;

impl Assembly<'_> {
    async fn run(
        self,
        postgres: Option<(PostgresOptions, Postgres)>,
        s3: Option<S3Server>,
    ) -> Result<Assembled, StackError> {
        let (report, failures) = mpsc::unbounded_channel();
        let around = Surroundings {
            policy: self.document.restart.clone(),
            events: self.events.clone(),
            client: reqwest::Client::builder().no_proxy().build().expect("a client without TLS or proxy needs nothing"),
            failures: report,
        };
        let mut assembled = Assembled { parts: Vec::new(), s3, events: self.events.clone(), failures };
        if let Some((options, server)) = postgres {
            assembled.parts.push(self.postgres_part(options, server, &around));
        }
        // Steps end with the start; they are aborted with it when it fails.
        let (steps, readiness) = self.spawn_all(&mut assembled.parts, &around)?;
        let all_ready = async {
            for mut ready in readiness.into_values() {
                let _ = ready.wait_for(|ready| *ready).await;
            }
        };
        let failure = tokio::select! {
            biased;
            Some(failure) = assembled.failures.recv() => failure,
            () = all_ready => {
                drop(steps);
                return Ok(assembled);
            }
        };
        drop(steps);
        super::running::stop_in_order(assembled).await;
        Err(failure)
    }

    fn spawn_all(
        &self,
        parts: &mut Vec<SupervisedPart>,
        around: &Surroundings,
    ) -> Result<(Vec<AbortOnDropHandle<()>>, Readiness), StackError> {
        let dependants = self.document.dependants();
        let order = start_order(&dependants).expect("the document's validation refuses circles");
        let mut readiness = Readiness::new();
        let mut steps = Vec::new();
        for index in order {
            let (_, name, depends) = &dependants[index];
            let waits: Vec<_> = depends.iter().map(|other| readiness[other].clone()).collect();
            let ready = match self.document.process.get(index) {
                Some(process) => {
                    let part = self.process_part(process, &self.programs[index])?;
                    let ready = part.ready.subscribe();
                    parts.push(spawn(part, None, waits, around));
                    ready
                }
                None => {
                    let step = &self.document.database_step[index - self.document.process.len()];
                    let (task, ready) = self.spawn_step(step, waits, around);
                    steps.push(task);
                    ready
                }
            };
            readiness.insert((*name).to_owned(), ready);
        }
        Ok((steps, readiness))
    }

    fn postgres_part(&self, options: PostgresOptions, server: Postgres, around: &Surroundings) -> SupervisedPart {
        let document = self.document.postgres.as_ref().expect("a server runs because the document asks for it");
        let part = Part {
            name: POSTGRES.to_owned(),
            launch: Launch::Postgres(Box::new(options)),
            ready_url: None,
            ready_deadline: document.ready_deadline.get(),
            stop_deadline: document.stop_deadline.get(),
            live: watch::Sender::new(None),
            ready: watch::Sender::new(true),
        };
        spawn(part, Some(Live::Postgres(server)), Vec::new(), around)
    }

    fn process_part(&self, process: &ProcessPart, program: &Path) -> Result<Part, StackError> {
        let asks = |template: &Template| template.holes().any(|hole| *hole == Hole::Scratch);
        let scratch =
            process.args.iter().chain(process.env.values()).chain(&process.ready).chain(&process.pid_file).any(asks);
        let folders = ProcessFolders {
            own: self.data.work_folder(&process.name)?,
            scratch: scratch.then(|| self.data.scratch_folder(&process.name)).transpose()?,
        };
        let fill = |template: &Template| self.values.fill(template, &folders);
        let spec = ChildSpec {
            args: process.args.iter().map(|arg| fill(arg).into()).collect(),
            env: process.env.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            folder: Some(folders.own.clone()),
            pid_file: process.pid_file.as_ref().map(|file| folders.own.join(fill(file))),
            ..ChildSpec::new(&process.name, program, ChildLog::new(self.data.log_of(&process.name)))
        };
        Ok(Part {
            name: process.name.clone(),
            launch: Launch::Process(Box::new(spec)),
            ready_url: process.ready.as_ref().map(fill),
            ready_deadline: process.ready_deadline.get(),
            stop_deadline: process.stop_deadline.get(),
            live: watch::Sender::new(None),
            ready: watch::Sender::new(false),
        })
    }

    fn spawn_step(
        &self,
        step: &DatabaseStep,
        waits: Vec<watch::Receiver<bool>>,
        around: &Surroundings,
    ) -> (AbortOnDropHandle<()>, watch::Receiver<bool>) {
        let (done, ready) = watch::channel(false);
        let name = step.name.clone();
        let url = self.values.database_urls[&step.database].clone();
        let mapping = self.data.path().join(&step.mapping);
        let deadline: Duration = step.deadline.get();
        let (events, failures) = (self.events.clone(), around.failures.clone());
        let task = tokio::spawn(async move {
            all_true(waits).await;
            events.emit(Event::Starting { part: name.clone() });
            let started = Instant::now();
            match database_step::run(&name, &url, &mapping, deadline).await {
                Ok(()) => {
                    events.emit(Event::Ready { part: name, took: started.elapsed() });
                    done.send_replace(true);
                }
                Err(error) => {
                    let _ = failures.send(error);
                }
            }
        });
        (AbortOnDropHandle::new(task), ready)
    }
}

fn spawn(part: Part, first: Option<Live>, waits: Vec<watch::Receiver<bool>>, around: &Surroundings) -> SupervisedPart {
    let part = Arc::new(part);
    let stop = CancellationToken::new();
    let task = {
        let (part, around, stop) = (Arc::clone(&part), around.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = all_true(waits) => {}
                () = stop.cancelled() => return,
            }
            supervise(part, first, around, stop).await;
        })
    };
    SupervisedPart { part, stop, task: AbortOnDropHandle::new(task) }
}

/// Waits for each once. One that is gone never comes true: the start has failed by then.
async fn all_true(waits: Vec<watch::Receiver<bool>>) {
    for mut wait in waits {
        if wait.wait_for(|ready| *ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
