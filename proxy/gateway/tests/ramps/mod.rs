//! Ramps: raised by evidence, taken back by evidence, and never left on a weight that nobody proved.

mod commands;
mod fleet;
mod guard;
mod kill;
mod lease;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Behaviour, Gateway, Instance, config, eventually};

/// A gateway over two upstreams that misbehave on demand.
struct Ramp {
    legacy: Instance,
    candidate: Instance,
    gateway: Gateway,
}

/// Three quick steps.
const QUICK: &str = r#"
[routes.guard]
# Both sides are threads of one busy test: how long each takes is no evidence.
median_margin = 0.49
tail_margin = 0.49
[routes.ramp]
steps = [
    { percent = 10, time = "200ms", requests = 20 },
    { percent = 50, time = "200ms", requests = 20 },
    { percent = 100, time = "200ms", requests = 20 },
]
no_data = "absolute"
lease = "3s"
"#;

impl Ramp {
    fn with(plan: &str) -> Self {
        let [legacy, candidate] = [(); 2].map(|()| Instance::start(Behaviour::Answer(200)));
        let gateway = Gateway::start(&config(legacy.address, candidate.address, plan, ""), "");
        Self { legacy, candidate, gateway }
    }
}

impl Gateway {
    async fn ramp(&self, command: &str) -> (u16, Value) {
        let body = json!({ "actor": "ada", "reason": "a test" });
        self.admin(Method::POST, &format!("/api/v1/routes/invoke/ramp/{command}"), Some(body)).await
    }

    async fn start_ramp(&self) {
        let (status, answer) = self.ramp("start").await;
        assert_eq!(status, 200, "{answer}");
    }

    /// What the first route's ramp shows.
    async fn ramp_view(&self) -> Value {
        self.admin(Method::GET, "/api/v1/ramps", None).await.1["ramps"][0].clone()
    }

    async fn reaches(&self, state: &str) -> Value {
        let mut view = Value::Null;
        eventually(&format!("the ramp is {state}"), async || {
            view = self.ramp_view().await;
            view["ramp"]["state"] == state
        })
        .await;
        view
    }

    /// Waits until this share of keys is on the candidate.
    async fn reaches_percent(&self, percent: f64) {
        eventually(&format!("{percent} % is in force"), async || self.ramp_view().await["percent"] == json!(percent))
            .await;
    }
}
