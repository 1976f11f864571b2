//! A gateway as a cutover knows it: one that holds no traffic, and always agrees.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use migration::{
    cutover::{Cutover, CutoverError, GatewayClient, Hooks, Plan, Report, Settings, Step},
    slice::SlicePlan,
    stream::Direction,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::{Answer, RecordedRequest, StubUpstream};

/// Its admin API, for one slice.
pub struct Gateway {
    stub: StubUpstream,
}

struct Rollout {
    stage: Value,
    revision: u64,
}

impl Gateway {
    pub async fn of(slice: &'static str) -> Self {
        let rollout = Arc::new(Mutex::new(Rollout { stage: json!("synced"), revision: 1 }));
        let stub = StubUpstream::start(move |request| {
            let mut rollout = rollout.lock().unwrap_or_else(PoisonError::into_inner);
            answer(slice, &mut rollout, request)
        });
        Self { stub: stub.await }
    }

    fn client(&self) -> GatewayClient {
        GatewayClient::new(&self.stub.url(""), "token", None, ("tests", "to see")).expect("an address")
    }

    /// What would happen, without comparing the rows.
    pub async fn plan(
        &self,
        ends: (&PgPool, &PgPool),
        plan: &SlicePlan,
        direction: Direction,
    ) -> Result<Plan, CutoverError> {
        self.with(ends, plan, false, async |cutover| cutover.plan(direction).await).await
    }

    /// Gives the rows to the other owner.
    pub async fn pass(
        &self,
        ends: (&PgPool, &PgPool),
        plan: &SlicePlan,
        direction: Direction,
    ) -> Result<Report, CutoverError> {
        let passing = async |cutover: Cutover<'_>| match direction {
            Direction::Forward => cutover.cut_over().await,
            Direction::Reverse => cutover.roll_back().await,
        };
        self.with(ends, plan, true, passing).await
    }

    async fn with<T>(
        &self,
        (monolith, candidate): (&PgPool, &PgPool),
        plan: &SlicePlan,
        verify: bool,
        work: impl AsyncFnOnce(Cutover<'_>) -> Result<T, CutoverError>,
    ) -> Result<T, CutoverError> {
        // Bounds are for those who wait, and here nobody does.
        let long = std::time::Duration::from_secs(60);
        let settings = Settings { hold: long, max_lag: long, lock_wait: long, verify, ..Settings::default() };
        let watch = |_: Step| -> BoxFuture<'static, ()> { Box::pin(std::future::ready(())) };
        let (gateway, hooks) = (self.client(), Hooks::default());
        let (gateway, hooks, settings) = (&gateway, &hooks, &settings);
        Box::pin(work(Cutover { monolith, candidate, plan, gateway, hooks, settings, watch: &watch })).await
    }
}

fn answer(slice: &str, rollout: &mut Rollout, request: &RecordedRequest) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let body = match (request.method.as_str(), path.rsplit('/').next().unwrap_or_default()) {
        ("GET", "slices") => {
            json!({"slices": [{"name": slice, "stage": rollout.stage, "routes": ["orders"], "fence": null}]})
        }
        ("GET", "rollout") => json!({}),
        ("DELETE", "fence") => json!({"held_ms": 1.0, "released": 0}),
        (_, "fence") => json!({
            "held_ms": 1.0, "left_ms": 1000.0, "waiting": 0, "drained": true,
            "gateways": [{"name": "one", "revision": rollout.revision, "found": 0, "drained_after_ms": 0.0}],
        }),
        ("PUT", "stage") => {
            rollout.stage = asked["stage"].clone();
            rollout.revision += 1;
            json!({"revision": rollout.revision})
        }
        _ => return Answer::json(404, json!({"error": "not_found", "message": path}).to_string()),
    };
    Answer::json(200, body.to_string())
}
