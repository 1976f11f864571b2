//! What services are asked around a cutover, by HTTP.
//!
//! ```toml
//! [[cutover.before]]                          # nothing is held yet: pause what writes by itself
//! url = "http://legacy:8080/internal/cron/pause"
//! [[cutover.settle]]                          # writes are held: write what was answered and is not written yet
//! url = "http://lambda:8081/.well-known/strangler/flush"
//! [[cutover.after]]                           # the new owner is in force: start what took over
//! url = "http://lambda-own:8081/internal/cron/resume"
//! [[cutover.undone]]                          # it did not happen: take `before` back
//! url = "http://legacy:8080/internal/cron/resume"
//!
//! [[rollback.before]]                         # the same four for the way back
//! url = "http://lambda-own:8081/internal/cron/pause"
//! token_file = "cron-token"                   # sent as a bearer token
//! ```
//!
//! Each is a `POST` of `{"slice", "direction", "hook", "reason"}`, and any status of 2xx is a yes; `reason` is a sentence
//! for the log of whoever is asked. `before` and `settle`
//! must succeed, or the cutover is undone. `after` and `undone` are asked again and again for a while, and when
//! they do not succeed the call fails, and the same call again goes on there. A hook may be asked more than
//! once for one thing, so it must not matter how often it is.

use std::{fmt, path::PathBuf, time::Duration};

use layered_config::{HumanDuration, Report, Validate};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::stream::Direction;

/// How long `after` and `undone` are asked again.
const PERSISTENCE: Duration = Duration::from_secs(10);

/// Between two askings.
const PAUSE: Duration = Duration::from_millis(200);

/// One thing to ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Where.
    pub url: String,
    /// A file with a token to show.
    pub token_file: Option<PathBuf>,
    /// The longest an answer may take.
    #[serde(default = "timeout")]
    pub timeout: HumanDuration,
}

fn timeout() -> HumanDuration {
    HumanDuration::from_secs(2)
}

impl Hook {
    /// One without a token, and with the usual time.
    #[must_use]
    pub fn to(url: &str) -> Self {
        Self { url: url.to_owned(), token_file: None, timeout: timeout() }
    }
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before anything is held.
    Before,
    /// While writes are held and none is in flight.
    Settle,
    /// The new owner is in force.
    After,
    /// It did not happen.
    Undone,
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::Settle => "settle",
            Self::After => "after",
            Self::Undone => "undone",
        })
    }
}

/// What is asked on one way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Way {
    /// See [`HookPoint::Before`].
    pub before: Vec<Hook>,
    /// See [`HookPoint::Settle`].
    pub settle: Vec<Hook>,
    /// See [`HookPoint::After`].
    pub after: Vec<Hook>,
    /// See [`HookPoint::Undone`].
    pub undone: Vec<Hook>,
}

/// What is asked on both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// To the candidate.
    pub cutover: Way,
    /// Back to the monolith.
    pub rollback: Way,
}

impl Validate for Hooks {
    fn validate(&self, report: &mut Report) {
        for (way, name) in [(&self.cutover, "cutover"), (&self.rollback, "rollback")] {
            for (hooks, point) in
                [(&way.before, "before"), (&way.settle, "settle"), (&way.after, "after"), (&way.undone, "undone")]
            {
                for (index, hook) in hooks.iter().enumerate() {
                    let good = reqwest::Url::parse(&hook.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
                    if !good {
                        let fix = "write an address such as \"http://legacy:8080/internal/cron/pause\"";
                        report.problem(&format!("{name}.{point}[{index}].url"), "it is no web address", fix);
                    }
                }
            }
        }
    }
}

/// What a service did not do.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It did not say yes.
    #[error("the hook `{point}` at {url} failed: {why}")]
    Failed {
        /// When.
        point: HookPoint,
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
}

impl Hooks {
    /// Reads the document; `name` is what it is called in problems, usually its path.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, layered_config::Problems> {
        layered_config::load_str(name, text)
    }

    fn of(&self, direction: Direction, point: HookPoint) -> &[Hook] {
        let way = if direction == Direction::Forward { &self.cutover } else { &self.rollback };
        match point {
            HookPoint::Before => &way.before,
            HookPoint::Settle => &way.settle,
            HookPoint::After => &way.after,
            HookPoint::Undone => &way.undone,
        }
    }

    /// Asks everything of this point, one after the other; the first that fails ends it.
    pub(super) async fn ask(&self, slice: &str, direction: Direction, point: HookPoint) -> Result<(), HookError> {
        self.ready(slice, direction, point)?.ask().await
    }

    /// Everything of this point, to be asked without delay: a client reads the system's certificates, which takes tens
    /// of milliseconds.
    pub(super) fn ready<'a>(
        &'a self,
        slice: &'a str,
        direction: Direction,
        point: HookPoint,
    ) -> Result<Asking<'a>, HookError> {
        let failed = |hook: &Hook, error: reqwest::Error| HookError::Failed {
            point,
            url: hook.url.clone(),
            why: error.without_url().to_string(),
        };
        let hooks = self.of(direction, point).iter().map(|hook| {
            let client = Client::builder().no_proxy().timeout(hook.timeout.get()).build();
            Ok((hook, client.map_err(|error| failed(hook, error))?))
        });
        Ok(Asking { hooks: hooks.collect::<Result<_, _>>()?, slice, direction, point })
    }
}

/// Hooks of one point, with what it takes to ask them.
pub(super) struct Asking<'a> {
    hooks: Vec<(&'a Hook, Client)>,
    slice: &'a str,
    direction: Direction,
    point: HookPoint,
}

impl Asking<'_> {
    pub(super) async fn ask(&self) -> Result<(), HookError> {
        let Self { hooks, slice, direction, point } = self;
        let persistent = matches!(point, HookPoint::After | HookPoint::Undone);
        for (hook, client) in hooks {
            let until = Instant::now() + PERSISTENCE;
            while let Err(why) = hook.ask(client, slice, *direction, *point).await {
                if !persistent || Instant::now() >= until {
                    return Err(HookError::Failed { point: *point, url: hook.url.clone(), why });
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

impl Hook {
    async fn ask(&self, client: &Client, slice: &str, direction: Direction, point: HookPoint) -> Result<(), String> {
        let way = if direction == Direction::Forward { "cutover" } else { "rollback" };
        let mut request = client.post(&self.url).json(&json!({
            "slice": slice,
            "direction": direction,
            "hook": point,
            "reason": format!("{way} of the slice {slice}"),
        }));
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            request = request.bearer_auth(token.trim());
        }
        // The address is in the error already, and may hold a password.
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}
