//! The data of Mini-Lambda's functions goes to the lambda service's own database and back, under live traffic: views,
//! copy and stream, comparison, cutover, rollback, cutover, the end of the way back.
//!
//! - [`clients`]: who creates, reads, calls and deletes functions meanwhile, and remembers what they were told;
//! - [`history`]: whether that can have happened with one owner of each row who forgets nothing;
//! - [`schedule`]: a function that is called by a schedule and a webhook meanwhile;
//! - [`walk`]: the whole way, and what is in the databases afterwards;
//! - [`kill`]: the same with the tools, and the gateway, killed on the way.

mod clients;
mod history;
mod kill;
mod schedule;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use migration::stream::Direction;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use testkit::{
    eventually,
    process::{Spawn, Spawned},
};
use toml_edit::value;

use self::{
    clients::{Clients, Told},
    history::{Act, Event, Span},
};
use super::{
    operator::Operator,
    site::{PATIENCE, Site, System, answer, programs},
};

const SLICE: &str = "functions";

/// A running Mini-Lambda whose functions are moved.
struct Split {
    system: System,
    operator: Operator,
}

impl Split {
    async fn start() -> Self {
        let site = Site::new();
        // Parts are killed here on purpose, more often than a stack would put up with.
        site.edit("stack.toml", |document| document["restart"]["within"] = value("10s"));
        let system = site.start().await;
        let operator = Operator::of(&system);
        Self { system, operator }
    }

    /// `strangler db VERB functions`, to be started.
    fn tool(&self, verb: &str) -> Spawn {
        let tool = Spawned::of(programs().join("strangler"));
        self.operator.words().into_iter().fold(tool, Spawn::arg).arg("db").arg(verb).arg(SLICE)
    }

    /// Starts the stream, and waits until it flows.
    async fn sync(&self) -> Spawned {
        let sync = self.tool("sync").spawn().await;
        eventually(PATIENCE, async || {
            let streams = self.operator.json(&["db", "status", SLICE]).await;
            streams[0]["stage"] == "streaming"
        })
        .await;
        sync
    }

    /// What the gateway says of the slice.
    async fn slice(&self) -> Value {
        let request = self.system.client.get(self.system.url("admin", "/api/v1/slices"));
        let (status, mut body) = answer(request.bearer_auth(self.system.token())).await;
        assert_eq!(status, 200, "{body}");
        body["slices"][0].take()
    }

    /// Compares every row, with the owner's side as the one that is written.
    async fn verify(&self, written: Direction) -> Value {
        let words = ["db", "verify", SLICE, "--start-over", "--reversed"];
        let words = if written == Direction::Forward { &words[..4] } else { &words[..] };
        self.operator.json(words).await
    }

    /// The ids of a table in a side's database, as they are there.
    async fn ids(&self, owner: Owner, table: Table) -> Vec<String> {
        let url = match owner {
            Owner::Monolith => &self.system.stack.urls()["database"],
            Owner::Candidate => &self.system.stack.urls()["own-database"],
        };
        let mut connection = PgConnection::connect(url).await.expect("PostgreSQL runs");
        let sql = match (owner, table) {
            (Owner::Monolith, Table::Functions) => "SELECT id::text FROM public.functions",
            (Owner::Monolith, Table::Executions) => "SELECT id::text FROM public.executions",
            (Owner::Candidate, Table::Functions) => "SELECT id::text FROM lambda_service.functions",
            (Owner::Candidate, Table::Executions) => "SELECT id::text FROM lambda_service.invocations",
        };
        sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("a table of the owner's")
    }

    /// Everything that clients have been told of by now is with the owner, whatever else goes on.
    async fn has_all(&self, owner: Owner, clients: &Clients) {
        let told = clients.told();
        self.write_the_last_executions().await;
        for (table, ids) in [(Table::Functions, told.functions()), (Table::Executions, told.executions())] {
            let there: BTreeSet<String> = self.ids(owner, table).await.into_iter().collect();
            // Some of these are being deleted meanwhile, and who asked for it may not have heard yet.
            let gone = clients.told().removing;
            let missing: Vec<&String> = ids.iter().filter(|id| !there.contains(*id) && !gone.contains(*id)).collect();
            for id in &missing {
                self.show_logs_of(id);
            }
            assert!(missing.is_empty(), "{table:?} that the {owner:?} does not have: {missing:?}");
        }
    }

    /// What the parts say of something.
    fn show_logs_of(&self, id: &str) {
        for part in ["legacy", "build-service", "lambda-service", "lambda-service-own", "gateway"] {
            let log = std::fs::read_to_string(self.system.stack.log_of(part)).unwrap_or_default();
            let lines = log.lines().filter(|line| line.contains(id) || line.contains("rollout changed"));
            eprintln!("--- {part} of {id}\n{}", lines.collect::<Vec<_>>().join("\n"));
        }
    }

    /// The lambda service writes executions behind their answers.
    async fn write_the_last_executions(&self) {
        for part in ["lambda-service", "lambda-service-own"] {
            let request = self.system.client.post(self.system.url(part, "/.well-known/strangler/flush"));
            assert_eq!(answer(request).await.0, 204, "{part}");
        }
    }

    /// Functions and executions as they are in the owner's database when nobody is at work any more; they are also
    /// the last looks of the history.
    async fn at_the_end(&self, owner: Owner, told: &mut Told) -> [Vec<String>; 2] {
        self.write_the_last_executions().await;
        let functions = self.ids(owner, Table::Functions).await;
        let executions = self.ids(owner, Table::Executions).await;
        let there: BTreeSet<&String> = functions.iter().chain(&executions).collect();
        let mut objects: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for Event { object, act, .. } in &told.events {
            let elements = objects.entry(object).or_default();
            if let Act::Add(element) = act {
                elements.insert(element);
            }
        }
        let now = told.events.iter().map(|event| event.span.ended).max().unwrap_or_default() + Duration::from_millis(1);
        let looks = objects.into_iter().map(|(object, elements)| {
            let seen = elements.into_iter().filter(|element| there.contains(element)).cloned().collect();
            Event { object: object.clone(), act: Act::Look(seen), span: Span { began: now, ended: now } }
        });
        let looks: Vec<Event> = looks.collect();
        told.events.extend(looks);
        [functions, executions]
    }
}

/// Whose database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Monolith,
    Candidate,
}

#[derive(Debug, Clone, Copy)]
enum Table {
    Functions,
    Executions,
}

/// Each once, and how many.
fn each_once(ids: &[String]) -> BTreeSet<String> {
    let set: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(set.len(), ids.len(), "something is there twice");
    set
}

/// Nothing that clients did and saw was impossible.
fn assert_possible(told: &Told) {
    let found = history::violations(&told.events);
    for violation in found.iter().take(3) {
        for event in told.events.iter().filter(|event| event.object == violation.object) {
            eprintln!("{event:?}");
        }
    }
    let shown: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violations in {} acts:\n{}", found.len(), told.events.len(), shown.join("\n"));
}
