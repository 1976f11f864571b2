//! Outside checks of a ramp: an address that is sent what is known, and says whether to go on.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use judgement::GateState;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;

use super::RouteRamp;
use crate::{
    bounded_answer::{self, AnswerProblem},
    config::RampGateConfig,
    control::chain,
};

/// A verdict and a sentence.
const ANSWER_LIMIT_BYTES: usize = 16 * 1024;

/// The longest sentence that is shown.
const MAX_SAID_CHARS: usize = 200;

#[derive(Debug, Deserialize)]
struct Answer {
    verdict: Word,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Pass,
    Hold,
    Fail,
}

/// Asks, each address not more often than its interval says.
pub(super) struct Gates {
    /// Made on the first use: most gateways have no gates.
    client: Mutex<Option<Client>>,
    asked: Mutex<HashMap<(String, String), (Instant, GateState)>>,
}

impl Gates {
    pub(super) fn new() -> Self {
        Self { client: Mutex::default(), asked: Mutex::default() }
    }

    /// What a check says. One that cannot be asked, or says what makes no sense, holds the ramp.
    pub(super) async fn ask(&self, gate: &RampGateConfig, ramp: &RouteRamp) -> GateState {
        let place = (ramp.name.clone(), gate.name.clone());
        let known = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        // Whoever asks again for one that passed asks for another step.
        if let Some((asked_at, said)) = known
            && asked_at.elapsed() < gate.interval.get()
            && said != GateState::Passed
        {
            return said;
        }
        let said = match self.post(gate, ramp).await {
            Ok(Answer { verdict: Word::Pass, .. }) => GateState::Passed,
            Ok(Answer { verdict: Word::Hold, message }) => GateState::Waiting(said(gate, "hold", &message)),
            Ok(Answer { verdict: Word::Fail, message }) => GateState::Failed(said(gate, "fail", &message)),
            Err(problem) => GateState::Waiting(said(gate, "no answer", &problem)),
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(place, (Instant::now(), said.clone()));
        said
    }

    async fn post(&self, gate: &RampGateConfig, ramp: &RouteRamp) -> Result<Answer, String> {
        let unanswered = |problem| match problem {
            // Only the cause: that there is no answer is said already.
            AnswerProblem::Request(cause) => chain(&cause),
            problem => problem.to_string(),
        };
        let body = json!({ "route": ramp.name, "gate": gate.name, "evidence": ramp.evidence() });
        let client = self.client().map_err(|error| unanswered(error.into()))?;
        let question = client.post(&gate.url).timeout(gate.timeout.get()).json(&body);
        let text = bounded_answer::ask(question, |status| status.is_success(), ANSWER_LIMIT_BYTES);
        let text = text.await.map_err(unanswered)?;
        serde_json::from_slice(&text)
            .map_err(|_| "the answer is no {\"verdict\": \"pass\", \"hold\" or \"fail\"}".to_owned())
    }

    fn client(&self) -> reqwest::Result<Client> {
        let mut made = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*made {
            return Ok(client.clone());
        }
        let client = bounded_answer::client().build()?;
        *made = Some(client.clone());
        Ok(client)
    }
}

fn said(gate: &RampGateConfig, word: &str, message: &str) -> String {
    let message: String = message.chars().filter(|c| !c.is_control()).take(MAX_SAID_CHARS).collect();
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{} ({word}){colon}{message}", gate.name)
}
