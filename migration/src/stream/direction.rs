use std::{fmt, str::FromStr};

use serde::Serialize;

/// Which way changes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the monolith's database to the candidate's.
    Forward,
    /// From the candidate's database to the monolith's.
    Reverse,
}

impl Direction {
    /// The word for it in the ledger and in the names of slots.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }

    /// Of two things, the monolith's and the candidate's, the one that changes come from, then the
    /// one that they go to.
    #[must_use]
    pub fn ends<T>(self, monolith: T, candidate: T) -> (T, T) {
        match self {
            Self::Forward => (monolith, candidate),
            Self::Reverse => (candidate, monolith),
        }
    }

    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forward" => Ok(Self::Forward),
            "reverse" => Ok(Self::Reverse),
            other => Err(format!("`{other}` is not a direction: write forward or reverse")),
        }
    }
}
