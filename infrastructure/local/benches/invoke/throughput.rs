//! How many calls a second are answered, by how many callers ask at once.

use std::time::{Duration, Instant};

use anyhow::ensure;
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::report::Times;

/// How many ask at once.
pub const CALLERS: [usize; 3] = [1, 8, 64];
/// How long they ask.
const WINDOW: Duration = Duration::from_secs(2);

/// The calls of one function, for each number of callers.
pub struct Throughput {
    windows: [Window; CALLERS.len()],
}

struct Window {
    times: Times,
    took: Duration,
}

impl Throughput {
    pub fn new() -> Self {
        Self { windows: CALLERS.map(|_| Window { times: Times::new(), took: Duration::ZERO }) }
    }

    /// One more window for each number of callers.
    pub async fn measure(&mut self, client: &Client, invoke: &str) -> anyhow::Result<()> {
        for (callers, window) in CALLERS.into_iter().zip(&mut self.windows) {
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                let (client, invoke) = (client.clone(), invoke.to_owned());
                tasks.spawn(async move { call_until(&client, &invoke, start + WINDOW).await });
            }
            while let Some(times) = tasks.join_next().await {
                window.times.add_all(&times??);
            }
            window.took += start.elapsed();
        }
        Ok(())
    }

    pub fn line(&self, name: &str) {
        print!("{name:<52}");
        for window in &self.windows {
            print!(" {:>8.0} {:>7.1}", window.times.count() as f64 / window.took.as_secs_f64(), window.times.ms(0.99));
        }
        println!();
    }
}

/// The head of a table of them.
pub fn head(what: &str) {
    print!("\n{what:<52}");
    for callers in CALLERS {
        print!(" {:>8} {:>7}", format!("{callers} ask"), "p99 ms");
    }
    println!();
}

async fn call_until(client: &Client, invoke: &str, end: Instant) -> anyhow::Result<Times> {
    let mut times = Times::new();
    while Instant::now() < end {
        let start = Instant::now();
        let answer = client.post(invoke).json(&json!({"n": 1})).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status}: {text}");
        times.add_since(start);
    }
    Ok(times)
}
