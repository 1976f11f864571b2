//! What the console shows, once a second, as server-sent events.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures::stream;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{AdminState, Refused, ramps, slices, views};

/// How often the state is sent.
const EVERY: Duration = Duration::from_secs(1);

/// As many browsers are told at once.
const MOST_STREAMS: usize = 32;

/// Who is being told, and until when.
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MOST_STREAMS)), stopping: watch::Sender::new(false) }
    }
}

impl Streams {
    /// Ends every stream, so that a server that waits for its last answer does not wait for one without an end.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

struct Telling {
    state: Arc<AdminState>,
    ticks: Interval,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// `GET /api/v1/events`: `status`, `ramps`, the counters of `shadow` and the `slices`, each second, as long as the
/// caller listens.
pub(super) async fn events(State(state): State<Arc<AdminState>>) -> Response {
    let Ok(place) = state.streams.places.clone().try_acquire_owned() else {
        let message = format!("{MOST_STREAMS} consoles are open already");
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message).into_response();
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let stopping = state.streams.stopping.subscribe();
    let events = stream::unfold(Telling { state, ticks, stopping, _place: place }, next);
    Sse::new(events).into_response()
}

async fn next(mut telling: Telling) -> Option<(Result<Event, Infallible>, Telling)> {
    tokio::select! {
        _ = telling.stopping.wait_for(|stopping| *stopping) => return None,
        _ = telling.ticks.tick() => {}
    }
    let event = Event::default().data(snapshot(&telling.state).to_string());
    Some((Ok(event), telling))
}

fn snapshot(state: &AdminState) -> Value {
    let shadow = state.shadow.as_ref().map(|shadow| shadow.report(&state.control.snapshot()));
    json!({
        "status": views::status_of(state),
        "ramps": ramps::all(state),
        "shadow": shadow.unwrap_or_default(),
        "slices": slices::all(state),
    })
}
