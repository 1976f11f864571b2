//! Steady traffic: callers that invoke functions one after the other until they are stopped.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use reqwest::Client;
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::site::{PATIENCE, Side, System, client};

/// One call and what came of it.
#[derive(Debug, Clone)]
pub struct Call {
    #[expect(dead_code, reason = "a failed test shows it")]
    pub function: String,
    pub started: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// What came of a call.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "a failed test shows all of it")]
pub enum Outcome {
    /// 200: the function ran.
    Invoked { side: Side, execution: String },
    /// Any other answer.
    Refused { status: u16, retry_after: Option<String>, body: String },
    /// No answer, or half of one.
    Broken(String),
}

impl Call {
    pub fn side(&self) -> Option<Side> {
        match &self.outcome {
            Outcome::Invoked { side, .. } => Some(*side),
            _ => None,
        }
    }

    pub fn execution(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Invoked { execution, .. } => Some(execution),
            _ => None,
        }
    }

    pub fn failed(&self) -> bool {
        self.side().is_none()
    }
}

/// Callers at work. Dropping it ends them in the middle of a call.
pub struct Traffic {
    calls: Arc<Mutex<Vec<Call>>>,
    stop: CancellationToken,
    callers: Vec<AbortOnDropHandle<()>>,
}

impl Traffic {
    /// Starts callers that invoke these functions through the gateway, each beginning at another.
    pub fn start(system: &System, functions: &[String], callers: usize) -> Self {
        Self::at(&system.url("gateway", ""), functions, callers)
    }

    /// The same against a gateway at this URL.
    pub fn at(gateway: &str, functions: &[String], callers: usize) -> Self {
        let (calls, stop, client) = (Arc::<Mutex<Vec<Call>>>::default(), CancellationToken::new(), client());
        let callers = (0..callers).map(|first| {
            let (calls, stop, client) = (Arc::clone(&calls), stop.clone(), client.clone());
            let (gateway, functions) = (gateway.to_owned(), functions.to_vec());
            AbortOnDropHandle::new(tokio::spawn(async move {
                for function in functions.iter().cycle().skip(first) {
                    if stop.is_cancelled() {
                        return;
                    }
                    let done = call(&client, &gateway, function).await;
                    locked(&calls).push(done);
                }
            }))
        });
        let callers = callers.collect();
        Self { calls, stop, callers }
    }

    /// Waits until what has been done so far satisfies `enough`; fails at the caller's line otherwise.
    #[track_caller]
    pub fn until(&self, enough: impl Fn(&[Call]) -> bool) -> impl Future<Output = ()> {
        eventually(PATIENCE, move || std::future::ready(enough(&locked(&self.calls))))
    }

    /// Waits for `count` calls that began at `since` or later.
    #[track_caller]
    pub fn calls_since(&self, since: Instant, count: usize) -> impl Future<Output = ()> {
        self.until(move |calls| calls.iter().filter(|call| call.started >= since).count() >= count)
    }

    /// Lets every caller finish its call, and gives all calls in the order of their ends.
    pub async fn stop(self) -> Vec<Call> {
        self.stop.cancel();
        for caller in self.callers {
            caller.await.expect("a caller does not panic");
        }
        std::mem::take(&mut locked(&self.calls))
    }
}

fn locked(calls: &Mutex<Vec<Call>>) -> MutexGuard<'_, Vec<Call>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn call(client: &Client, gateway: &str, function: &str) -> Call {
    let started = Instant::now();
    let request = client.post(format!("{gateway}/api/v1/functions/{function}/invoke")).json(&json!({"n": 1}));
    let outcome = match request.send().await {
        Ok(response) => outcome(response).await,
        Err(error) => Outcome::Broken(format!("{error:?}")),
    };
    Call { function: function.to_owned(), started, ended: Instant::now(), outcome }
}

async fn outcome(response: reqwest::Response) -> Outcome {
    let (status, side) = (response.status().as_u16(), Side::of(&response));
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match response.text().await {
        Ok(body) => body,
        Err(error) => return Outcome::Broken(format!("{error:?}")),
    };
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    match (status, side, answer["execution_id"].as_str()) {
        (200, Some(side), Some(execution)) if answer["output"] == json!({"n": 1}) => {
            Outcome::Invoked { side, execution: execution.to_owned() }
        }
        _ => Outcome::Refused { status, retry_after, body },
    }
}

/// The failed calls, for a message.
pub fn failures(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.failed()).collect()
}
