//! A mismatch as it is kept: redacted, bounded, and enough to send the request again.

use chrono::{DateTime, Utc};
use comparison::{Answer, Comparison, Kind, Rules, Shape};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Two answers to one request that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mismatch {
    pub(crate) id: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) route: String,
    /// What the request has in common with others; see [`Shape`].
    pub(crate) shape: String,
    /// The side whose answer the client got.
    pub(crate) served_by: String,
    pub(crate) trace_id: String,
    /// The spans in that trace: of the request that was served, and of its copy.
    pub(crate) served_span_id: String,
    pub(crate) copied_span_id: String,
    pub(crate) request: KeptRequest,
    pub(crate) legacy: KeptAnswer,
    pub(crate) candidate: KeptAnswer,
    pub(crate) differences: Vec<KeptDifference>,
    pub(crate) clusters: Vec<KeptCluster>,
    /// Paths, generalised, at which noise was masked.
    pub(crate) masked: Vec<String>,
}

/// A request, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRequest {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: KeptBody,
}

/// An answer, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: KeptBody,
}

/// A body, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptBody {
    pub(crate) text: String,
    /// Whether that is all of it, but for what is hidden.
    pub(crate) whole: bool,
}

/// One place where the answers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptDifference {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) legacy: Option<String>,
    pub(crate) candidate: Option<String>,
}

/// A sort of difference, with how often it is in this mismatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptCluster {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) count: usize,
}

/// What a mismatch is made of. Nothing of it is kept as it is.
pub(crate) struct Evidence<'a> {
    pub(crate) route: &'a str,
    /// The template of the route's path.
    pub(crate) template: &'a str,
    pub(crate) served_by: &'a str,
    pub(crate) trace_id: String,
    pub(crate) span_ids: [String; 2],
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) legacy: Answer<'a>,
    pub(crate) candidate: Answer<'a>,
    pub(crate) comparison: &'a Comparison,
}

impl Mismatch {
    /// Redacts and bounds the evidence; `body_limit` is what is kept of each body, in bytes.
    pub(crate) fn of(evidence: Evidence<'_>, rules: &Rules, body_limit: usize) -> Self {
        let redaction = rules.redaction();
        let body = |headers: &HeaderMap, body: &[u8]| {
            let kept = redaction.body(headers, body, rules.limits(), body_limit);
            KeptBody { text: kept.text, whole: kept.whole }
        };
        let answer = |answer: &Answer<'_>| KeptAnswer {
            status: answer.status,
            headers: redaction.headers(answer.headers),
            body: body(answer.headers, answer.body),
        };
        let Evidence { comparison, target, .. } = evidence;
        let query = target.split_once('?').map(|(_, query)| query);
        let [served_span_id, copied_span_id] = evidence.span_ids;
        Self {
            id: Uuid::now_v7(),
            at: Utc::now(),
            route: evidence.route.to_owned(),
            shape: Shape::new(evidence.method, evidence.template, query, Some(evidence.body)).to_string(),
            served_by: evidence.served_by.to_owned(),
            trace_id: evidence.trace_id,
            served_span_id,
            copied_span_id,
            request: KeptRequest {
                method: evidence.method.to_owned(),
                target: redaction.target(target),
                headers: redaction.headers(evidence.headers),
                body: body(evidence.headers, evidence.body),
            },
            legacy: answer(&evidence.legacy),
            candidate: answer(&evidence.candidate),
            differences: comparison.differences.iter().map(KeptDifference::of).collect(),
            clusters: comparison
                .clusters
                .iter()
                .map(|(cluster, count)| KeptCluster {
                    path: cluster.path.to_string(),
                    kind: cluster.kind,
                    count: *count,
                })
                .collect(),
            masked: comparison.masked.iter().map(|(cluster, _)| cluster.path.to_string()).collect(),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            id: self.id,
            at: self.at,
            route: self.route.clone(),
            shape: self.shape.clone(),
            clusters: self.clusters.clone(),
        }
    }
}

impl KeptDifference {
    fn of(difference: &comparison::Difference) -> Self {
        Self {
            path: difference.path.to_string(),
            kind: difference.kind,
            legacy: difference.legacy.clone(),
            candidate: difference.candidate.clone(),
        }
    }
}

/// A mismatch in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) id: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) route: String,
    pub(crate) shape: String,
    pub(crate) clusters: Vec<KeptCluster>,
}

/// All mismatches of one sort, kept or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterCount {
    pub(crate) route: String,
    /// Generalised: `[*]` for every index.
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// Answers that differed so.
    pub(crate) count: u64,
    pub(crate) first_at: DateTime<Utc>,
    pub(crate) last_at: DateTime<Utc>,
    /// A mismatch that shows it, which may be gone by now.
    pub(crate) example: Uuid,
}

impl ClusterCount {
    /// What one mismatch adds.
    pub(crate) fn of(mismatch: &Mismatch) -> impl Iterator<Item = Self> {
        mismatch.clusters.iter().map(|cluster| Self {
            route: mismatch.route.clone(),
            path: cluster.path.clone(),
            kind: cluster.kind,
            count: 1,
            first_at: mismatch.at,
            last_at: mismatch.at,
            example: mismatch.id,
        })
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.route == other.route && self.path == other.path && self.kind == other.kind
    }

    /// With what another one counted. The example is the latest, which is kept the longest.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.example = other.example;
    }
}

/// Counts by cluster, of which there are at most so many.
#[derive(Debug, Default)]
pub(crate) struct ClusterCounts(Vec<ClusterCount>);

/// The most clusters that are told apart. Their paths come from answers, so there is a bound.
pub(crate) const MAX_CLUSTERS: usize = 1_000;

impl ClusterCounts {
    pub(crate) fn new(counts: Vec<ClusterCount>) -> Self {
        Self(counts)
    }

    /// Adds counts. In a full table a new cluster takes the place of the one that was not seen longest.
    pub(crate) fn add(&mut self, counted: ClusterCount) {
        if let Some(known) = self.0.iter_mut().find(|known| known.is_same(&counted)) {
            return known.add(&counted);
        }
        if self.0.len() >= MAX_CLUSTERS
            && let Some(oldest) = (0..self.0.len()).min_by_key(|index| self.0[*index].last_at)
        {
            self.0.swap_remove(oldest);
        }
        self.0.push(counted);
    }

    pub(crate) fn take(&mut self) -> Vec<ClusterCount> {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn all(&self) -> &[ClusterCount] {
        &self.0
    }
}

/// A mismatch for tests of the stores; of routes `even` and `odd` by turns.
#[cfg(test)]
pub(super) fn example(number: usize) -> Mismatch {
    use comparison::{Masks, RulesConfig, compare};

    let rules = Rules::compile(&RulesConfig::default()).unwrap();
    let (headers, one) = (HeaderMap::new(), format!("{{\"a\":{number}}}"));
    let answer = |body| Answer { status: 200, headers: &headers, body };
    let (legacy, candidate) = (answer(one.as_bytes()), answer(b"{}"));
    let evidence = Evidence {
        route: if number.is_multiple_of(2) { "even" } else { "odd" },
        template: "/a",
        served_by: "legacy",
        trace_id: String::new(),
        span_ids: [String::new(), String::new()],
        method: "GET",
        target: "/a",
        headers: &headers,
        body: b"",
        legacy,
        candidate,
        comparison: &compare(&rules, &Masks::none(), &legacy, &candidate),
    };
    Mismatch::of(evidence, &rules, 1_000)
}
