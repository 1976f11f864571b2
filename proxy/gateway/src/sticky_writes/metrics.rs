use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::{decision::Side, metrics::names};

const WELL_FORMED: &str = "the names and labels are well-formed";

/// What is counted of notes.
pub(super) struct StickyMetrics {
    written: IntCounterVec,
    broken: IntCounterVec,
    pub(super) crowded_out: IntCounter,
}

/// One route's.
pub(super) struct RouteCounters {
    pub(super) written: [IntCounter; 2],
    pub(super) broken: IntCounter,
}

impl StickyMetrics {
    pub(super) fn new() -> Self {
        let counters =
            |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels).expect(WELL_FORMED);
        let crowded_out = IntCounter::new(names::STICKY_CROWDED_OUT, "Keys forgotten because there were too many.");
        Self {
            written: counters(names::STICKY_WRITES, "Writes after which a key stays on a side.", &["route", "side"]),
            broken: counters(names::STICKY_BROKEN, "Requests that left the side of their key's write.", &["route"]),
            crowded_out: crowded_out.expect(WELL_FORMED),
        }
    }

    pub(super) fn of(&self, route: &str) -> RouteCounters {
        RouteCounters {
            written: Side::ALL.map(|side| self.written.with_label_values(&[route, side.as_str()])),
            broken: self.broken.with_label_values(&[route]),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.written.clone()))?;
        registry.register(Box::new(self.broken.clone()))?;
        registry.register(Box::new(self.crowded_out.clone()))
    }
}
