//! Registration of a function while its client waits: what receivers that register functions are told anyway is told
//! them now.

use std::collections::BTreeMap;

use chrono::Utc;
use domain::{BuildEvent, BuildReport, BuildState};

use super::connection::{Connection, Message};
use crate::{
    config::{ReceiverConfig, WebhooksConfig},
    job::{Creation, Kind, built_function},
};

/// The receiver has another function of this name.
const CONFLICT: u16 = 409;

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// The function can be called.
    Done,
    /// Another function has the name.
    NameTaken,
    /// Nobody knows: asking again is the same registration, and a build that fails undoes it.
    Unclear(String),
}

/// Tells receivers that register functions.
#[derive(Debug, Clone)]
pub struct Registrar {
    connection: Connection,
    receivers: BTreeMap<String, ReceiverConfig>,
}

impl Registrar {
    /// A registrar with those of the configured receivers that register functions.
    #[must_use]
    pub fn new(connection: Connection, config: &WebhooksConfig) -> Self {
        let mut receivers = config.receivers.clone();
        receivers.retain(|_, receiver| receiver.registers);
        Self { connection, receivers }
    }

    /// What they are called where messages wait for them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.receivers.keys().cloned().collect()
    }

    /// Registers a function with each of them, or up to the first that does not take it.
    pub async fn register(&self, creation: &Creation) -> Registration {
        if self.receivers.is_empty() {
            return Registration::Unclear("no receiver is configured that registers functions".to_owned());
        }
        let job_id = creation.job.id.to_string();
        let body = serde_json::to_string(&completed(creation)).expect("an event is plain data");
        for receiver in self.receivers.values() {
            let message = Message {
                id: format!("{job_id}.registration"),
                timestamp_s: Utc::now().timestamp(),
                body: &body,
                secret: &receiver.secret,
            };
            match self.connection.send(&receiver.url_for(&job_id), message).await.answer {
                Ok(200..=299) => {}
                Ok(CONFLICT) => return Registration::NameTaken,
                Ok(status) => return Registration::Unclear(format!("the receiver answered {status}")),
                Err(error) => return Registration::Unclear(error),
            }
        }
        Registration::Done
    }
}

/// The event of the transition that the creation is about to make.
fn completed(creation: &Creation) -> BuildEvent {
    let (job, digest) = (&creation.job, &creation.package.digest);
    let report = BuildReport {
        job_id: job.id,
        function_id: job.function_id,
        version: job.version,
        sequence: creation.sequence + 1,
        status: BuildState::Completed,
        attempt: job.attempt,
        error: None,
        artifact_digest: Some(digest.clone()),
        artifact_key: Kind::Source.artifact_key(digest),
        function: Some(built_function(job.settings.clone(), job.created_at, job.warm)),
    };
    BuildEvent::new(Utc::now(), report)
}
