//! One supervised part: started, watched, started again, and stopped in order.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use local_servers::{Child, ChildSpec, Postgres, PostgresOptions, Signal, Stopped};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::StackError;
use super::event::{Event, Events};
use super::restart::{Ends, RestartPolicy, Verdict};

const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const TAIL_LINES: usize = 25;

/// How to start a part.
#[derive(Debug)]
pub(super) enum Launch {
    Process(Box<ChildSpec>),
    Postgres(Box<PostgresOptions>),
}

/// A part that runs.
#[derive(Debug)]
pub(super) enum Live {
    Process(Child),
    Postgres(Postgres),
}

impl Live {
    pub(super) fn child(&self) -> &Child {
        match self {
            Self::Process(child) => child,
            Self::Postgres(server) => server.child(),
        }
    }

    async fn stop(&self, deadline: Duration) -> Stopped {
        match self {
            Self::Process(child) => child.stop(Signal::SIGTERM, deadline).await,
            Self::Postgres(server) => server.stop(deadline).await,
        }
    }
}

/// What one part is, and its present state.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) launch: Launch,
    /// Answers 2xx when the part is ready; a part without one is ready once it runs.
    pub(super) ready_url: Option<String>,
    pub(super) ready_deadline: Duration,
    pub(super) stop_deadline: Duration,
    pub(super) live: watch::Sender<Option<Arc<Live>>>,
    pub(super) ready: watch::Sender<bool>,
}

/// What all supervisors of one stack share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) policy: RestartPolicy,
    pub(super) events: Events,
    pub(super) client: reqwest::Client,
    /// A failure sent here brings the stack down.
    pub(super) failures: mpsc::UnboundedSender<StackError>,
}

/// Why a part does not run any more.
enum End {
    Exited(ExitStatus),
    /// Only its own parent heard how.
    SuccessorExited,
    NotReady,
    NotStarted(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "it ended ({status})"),
            Self::SuccessorExited => f.write_str("the process that had taken over from it ended"),
            Self::NotReady => f.write_str("it did not become ready in time"),
            Self::NotStarted(error) => f.write_str(error),
        }
    }
}

/// Keeps a part running until `stop`. `first` is the part when it has been started already.
///
/// A part that ends before it was ready once fails the stack at once, since it would only end again;
/// later ends are answered by restarts until the policy gives up.
pub(super) async fn supervise(part: Arc<Part>, first: Option<Live>, around: Surroundings, stop: CancellationToken) {
    let mut ends = Ends::default();
    let mut was_ready = first.is_some();
    let mut running = first;
    loop {
        let live = match running.take() {
            Some(live) => Ok(live),
            None => tokio::select! {
                started = start(&part, &around.events) => started,
                () = stop.cancelled() => return,
            },
        };
        let (end, log_tail) = match live {
            Err(error) => (End::NotStarted(error), String::new()),
            Ok(live) => {
                let live = Arc::new(live);
                part.live.send_replace(Some(Arc::clone(&live)));
                let end = tokio::select! {
                    end = watch_over(&part, &live, &around, &mut was_ready) => end,
                    () = stop.cancelled() => {
                        shut_down(&part, &live, &around.events).await;
                        return;
                    }
                };
                part.ready.send_replace(false);
                part.live.send_replace(None);
                (end, live.child().log().tail(TAIL_LINES))
            }
        };
        let verdict = ends.record(&around.policy, Instant::now(), rand::random());
        let reason = end.to_string();
        let after = match verdict {
            Verdict::RestartAfter(after) if was_ready => after,
            _ => {
                let failure = StackError::PartFailed { part: part.name.clone(), reason, ends: ends.count(), log_tail };
                // Nobody receives it when the stack is coming down already.
                let _ = around.failures.send(failure);
                return;
            }
        };
        around.events.emit(Event::Restarting { part: part.name.clone(), reason, after });
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn start(part: &Part, events: &Events) -> Result<Live, String> {
    events.emit(Event::Starting { part: part.name.clone() });
    match &part.launch {
        Launch::Process(spec) => {
            let started = Child::start(spec.as_ref().clone()).await;
            started.map(Live::Process).map_err(|error| format!("{error}: {}", error.source))
        }
        Launch::Postgres(options) => {
            Postgres::start(options).await.map(Live::Postgres).map_err(|error| error.to_string())
        }
    }
}

async fn watch_over(part: &Part, live: &Live, around: &Surroundings, was_ready: &mut bool) -> End {
    let started = Instant::now();
    let ready = tokio::select! {
        ready = tokio::time::timeout(part.ready_deadline, until_ready(part, &around.client)) => ready,
        end = until_ended(part, live, &around.events) => return end,
    };
    if ready.is_err() {
        live.stop(Duration::ZERO).await;
        return End::NotReady;
    }
    *was_ready = true;
    // Whoever was handed over ready has been announced.
    if !part.ready.send_replace(true) {
        around.events.emit(Event::Ready { part: part.name.clone(), took: started.elapsed() });
    }
    until_ended(part, live, &around.events).await
}

/// Waits for the end of the process and of those that take over from it.
async fn until_ended(part: &Part, live: &Live, events: &Events) -> End {
    let (child, mut successor) = (live.child(), live.child().successor());
    loop {
        tokio::select! {
            status = child.exited() => {
                return if successor.borrow().is_some() { End::SuccessorExited } else { End::Exited(status) };
            }
            Ok(()) = successor.changed() => {
                if let Some(pid) = *successor.borrow_and_update() {
                    events.emit(Event::Replaced { part: part.name.clone(), pid });
                }
            }
        }
    }
}

async fn until_ready(part: &Part, client: &reqwest::Client) {
    let Some(url) = &part.ready_url else { return };
    loop {
        let answer = client.get(url).timeout(PROBE_TIMEOUT).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

async fn shut_down(part: &Part, live: &Live, events: &Events) {
    let stopped = live.stop(part.stop_deadline).await;
    part.ready.send_replace(false);
    part.live.send_replace(None);
    events.emit(Event::Stopped { part: part.name.clone(), killed: stopped == Stopped::Killed });
}
