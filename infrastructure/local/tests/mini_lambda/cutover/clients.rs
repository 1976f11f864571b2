//! Clients of the platform, through the gateway: they create, read, call and delete functions and look at executions,
//! and remember what they were told.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::site::{PATIENCE, Side, System, client},
    history::{Act, Event, Span},
};

/// The list of executions shows the newest 50; a function that is looked at has fewer.
const CALLS_OF_A_FUNCTION: usize = 40;

/// Functions that are called at a time.
const CALLED: usize = 8;

/// One in so many functions is deleted again.
const DELETED: usize = 4;

/// What each of the two clients of a kind begins at most.
const CREATIONS_PER_S: u32 = 15;
const READS_PER_S: u32 = 50;
const CALLS_PER_S: u32 = 20;
const LOOKS_PER_S: u32 = 20;

const CODE: &str = "def handler(event, context):\n    return event\n";

/// An answer.
#[derive(Debug, Clone)]
pub struct Answered {
    pub began: Instant,
    pub side: Side,
}

/// A request that did not come to what it should.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "a failed test shows all of it")]
pub struct Failed {
    pub began: Instant,
    pub ended: Instant,
    pub what: &'static str,
    pub why: String,
}

/// What clients were told.
#[derive(Debug, Default, Clone)]
pub struct Told {
    pub events: Vec<Event>,
    pub answered: Vec<Answered>,
    pub failed: Vec<Failed>,
    /// The functions that somebody has asked to be deleted, answered by now or not.
    pub removing: BTreeSet<String>,
}

impl Told {
    /// The functions that clients were told of and did not ask to be deleted.
    pub fn functions(&self) -> BTreeSet<String> {
        self.added(FUNCTIONS).filter(|id| !self.removing.contains(*id)).cloned().collect()
    }

    /// The executions that clients were told of. No function is deleted that was called.
    pub fn executions(&self) -> BTreeSet<String> {
        self.added(EXECUTIONS).cloned().collect()
    }

    /// How many requests of these kinds failed.
    pub fn unanswered(&self, kinds: &[&str]) -> usize {
        self.failed.iter().filter(|failed| kinds.contains(&failed.what)).count()
    }

    fn added(&self, kind: &'static str) -> impl Iterator<Item = &String> {
        self.events.iter().filter_map(move |event| match &event.act {
            Act::Add(element) if event.object.starts_with(kind) => Some(element),
            _ => None,
        })
    }
}

/// How objects are called.
const FUNCTIONS: &str = "function ";
const EXECUTIONS: &str = "executions of ";

/// Clients at work. Dropping them ends them in the middle of a request.
pub struct Clients {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: Vec<AbortOnDropHandle<()>>,
}

struct Shared {
    gateway: String,
    client: Client,
    since: Instant,
    told: Mutex<Told>,
    functions: Mutex<Functions>,
    stop: CancellationToken,
    names: AtomicUsize,
}

#[derive(Default)]
struct Functions {
    /// Every one that is known, for readers.
    all: Vec<String>,
    /// Those that are called, with how often they were.
    called: Vec<(String, usize)>,
    /// Every one that was ever called.
    ever_called: Vec<String>,
}

impl Clients {
    /// Creates the functions that are called first, and starts everybody.
    pub async fn start(system: &System) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            gateway: system.url("gateway", ""),
            client: client(),
            since: Instant::now(),
            told: Mutex::default(),
            functions: Mutex::default(),
            stop: stop.clone(),
            names: AtomicUsize::new(0),
        });
        for _ in 0..CALLED {
            let id = shared.create().await.expect("nothing disturbs the beginning");
            shared.is_called(&id);
        }
        let mut clients = Self { shared, stop, tasks: Vec::new() };
        for number in 0..2 {
            clients.spawn(move |shared| async move { shared.create_and_delete(number).await });
            clients.spawn(move |shared| async move { shared.read(number).await });
            clients.spawn(move |shared| async move { shared.call(number).await });
            clients.spawn(move |shared| async move { shared.look_at_executions(number).await });
        }
        clients
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, work: impl FnOnce(Arc<Shared>) -> F) {
        self.tasks.push(AbortOnDropHandle::new(tokio::spawn(work(Arc::clone(&self.shared)))));
    }

    /// Waits for so many answers to requests that began at `since` or later.
    #[track_caller]
    pub fn answers_since(&self, since: Instant, count: usize) -> impl Future<Output = ()> {
        eventually(PATIENCE, move || {
            let told = self.shared.told();
            let enough = told.answered.iter().rev().filter(|answered| answered.began >= since).count() >= count;
            std::future::ready(enough)
        })
    }

    /// What they were told so far.
    pub fn told(&self) -> Told {
        self.shared.told().clone()
    }

    /// Lets everybody finish, and gives all that they were told.
    pub async fn stop(self) -> Told {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
        std::mem::take(&mut *self.shared.told())
    }
}

/// How fast one client goes: no faster than this, and as slow as it is answered.
struct Pace(Interval);

impl Pace {
    fn of(per_s: u32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / per_s);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }

    /// Waits for the next turn; false when there is none.
    async fn goes_on(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            _ = self.0.tick() => true,
        }
    }
}

/// What came of a request: its status, its JSON, and when it was.
struct Reply {
    status: u16,
    body: Value,
    span: Span,
}

impl Shared {
    async fn create_and_delete(&self, number: usize) {
        let mut pace = Pace::of(CREATIONS_PER_S);
        for turn in number.. {
            if !pace.goes_on(&self.stop).await {
                return;
            }
            let Some(id) = self.create().await else { continue };
            if turn % DELETED == 0 {
                self.delete(&id).await;
            }
        }
    }

    async fn create(&self) -> Option<String> {
        let name = format!("told-{}-{}", std::process::id(), self.names.fetch_add(1, Ordering::SeqCst));
        let body = json!({"name": name, "runtime": "python3.11", "code": CODE});
        let request = self.client.post(format!("{}/api/v1/functions", self.gateway)).json(&body);
        let reply = self.ask("create", request, &[201]).await?;
        let id = reply.body["function_id"].as_str().expect("a function has an id").to_owned();
        self.note(format!("{FUNCTIONS}{id}"), Act::Add(id.clone()), reply.span);
        self.functions().all.push(id.clone());
        Some(id)
    }

    async fn delete(&self, id: &str) {
        let began = self.since.elapsed();
        self.told().removing.insert(id.to_owned());
        let request = self.client.delete(format!("{}/api/v1/functions/{id}", self.gateway));
        let object = format!("{FUNCTIONS}{id}");
        match self.ask("delete", request, &[204]).await {
            Some(reply) => self.note(object, Act::Remove(id.to_owned()), reply.span),
            None => self.note(object, Act::RemoveUnknown(id.to_owned()), Span { began, ended: self.since.elapsed() }),
        }
    }

    /// Reads known functions, the newest more often than others, those that were deleted as well.
    async fn read(&self, number: usize) {
        let mut pace = Pace::of(READS_PER_S);
        for turn in number.. {
            if !pace.goes_on(&self.stop).await {
                return;
            }
            let id = {
                let functions = self.functions();
                let back = if turn % 2 == 0 { turn / 2 % 4 } else { turn * 7 % functions.all.len() };
                functions.all[functions.all.len().saturating_sub(1 + back)].clone()
            };
            let request = self.client.get(format!("{}/api/v1/functions/{id}", self.gateway));
            let Some(reply) = self.ask("read", request, &[200, 404]).await else { continue };
            let seen = if reply.status == 200 { vec![id.clone()] } else { Vec::new() };
            self.note(format!("{FUNCTIONS}{id}"), Act::Look(seen), reply.span);
        }
    }

    async fn call(&self, number: usize) {
        let mut pace = Pace::of(CALLS_PER_S);
        for turn in number.. {
            if !pace.goes_on(&self.stop).await {
                return;
            }
            let Some(id) = self.next_called(turn).await else { continue };
            let began = self.since.elapsed();
            let request = self.client.post(format!("{}/api/v1/functions/{id}/invoke", self.gateway));
            let object = format!("{EXECUTIONS}{id}");
            match self.ask("call", request.json(&json!({"n": 1})), &[200]).await {
                Some(reply) => {
                    let execution = reply.body["execution_id"].as_str().expect("an execution has an id").to_owned();
                    self.note(object, Act::Add(execution), reply.span);
                }
                None => self.note(object, Act::AddUnknown, Span { began, ended: self.since.elapsed() }),
            }
        }
    }

    /// The function that is called next; another takes the place of one that was called often enough.
    async fn next_called(&self, turn: usize) -> Option<String> {
        {
            let mut functions = self.functions();
            if functions.called.len() >= CALLED {
                let place = turn % functions.called.len();
                let (id, count) = &mut functions.called[place];
                *count += 1;
                if *count <= CALLS_OF_A_FUNCTION {
                    return Some(id.clone());
                }
                functions.called.remove(place);
            }
        }
        let id = self.create().await?;
        self.is_called(&id);
        Some(id)
    }

    fn is_called(&self, id: &str) {
        let mut functions = self.functions();
        functions.called.push((id.to_owned(), 1));
        functions.ever_called.push(id.to_owned());
    }

    async fn look_at_executions(&self, number: usize) {
        let mut pace = Pace::of(LOOKS_PER_S);
        for turn in number.. {
            if !pace.goes_on(&self.stop).await {
                return;
            }
            let id = {
                let functions = self.functions();
                functions.ever_called[functions.ever_called.len() - 1 - turn % CALLED].clone()
            };
            let request = self.client.get(format!("{}/api/v1/functions/{id}/executions", self.gateway));
            let Some(reply) = self.ask("executions", request, &[200]).await else { continue };
            let listed = reply.body["executions"].as_array().expect("a list");
            let seen = listed.iter().map(|item| item["ID"].as_str().expect("an id").to_owned()).collect();
            self.note(format!("{EXECUTIONS}{id}"), Act::Look(seen), reply.span);
        }
    }

    async fn ask(&self, what: &'static str, request: RequestBuilder, good: &[u16]) -> Option<Reply> {
        let (began, start) = (Instant::now(), self.since.elapsed());
        let answered = async {
            let response = request.send().await.map_err(|error| format!("{error:?}"))?;
            let (status, side) = (response.status().as_u16(), Side::of(&response));
            let text = response.text().await.map_err(|error| format!("{error:?}"))?;
            match side.filter(|_| good.contains(&status)) {
                Some(side) => Ok((status, side, serde_json::from_str(&text).unwrap_or_default())),
                None => Err(format!("{status} by {side:?}: {text}")),
            }
        };
        match answered.await {
            Ok((status, side, body)) => {
                self.told().answered.push(Answered { began, side });
                Some(Reply { status, body, span: Span { began: start, ended: self.since.elapsed() } })
            }
            Err(why) => {
                self.told().failed.push(Failed { began, ended: Instant::now(), what, why });
                None
            }
        }
    }

    fn note(&self, object: String, act: Act, span: Span) {
        self.told().events.push(Event { object, act, span });
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn functions(&self) -> MutexGuard<'_, Functions> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
