//! Changing the rollout: the log, the shared store, and what befalls them.

mod chaos;
mod file_store;
mod kill;
mod load;
mod shared_store;
mod switch;
mod verification;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Gateway, Stub, config, eventually};

/// Several gateways over one legacy and one candidate, with one shared store.
struct Fleet {
    /// Legacy, then the candidate.
    stubs: [Stub; 2],
    gateways: Vec<Gateway>,
}

impl Fleet {
    /// So many gateways, the first with this document in its file.
    fn start(count: usize, url: &str, document: &str) -> Self {
        let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
        let config = shared(&config(legacy.address, candidate.address, "fallback = true", ""), url);
        let first = Gateway::start(&config, document);
        let mut gateways = vec![first];
        gateways.extend((1..count).map(|_| Gateway::start(&config, "")));
        Self { stubs: [legacy, candidate], gateways }
    }

    /// Waits until every gateway has this revision in force.
    async fn reach(&self, revision: u64) {
        for (number, gateway) in self.gateways.iter().enumerate() {
            let what = format!("gateway {number} has revision {revision} in force");
            eventually(&what, async || gateway.status().await["revision"].as_u64() >= Some(revision)).await;
        }
    }
}

/// Configuration with a shared store in this database.
pub fn shared(config: &str, url: &str) -> String {
    let config = config.replacen("[rollout]\n", "[rollout]\nstore = \"postgres\"\n", 1);
    format!("{config}[rollout.postgres]\nurl = \"{url}\"\nconnect_timeout = \"2s\"\ntimeout = \"3s\"\n")
}

impl Gateway {
    async fn weight(&self, percent: f64) -> (u16, Value) {
        let body = json!({ "percent": percent, "actor": "ada", "reason": "a test" });
        self.admin(Method::PUT, "/api/v1/routes/invoke/weight", Some(body)).await
    }

    async fn roll_back(&self) -> Value {
        let body = json!({ "actor": "grace", "reason": "errors" });
        let (status, answer) = self.admin(Method::POST, "/api/v1/routes/invoke/rollback", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn undo(&self, body: Value) -> (u16, Value) {
        self.admin(Method::POST, "/api/v1/undo", Some(body)).await
    }

    async fn apply(&self, document: &str, expected: Option<u64>) -> (u16, Value) {
        let body = json!({ "document": document, "actor": "ada", "reason": "a plan", "expected_revision": expected });
        self.admin(Method::PUT, "/api/v1/rollout", Some(body)).await
    }

    /// The whole log, the first entry first.
    async fn history(&self) -> Vec<Value> {
        let mut entries: Vec<Value> = Vec::new();
        let mut before = String::new();
        loop {
            let path = format!("/api/v1/history?limit=1000{before}");
            let (status, answer) = self.admin(Method::GET, &path, None).await;
            assert_eq!(status, 200, "{answer}");
            let page = answer["entries"].as_array().unwrap().clone();
            let Some(last) = page.last() else { break };
            before = format!("&before={}", last["revision"]);
            entries.extend(page);
        }
        entries.reverse();
        entries
    }

    async fn verification(&self, head: Option<&str>) -> Value {
        let head = head.map(|head| format!("?head={head}")).unwrap_or_default();
        let (status, answer) = self.admin(Method::GET, &format!("/api/v1/history/verification{head}"), None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn document(&self) -> Value {
        let (status, answer) = self.admin(Method::GET, "/api/v1/rollout", None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// An entry of the log in short: kind, actor, and each change as `key: before -> after`.
fn short(entry: &Value) -> (String, String, Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
    let changes = entry["changes"].as_array().unwrap().iter();
    let changes = changes
        .map(|change| format!("{}: {} -> {}", text(&change["key"]), text(&change["before"]), text(&change["after"])));
    (text(&entry["kind"]), text(&entry["actor"]), changes.collect())
}
