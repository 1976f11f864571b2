//! What the migration tool last said of a slice: the gateway has no address of the databases, so whoever has tells it.
//!
//! Reports are shown and never acted upon. They are in this process' memory alone: it starts and serves without them,
//! and a tool that runs says it again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::route_table::SliceId;

/// A report that is older says nothing of today. `db retire` is to be asked every day.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What a report is about; of each there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum About {
    /// Copy, streams in both directions, quarantine.
    Streams,
    /// The comparison of rows.
    Verify,
    /// A cutover that is planned or done.
    Cutover,
    /// The same in the other direction.
    Rollback,
    /// Who still uses legacy's tables.
    Retire,
}

/// One report.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Whose token it came with.
    pub(crate) by: String,
    /// By this machine's clock.
    pub(crate) at: DateTime<Utc>,
    said: Value,
    came: Instant,
}

impl Report {
    pub(crate) fn new(by: &str, said: Value) -> Self {
        Self { by: by.to_owned(), at: Utc::now(), said, came: Instant::now() }
    }

    /// What the tool said.
    pub(crate) fn said(&self) -> &Value {
        &self.said
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.came)
    }
}

/// The last reports of every slice.
#[derive(Default)]
pub(crate) struct Reports {
    last: Mutex<BTreeMap<(SliceId, About), Report>>,
}

impl Reports {
    /// In place of the last one about the same.
    pub(crate) fn put(&self, slice: SliceId, about: About, report: Report) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert((slice, about), report);
    }

    /// The last one, unless it is too old.
    pub(crate) fn get(&self, slice: SliceId, about: About, now: Instant) -> Option<Report> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, report| report.age(now) < KEPT);
        last.get(&(slice, about)).cloned()
    }

    /// What there are reports about, with whose they are, since when, and how old.
    pub(crate) fn known(&self, slice: SliceId, now: Instant) -> BTreeMap<About, Known> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let of_slice = last.iter().filter(|((of, _), report)| *of == slice && report.age(now) < KEPT);
        of_slice
            .map(|((_, about), report)| {
                let age_seconds = report.age(now).as_secs_f64();
                (*about, Known { by: report.by.clone(), at: report.at, age_seconds })
            })
            .collect()
    }
}

/// That there is a report.
#[derive(Debug, Serialize)]
pub(crate) struct Known {
    by: String,
    at: DateTime<Utc>,
    age_seconds: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_report_stands_until_it_is_too_old() {
        let (reports, slice, other) = (Reports::default(), SliceId::new(0), SliceId::new(1));
        reports.put(slice, About::Streams, Report::new("tool", json!({"rows": 1})));
        reports.put(slice, About::Streams, Report::new("tool", json!({"rows": 2})));
        reports.put(slice, About::Retire, Report::new("tool", json!([])));
        let now = Instant::now();
        assert_eq!(reports.get(slice, About::Streams, now).unwrap().said(), &json!({"rows": 2}));
        assert!(reports.get(slice, About::Verify, now).is_none());
        assert_eq!(reports.known(slice, now).keys().copied().collect::<Vec<_>>(), [About::Streams, About::Retire]);
        assert!(reports.known(other, now).is_empty());
        let later = now + KEPT;
        assert!(reports.known(slice, later).is_empty());
        assert!(reports.get(slice, About::Streams, later).is_none());
    }
}
