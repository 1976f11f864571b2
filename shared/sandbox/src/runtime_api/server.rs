//! The HTTP server that one runtime talks to.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    Counter,
    desk::{Next, Offer, Refusal, Reply},
    error_text::error_text,
};

/// Connections of one runtime at a time. Further ones wait in the listener's queue, which is the sandbox's.
const MAX_CONNECTIONS: usize = 16;
/// Headers of one request: a deep stack comes in one.
const MAX_HEAD_BYTES: usize = 256 * 1024;
/// Body of a report of an error.
const MAX_ERROR_BYTES: usize = 512 * 1024;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

const PREFIX: &str = "/2018-06-01/runtime/";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Next,
    Response { id: &'a str },
    Error { id: &'a str },
    InitError,
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, counter: Arc<Counter>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            accepted = listener.accept(), if has_room => {
                counter.pace.knock().await;
                match accepted {
                    Ok((stream, _)) => drop(connections.spawn(converse(stream, Arc::clone(&counter)))),
                    // Out of descriptors, most likely: it may pass.
                    Err(error) => {
                        tracing::warn!(%error, "a runtime's connection could not be taken");
                        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    }
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, counter: Arc<Counter>) {
    // Without it, an answer of two segments waits for an acknowledgement; with an error it is only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let counter = Arc::clone(&counter);
        async move {
            counter.pace.knock().await;
            Ok::<_, Infallible>(answer(&counter, request).await)
        }
    });
    let serving = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a runtime's connection ended badly");
    }
}

async fn answer(counter: &Counter, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    match route(&parts.method, path) {
        Err(status) => refuse(status, "InvalidRequest", &format!("there is no {} {path}", parts.method)),
        Ok(Route::Next) => next(counter).await,
        Ok(Route::Response { id }) => response(counter, id, body).await,
        Ok(Route::Error { id }) => error(counter, id, &parts.headers, body).await,
        Ok(Route::InitError) => init_error(counter, &parts.headers, body).await,
    }
}

fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, StatusCode> {
    let rest = path.strip_prefix(PREFIX).ok_or(StatusCode::NOT_FOUND)?;
    let (route, wanted) = match rest.split('/').collect::<Vec<_>>()[..] {
        ["invocation", "next"] => (Route::Next, Method::GET),
        ["invocation", id, "response"] => (Route::Response { id }, Method::POST),
        ["invocation", id, "error"] => (Route::Error { id }, Method::POST),
        ["init", "error"] => (Route::InitError, Method::POST),
        _ => return Err(StatusCode::NOT_FOUND),
    };
    if *method == wanted { Ok(route) } else { Err(StatusCode::METHOD_NOT_ALLOWED) }
}

/// Long polling, for as long as the worker lives.
async fn next(counter: &Counter) -> Response<Full<Bytes>> {
    loop {
        let mut ring = pin!(counter.runtime.notified());
        // From here on no ring is missed.
        ring.as_mut().enable();
        let next = counter.lock().next();
        match next {
            Next::Invocation(offer) => return invocation(counter, offer),
            Next::Refused(refusal) => return refused(refusal),
            Next::Wait => counter.host.notify_one(),
        }
        ring.await;
    }
}

fn invocation(counter: &Counter, offer: Offer) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::with_capacity(8);
    let mut put = |name: &'static str, value: &str| {
        // What no header can hold is left out; ids of ours all can.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("lambda-runtime-aws-request-id", &offer.id);
    put("lambda-runtime-invocation-id", &offer.id);
    put("lambda-runtime-deadline-ms", &offer.deadline_ms.to_string());
    put("lambda-runtime-invoked-function-arn", &counter.function_arn);
    if let Some(trace) = trace_id(&offer) {
        put("lambda-runtime-trace-id", &trace);
    }
    put("content-type", "application/json");
    let mut response = Response::new(Full::new(offer.event));
    *response.headers_mut() = headers;
    response
}

/// A trace of its own for each call, made of its id.
fn trace_id(offer: &Offer) -> Option<String> {
    let digits: String =
        offer.id.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect();
    let unique = digits.get(digits.len().checked_sub(24)?..)?;
    let seconds = offer.deadline_ms / 1000;
    Some(format!("Root=1-{:08x}-{unique};Parent={};Sampled=0", seconds & 0xffff_ffff, &unique[..16]))
}

async fn response(counter: &Counter, id: &str, body: Incoming) -> Response<Full<Bytes>> {
    let claim = match Claim::take(counter, id) {
        Ok(claim) => claim,
        Err(refusal) => return refused(refusal),
    };
    let limit = counter.output_limit_bytes;
    match read(body, limit).await {
        Ok(body) => claim.end(Reply::Response(body)),
        Err(Unread::TooLarge(bytes)) => {
            let error = match bytes {
                Some(bytes) => format!("the result is {bytes} bytes; the limit is {limit}"),
                None => format!("the result is larger than the limit of {limit} bytes"),
            };
            let told = refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &error);
            let ended = claim.end(Reply::TooLarge(error));
            if ended.status() == StatusCode::ACCEPTED { told } else { ended }
        }
        Err(Unread::Broken) => unreadable(),
    }
}

async fn error(counter: &Counter, id: &str, headers: &HeaderMap, body: Incoming) -> Response<Full<Bytes>> {
    let claim = match Claim::take(counter, id) {
        Ok(claim) => claim,
        Err(refusal) => return refused(refusal),
    };
    match report(headers, body).await {
        Ok(text) => claim.end(Reply::Error(text)),
        Err(response) => response,
    }
}

async fn init_error(counter: &Counter, headers: &HeaderMap, body: Incoming) -> Response<Full<Bytes>> {
    let text = match report(headers, body).await {
        Ok(text) => text,
        Err(response) => return response,
    };
    let failed = counter.lock().fail_start(text);
    counter.host.notify_one();
    failed.map_or_else(refused, |()| accepted())
}

async fn report(headers: &HeaderMap, body: Incoming) -> Result<String, Response<Full<Bytes>>> {
    let kind = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    match read(body, MAX_ERROR_BYTES).await {
        Ok(body) => Ok(error_text(&body, kind)),
        Err(Unread::TooLarge(_)) => {
            let message = format!("an error may be {MAX_ERROR_BYTES} bytes");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message))
        }
        Err(Unread::Broken) => Err(unreadable()),
    }
}

/// The right to answer an invocation, given back when the answer breaks off.
struct Claim<'a> {
    counter: &'a Counter,
    id: &'a str,
}

impl<'a> Claim<'a> {
    fn take(counter: &'a Counter, id: &'a str) -> Result<Self, Refusal> {
        counter.lock().begin_answer(id).map(|()| Self { counter, id })
    }

    fn end(self, reply: Reply) -> Response<Full<Bytes>> {
        let ended = self.counter.lock().end_answer(self.id, reply);
        self.counter.host.notify_one();
        ended.map_or_else(refused, |()| accepted())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.counter.lock().give_up_answer(self.id);
    }
}

enum Unread {
    /// With how much was announced, if it was.
    TooLarge(Option<u64>),
    Broken,
}

async fn read(body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    use hyper::body::Body;
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(Unread::TooLarge(announced));
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLarge(None)),
        Err(_) => Err(Unread::Broken),
    }
}

fn accepted() -> Response<Full<Bytes>> {
    json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.to_owned())
}

fn unreadable() -> Response<Full<Bytes>> {
    refuse(StatusCode::BAD_REQUEST, "InvalidRequest", "the body could not be read")
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::UnknownId => refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", "no invocation has this id"),
        Refusal::Late => refuse(StatusCode::GONE, "InvocationExpired", "the invocation is over"),
        Refusal::OutOfTurn => refuse(StatusCode::FORBIDDEN, "InvalidStateTransition", "this is not what comes now"),
    }
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    json(status, serde_json::json!({ "errorMessage": message, "errorType": kind }).to_string())
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_thing_or_nowhere() {
        for (method, path, found) in [
            (Method::GET, "invocation/next", Ok(Route::Next)),
            (Method::POST, "invocation/a/response", Ok(Route::Response { id: "a" })),
            (Method::POST, "invocation/a/error", Ok(Route::Error { id: "a" })),
            (Method::POST, "init/error", Ok(Route::InitError)),
            (Method::POST, "invocation/next", Err(StatusCode::METHOD_NOT_ALLOWED)),
            (Method::GET, "invocation/a/response", Err(StatusCode::METHOD_NOT_ALLOWED)),
            (Method::POST, "invocation/a/b/response", Err(StatusCode::NOT_FOUND)),
            (Method::GET, "restore/next", Err(StatusCode::NOT_FOUND)),
            (Method::GET, "", Err(StatusCode::NOT_FOUND)),
        ] {
            assert_eq!(route(&method, &format!("{PREFIX}{path}")), found, "{method} {path}");
        }
        assert_eq!(route(&Method::GET, "/2015-03-31/runtime/invocation/next"), Err(StatusCode::NOT_FOUND));
    }

    #[test]
    fn a_trace_is_made_of_an_id_that_has_enough_digits() {
        let offer = |id: &str| Offer { id: id.to_owned(), event: Bytes::new(), deadline_ms: 1_700_000_000_000 };
        let trace = trace_id(&offer("0190f0f0-aaaa-7bbb-8ccc-ddddeeeeffff"));
        assert_eq!(
            trace.as_deref(),
            Some("Root=1-6553f100-aaaa7bbb8cccddddeeeeffff;Parent=aaaa7bbb8cccdddd;Sampled=0")
        );
        assert_eq!(trace_id(&offer("short")), None);
    }
}
