//! Slices: fences that hold writes, and rows that change their owner.

mod fence;
mod fleet;
mod load;
mod owner;
mod reports;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{Gateway, Stub, config};

const FENCE: &str = "/api/v1/slices/orders/fence";

/// Legacy, the candidate on legacy's rows, and the candidate on its own.
pub struct Sides {
    pub legacy: Stub,
    pub shared: Stub,
    pub own: Stub,
}

impl Sides {
    fn start() -> Self {
        Self { legacy: Stub::start("legacy"), shared: Stub::start("shared"), own: Stub::start("own") }
    }

    /// A route with writes and one with reads of a slice, one that only the candidate has, and the catch-all of
    /// the harness, which is of no slice.
    fn config(&self, slice: &str) -> String {
        let own = self.own.address;
        let routes = format!(
            r#"
slice = "orders"
[slices.orders]
candidate = "own"
max_hold = "20s"
{slice}
[upstreams.own]
address = "{own}"
health_interval = "50ms"
[[routes]]
name = "read"
methods = ["GET"]
path = "/f/{{id}}/invoke"
key = "path:id"
salt = "invoke"
slice = "orders"
legacy = "legacy"
candidate = "candidate"
[[routes]]
name = "new"
path = "/new/{{id}}"
slice = "orders"
candidate = "candidate"
"#
        );
        config(self.legacy.address, self.shared.address, &routes, "")
    }
}

/// One gateway over the sides.
pub struct Place {
    pub sides: Sides,
    pub gateway: Gateway,
}

impl Place {
    fn start(slice: &str) -> Self {
        let sides = Sides::start();
        let gateway = Gateway::start(&sides.config(slice), "");
        Self { sides, gateway }
    }
}

impl Gateway {
    pub async fn place(&self, token: &str, hold_ms: u64, lease_ms: u64) -> (u16, Value) {
        let body = json!({ "token": token, "hold_ms": hold_ms, "lease_ms": lease_ms });
        self.admin(Method::POST, FENCE, Some(body)).await
    }

    pub async fn lift(&self, token: &str) -> (u16, Value) {
        self.admin(Method::DELETE, FENCE, Some(json!({ "token": token }))).await
    }

    pub async fn fence(&self, token: &str) -> (u16, Value) {
        self.admin(Method::GET, &format!("{FENCE}?token={token}"), None).await
    }

    /// The same, once it is drained or so long later.
    pub async fn drained_fence(&self, token: &str, within_ms: u64) -> (u16, Value) {
        self.admin(Method::GET, &format!("{FENCE}?token={token}&drained_within_ms={within_ms}"), None).await
    }

    pub async fn set_stage(&self, stage: &str, token: Option<&str>) -> (u16, Value) {
        let body = json!({ "stage": stage, "token": token, "actor": "ada", "reason": "a test" });
        self.admin(Method::PUT, "/api/v1/slices/orders/stage", Some(body)).await
    }

    /// Fence, owner and lift, as whoever has moved the rows does it.
    pub async fn move_rows(&self, stage: &str) {
        assert_eq!(self.place("move", 5_000, 5_000).await.0, 200);
        crate::harness::eventually("it is drained", async || self.fence("move").await.1["drained"] == true).await;
        let (status, answer) = self.set_stage(stage, Some("move")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(self.lift("move").await.0, 200);
    }

    pub async fn slice(&self) -> Value {
        self.admin(Method::GET, "/api/v1/slices", None).await.1["slices"][0].clone()
    }

    /// Writes, and tells which upstream answered.
    pub async fn write(&self, key: &str) -> String {
        stub_of(self.invoke(key).await).await
    }

    pub async fn read(&self, key: &str) -> String {
        stub_of(self.client.get(self.url(&format!("/f/{key}/invoke"))).send().await.unwrap()).await
    }

    pub async fn of_new_route(&self, key: &str) -> String {
        stub_of(self.client.post(self.url(&format!("/new/{key}"))).send().await.unwrap()).await
    }
}

async fn stub_of(answer: Response) -> String {
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["stub"].as_str().unwrap().to_owned()
}
