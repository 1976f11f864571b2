//! Calls that are accepted now and made later. Each has an id of its own, is sent until it is accepted, and ends as its
//! number says, once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

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
/// How often an event is tried whose function fails.
const ATTEMPTS: i64 = 4;
/// Of so many events one is sent again after it was accepted, as by a caller that did not hear of it.
const SENT_AGAIN: usize = 8;

/// How an event has ended: its audit, how many dead letters it left, how often that says it was tried again, and its number.
type End = (String, i64, Option<i32>, Option<String>);

pub(super) struct Events {
    service: String,
    functions: Vec<Uuid>,
    /// Numbers by id.
    accepted: Mutex<BTreeMap<Uuid, usize>>,
}

impl Events {
    /// For functions that are made now.
    pub(super) async fn to_new_functions(service: &str) -> Self {
        let mut functions = Vec::new();
        for (runtime, code) in FUNCTIONS {
            let body = json!({"name": format!("told-{runtime}"), "runtime": runtime, "code": code});
            let (status, body) = answer(client().post(format!("{service}/api/v1/functions")).json(&body)).await;
            assert_eq!(status, 201, "{body}");
            functions.push(body["function_id"].as_str().expect("an id").parse().expect("a UUID"));
        }
        Self { service: service.to_owned(), functions, accepted: Mutex::default() }
    }

    /// Sends one, again until it is accepted.
    pub(super) async fn send(&self, number: usize) {
        let (client, id) = (client(), Uuid::now_v7());
        let function = self.functions[number % self.functions.len()];
        let url = format!("{}/api/v1/functions/{function}/invoke", self.service);
        let times = if number.is_multiple_of(SENT_AGAIN) { 2 } else { 1 };
        for _ in 0..times {
            eventually(PATIENCE, || async {
                let request =
                    client.post(&url).header("x-invocation-type", "Event").header("x-event-id", id.to_string());
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
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // One that was sent again just when it ended may be in the queue for a moment.
        eventually(PATIENCE, || async {
            let statement = "SELECT count(*) FROM lambda_service.event_queue";
            sqlx::query_scalar::<_, i64>(statement).fetch_one(lambda).await.expect("it runs") == 0
        })
        .await;
        let rows = sqlx::query_as(include_str!("event_ends.sql")).fetch_all(lambda).await;
        let ends: Vec<(Uuid, String, i64, Option<i32>, Option<String>)> = rows.expect("it runs");
        let expected: BTreeMap<Uuid, End> = accepted
            .into_iter()
            .map(|(id, number)| match number % 3 {
                0 => (id, ("failed".to_owned(), 1, Some(3), Some(number.to_string()))),
                _ => (id, ("success".to_owned(), 0, None, None)),
            })
            .collect();
        let count = ends.len();
        let ends: BTreeMap<Uuid, End> =
            ends.into_iter().map(|(id, status, letters, retries, n)| (id, (status, letters, retries, n))).collect();
        let other: Vec<_> = ends.iter().filter(|(id, end)| expected.get(id) != Some(end)).take(5).collect();
        let lost = expected.keys().filter(|id| !ends.contains_key(id)).count();
        assert!(other.is_empty() && lost == 0, "of {} events {lost} are lost; others: {other:?}", expected.len());
        assert_eq!(count, ends.len(), "each is audited once");

        let failed = expected.values().filter(|(_, letters, ..)| *letters == 1).count() as i64;
        let succeeded = expected.len() as i64 - failed;
        let statement = "SELECT count(*) FILTER (WHERE status = 'success'), count(*) FILTER (WHERE status = 'failed') \
            FROM lambda_service.invocations WHERE function_id = ANY ($1)";
        eventually(PATIENCE, || async {
            let read = sqlx::query_as(statement).bind(&self.functions).fetch_one(lambda).await;
            let (successes, failures): (i64, i64) = read.expect("it runs");
            let is_complete = successes >= succeeded && failures >= failed * ATTEMPTS;
            if is_complete {
                let more = successes + failures - succeeded - failed * ATTEMPTS;
                eprintln!("{succeeded} events succeeded, {failed} are dead letters; functions were called {more} times more than without kills");
            }
            is_complete
        })
        .await;
    }
}
