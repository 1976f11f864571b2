//! Requests that stand for those that were counted with them, each by its trace.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::TraceContext;

/// The exemplars of this process, as `prometheus::default_registry` has its metrics.
static SERIES: Mutex<BTreeMap<String, Arc<Exemplars>>> = Mutex::new(BTreeMap::new());

/// The latest exemplars of one series: of a counter one, of a histogram one for each bucket.
#[derive(Debug)]
pub struct Exemplars {
    bounds: Box<[f64]>,
    latest: Mutex<Box<[Option<Exemplar>]>>,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exemplar {
    trace: TraceContext,
    value: f64,
    /// Since 1970.
    at: Duration,
}

impl Exemplars {
    /// Those of a counter, shown with the series of this name and these labels.
    #[must_use]
    pub fn of_counter(name: &str, labels: &[(&str, &str)]) -> Arc<Self> {
        Self::of_histogram(name, labels, &[])
    }

    /// Those of a histogram whose buckets end at `bounds`, in order.
    #[must_use]
    pub fn of_histogram(name: &str, labels: &[(&str, &str)], bounds: &[f64]) -> Arc<Self> {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        let mut series = SERIES.lock().unwrap_or_else(PoisonError::into_inner);
        series.entry(key(name, labels.into_iter())).or_insert_with(|| Arc::new(Self::new(bounds))).clone()
    }

    fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.into(), latest: Mutex::new(vec![None; bounds.len() + 1].into()) }
    }

    /// Takes in a request that was counted or measured with this value.
    pub fn note(&self, value: f64, trace: TraceContext) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.latest()[place] = Some(Exemplar { trace, value, at });
    }

    /// That of a bucket by its place, or of the counter.
    pub(crate) fn get(&self, place: usize) -> Option<Exemplar> {
        self.latest().get(place).copied().flatten()
    }

    /// Each is whole or not there, whoever panicked.
    fn latest(&self) -> std::sync::MutexGuard<'_, Box<[Option<Exemplar>]>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exemplar {
    /// As OpenMetrics 1.0 writes it after a sample. Of the 128 characters that its labels may have, a trace id
    /// takes 40.
    pub(crate) fn write(&self, text: &mut String) {
        let Self { trace, value, at } = self;
        let _ = write!(text, " # {{trace_id=\"{}\"}} {value} {:.3}", trace.trace_id(), at.as_secs_f64());
    }
}

/// The exemplars of a series, if it has any. Labels come sorted by name.
pub(crate) fn find<'a>(name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Arc<Exemplars>> {
    SERIES.lock().unwrap_or_else(PoisonError::into_inner).get(&key(name, labels)).cloned()
}

/// What cannot be part of a name or a value's UTF-8 keeps the parts apart.
fn key<'a>(name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    labels.fold(name.to_owned(), |mut key, (name, value)| {
        let _ = write!(key, "\0{name}\0{value}");
        key
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_keeps_the_latest() {
        let exemplars = Exemplars::new(&[0.1, 1.0]);
        let [first, second, third] = [(); 3].map(|()| TraceContext::generate());
        for (value, trace) in [(0.1, first), (0.5, first), (1.0, second), (7.0, third)] {
            exemplars.note(value, trace);
        }
        let traces = [0, 1, 2, 3].map(|place| exemplars.get(place).map(|exemplar| exemplar.trace));
        assert_eq!(traces, [Some(first), Some(second), Some(third), None]);
    }
}
