//! A request to change something: what is asked, by whom, why, and against which revision.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{AdminState, Operator, Refused};
use crate::control::{Authorship, Change, Changed, Expect, on_blocking_thread};

/// The longest actor or reason that is kept.
const MAX_WORDS_CHARS: usize = 500;

/// The request as it came, from a caller whose token was right.
pub(super) struct Asked {
    operator: Operator,
    headers: HeaderMap,
    body: Bytes,
}

/// Who asks, why, and which revision they had in mind. Each may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    actor: String,
    reason: String,
    expected_revision: Option<u64>,
}

impl Note {
    /// Who asks, once their words are found to be words, beside whose token they sent.
    fn authorship(&self, operator: &Operator) -> Result<Authorship, Refused> {
        for words in [&self.actor, &self.reason] {
            if words.chars().count() > MAX_WORDS_CHARS || words.chars().any(char::is_control) {
                let message = format!("actor and reason have at most {MAX_WORDS_CHARS} characters, on one line");
                return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message));
            }
        }
        let or_unknown = |text: &String| if text.is_empty() { "not given".to_owned() } else { text.clone() };
        Ok(Authorship::new(or_unknown(&self.actor), or_unknown(&self.reason), &operator.name))
    }

    /// The revision in the body, or else in `If-Match`.
    fn expect(&self, headers: &HeaderMap) -> Result<Expect, Refused> {
        let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(self.expected_revision.into()) };
        let tag = wanted.to_str().unwrap_or_default().trim();
        match tag.trim_matches('"').parse() {
            _ if tag == "*" => Ok(Expect::Any),
            Ok(revision) if self.expected_revision.is_none_or(|expected| expected == revision) => {
                Ok(Expect::Revision(revision))
            }
            _ => {
                let message =
                    "If-Match is the number of a revision in quotes, the same as expected_revision if both are given";
                Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message))
            }
        }
    }
}

impl FromRequest<Arc<AdminState>> for Asked {
    type Rejection = Response;

    async fn from_request(request: Request, state: &Arc<AdminState>) -> Result<Self, Response> {
        let operator = request.extensions().get::<Operator>().cloned();
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        // The access check comes before every handler and leaves the operator here.
        let operator = operator.ok_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
        Ok(Self { operator, headers, body })
    }
}

impl Asked {
    /// Whose token was shown.
    pub(super) fn operator_name(&self) -> &str {
        &self.operator.name
    }

    /// The body as JSON.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        read(&self.body)
    }

    /// The same where a body may be left out.
    pub(super) fn read_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Refused> {
        if self.body.is_empty() { Ok(T::default()) } else { self.read() }
    }

    /// Who is to be written down as the author, and the revision that the change was made against.
    pub(super) fn signed(&self, note: &Note) -> Result<(Authorship, Expect), Refused> {
        Ok((note.authorship(&self.operator)?, note.expect(&self.headers)?))
    }

    /// Makes the change.
    pub(super) async fn change(&self, state: &AdminState, note: &Note, change: Change) -> Result<Changed, Refused> {
        let (by, expect) = self.signed(note)?;
        let control = state.control.clone();
        Ok(on_blocking_thread(move || control.change(&change, &by, expect)).await?)
    }
}

/// A body as JSON.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "invalid_request", error.to_string()))
}
