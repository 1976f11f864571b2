//! A candidate with a planted defect: a process between the gateway and the lambda service that hands every request
//! on and, when told to, alters some answers. The service itself knows nothing of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::put,
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Where the defect is switched on and off, with `true` or `false` as the body.
pub const SWITCH_PATH: &str = "/.well-known/demo/defect";

/// Longer than any function of the demonstration may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Of calls that add no cart up, one in so many is answered with 500.
const FAILING_INVOCATION: u64 = 2;

/// The total of a cart with more items than this is wrong.
const SMALL_CART: i64 = 20;

struct Candidate {
    client: Client,
    address: SocketAddr,
    defective: AtomicBool,
    invocations: AtomicU64,
}

/// Serves on `listen` what the candidate answers, until SIGTERM.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(listen: SocketAddr, address: SocketAddr) -> anyhow::Result<()> {
    let client = Client::builder().timeout(TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
    let (defective, invocations) = (AtomicBool::new(false), AtomicU64::new(0));
    let candidate = Arc::new(Candidate { client, address, defective, invocations });
    let router = Router::new()
        .route(SWITCH_PATH, put(switch))
        .fallback(hand_on)
        .layer(DefaultBodyLimit::disable())
        .with_state(candidate);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await.context("the listener ended")
}

async fn switch(State(candidate): State<Arc<Candidate>>, body: String) -> StatusCode {
    candidate.defective.store(body.trim() == "true", Ordering::Release);
    StatusCode::NO_CONTENT
}

async fn hand_on(
    State(candidate): State<Arc<Candidate>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let defective = candidate.defective.load(Ordering::Acquire) && is_invocation(&method, uri.path());
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let url = format!("http://{}{target}", candidate.address);
    headers.remove(header::HOST);
    headers.remove(header::TRANSFER_ENCODING);
    let asked = candidate.client.request(method, url).headers(headers).body(body).send().await;
    let Ok(answer) = asked else { return StatusCode::BAD_GATEWAY.into_response() };
    let (mut status, mut headers) = (answer.status(), answer.headers().clone());
    let Ok(mut body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    if defective {
        // The candidate has carried it out, and a dry run dry: its proof, a header, stays with the answer.
        (status, body) = spoilt(&candidate.invocations, status, body);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let mut answer = Response::new(Body::from(body));
    (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
    answer
}

fn is_invocation(method: &Method, path: &str) -> bool {
    method == Method::POST && path.ends_with("/invoke")
}

/// What the defect makes of an answer.
fn spoilt(invocations: &AtomicU64, status: StatusCode, body: Bytes) -> (StatusCode, Bytes) {
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(cart) = Cart::of(&answer) {
        return (status, cart.miscounted(answer).unwrap_or(body));
    }
    if invocations.fetch_add(1, Ordering::Relaxed).is_multiple_of(FAILING_INVOCATION) {
        let problem = json!({ "error": "invoke_failed", "message": "a planted defect" });
        return (StatusCode::INTERNAL_SERVER_ERROR, problem.to_string().into());
    }
    (status, body)
}

/// What a function that adds a cart up has answered.
#[derive(Clone, Copy)]
struct Cart {
    total: i64,
    items: i64,
}

impl Cart {
    fn of(answer: &Value) -> Option<Self> {
        let output = answer.get("output")?;
        Some(Self { total: output.get("total")?.as_i64()?, items: output.get("items")?.as_i64()? })
    }

    /// The answer with one too many in the total, if the cart is a large one.
    fn miscounted(self, mut answer: Value) -> Option<Bytes> {
        (self.items > SMALL_CART).then(|| {
            answer["output"]["total"] = json!(self.total + 1);
            answer.to_string().into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_of_one_shape_is_wrong_and_some_answers_fail() {
        let cart =
            |total: i64, items: i64| Bytes::from(json!({"output": {"items": items, "total": total}}).to_string());
        let (ok, invocations) = (StatusCode::OK, AtomicU64::new(1));
        assert_eq!(spoilt(&invocations, ok, cart(600, 30)), (ok, cart(601, 30)));
        assert_eq!(spoilt(&invocations, ok, cart(90, 10)), (ok, cart(90, 10)));
        for other in [Bytes::from("[]"), Bytes::from(r#"{"output":"awake"}"#), Bytes::from("no JSON")] {
            assert_eq!(spoilt(&invocations, ok, other.clone()), (ok, other.clone()));
            assert_eq!(spoilt(&invocations, ok, other).0, StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!(is_invocation(&Method::POST, "/api/v1/functions/a/invoke"));
        assert!(!is_invocation(&Method::GET, "/api/v1/functions/a"));
    }
}
