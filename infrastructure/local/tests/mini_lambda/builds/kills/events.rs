//! Calls that are accepted now and made later. Each has an id of its own, is sent until it is accepted, and ends as its
//! number says, once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use reqwest::Client;
use serde_json::json;
use sqlx::PgPool;
use testkit::eventually;
use uuid::Uuid;

use super::{answer, client, tried};
use crate::mini_lambda::site::PATIENCE;

/// Functions that fail for every third number.
const FUNCTIONS: [(&str, &str); 2] = [
    (
        "python3.11",
        "def handler(event, context):\n    if event['n'] % 3 == 0:\n        raise RuntimeError('every third')\n    \
         return event\n",
    ),
    (
        "nodejs20",
        "function handler(event) {\n  if (event.n % 3 === 0) throw new Error('every third');\n  return event;\n}\n",
    ),
];
/// How often an event is tried again whose function fails, unless set otherwise.
const RETRIES: i32 = 3;
/// Of so many events one is sent again after it was accepted, as by a caller that did not hear of it.
const SENT_AGAIN: usize = 8;

/// How an event has ended.
#[derive(Debug, PartialEq, sqlx::FromRow)]
struct End {
    event_id: Uuid,
    status: String,
    letters: i64,
    /// How often it was tried again, and its number, as its dead letter says.
    retries: Option<i32>,
    number: Option<String>,
}

impl End {
    fn expected(event_id: Uuid, number: usize) -> Self {
        let failed = number.is_multiple_of(3);
        Self {
            event_id,
            status: if failed { "failed" } else { "success" }.to_owned(),
            letters: failed.into(),
            retries: failed.then_some(RETRIES),
            number: failed.then(|| number.to_string()),
        }
    }
}

pub(super) struct Events {
    client: Client,
    service: String,
    functions: Vec<Uuid>,
    /// Numbers by id.
    accepted: Mutex<BTreeMap<Uuid, usize>>,
}

impl Events {
    /// For functions that are made now.
    pub(super) async fn to_new_functions(service: &str) -> Self {
        let (client, mut functions) = (client(), Vec::new());
        for (runtime, code) in FUNCTIONS {
            let body = json!({"name": format!("told-{runtime}"), "runtime": runtime, "code": code});
            let (status, body) = answer(client.post(format!("{service}/api/v1/functions")).json(&body)).await;
            assert_eq!(status, 201, "{body}");
            functions.push(body["function_id"].as_str().expect("an id").parse().expect("a UUID"));
        }
        Self { client, service: service.to_owned(), functions, accepted: Mutex::default() }
    }

    /// Sends one, again until it is accepted.
    pub(super) async fn send(&self, number: usize) {
        let id = Uuid::now_v7();
        let function = self.functions[number % self.functions.len()];
        let url = format!("{}/api/v1/functions/{function}/invoke", self.service);
        let times = if number.is_multiple_of(SENT_AGAIN) { 2 } else { 1 };
        for _ in 0..times {
            eventually(PATIENCE, || async {
                let request =
                    self.client.post(&url).header("x-invocation-type", "Event").header("x-event-id", id.to_string());
                let Some((202, said)) = tried(request.json(&json!({"n": number}))).await else { return false };
                assert_eq!(said, json!({"event_id": id}));
                true
            })
            .await;
        }
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(id, number);
    }

    /// None is lost, none is there twice and none is there that was not sent: each is a success, or a dead letter after as
    /// many attempts as it may have; every attempt is in the history.
    pub(super) async fn each_has_ended_once(&self, lambda: &PgPool) {
        // One that was sent again just when it ended may be in the queue for a moment.
        eventually(PATIENCE, || async {
            let statement = "SELECT count(*) FROM lambda_service.event_queue";
            sqlx::query_scalar::<_, i64>(statement).fetch_one(lambda).await.expect("it runs") == 0
        })
        .await;
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let expected: Vec<End> = accepted.into_iter().map(|(id, number)| End::expected(id, number)).collect();
        let ends: Vec<End> = sqlx::query_as(include_str!("event_ends.sql")).fetch_all(lambda).await.expect("it runs");
        if ends != expected {
            let lost: Vec<_> = expected.iter().filter(|end| !ends.contains(end)).take(5).collect();
            let others: Vec<_> = ends.iter().filter(|end| !expected.contains(end)).take(5).collect();
            panic!("of {} events some have not ended like {lost:?}, and {others:?} have", expected.len());
        }

        let failed: i64 = expected.iter().map(|end| end.letters).sum();
        let succeeded = expected.len() as i64 - failed;
        let failures_least = failed * i64::from(1 + RETRIES);
        let statement = "SELECT count(*) FILTER (WHERE status = 'success'), count(*) FILTER (WHERE status = 'failed') \
            FROM lambda_service.invocations WHERE function_id = ANY ($1)";
        eventually(PATIENCE, || async {
            let read = sqlx::query_as(statement).bind(&self.functions).fetch_one(lambda).await;
            let (successes, failures): (i64, i64) = read.expect("it runs");
            let is_complete = successes >= succeeded && failures >= failures_least;
            if is_complete {
                let more = successes + failures - succeeded - failures_least;
                eprintln!(
                    "{succeeded} events succeeded, {failed} are dead letters; {more} calls of them were made again"
                );
            }
            is_complete
        })
        .await;
    }
}
