//! One message to one address: checked, bounded, and never led elsewhere.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use layered_config::Secret;
use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use telemetry::TRACEPARENT;

use super::target::{Allowed, check_url, literal};
use crate::{config::WebhooksConfig, store::DeliveryAttempt};

/// How much of an answer's body is kept with the attempt, in bytes.
const KEPT_BYTES: usize = 1_024;

/// The address leads to where messages may not go.
#[derive(Debug, thiserror::Error)]
#[error("the address leads to where messages may not go ({0}); `webhooks.allow` may allow it")]
struct Forbidden(String);

/// Sends messages.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    allowed: Arc<Allowed>,
    response_limit_bytes: usize,
}

/// A message as it is sent.
pub struct Message<'a> {
    pub id: String,
    pub timestamp_s: i64,
    pub body: &'a str,
    pub secret: &'a Secret,
}

impl Connection {
    /// A client for what the settings say.
    ///
    /// # Errors
    /// When the machine has no certificates to trust.
    pub fn open(config: &WebhooksConfig) -> Result<Self, reqwest::Error> {
        Self::new(Allowed::new(&config.allow), config.timeout.get(), config.response_limit.as_usize())
    }

    /// A client that goes to `allowed` and public addresses only.
    fn new(allowed: Allowed, timeout: Duration, response_limit_bytes: usize) -> Result<Self, reqwest::Error> {
        let allowed = Arc::new(allowed);
        let client = Client::builder()
            .user_agent(concat!("build-service/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            // A proxy would resolve and connect where nothing is checked.
            .no_proxy()
            // An address that was checked is not used for longer than the check is fresh.
            .pool_max_idle_per_host(0)
            .dns_resolver(Resolver(Arc::clone(&allowed)))
            .build()?;
        Ok(Self { client, allowed, response_limit_bytes })
    }

    /// Sends a message once.
    pub async fn send(&self, url: &str, message: Message<'_>) -> DeliveryAttempt {
        let begun = Instant::now();
        let (answer, response) = match self.try_send(url, message).await {
            Ok((status, response)) => (Ok(status), response),
            Err(error) => (Err(error), String::new()),
        };
        DeliveryAttempt { duration: begun.elapsed(), answer, response }
    }

    async fn try_send(&self, url: &str, message: Message<'_>) -> Result<(u16, String), String> {
        let url = check_url(url)?;
        // A name is checked by the resolver; an address is never resolved.
        if let Some(address) = literal(&url).filter(|address| !self.allowed.address(*address)) {
            return Err(Forbidden(address.to_string()).to_string());
        }
        let mut headers = signed(&message)?;
        if let Some(place) = telemetry::current() {
            let value = HeaderValue::from_bytes(&place.to_header()).map_err(|error| error.to_string())?;
            headers.insert(TRACEPARENT, value);
        }
        let request = self.client.post(url).headers(headers).body(message.body.to_owned());
        let answer = request.send().await.map_err(|error| explain(&error))?;
        let status = answer.status().as_u16();
        Ok((status, self.beginning(answer).await))
    }

    /// The beginning of the body; a body that is larger than it may be, or breaks off, is left there.
    async fn beginning(&self, mut answer: Response) -> String {
        let (mut kept, mut read) = (Vec::new(), 0);
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            kept.extend(chunk.iter().take(KEPT_BYTES - kept.len()));
            if read > self.response_limit_bytes || kept.len() == KEPT_BYTES {
                break;
            }
        }
        // PostgreSQL's text cannot hold NUL.
        String::from_utf8_lossy(&kept).replace('\0', "\u{fffd}")
    }
}

fn signed(message: &Message<'_>) -> Result<HeaderMap, String> {
    // The error would name the secret's bad byte.
    let webhook = Webhook::new(message.secret.expose()).map_err(|_| "the receiver's secret is none".to_owned())?;
    let signature = webhook.sign(&message.id, message.timestamp_s, message.body.as_bytes());
    let signature = signature.map_err(|_| "the message could not be signed".to_owned())?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        (HEADER_WEBHOOK_ID, message.id.clone()),
        (HEADER_WEBHOOK_TIMESTAMP, message.timestamp_s.to_string()),
        (HEADER_WEBHOOK_SIGNATURE, signature),
    ] {
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| "a header could not be written".to_owned())?);
    }
    Ok(headers)
}

/// Why there was no answer, without the address: its query may hold what is nobody else's business.
fn explain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "there was no answer in time".to_owned();
    }
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let first = causes.next().map_or_else(|| "the request failed".to_owned(), ToString::to_string);
    causes.last().map_or_else(|| first.clone(), |last| format!("{first}: {last}"))
}

/// Resolves a name to those of its addresses that may be connected to. What is connected to is what was
/// checked: the client connects to these addresses and resolves nothing again.
struct Resolver(Arc<Allowed>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_allowed = allowed.host(name.as_str());
            // One that is hidden spoils them all: a public name has no business with it.
            match found.iter().find(|found| !is_allowed && !allowed.address(found.ip())) {
                Some(hidden) => Err(Forbidden(hidden.ip().to_string()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn attempt(connection: &Connection, url: &str) -> Result<u16, String> {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let message = Message { id: "m".to_owned(), timestamp_s: 1_700_000_000, body: "{}", secret: &secret };
        connection.send(url, message).await.answer
    }

    #[tokio::test]
    async fn nothing_hidden_is_connected_to_by_address_or_by_name() {
        let stub = testkit::StubUpstream::start(|_| testkit::Answer::new(204, "")).await;
        let port = stub.address().port();
        let strict = Connection::new(Allowed::default(), Duration::from_secs(5), 1_000).expect("a client");
        for url in [
            format!("http://127.0.0.1:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://0.0.0.0:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://2130706433:{port}/"),
        ] {
            let error = attempt(&strict, &url).await.expect_err(&url);
            assert!(error.contains("may not go"), "{url}: {error}");
        }
        assert_eq!(stub.count(), 0);

        for entry in ["127.0.0.0/8", "localhost"] {
            let allowed = Allowed::new(&[entry.to_owned(), "::1".to_owned()]);
            let open = Connection::new(allowed, Duration::from_secs(5), 1_000).expect("a client");
            assert_eq!(attempt(&open, &format!("http://localhost:{port}/")).await, Ok(204), "{entry}");
        }
        assert_eq!(stub.count(), 2);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_a_large_answer_is_not_read() {
        let stub = testkit::StubUpstream::start(|request| match request.path.as_str() {
            "/large" => testkit::Answer::new(200, vec![b'x'; 8_000_000]),
            "/nul" => testkit::Answer::new(500, "a\0b"),
            _ => testkit::Answer::new(302, "").header("location", "/elsewhere"),
        })
        .await;
        let allowed = Allowed::new(&["127.0.0.1".to_owned()]);
        let connection = Connection::new(allowed, Duration::from_secs(5), 2_000).expect("a client");
        assert_eq!(attempt(&connection, &stub.url("/redirect")).await, Ok(302));
        assert_eq!(stub.count(), 1);
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        for (path, kept) in [("/large", "x".repeat(KEPT_BYTES)), ("/nul", "a\u{fffd}b".to_owned())] {
            let message = Message { id: "m".to_owned(), timestamp_s: 1, body: "{}", secret: &secret };
            assert_eq!(connection.send(&stub.url(path), message).await.response, kept);
        }
    }
}
