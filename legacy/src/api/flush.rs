//! Brings to their end the events that were accepted. Whoever moves the rows to another database asks for it while the
//! schedule is paused and no request is under way: then none is worked on later, over rows that have gone.

use axum::{extract::State, http::StatusCode};
use service::none_left;
use tokio::time::Instant;

use super::{Api, reply::TextRefusal};

/// Answers when every event has ended.
pub(super) async fn flush(State(api): State<Api>) -> Result<StatusCode, TextRefusal> {
    let left = none_left(Instant::now() + api.flush_timeout, || api.bus.unsettled()).await;
    match left.map_err(|error| TextRefusal::inside("the events could not be counted", &error))? {
        0 => Ok(StatusCode::NO_CONTENT),
        left => Err(TextRefusal::with(StatusCode::SERVICE_UNAVAILABLE, format!("{left} events have not ended"))),
    }
}
