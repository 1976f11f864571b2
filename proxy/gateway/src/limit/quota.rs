//! How much a policy allows: `100/s`, and how many at once.

use std::{borrow::Cow, fmt, num::NonZeroU32, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The largest number of requests in a rate.
const MAX_REQUESTS: u32 = 1_000_000;

/// The largest burst.
pub const MAX_BURST: u32 = 1_000_000;

/// Requests over a unit of time, written `100/s`, `600/min`, `1000/h` or `5000/d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: NonZeroU32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }

    const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

/// Why a text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateProblem {
    /// Not a number, a slash and a unit.
    #[error("expected a rate: requests over s, min, h or d, such as \"100/s\" or \"600/min\"")]
    Malformed,
    /// No requests, or too many.
    #[error("a rate is from 1 to {MAX_REQUESTS} requests over its unit")]
    OutOfRange,
}

impl Rate {
    /// How many requests the unit of time allows.
    #[must_use]
    pub fn requests(self) -> u32 {
        self.requests.get()
    }

    /// The length of the unit of time, in seconds.
    #[must_use]
    pub fn window_s(self) -> u32 {
        self.unit.seconds()
    }

    /// The requests of one second, at least one.
    fn one_second(self) -> NonZeroU32 {
        NonZeroU32::new(self.requests() / self.window_s()).unwrap_or(NonZeroU32::MIN)
    }
}

impl FromStr for Rate {
    type Err = RateProblem;

    fn from_str(text: &str) -> Result<Self, RateProblem> {
        let (requests, unit) = text.split_once('/').ok_or(RateProblem::Malformed)?;
        let unit = Unit::ALL.into_iter().find(|known| known.as_str() == unit.trim()).ok_or(RateProblem::Malformed)?;
        let digits = requests.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RateProblem::Malformed);
        }
        let requests = digits.parse().ok().filter(|requests: &NonZeroU32| requests.get() <= MAX_REQUESTS);
        Ok(Self { requests: requests.ok_or(RateProblem::OutOfRange)?, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.unit.as_str())
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "rate",
            "description": "Requests over a unit of time: \"100/s\", \"600/min\", \"1000/h\" or \"5000/d\".",
            "type": "string",
            "pattern": "^[0-9]+/(s|min|h|d)$"
        })
    }
}

/// What one key may use: `burst` requests at once, and then `rate`.
///
/// Over any stretch of time a key is admitted at most `rate × time + burst` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Quota {
    /// How fast used budget comes back.
    pub rate: Rate,
    /// How many requests may come at once.
    pub burst: NonZeroU32,
}

impl Quota {
    /// Without a burst it is what one second of the rate allows, at least one request.
    ///
    /// # Errors
    /// When the burst is 0 or above [`MAX_BURST`].
    pub fn new(rate: Rate, burst: Option<u32>) -> Result<Self, BurstProblem> {
        let burst = match burst {
            None => rate.one_second(),
            Some(burst) => NonZeroU32::new(burst).filter(|burst| burst.get() <= MAX_BURST).ok_or(BurstProblem)?,
        };
        Ok(Self { rate, burst })
    }
}

/// A burst that is 0 or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a burst is from 1 to {MAX_BURST} requests")]
pub struct BurstProblem;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for (text, requests, seconds) in
            [("100/s", 100, 1), ("600/min", 600, 60), ("1/h", 1, 3_600), ("1000000/d", 1_000_000, 86_400)]
        {
            let rate: Rate = text.parse().expect(text);
            assert_eq!((rate.requests(), rate.window_s(), rate.to_string().as_str()), (requests, seconds, text));
        }
        assert_eq!(" 5 / s ".parse::<Rate>().map(|rate| rate.to_string()), Ok("5/s".to_owned()));
        for text in ["", "100", "/s", "100/", "100/m", "100/S", "-1/s", "+1/s", "1.5/s", "1e3/s", "1/s/s", "\u{661}/s"]
        {
            assert_eq!(text.parse::<Rate>(), Err(RateProblem::Malformed), "{text}");
        }
        for text in ["0/s", "1000001/s", "99999999999999999999/s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateProblem::OutOfRange), "{text}");
        }
    }

    #[test]
    fn a_burst_that_is_not_given_is_one_second_of_the_rate() {
        let burst = |rate: &str, given| Quota::new(rate.parse().expect(rate), given).map(|quota| quota.burst.get());
        assert_eq!(burst("100/s", None), Ok(100));
        assert_eq!(burst("600/min", None), Ok(10));
        assert_eq!(burst("1/d", None), Ok(1));
        assert_eq!(burst("1/d", Some(7)), Ok(7));
        assert_eq!(burst("1/s", Some(0)), Err(BurstProblem));
        assert_eq!(burst("1/s", Some(MAX_BURST + 1)), Err(BurstProblem));
    }
}
