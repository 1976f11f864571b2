//! Requests that wait on the candidate when it is left: they are asked of legacy at once, instead of
//! when the candidate's silence has lasted for too long.
//!
//! pingora waits for an upstream's answer by itself, and nothing can be awaited beside that. But its wait
//! ends when the connection does. So each waiting request that legacy may be asked too has its upstream
//! connection written down here, and to recall it is to shut that connection down. The error that
//! pingora then reports leads to another try, as every error of an upstream may, and by then the
//! decision for the candidate is void.
//!
//! - A connection is written down as its number and both of its addresses. The number alone could be another
//!   connection's by the time it is used, so the recall takes a handle of its own by that number and looks at the
//!   addresses of what it got. A second handle for each request would cost two system calls, for a recall that
//!   hardly ever comes; the addresses cost none, since pingora remembers them with the connection.
//! - A request leaves this place with the first byte of an answer that pingora hands on, or is told
//!   that it was recalled: one lock decides which, so no answer is cut off that the client has begun to get.
//! - A request enters this place before its decision is looked at for the last time, and a rollback is in
//!   force before it recalls. So none slips in between.
//! - Connections that several requests share (HTTP/2) are left alone. There a request goes to legacy when
//!   the upstream's `read_timeout` is over, or the connection ends.

use std::{
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::{BorrowedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, Method, header};
use pingora::protocols::Digest;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use slab::Slab;

use crate::{
    metrics::names,
    resilience::Resilience,
    rollout::Bucket,
    route_table::{RouteId, RouteTable},
};

/// Requests of one route wait in as many places, so that threads seldom wait for each other.
const SHARDS: usize = 8;

/// How much of a body can be sent again (pingora's `BODY_BUF_LIMIT`).
const KEPT_BODY_BYTES: u64 = 64 * 1024;

/// The waiting requests of every route.
pub(crate) struct Recall {
    routes: Box<[Waiting]>,
    counters: IntCounterVec,
}

/// Those of one route.
struct Waiting {
    shards: [Mutex<Shard>; SHARDS],
    recalled: IntCounter,
}

#[derive(Default)]
struct Shard {
    /// How often its requests were recalled: a place that was entered before is no longer its holder's.
    recalled: u64,
    connections: Slab<WaitedOn>,
}

/// A connection that a request waits on, as long as it has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitedOn {
    number: RawFd,
    /// Ours and theirs. No other connection has both while this one is there.
    addresses: [SocketAddr; 2],
}

/// One waiting request. Dropping it forgets the request.
pub(crate) struct Place {
    recall: Arc<Recall>,
    route: RouteId,
    shard: usize,
    /// Of its shard, when it entered.
    recalled: u64,
    /// Until it has left.
    slot: Option<usize>,
}

impl Recall {
    pub(crate) fn new(table: &RouteTable) -> Self {
        let options = Opts::new(names::RECALLED, "Requests asked of legacy because the candidate was left meanwhile.");
        let counters = IntCounterVec::new(options, &["route"]).expect("the name and label are well-formed");
        let waiting =
            |name: &str| Waiting { shards: Default::default(), recalled: counters.with_label_values(&[name]) };
        Self { routes: table.iter().map(|(_, route)| waiting(&route.name)).collect(), counters }
    }

    /// # Errors
    /// When the registry has a metric of this name already.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.counters.clone()))
    }

    /// Enters a request that waits for an answer over this connection.
    pub(crate) fn enter(self: &Arc<Self>, route: RouteId, bucket: Bucket, connection: WaitedOn) -> Place {
        let shard = usize::from(bucket.get()) % SHARDS;
        let mut waiting = self.locked(route, shard);
        let slot = Some(waiting.connections.insert(connection));
        let recalled = waiting.recalled;
        drop(waiting);
        Place { recall: self.clone(), route, shard, recalled, slot }
    }

    /// Ends the wait of every request of this route. Returns how many there were.
    pub(crate) fn recall(&self, route: RouteId) -> usize {
        let mut recalled = 0;
        for shard in 0..SHARDS {
            let mut waiting = self.locked(route, shard);
            recalled += waiting.connections.len();
            waiting.recalled += 1;
            for connection in waiting.connections.drain() {
                connection.shut_down();
            }
        }
        recalled
    }

    /// Counts a request that is asked of legacy instead.
    pub(crate) fn asked_of_legacy(&self, route: RouteId) {
        self.routes[route.index()].recalled.inc();
    }

    /// Nothing in here can panic half way.
    fn locked(&self, route: RouteId, shard: usize) -> MutexGuard<'_, Shard> {
        self.routes[route.index()].shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitedOn {
    /// A connection of pingora's. `None` for one of our own making, which has no number (see
    /// `upstream/handshake.rs`); its request then waits as long as it must.
    pub(crate) fn new(number: RawFd, digest: Option<&Digest>) -> Option<Self> {
        let socket = digest?.socket_digest.as_ref().filter(|_| number >= 0)?;
        let addresses = [*socket.local_addr()?.as_inet()?, *socket.peer_addr()?.as_inet()?];
        Some(Self { number, addresses })
    }

    /// One that has ended already is as good, and another one that has got its number meanwhile is left alone.
    fn shut_down(self) {
        // SAFETY: whatever has the number, nothing is done to it but to ask for a handle, which is refused where
        // nothing has it.
        let handle = unsafe { BorrowedFd::borrow_raw(self.number) }.try_clone_to_owned();
        let Ok(connection) = handle.map(TcpStream::from) else { return };
        if Self::addresses(&connection).is_some_and(|addresses| addresses == self.addresses) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn addresses(connection: &TcpStream) -> Option<[SocketAddr; 2]> {
        connection.local_addr().and_then(|ours| Ok([ours, connection.peer_addr()?])).ok()
    }
}

impl Place {
    /// Leaves. `true` when the request was recalled, and its connection is gone.
    pub(crate) fn leave(mut self) -> bool {
        !self.forget()
    }

    /// `false` when there was nothing to forget any more.
    fn forget(&mut self) -> bool {
        let Some(slot) = self.slot.take() else { return false };
        let mut waiting = self.recall.locked(self.route, self.shard);
        waiting.recalled == self.recalled && waiting.connections.try_remove(slot).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Whether a request may be carried out by both sides: it changes nothing, or the route's `retries` say so.
pub(crate) fn may_run_twice(method: &Method, resilience: &Resilience) -> bool {
    method.is_safe() || resilience.retries.as_ref().is_some_and(|retries| retries.methods.contains(method))
}

/// Whether the body, of which so much has been read, is sure to be kept until its end.
pub(crate) fn keeps_body(headers: &HeaderMap, read_whole: bool) -> bool {
    let declared = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    read_whole || declared().is_some_and(|length| length <= KEPT_BODY_BYTES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::Read as _, net::TcpListener, os::fd::AsRawFd as _};

    use pingora::protocols::SocketDigest;

    use super::*;
    use crate::{
        decision::Side,
        resilience::{FailureKinds, RetryPolicy},
        route_table::{Route, Sides, UpstreamId},
    };

    fn recall() -> Arc<Recall> {
        let sides =
            Sides::Both { legacy: UpstreamId(0), candidate: UpstreamId(Side::Candidate.index()), fallback: true };
        let route = |name: &str| Route::new(name, format!("/{name}/{{id}}").parse().unwrap(), sides);
        Arc::new(Recall::new(&RouteTable::new(vec![route("a"), route("b")]).unwrap()))
    }

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn waited_on(connection: &TcpStream) -> WaitedOn {
        let digest = SocketDigest::from_raw_fd(connection.as_raw_fd());
        let digest = Digest { socket_digest: Some(Arc::new(digest)), ..Digest::default() };
        WaitedOn::new(connection.as_raw_fd(), Some(&digest)).unwrap()
    }

    fn enter(recall: &Arc<Recall>, route: usize, connection: &TcpStream) -> Place {
        recall.enter(RouteId(route), Bucket::random(), waited_on(connection))
    }

    #[test]
    fn a_recalled_request_stops_waiting_and_knows_why() {
        let recall = recall();
        let (mut near, _far) = connection();
        let place = enter(&recall, 0, &near);
        assert_eq!(recall.recall(RouteId(0)), 1);
        assert_eq!(near.read(&mut [0]).unwrap(), 0, "the wait is over");
        assert!(place.leave());
        assert_eq!(recall.recall(RouteId(0)), 0);
    }

    #[test]
    fn a_request_that_was_answered_or_is_of_another_route_is_left_alone() {
        let recall = recall();
        let (near, mut far) = connection();
        far.set_nonblocking(true).unwrap();
        assert!(!enter(&recall, 0, &near).leave());
        drop(enter(&recall, 0, &near));
        let other = enter(&recall, 1, &near);
        assert_eq!(recall.recall(RouteId(0)), 0);
        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it is open");
        assert!(!other.leave());
    }

    #[test]
    fn another_connection_that_has_the_number_meanwhile_is_left_alone() {
        let recall = recall();
        let ((ended, _far), (near, mut far)) = (connection(), connection());
        far.set_nonblocking(true).unwrap();
        let other = WaitedOn { number: near.as_raw_fd(), ..waited_on(&ended) };
        let place = recall.enter(RouteId(0), Bucket::random(), other);
        assert_eq!(recall.recall(RouteId(0)), 1);
        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it is open");
        assert!(place.leave(), "its request was recalled all the same");
    }

    #[test]
    fn a_connection_without_a_number_is_not_entered() {
        assert_eq!(WaitedOn::new(-1, Some(&Digest::default())), None);
        assert_eq!(WaitedOn::new(3, None), None);
    }

    #[test]
    fn what_changes_something_runs_once_unless_the_route_says_otherwise() {
        let none = Resilience::default();
        assert!(may_run_twice(&Method::GET, &none) && !may_run_twice(&Method::PUT, &none));
        let retries = RetryPolicy {
            attempts: 1,
            on: FailureKinds::new([]),
            methods: vec![Method::PUT],
            backoff: std::time::Duration::ZERO,
            backoff_max: std::time::Duration::ZERO,
        };
        let some = Resilience { retries: Some(retries), ..none };
        assert!(may_run_twice(&Method::PUT, &some) && !may_run_twice(&Method::POST, &some));
    }

    #[test]
    fn a_body_is_kept_when_it_is_here_or_says_that_it_is_short() {
        let length = |length: &str| HeaderMap::from_iter([(header::CONTENT_LENGTH, length.parse().unwrap())]);
        assert!(keeps_body(&HeaderMap::new(), true) && !keeps_body(&HeaderMap::new(), false));
        assert!(keeps_body(&length("65536"), false) && !keeps_body(&length("65537"), false));
    }
}
