//! Which upstreams have agreed to dry runs, and whether they keep to it.
//!
//! Legacy, or any service that knows nothing of dry runs, makes no agreement and so gets no copy of a request
//! that may change something. What has agreed and then answers without proof is off at once: after a refusal,
//! where nothing was carried out, until it agrees again; after anything else until the gateway is started anew,
//! for then an instance is behind the upstream that carries copies out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use dry_run::{HANDSHAKE_PATH, Key, PROOF_HEADER, REQUEST_HEADER, RequestToken, SignedRequest};
use http::{HeaderMap, StatusCode, header};
use pingora::{connectors::http::Connector, http::RequestHeader};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::time::{self, MissedTickBehavior};

use super::{
    budget::Pool,
    exchange::{Allowance, Message, exchange},
    outcome::Dropped,
    received::Received,
};
use crate::{metrics::names, upstream::Upstream};

/// The longest answer to a handshake.
const HANDSHAKE_LIMIT_BYTES: usize = 16 * 1024;

/// The longest that a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

const UNKNOWN: u8 = 0;
const AGREED: u8 = 1;
const DISTRUSTED: u8 = 2;

/// Whether one upstream gets dry runs.
pub(super) struct Agreement {
    state: AtomicU8,
    agreed: IntGauge,
    unproven: IntCounter,
}

/// The families of metrics that agreements have.
pub(super) struct Families {
    agreed: IntGaugeVec,
    unproven: IntCounterVec,
}

impl Families {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let agreed = IntGaugeVec::new(
            Opts::new(names::DRY_RUN_AGREED, "1 while the upstream agrees to dry runs."),
            &["upstream"],
        )?;
        let unproven = IntCounterVec::new(
            Opts::new(names::DRY_RUN_UNPROVEN, "Answers that did not prove that they were a dry run."),
            &["upstream"],
        )?;
        registry.register(Box::new(agreed.clone()))?;
        registry.register(Box::new(unproven.clone()))?;
        Ok(Self { agreed, unproven })
    }

    pub(super) fn of(&self, upstream: &str) -> Agreement {
        Agreement {
            state: AtomicU8::new(UNKNOWN),
            agreed: self.agreed.with_label_values(&[upstream]),
            unproven: self.unproven.with_label_values(&[upstream]),
        }
    }
}

impl Agreement {
    pub(super) fn holds(&self) -> bool {
        self.state.load(Ordering::Acquire) == AGREED
    }

    /// Notes how a handshake went. `true` when it changed anything.
    fn heard(&self, agrees: bool) -> bool {
        let next = if agrees { AGREED } else { UNKNOWN };
        let heard = |state| (state != DISTRUSTED && state != next).then_some(next);
        let changed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, heard).is_ok();
        if changed {
            self.agreed.set(agrees.into());
        }
        changed
    }

    /// Checks the answer to a dry run.
    pub(super) fn check(
        &self,
        key: &Key,
        token: &RequestToken,
        status: StatusCode,
        headers: &HeaderMap,
        upstream: &str,
    ) -> Result<(), Dropped> {
        if only(headers).is_some_and(|proof| key.is_proof(proof, token)) {
            return Ok(());
        }
        let refused = carried_out_nothing(status);
        // One that is distrusted stays so.
        let agreed = if refused {
            self.state.compare_exchange(AGREED, UNKNOWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
        } else {
            self.state.swap(DISTRUSTED, Ordering::AcqRel) != DISTRUSTED
        };
        self.agreed.set(0);
        self.unproven.inc();
        if agreed {
            let until = if refused { "it agrees again" } else { "the gateway is started anew" };
            tracing::error!(
                %upstream, status = status.as_u16(), until,
                "an answer does not prove that it was a dry run; no more are sent"
            );
        }
        Err(Dropped::Unproven)
    }
}

/// Whether an answer without proof is one of a service, or of something before it, that refused.
fn carried_out_nothing(status: StatusCode) -> bool {
    status.is_client_error() || matches!(status.as_u16(), 501..=503)
}

/// The proof that an answer has, unless it has several.
fn only(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(PROOF_HEADER).iter();
    values.next().filter(|_| values.next().is_none()).map(http::HeaderValue::as_bytes)
}

/// Signs a message as a dry run.
pub(super) fn sign(key: &Key, message: &mut Message) -> pingora::Result<RequestToken> {
    let target = message.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = SignedRequest { method: message.head.method.as_str(), target, body: &message.body };
    let token = key.sign(request, rand::random::<u128>().into(), now_s());
    message.head.insert_header(REQUEST_HEADER, token.to_string())?;
    Ok(token)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Asks an upstream now and then whether it agrees.
pub(super) async fn keep_asking(
    upstream: Arc<Upstream>,
    agreement: Arc<Agreement>,
    key: Key,
    connector: Arc<Connector>,
    every: Duration,
) {
    let mut interval = time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let asked = time::timeout(HANDSHAKE_TIMEOUT, agrees(&upstream, &key, &connector)).await;
        let agrees = asked.unwrap_or(false);
        if agreement.heard(agrees) {
            tracing::info!(upstream = %upstream.name, agrees, "whether an upstream agrees to dry runs has changed");
        }
    }
}

async fn agrees(upstream: &Upstream, key: &Key, connector: &Connector) -> bool {
    let Some(peer) = upstream.peer_for_copy(Instant::now()) else { return false };
    let Ok((message, token)) = handshake(upstream, key) else { return false };
    let memory = Pool::new(HANDSHAKE_LIMIT_BYTES * 8);
    let allowance = Allowance { memory: &memory, body_limit: HANDSHAKE_LIMIT_BYTES };
    let answer = exchange(connector, &peer, &message, &allowance).await;
    let Ok(Received { head, .. }) = answer else { return false };
    head.status.is_success() && only(&head.headers).is_some_and(|said| key.is_agreement(said, &token))
}

fn handshake(upstream: &Upstream, key: &Key) -> pingora::Result<(Message, RequestToken)> {
    let mut head = RequestHeader::build("POST", HANDSHAKE_PATH.as_bytes(), Some(3))?;
    head.insert_header(header::HOST, upstream.host())?;
    head.insert_header(header::CONTENT_LENGTH, 0)?;
    let mut message = Message { head, body: Bytes::new() };
    let token = sign(key, &mut message)?;
    Ok((message, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement() -> Agreement {
        Families::register(&Registry::new()).expect("an empty registry").of("candidate")
    }

    fn key() -> Key {
        Key::new(&[7; 32]).expect("it is long enough")
    }

    fn answer(proofs: &[String]) -> HeaderMap {
        proofs.iter().map(|proof| (PROOF_HEADER.parse().expect("a name"), proof.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_proof_keeps_the_agreement_and_anything_else_ends_it() {
        let token = key().sign(SignedRequest::HANDSHAKE, 1.into(), 1);
        let proof = key().prove(&token).to_string();
        let agreement = agreement();
        assert!(!agreement.holds() && agreement.heard(true) && agreement.holds());
        let check = |status, proofs: &[String]| agreement.check(&key(), &token, status, &answer(proofs), "candidate");
        assert_eq!(check(StatusCode::INTERNAL_SERVER_ERROR, std::slice::from_ref(&proof)), Ok(()));
        assert!(agreement.holds());

        assert_eq!(check(StatusCode::BAD_GATEWAY, &[]), Err(Dropped::Unproven));
        assert!(!agreement.holds() && agreement.heard(true) && agreement.holds(), "until it agrees again");

        assert_eq!(check(StatusCode::OK, &[proof.clone(), proof]), Err(Dropped::Unproven));
        assert!(!agreement.holds() && !agreement.heard(true) && !agreement.holds(), "for good");
        assert_eq!(check(StatusCode::BAD_GATEWAY, &[]), Err(Dropped::Unproven));
        assert!(!agreement.heard(true) && !agreement.holds());
        assert_eq!((agreement.agreed.get(), agreement.unproven.get()), (0, 3));
    }
}
