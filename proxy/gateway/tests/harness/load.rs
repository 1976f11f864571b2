//! Steady traffic beside a test.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use reqwest::Client;
use tokio::task::JoinSet;

use super::Gateway;

/// One request of the load.
#[derive(Debug, Clone)]
pub struct Sample {
    pub started: Instant,
    pub id: String,
    /// The status, or what went wrong.
    pub outcome: Result<u16, String>,
    pub served_by: String,
}

/// Clients that send one request after the other, each with a key of its own, until stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Load {
    pub fn start(gateway: &Gateway, clients: usize) -> Self {
        Self::paths(gateway, clients, "/f/", "/invoke")
    }

    /// As [`Load::start`], with each key between this and that.
    pub fn paths(gateway: &Gateway, clients: usize, before: &'static str, after: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let mut running = JoinSet::new();
        for number in 0..clients {
            let (stop, samples, http) = (stop.clone(), samples.clone(), gateway.http);
            running.spawn(async move {
                let client = Client::new();
                for count in 0.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let id = format!("{number}-{count}");
                    let sample = send(&client, &format!("http://{http}{before}{id}{after}"), id).await;
                    samples.lock().unwrap().push(sample);
                }
            });
        }
        Self { stop, clients: running, samples }
    }

    pub fn count(&self) -> usize {
        self.samples.lock().unwrap().len()
    }

    /// Waits for this many more requests to end.
    pub async fn more(&self, requests: usize) {
        let target = self.count() + requests;
        super::eventually("the load goes on", async || self.count() >= target).await;
    }

    /// The requests that have ended.
    pub fn snapshot(&self) -> Vec<Sample> {
        self.samples.lock().unwrap().clone()
    }

    pub async fn stop(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Release);
        while self.clients.join_next().await.is_some() {}
        std::mem::take(&mut self.samples.lock().unwrap())
    }
}

async fn send(client: &Client, url: &str, id: String) -> Sample {
    let started = Instant::now();
    let answer = client.post(url).header("x-test-id", &id).body(id.clone()).send().await;
    match answer {
        Ok(answer) => {
            let served_by = answer.headers().get("x-served-by").map_or("", |side| side.to_str().unwrap()).to_owned();
            let status = answer.status().as_u16();
            let outcome = answer.bytes().await.map(|_| status).map_err(|error| format!("{error:?}"));
            Sample { started, id, outcome, served_by }
        }
        Err(error) => Sample { started, id, outcome: Err(format!("{error:?}")), served_by: String::new() },
    }
}
