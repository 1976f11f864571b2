//! What a client is told when its request could not be served.

use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};

use crate::{answer::Answer, gateway::Gateway, refusal::Refusal, request_context::RequestContext};

impl Gateway {
    /// What to answer when a request could not be served; nothing when the client is gone.
    pub(crate) fn failure_answer(&self, error: &Error, ctx: &RequestContext) -> Option<Answer> {
        if let Some((upstream, why)) = ctx.tries.unavailable {
            return Some(Answer::unavailable(&self.upstreams.get(upstream).name, why));
        }
        let answer = match (error.esource(), error.etype()) {
            (_, ErrorType::HTTPStatus(413)) => Refusal::BodyTooLarge.answer(),
            (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Answer::error(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "the upstream took too long; the request may have been carried out",
            ),
            (ErrorSource::Upstream, _) => Answer::error(
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                "the upstream broke off; the request may have been carried out",
            ),
            (
                ErrorSource::Downstream,
                ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed | ErrorType::WriteTimedout,
            ) => return None,
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                Answer::error(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the request did not arrive in time")
            }
            (ErrorSource::Downstream, _) => {
                Answer::error(StatusCode::BAD_REQUEST, "invalid_request", "the request is not valid HTTP")
            }
            _ => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the gateway failed"),
        };
        Some(answer)
    }
}
