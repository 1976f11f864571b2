//! What a cutover asks of the gateway: fences, and whose the rows are.

use std::{fmt, time::Duration};

use reqwest::{Certificate, Client, Method, StatusCode, Url};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The longest that an answer may take. A change waits for the gateways' store.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How far the rows of a slice have come, as the rollout has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataStage {
    /// Both sides work on the monolith's rows.
    Shared,
    /// The same, and a copy follows.
    Synced,
    /// The rows are the candidate's, and a copy follows in the monolith's database.
    CutOver,
    /// The rows are the candidate's, and there is no way back.
    Complete,
}

impl DataStage {
    /// Whether the candidate owns the rows.
    #[must_use]
    pub const fn is_moved(self) -> bool {
        matches!(self, Self::CutOver | Self::Complete)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Synced => "synced",
            Self::CutOver => "cut-over",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for DataStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A slice as the gateway has it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct SliceView {
    /// Its name.
    pub name: String,
    /// How far its rows have come.
    pub stage: DataStage,
    /// The routes that read and write them.
    pub routes: Vec<String>,
    /// The fence that stands, if one does.
    pub fence: Option<Value>,
}

#[derive(Deserialize)]
struct Slices {
    slices: Vec<SliceView>,
}

/// A fence as it stands in all gateways.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Fence {
    /// How long it has stood, in milliseconds.
    pub held_ms: f64,
    /// How long it stands yet without being renewed.
    pub left_ms: f64,
    /// Writes that wait in the gateway that was asked.
    pub waiting: u64,
    /// Whether no write is under way through any gateway.
    pub drained: bool,
    /// The gateways.
    pub gateways: Vec<FencedGateway>,
}

/// One gateway behind a fence.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct FencedGateway {
    /// Its machine and process.
    pub name: String,
    /// The revision of the rollout in force there.
    pub revision: u64,
    /// Writes in flight when it closed; none until it has.
    pub found: Option<u64>,
    /// When the last of them had ended, in milliseconds; none until then.
    pub drained_after_ms: Option<f64>,
}

/// A fence that was lifted.
#[derive(Debug, Deserialize)]
pub(super) struct Lifted {
    pub(super) held_ms: Option<f64>,
    pub(super) released: u64,
}

#[derive(Debug, Deserialize)]
struct StageSet {
    revision: u64,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
    message: String,
}

/// What the gateway did not do.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The settings make no client.
    #[error("the gateway's admin API cannot be asked: {0}")]
    Settings(String),
    /// It does not answer.
    #[error("the gateway's admin API does not answer")]
    Away(#[source] reqwest::Error),
    /// It refused.
    #[error("the gateway refused: {message} ({code})")]
    Refused {
        /// The code, for programs.
        code: String,
        /// Why.
        message: String,
    },
    /// It answered something else.
    #[error("the gateway's admin API answered {0}, which it should not")]
    Odd(StatusCode),
}

impl GatewayError {
    /// Whether it is certain that the gateway has not done what it was asked.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code != "rollout_change_unknown",
            Self::Settings(_) => true,
            Self::Away(_) | Self::Odd(_) => false,
        }
    }
}

/// A client of a gateway's admin API. Of several gateways that share their rollout any will do.
#[derive(Clone)]
pub struct GatewayClient {
    base: Url,
    token: String,
    actor: String,
    reason: String,
    client: Client,
}

impl fmt::Debug for GatewayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayClient").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl GatewayClient {
    /// For the admin API at this address, with a token that may operate. `authorities` are trusted in place of
    /// the system's, as PEM. `actor` and `reason` go into the history of the rollout.
    ///
    /// # Errors
    /// [`GatewayError::Settings`].
    pub fn new(
        admin: &str,
        token: &str,
        authorities: Option<&[u8]>,
        (actor, reason): (&str, &str),
    ) -> Result<Self, GatewayError> {
        let settings = |error: String| GatewayError::Settings(error);
        let base: Url = admin.parse().map_err(|_| settings(format!("`{admin}` is no address")))?;
        if base.cannot_be_a_base() {
            return Err(settings(format!("`{admin}` is no address")));
        }
        let mut client = Client::builder().no_proxy().timeout(TIMEOUT);
        if let Some(pem) = authorities {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| settings(error.to_string()))?;
            client = client.tls_certs_only(certificates);
        }
        let client = client.build().map_err(|error| settings(error.to_string()))?;
        let (token, actor, reason) = (token.to_owned(), actor.to_owned(), reason.to_owned());
        Ok(Self { base, token, actor, reason, client })
    }

    /// The slice of this name; none where the gateway knows none.
    ///
    /// # Errors
    /// When the gateway does not answer, or refuses.
    pub async fn slice(&self, name: &str) -> Result<Option<SliceView>, GatewayError> {
        let all: Slices = self.call(Method::GET, &["slices"], &[], None).await?;
        Ok(all.slices.into_iter().find(|slice| slice.name == name))
    }

    /// The same, behind every change that is being made there.
    pub(super) async fn settled_slice(&self, name: &str) -> Result<Option<SliceView>, GatewayError> {
        // This one waits for a change that is being made.
        let _: Value = self.call(Method::GET, &["rollout"], &[], None).await?;
        self.slice(name).await
    }

    pub(super) async fn place(
        &self,
        slice: &str,
        token: &str,
        (hold, lease): (Duration, Duration),
    ) -> Result<Fence, GatewayError> {
        let body = json!({ "token": token, "hold_ms": whole_ms(hold), "lease_ms": whole_ms(lease) });
        self.call(Method::POST, &["slices", slice, "fence"], &[], Some(body)).await
    }

    pub(super) async fn renew(&self, slice: &str, token: &str, lease: Duration) -> Result<Fence, GatewayError> {
        let body = json!({ "token": token, "lease_ms": whole_ms(lease) });
        self.call(Method::PUT, &["slices", slice, "fence"], &[], Some(body)).await
    }

    pub(super) async fn fence(&self, slice: &str, token: &str) -> Result<Fence, GatewayError> {
        self.call(Method::GET, &["slices", slice, "fence"], &[("token", token)], None).await
    }

    /// The same, once no write is in flight, or after so long.
    pub(super) async fn drained_fence(
        &self,
        slice: &str,
        token: &str,
        patience: Duration,
    ) -> Result<Fence, GatewayError> {
        let patience = whole_ms(patience.min(TIMEOUT / 2)).to_string();
        let query = [("token", token), ("drained_within_ms", &patience)];
        self.call(Method::GET, &["slices", slice, "fence"], &query, None).await
    }

    pub(super) async fn lift(&self, slice: &str, token: &str) -> Result<Lifted, GatewayError> {
        self.call(Method::DELETE, &["slices", slice, "fence"], &[], Some(json!({ "token": token }))).await
    }

    /// Sets how far a slice has come; returns the revision that has it. `token` is that of the fence, where the
    /// owner changes.
    ///
    /// # Errors
    /// When the gateway does not answer, or refuses.
    pub async fn set_stage(&self, slice: &str, stage: DataStage, token: Option<&str>) -> Result<u64, GatewayError> {
        let body = json!({ "stage": stage, "token": token, "actor": self.actor, "reason": self.reason });
        let set: StageSet = self.call(Method::PUT, &["slices", slice, "stage"], &[], Some(body)).await?;
        Ok(set.revision)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, GatewayError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(GatewayError::Away)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(GatewayError::Away)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| GatewayError::Odd(status));
        }
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(Refusal { error, message }) => Err(GatewayError::Refused { code: error, message }),
            Err(_) => Err(GatewayError::Odd(status)),
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
