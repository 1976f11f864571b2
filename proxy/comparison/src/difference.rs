//! What comes of a comparison.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::path::Path;

/// The sort of a difference. Which side is wrong it does not say: legacy is what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Another status code. Headers and body are not looked at then: they follow from it.
    Status,
    /// Legacy has it, the candidate does not.
    Missing,
    /// The candidate has it, legacy does not.
    Unexpected,
    /// Another JSON type, or a body of another sort (JSON, text, binary).
    Type,
    /// Another value of the same type.
    Value,
    /// The same elements or header values in another order.
    Order,
    /// One side's body is over a limit that the other's is within.
    TooComplex,
}

impl Kind {
    /// All of them, in the order they are declared.
    pub const ALL: [Self; 7] =
        [Self::Status, Self::Missing, Self::Unexpected, Self::Type, Self::Value, Self::Order, Self::TooComplex];

    /// The name in API, metrics and store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::Type => "type",
            Self::Value => "value",
            Self::Order => "order",
            Self::TooComplex => "too_complex",
        }
    }

    /// Whether two answers of legacy may differ so without either being wrong. A status or a body
    /// out of bounds is never noise.
    #[must_use]
    pub const fn may_be_noise(self) -> bool {
        !matches!(self, Self::Status | Self::TooComplex)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One place where two answers differ. The values are redacted and cut: safe to store and to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    pub path: Path,
    /// The sort of difference.
    pub kind: Kind,
    /// What legacy has there; `None` when it has nothing.
    pub legacy: Option<String>,
    /// What the candidate has there; `None` when it has nothing.
    pub candidate: Option<String>,
}

/// All differences of one sort at one generalised path: what a defect looks like over many answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cluster {
    /// The path with `[*]` for every index, as [`Path::general`].
    pub path: Box<str>,
    /// The sort of difference.
    pub kind: Kind,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path)
    }
}

/// Whether two answers are the same. Each comparison has exactly one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// They are the same; numbers within a tolerance and texts that both match a pattern are.
    Equal,
    /// They are not, and no rule or mask covers it.
    Different,
    /// They differ only where a rule says `ignore`, or where legacy differs from itself.
    Ignored,
    /// It cannot be told.
    NotCompared(Obstacle),
}

/// Why two answers cannot be compared. None of these is a statement about the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// Both bodies are nested too deep, have too many values, or unpack to too much; and they are not
    /// the same bytes.
    OverLimits,
    /// Comparing them took more steps than are allowed.
    TooMuchWork,
    /// Both bodies are encoded in a way that is not known here; and they are not the same bytes.
    Encoding,
}

impl Obstacle {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OverLimits, Self::TooMuchWork, Self::Encoding];

    /// The name in API and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OverLimits => "over_limits",
            Self::TooMuchWork => "too_much_work",
            Self::Encoding => "encoding",
        }
    }
}

/// What comes of comparing two answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Whether they are the same.
    pub outcome: Outcome,
    /// Where they differ: a few of each cluster, bounded by [`crate::LimitsConfig`].
    pub differences: Vec<Difference>,
    /// Every sort of difference with its number, also of those that are not in `differences`; at most
    /// as many as differences are kept.
    pub clusters: Vec<(Cluster, usize)>,
    /// What masks hid, with the number of times.
    pub masked: Vec<(Cluster, usize)>,
    /// How many differences a rule said to ignore.
    pub ignored: usize,
    /// Clusters that a mask would have hidden, but more of this document than the cap allows.
    pub over_cap: Vec<Cluster>,
}

impl Comparison {
    pub(crate) fn empty(outcome: Outcome) -> Self {
        Self {
            outcome,
            differences: Vec::new(),
            clusters: Vec::new(),
            masked: Vec::new(),
            ignored: 0,
            over_cap: Vec::new(),
        }
    }
}

/// A text of at most `most` bytes; one that was cut ends in `…`.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(most)]))
}
