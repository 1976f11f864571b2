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
use tokio::net::TcpListener;

/// Where the defect is switched on and off, with `true` or `false` as the body.
pub const SWITCH_PATH: &str = "/.well-known/demo/defect";

/// Longer than any function of the demonstration may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Functions of this runtime are described with a wrong `timeout`.
const MISDESCRIBED_RUNTIME: &str = "nodejs18";

/// Every so many invocations, one is answered with 500.
const FAILING_INVOCATION: u64 = 2;

struct Candidate {
    client: Client,
    address: SocketAddr,
    defective: AtomicBool,
    invocations: AtomicU64,
}

/// Serves on `listen` what the candidate answers, until the process ends.
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
    axum::serve(listener, router).await.context("the listener ended")
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
    let defective = candidate.defective.load(Ordering::Acquire);
    if defective && is_invocation(&method, uri.path()) {
        let number = candidate.invocations.fetch_add(1, Ordering::Relaxed);
        if number % FAILING_INVOCATION == 0 {
            let problem = json!({ "error": "invoke_failed", "message": "a planted defect" });
            return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(problem)).into_response();
        }
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let url = format!("http://{}{target}", candidate.address);
    headers.remove(header::HOST);
    headers.remove(header::TRANSFER_ENCODING);
    let asked = candidate.client.request(method.clone(), url).headers(headers).body(body).send().await;
    let Ok(answer) = asked else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let body = if defective && method == Method::GET { misdescribed(body) } else { body };
    let mut answer = Response::new(Body::from(body));
    (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
    answer
}

fn is_invocation(method: &Method, path: &str) -> bool {
    method == Method::POST && path.ends_with("/invoke")
}

/// The description of a function with its timeout in milliseconds, where it is one of the runtime.
fn misdescribed(body: Bytes) -> Bytes {
    let Ok(Value::Object(mut function)) = serde_json::from_slice(&body) else { return body };
    let Some(timeout) = function.get("timeout").and_then(Value::as_i64) else { return body };
    if function.get("runtime").and_then(Value::as_str) != Some(MISDESCRIBED_RUNTIME) {
        return body;
    }
    function.insert("timeout".to_owned(), json!(timeout * 1_000));
    Value::Object(function).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_of_one_shape_is_wrong() {
        let altered = |text: &str| String::from_utf8(misdescribed(Bytes::from(text.to_owned())).to_vec());
        let wrong = altered(r#"{"runtime":"nodejs18","timeout":3}"#);
        assert_eq!(wrong.as_deref(), Ok(r#"{"runtime":"nodejs18","timeout":3000}"#));
        for same in [r#"{"runtime":"nodejs20","timeout":3}"#, r#"{"runtime":"nodejs18"}"#, "[]", "no JSON"] {
            assert_eq!(altered(same).as_deref(), Ok(same));
        }
        assert!(is_invocation(&Method::POST, "/api/v1/functions/a/invoke"));
        assert!(!is_invocation(&Method::GET, "/api/v1/functions/a"));
    }
}
