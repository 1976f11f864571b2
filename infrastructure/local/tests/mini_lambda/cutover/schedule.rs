//! A function that is called by a schedule and by a webhook, while the rows of all three move: each firing happens once,
//! each webhook that was received is worked on, whoever owns them.

use chrono::{DateTime, TimeDelta};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use super::super::site::{PATIENCE, System, answer};

/// Longer than a change of the owner takes: of the runs that are missed in one rest, the monolith makes up for one.
const EVERY_S: i64 = 10;

const SECRET: &str = "between the sender and the platform";
const BODY: &str = r#"{"pushed": "main"}"#;

pub struct Scheduled<'a> {
    system: &'a System,
    function: String,
    /// How many webhooks were received.
    received: usize,
}

impl<'a> Scheduled<'a> {
    pub async fn start(system: &'a System) -> Self {
        let mut scheduled = Self { system, function: String::new(), received: 0 };
        let code = "def handler(event, context):\n    return event\n";
        let body = json!({"name": testkit::unique_name("scheduled"), "runtime": "python3.11", "code": code});
        let created = scheduled.ask(Method::POST, "/api/v1/functions", &body, 201).await;
        scheduled.function = created["function_id"].as_str().expect("a function has an id").to_owned();
        let about = |what: &str| format!("/api/v1/functions/{}/{what}", scheduled.function);
        let trigger = json!({"name": "steady", "cron_expression": format!("*/{EVERY_S} * * * * *")});
        scheduled.ask(Method::POST, &about("triggers/cron"), &trigger, 202).await;
        let webhook =
            json!({"name": "forge", "path": "/forge/push", "secret": SECRET, "signature_header": "X-Signature"});
        scheduled.ask(Method::POST, &about("webhooks"), &webhook, 201).await;
        scheduled
    }

    /// Sends a webhook, and waits until the function has been called for it.
    pub async fn is_called_by_webhook(&mut self) {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
        mac.update(BODY.as_bytes());
        let request = self.system.client.post(self.system.url("gateway", "/webhooks/forge/push"));
        let signed = request.header("X-Signature", hex::encode(mac.finalize().into_bytes())).body(BODY);
        assert_eq!(answer(signed).await, (200, json!({"status": "received"})));
        self.received += 1;
        eventually(PATIENCE, async || self.ended("webhook").await.len() == self.received).await;
    }

    /// Looks at all firings there were, and deletes the function. Their ids are the same whoever fires, and begin with
    /// when they were due.
    pub async fn end(self) -> usize {
        eventually(PATIENCE, async || self.ended("cron").await.len() > 2).await;
        let mut due: Vec<_> = self.ended("cron").await.iter().map(due_at).collect();
        due.sort_unstable();
        let step = TimeDelta::seconds(EVERY_S);
        let gaps: Vec<_> = due.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap != step).collect();
        assert!(gaps.is_empty(), "missed or fired twice: {due:?}");
        assert_eq!(self.ended("webhook").await.len(), self.received, "each once");
        self.ask(Method::DELETE, &format!("/api/v1/functions/{}", self.function), &Value::Null, 204).await;
        due.len()
    }

    /// The ids of events of this type that have ended; all of them well.
    async fn ended(&self, kind: &str) -> Vec<Uuid> {
        let path = format!("/api/v1/functions/{}/events?limit=100", self.function);
        let listed = self.ask(Method::GET, &path, &Value::Null, 200).await;
        let of_kind = listed.as_array().expect("a list").iter().filter(|event| event["event_type"] == kind);
        of_kind
            .map(|event| {
                assert_eq!(event["status"], "success", "{event}");
                event["event_id"].as_str().and_then(|id| id.parse().ok()).expect("an event has an id")
            })
            .collect()
    }

    async fn ask(&self, method: Method, path: &str, body: &Value, expected: u16) -> Value {
        let request = self.system.client.request(method, self.system.url("gateway", path));
        let with_body = |request: RequestBuilder| if body.is_null() { request } else { request.json(body) };
        let (status, body) = answer(with_body(request)).await;
        assert_eq!(status, expected, "{path}: {body}");
        body
    }
}

fn due_at(event: &Uuid) -> DateTime<chrono::Utc> {
    let (seconds, _) = event.get_timestamp().expect("a time is in it").to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).expect("of our days"), 0).expect("of our days")
}
