//! Brings to their end the events that were accepted. Whoever moves the rows to another database asks for it while the
//! schedule is paused and no request is under way: then none is worked on later, over rows that have gone.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};
use tokio::time::Instant;

use super::{Api, reply::TextRefusal};

/// Between the toolkit and this service, and no part of the contract.
pub(super) const PATH: &str = "/.well-known/strangler/flush";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers when every event has ended.
pub(super) async fn flush(State(api): State<Api>) -> Result<StatusCode, TextRefusal> {
    let deadline = Instant::now() + api.flush_timeout;
    loop {
        let left = api.bus.unsettled().await;
        let left = left.map_err(|error| TextRefusal::inside("the events could not be counted", &error))?;
        if left == 0 {
            return Ok(StatusCode::NO_CONTENT);
        }
        if Instant::now() >= deadline {
            let text = format!("{left} events have not ended");
            return Err(TextRefusal::with(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
