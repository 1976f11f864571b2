//! Read-your-writes: after a write through one side, the requests of that key stay on that side for a while,
//! which is as long as the other side may take to hear of the write.
//!
//! A write is a request with an unsafe method (RFC 9110, section 9.2.1) that was answered with 2xx or 3xx, or
//! that was sent and whose outcome nobody knows. It is noted before the client gets its answer, so that
//! even a request that follows at once finds the note.
//!
//! A note is about salt and key, so routes of one salt share it. A rollback of any of them voids their notes
//! for the candidate, by their epochs. A note for legacy never goes stale: going to legacy is always
//! allowed. An operator's pin goes before a note, a note before the weight. A candidate that takes no
//! request loses it to legacy in spite of a note, where the route allows that; it is counted.
//!
//! Notes are in this process's memory. With several gateways, requests of one key that reach different ones
//! are not held together; whoever balances load onto them may send a key to the same one, by a hash of it.

mod metrics;

use std::time::{Duration, Instant};

use http::Method;
use layered_config::{HumanDuration, Report};
use moka::{policy::EvictionPolicy, sync::Cache};
use prometheus::Registry;
use schemars::JsonSchema;
use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    decision::Side,
    rollout::Snapshot,
    route_table::{RouteId, RouteTable},
};
use metrics::{RouteCounters, StickyMetrics};

/// Read-your-writes of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteStickyWritesConfig {
    /// How long the requests of a key stay where it was written last.
    pub window: HumanDuration,
}

/// What all routes share.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StickyWritesConfig {
    /// The most keys that are remembered; one is about 200 bytes. Of more, those go that were used the longest
    /// ago, which is counted.
    pub max_keys: u64,
}

impl Default for StickyWritesConfig {
    fn default() -> Self {
        Self { max_keys: 100_000 }
    }
}

impl StickyWritesConfig {
    pub(crate) fn validate(self, report: &mut Report) {
        if self.max_keys == 0 {
            report.problem("max_keys", "no key would be remembered", "write a number above 0");
        }
    }
}

impl RouteStickyWritesConfig {
    /// The window; `has_key` says whether the route's decisions are sticky to anything.
    pub(crate) fn compile(self, has_key: bool, report: &mut Report) -> Duration {
        if !has_key {
            report.problem("", "the route has no key that could stay anywhere", "set `key`, or remove this table");
        }
        let window = self.window.get();
        if window.is_zero() || window > LONGEST_WINDOW {
            report.problem("window", "it is not between 1 ms and 1 h", "write a duration such as \"30s\"");
        }
        window
    }
}

const LONGEST_WINDOW: Duration = Duration::from_secs(3_600);

/// How a request ended, as far as the key's data is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// It was answered with this status.
    Answered(u16),
    /// It was sent, and no answer came.
    Unknown,
}

impl WriteOutcome {
    /// Whether data may be other than before.
    fn may_have_written(self, method: &Method) -> bool {
        !method.is_safe()
            && match self {
                Self::Answered(status) => (200..400).contains(&status),
                Self::Unknown => true,
            }
    }
}

/// Where a key was written last.
#[derive(Debug, Clone, Copy)]
struct Note {
    side: Side,
    until: Instant,
    /// The sum of the epochs of the routes of its salt. Each only rises, and so does the sum.
    epochs: u64,
}

/// The notes of every route.
pub(crate) struct StickyWrites {
    routes: Box<[Option<StickyRoute>]>,
    notes: Cache<u64, Note>,
    metrics: StickyMetrics,
}

struct StickyRoute {
    window: Duration,
    salt: String,
    /// Every route of this salt, this one with them.
    group: Vec<RouteId>,
    counters: RouteCounters,
}

impl StickyWrites {
    pub(crate) fn new(config: StickyWritesConfig, table: &RouteTable) -> Self {
        let metrics = StickyMetrics::new();
        let sticky = |(_, route): (RouteId, &crate::route_table::Route)| {
            let window = route.sticky_writes?;
            let same_salt = table.iter().filter(|(_, other)| other.salt == route.salt);
            let group = same_salt.map(|(id, _)| id).collect();
            Some(StickyRoute { window, salt: route.salt.clone(), group, counters: metrics.of(&route.name) })
        };
        let routes: Box<[Option<StickyRoute>]> = table.iter().map(sticky).collect();
        let longest = routes.iter().flatten().map(|route| route.window).max().unwrap_or_default();
        let crowded_out = metrics.crowded_out.clone();
        let notes = Cache::builder()
            .max_capacity(config.max_keys)
            // A new write counts more than an old one that is often asked about.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(longest)
            .eviction_listener(move |_, _, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    crowded_out.inc();
                }
            })
            .build();
        Self { routes, notes, metrics }
    }

    /// # Errors
    /// When the registry has metrics of these names already.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        self.metrics.register(registry)
    }

    /// Where the requests of this key have to stay, if anywhere.
    pub(crate) fn held(&self, route: RouteId, key: Option<&str>, snapshot: &Snapshot, now: Instant) -> Option<Side> {
        let sticky = self.routes[route.index()].as_ref()?;
        let note = self.notes.get(&place(&sticky.salt, key?))?;
        let stands = now < note.until && (note.side == Side::Legacy || note.epochs == sticky.epochs(snapshot));
        stands.then_some(note.side)
    }

    /// Takes note of a request that ended on a side, if it may have written anything.
    pub(crate) fn note(
        &self,
        route: RouteId,
        key: Option<&str>,
        (method, outcome): (&Method, WriteOutcome),
        side: Side,
        snapshot: &Snapshot,
    ) {
        let (Some(sticky), Some(key)) = (&self.routes[route.index()], key) else { return };
        if !outcome.may_have_written(method) {
            return;
        }
        let note = Note { side, until: Instant::now() + sticky.window, epochs: sticky.epochs(snapshot) };
        self.notes.insert(place(&sticky.salt, key), note);
        sticky.counters.written[side.index()].inc();
    }

    /// Counts a request that went to legacy although its key was to stay on the candidate.
    pub(crate) fn broken(&self, route: RouteId) {
        if let Some(sticky) = &self.routes[route.index()] {
            sticky.counters.broken.inc();
        }
    }
}

impl StickyRoute {
    fn epochs(&self, snapshot: &Snapshot) -> u64 {
        self.group.iter().map(|route| snapshot.get(*route).epoch).fold(0, u64::wrapping_add)
    }
}

/// As a bucket is found, but with all 64 bits: two keys in one place would only share a side for a while.
fn place(salt: &str, key: &str) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(salt.as_bytes());
    hash.update(&[0]);
    hash.update(key.as_bytes());
    hash.digest()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        limit::Policies,
        route_table::{Route, Sides, UpstreamId},
    };

    const WINDOW: Duration = Duration::from_secs(30);
    const OK: (&Method, WriteOutcome) = (&Method::POST, WriteOutcome::Answered(200));

    /// Two routes of one salt, and one of another.
    fn table() -> RouteTable {
        let sides = Sides::Both { legacy: UpstreamId(0), candidate: UpstreamId(1), fallback: true };
        let route = |name: &str, salt: &str| Route {
            salt: salt.to_owned(),
            sticky_writes: Some(WINDOW),
            ..Route::new(name, format!("/{name}/{{id}}").parse().unwrap(), sides)
        };
        RouteTable::new(vec![route("write", "one"), route("read", "one"), route("other", "two")]).unwrap()
    }

    fn id(table: &RouteTable, name: &str) -> RouteId {
        table.by_name(name).unwrap()
    }

    struct Setup {
        table: RouteTable,
        snapshot: Snapshot,
        sticky: StickyWrites,
    }

    impl Setup {
        fn new() -> Self {
            let table = table();
            let snapshot = Snapshot::initial(&table, &Policies::default());
            let sticky = StickyWrites::new(StickyWritesConfig::default(), &table);
            Self { table, snapshot, sticky }
        }

        fn write(&self, route: &str, request: (&Method, WriteOutcome), side: Side) {
            self.sticky.note(id(&self.table, route), Some("k"), request, side, &self.snapshot);
        }

        fn held(&self, route: &str, key: &str, later: Duration) -> Option<Side> {
            self.sticky.held(id(&self.table, route), Some(key), &self.snapshot, Instant::now() + later)
        }
    }

    #[test]
    fn a_key_stays_where_it_was_written_for_the_window_on_every_route_of_its_salt() {
        let setup = Setup::new();
        setup.write("write", OK, Side::Candidate);
        for route in ["write", "read"] {
            assert_eq!(setup.held(route, "k", Duration::ZERO), Some(Side::Candidate));
            assert_eq!(setup.held(route, "k", WINDOW + Duration::from_secs(1)), None, "the window is over");
            assert_eq!(setup.held(route, "another", Duration::ZERO), None);
        }
        assert_eq!(setup.held("other", "k", Duration::ZERO), None, "another salt");
        setup.write("read", OK, Side::Legacy);
        assert_eq!(setup.held("write", "k", Duration::ZERO), Some(Side::Legacy), "the last write counts");
    }

    #[test]
    fn only_what_may_have_written_is_noted() {
        let written = |request: (&Method, WriteOutcome)| {
            let setup = Setup::new();
            setup.write("write", request, Side::Candidate);
            setup.held("write", "k", Duration::ZERO).is_some()
        };
        let answered = WriteOutcome::Answered;
        for request in [OK, (&Method::PUT, answered(303)), (&Method::DELETE, WriteOutcome::Unknown)] {
            assert!(written(request), "{request:?}");
        }
        for request in [(&Method::GET, answered(200)), (&Method::POST, answered(404)), (&Method::POST, answered(503))] {
            assert!(!written(request), "{request:?}");
        }
    }

    #[test]
    fn a_rollback_of_any_route_of_the_salt_voids_the_candidate_and_nothing_else() {
        let mut setup = Setup::new();
        setup.write("write", OK, Side::Candidate);
        setup.snapshot = setup.snapshot.rolled_back(&[id(&setup.table, "other")]);
        assert_eq!(setup.held("read", "k", Duration::ZERO), Some(Side::Candidate), "no route of the salt");
        setup.snapshot = setup.snapshot.rolled_back(&[id(&setup.table, "read")]);
        assert_eq!(setup.held("write", "k", Duration::ZERO), None);
        setup.write("write", OK, Side::Legacy);
        setup.snapshot = setup.snapshot.rolled_back(&[id(&setup.table, "read")]);
        assert_eq!(setup.held("write", "k", Duration::ZERO), Some(Side::Legacy));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_writes_stay() {
        let table = table();
        let snapshot = Snapshot::initial(&table, &Policies::default());
        let sticky = StickyWrites::new(StickyWritesConfig { max_keys: 100 }, &table);
        let route = id(&table, "write");
        for key in 0..1_000 {
            sticky.note(route, Some(&key.to_string()), OK, Side::Candidate, &snapshot);
            sticky.notes.run_pending_tasks();
        }
        assert!(sticky.notes.entry_count() <= 100);
        assert!(sticky.held(route, Some("999"), &snapshot, Instant::now()).is_some());
        assert_eq!(sticky.metrics.crowded_out.get(), 900);
    }

    #[test]
    fn a_request_without_a_key_is_held_nowhere() {
        let setup = Setup::new();
        setup.sticky.note(RouteId(0), None, OK, Side::Candidate, &setup.snapshot);
        assert_eq!(setup.sticky.held(RouteId(0), None, &setup.snapshot, Instant::now()), None);
    }

    #[test]
    fn bad_settings_are_named() {
        let mut report = Report::default();
        let config = |window| RouteStickyWritesConfig { window: HumanDuration::from_secs(window) };
        config(30).compile(true, &mut report);
        assert!(report.is_clean());
        config(0).compile(false, &mut report);
        StickyWritesConfig { max_keys: 0 }.validate(&mut report);
        assert!(!report.is_clean());
    }
}
