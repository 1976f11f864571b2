//! What only the candidate can serve, and legacy therefore cannot after a rollback: keys that came into being
//! on the new side in a form that the old one does not know.
//!
//! A rollback needs nothing from the candidate, so it cannot ask then. The gateway asks before, now and
//! again, and keeps the last answer; a rollback lists it with its age. It is never a reason not to roll back.
//!
//! The candidate answers a `GET` with `{"keys": ["…"], "count": 3}`: some of the keys, and how many there
//! are in all, which may be left out when the list is whole.

mod watch;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use layered_config::{HumanDuration, Report};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub(crate) use watch::OnlyCandidateWatch;

use crate::{
    metrics::names,
    rollout::MAX_KEY_BYTES,
    route_table::{RouteId, RouteTable},
};

/// Whom to ask about one route.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnlyCandidateConfig {
    /// Where the candidate lists the keys.
    pub url: String,
    /// How often it is asked.
    #[serde(default = "interval")]
    pub interval: HumanDuration,
    /// The longest an answer may take.
    #[serde(default = "timeout")]
    pub timeout: HumanDuration,
    /// The most keys that are kept; more are counted only.
    #[serde(default = "max_keys")]
    pub max_keys: usize,
}

fn interval() -> HumanDuration {
    HumanDuration::from_secs(30)
}

fn timeout() -> HumanDuration {
    HumanDuration::from_secs(5)
}

fn max_keys() -> usize {
    1_000
}

/// A checked [`OnlyCandidateConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlyCandidateSource {
    pub(crate) url: Url,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_keys: usize,
}

impl OnlyCandidateSource {
    /// The longest answer that is read, in bytes.
    fn answer_limit_bytes(&self) -> usize {
        // A key may take up to six bytes for each of its own in JSON; most take little more than one.
        (self.max_keys + 4).saturating_mul(MAX_KEY_BYTES + 4)
    }
}

impl OnlyCandidateConfig {
    /// Makes the source, reporting what is wrong with it.
    pub(crate) fn compile(&self, is_split: bool, report: &mut Report) -> Option<OnlyCandidateSource> {
        if !is_split {
            let fix = "remove this table, or give the route `legacy` and `candidate`";
            report.problem("", "the route has one side only", fix);
        }
        for (key, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"5s\"");
            }
        }
        if self.max_keys == 0 || self.max_keys > MOST_KEYS {
            report.problem("max_keys", format!("it is not between 1 and {MOST_KEYS}"), "write a number such as 1000");
        }
        let url = Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            report.problem(
                "url",
                "it is no web address",
                "write an address such as \"http://candidate:8081/only-here\"",
            );
        }
        let (interval, timeout, max_keys) = (self.interval.get(), self.timeout.get(), self.max_keys);
        url.map(|url| OnlyCandidateSource { url, interval, timeout, max_keys })
    }
}

/// An answer is held in memory, once for each route.
const MOST_KEYS: usize = 10_000;

/// What the candidate said last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    keys: Vec<String>,
    count: u64,
    heard: Instant,
}

/// The last answer about every route.
pub(crate) struct OnlyCandidate {
    routes: Box<[Option<Watched>]>,
    gauges: [IntGaugeVec; 2],
}

struct Watched {
    route: String,
    source: OnlyCandidateSource,
    known: ArcSwapOption<Known>,
    count: IntGauge,
    heard: IntGauge,
}

/// The last answer about one route, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OnlyCandidateView {
    keys: Vec<String>,
    /// How many there are; `null` when the candidate has not answered since this gateway started.
    count: Option<u64>,
    /// Seconds since that answer.
    age_seconds: Option<f64>,
}

impl OnlyCandidate {
    pub(crate) fn new(table: &RouteTable) -> Self {
        let gauges =
            |name, help| IntGaugeVec::new(Opts::new(name, help), &["route"]).expect("name and label are well-formed");
        let count = gauges(names::ONLY_CANDIDATE_KEYS, "Keys that only the candidate can serve, as it said last.");
        let heard = gauges(names::ONLY_CANDIDATE_HEARD, "When it last said so, Unix time.");
        let watched = |(_, route): (RouteId, &crate::route_table::Route)| {
            let source = route.only_candidate.clone()?;
            Some(Watched {
                route: route.name.clone(),
                source,
                known: ArcSwapOption::empty(),
                count: count.with_label_values(&[&route.name]),
                heard: heard.with_label_values(&[&route.name]),
            })
        };
        Self { routes: table.iter().map(watched).collect(), gauges: [count, heard] }
    }

    /// # Errors
    /// When the registry has metrics of these names already.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        self.gauges.iter().try_for_each(|gauges| registry.register(Box::new(gauges.clone())))
    }

    /// What the candidate said last of this route; `None` where nobody asks it.
    pub(crate) fn view(&self, route: RouteId) -> Option<OnlyCandidateView> {
        let watched = self.routes[route.index()].as_ref()?;
        Some(match watched.known.load_full() {
            None => OnlyCandidateView { keys: Vec::new(), count: None, age_seconds: None },
            Some(known) => OnlyCandidateView {
                keys: known.keys.clone(),
                count: Some(known.count),
                age_seconds: Some(known.heard.elapsed().as_secs_f64()),
            },
        })
    }
}

impl Watched {
    fn hear(&self, known: Known) {
        self.count.set(i64::try_from(known.count).unwrap_or(i64::MAX));
        self.heard.set(chrono::Utc::now().timestamp());
        self.known.store(Some(Arc::new(known)));
    }
}

/// What the candidate answers.
#[derive(Deserialize)]
struct Listed {
    keys: Vec<String>,
    count: Option<u64>,
}

/// Reads an answer; keeps so many keys, and no key that could be none of ours.
fn read(answer: &[u8], max_keys: usize) -> Result<Known, serde_json::Error> {
    let Listed { mut keys, count } = serde_json::from_slice(answer)?;
    let listed = keys.len() as u64;
    keys.retain(|key| key.len() <= MAX_KEY_BYTES);
    keys.truncate(max_keys);
    Ok(Known { keys, count: count.unwrap_or(0).max(listed), heard: Instant::now() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(url: &str) -> OnlyCandidateConfig {
        OnlyCandidateConfig { url: url.to_owned(), interval: interval(), timeout: timeout(), max_keys: max_keys() }
    }

    #[test]
    fn an_answer_is_kept_up_to_the_limit_and_counted_whole() {
        let known = read(br#"{"keys": ["a", "b", "c"]}"#, 2).unwrap();
        assert_eq!((known.keys, known.count), (vec!["a".to_owned(), "b".to_owned()], 3));
        assert_eq!(read(br#"{"keys": ["a"], "count": 70}"#, 2).unwrap().count, 70);
        let long = format!(r#"{{"keys": ["{}"]}}"#, "k".repeat(MAX_KEY_BYTES + 1));
        assert!(read(long.as_bytes(), 2).unwrap().keys.is_empty(), "it can be no key of a pin");
        for bad in ["", "[]", "{}", r#"{"keys": "a"}"#, r#"{"keys": [1]}"#, r#"{"keys": [], "count": -1}"#] {
            assert!(read(bad.as_bytes(), 2).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_settings_are_named() {
        let clean = |config: &OnlyCandidateConfig, is_split| {
            let mut report = Report::default();
            let source = config.compile(is_split, &mut report);
            (source.is_some(), report.is_clean())
        };
        let good = config("http://candidate:8081/only-here");
        assert_eq!(clean(&good, true), (true, true));
        assert_eq!(clean(&good, false), (true, false));
        for url in ["", "candidate/only-here", "ftp://candidate/x"] {
            assert_eq!(clean(&config(url), true), (false, false), "{url}");
        }
        assert_eq!(clean(&OnlyCandidateConfig { max_keys: 0, ..good.clone() }, true), (true, false));
        assert_eq!(clean(&OnlyCandidateConfig { interval: HumanDuration::from_secs(0), ..good }, true), (true, false));
    }
}
