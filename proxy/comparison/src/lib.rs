//! Whether two answers to one request are the same, and where they are not.
//!
//! The crate is pure: answers in, [`Comparison`] out. It does no I/O, keeps no clock, and its time and
//! memory are bounded whatever the answers are.
//!
//! - [`compare`] holds the answers of legacy and candidate against each other: status, chosen header
//!   fields, and the body, JSON by path.
//! - [`Rules`] say what counts as the same on a route: ignored places, patterns for ids and times,
//!   tolerances, shapes, sets, renamed members. A rule is about the place that its [`Selector`] names,
//!   never about a neighbour.
//! - [`NoiseLearner`] learns from pairs of legacy's own answers where legacy differs from itself, and
//!   makes [`Masks`] of it. A mask hides one [`Kind`] of difference at one path; it expires, and all
//!   of them together hide no more than a set share of an answer.
//! - [`Redaction`] hides secrets. Differences are redacted when they are made; a request or an answer is
//!   redacted before it is stored.
//! - A [`Cluster`] is what the differences of many answers have in common; a [`Shape`] is what many
//!   requests have in common.
//!
//! ```
//! use comparison::{Answer, Kind, Masks, Outcome, Rules, RulesConfig, compare};
//! use http::{HeaderMap, HeaderValue};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("content-type", HeaderValue::from_static("application/json"));
//! let rules = Rules::compile(&RulesConfig::default()).unwrap();
//! let legacy = Answer { status: 200, headers: &headers, body: br#"{"id": 1, "total": 10.50}"# };
//! let candidate = Answer { status: 200, headers: &headers, body: br#"{"total": 10.5, "id": 1}"# };
//! assert_eq!(compare(&rules, &Masks::none(), &legacy, &candidate).outcome, Outcome::Equal);
//!
//! let candidate = Answer { body: br#"{"total": 10.49, "id": 1}"#, ..candidate };
//! let comparison = compare(&rules, &Masks::none(), &legacy, &candidate);
//! assert_eq!(comparison.differences[0].path.as_str(), "$.total");
//! assert_eq!(comparison.differences[0].kind, Kind::Value);
//! ```

mod answer;
mod compare;
mod content;
mod difference;
mod json;
mod noise;
mod path;
mod redaction;
mod rules;
mod selector;
mod shape;
mod walk;

pub use answer::Answer;
pub use compare::compare;
pub use difference::{Cluster, Comparison, Difference, Kind, Obstacle, Outcome};
pub use noise::{Mask, Masks, NoiseLearner, NoiseSettings};
pub use path::{MAX_PATH_BYTES, Path};
pub use redaction::{REDACTED, RedactedBody, Redaction};
pub use rules::{
    LimitsConfig, MAX_RULES, Pattern, RedactionConfig, RuleConfig, RuleKind, RuleProblem, Rules, RulesConfig,
};
pub use selector::{MAX_SELECTOR_BYTES, Selector, SelectorProblem};
pub use shape::{MAX_SHAPE_BYTES, Shape};
