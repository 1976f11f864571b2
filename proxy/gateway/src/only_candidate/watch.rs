use std::sync::Arc;

use async_trait::async_trait;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use reqwest::{Client, StatusCode};
use tokio::{
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use super::{Known, OnlyCandidate, Watched, read};
use crate::{
    bounded_answer::{self, AnswerProblem},
    control::chain,
};

/// Asks every candidate that can be asked, until the gateway stops.
pub(crate) struct OnlyCandidateWatch(pub(crate) Arc<OnlyCandidate>);

/// Why there is no new answer. The last one stays.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Answer(#[from] AnswerProblem),
    #[error("the answer is no list of keys")]
    Malformed(#[source] serde_json::Error),
}

#[async_trait]
impl BackgroundService for OnlyCandidateWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut asking = JoinSet::new();
        for index in 0..self.0.routes.len() {
            if self.0.routes[index].is_some() {
                asking.spawn(ask_forever(self.0.clone(), index));
            }
        }
        // Dropping the set ends them.
        let _ = shutdown.wait_for(|stopping| *stopping).await;
    }
}

async fn ask_forever(all: Arc<OnlyCandidate>, index: usize) {
    let Some(watched) = &all.routes[index] else { return };
    let client = match bounded_answer::client().timeout(watched.source.timeout).no_proxy().build() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(route = %watched.route, %error, "cannot ask what only the candidate can serve");
            return;
        }
    };
    let mut ticks = time::interval(watched.source.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut troubled = false;
    loop {
        ticks.tick().await;
        match ask(&client, watched).await {
            Ok(known) => {
                troubled = false;
                watched.hear(known);
            }
            // Said once: a candidate that is down is in everybody's sight already.
            Err(problem) if !troubled => {
                troubled = true;
                let (route, problem) = (&watched.route, chain(&problem));
                tracing::warn!(%route, %problem, "the candidate does not say what only it can serve");
            }
            Err(_) => {}
        }
    }
}

async fn ask(client: &Client, watched: &Watched) -> Result<Known, Problem> {
    let question = client.get(watched.source.url.clone());
    let limit_bytes = watched.source.answer_limit_bytes();
    let text = bounded_answer::ask(question, |status| status == StatusCode::OK, limit_bytes).await?;
    read(&text, watched.source.max_keys).map_err(Problem::Malformed)
}
