//! Firings that were due while nobody looked.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};

use crate::Schedule;

/// The most firings that are ever made up for at once: a trigger of every second that nobody looked after for a
/// night would otherwise be tens of thousands of events.
pub const MAX_MADE_UP_FOR: u16 = 1000;

/// What becomes of firings that were missed: due longer ago than a tolerance, because the scheduler was paused,
/// away, or had not begun yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedRuns {
    /// They are left out.
    Skip,
    /// One firing, for the earliest of them, stands for all: what the monolith does.
    Once,
    /// Each of the latest so many is fired, oldest first; those before them are left out.
    All(u16),
}

/// Text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of \"skip\", \"once\" and \"all:N\" with N from 1 to {MAX_MADE_UP_FOR}")]
pub struct InvalidPolicy(pub String);

impl FromStr for MissedRuns {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let invalid = || InvalidPolicy(text.chars().take(64).collect());
        match text {
            "skip" => Ok(Self::Skip),
            "once" => Ok(Self::Once),
            _ => {
                let digits =
                    text.strip_prefix("all:").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
                let number = digits.and_then(|digits| digits.parse().ok());
                number.filter(|number| (1..=MAX_MADE_UP_FOR).contains(number)).map(Self::All).ok_or_else(invalid)
            }
        }
    }
}

impl fmt::Display for MissedRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::Once => f.write_str("once"),
            Self::All(most) => write!(f, "all:{most}"),
        }
    }
}

/// What is to be done about a trigger that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The firings, oldest first, each by the time it was due.
    pub firings: Vec<DateTime<Utc>>,
    /// When the trigger is due next; after `now`. `None`: never again.
    pub next: Option<DateTime<Utc>>,
}

impl MissedRuns {
    /// What to do at `now` about a trigger that has been due since `due_at`.
    ///
    /// A firing that is late by no more than `tolerance` is none that was missed: it is fired under every
    /// policy. `due_at` itself is a firing even if the expression does not name it: the row said so.
    #[must_use]
    pub fn due(self, schedule: &Schedule, due_at: DateTime<Utc>, now: DateTime<Utc>, tolerance: TimeDelta) -> Due {
        let next = schedule.next_after(now);
        let firings = match self {
            Self::Once => vec![due_at],
            Self::All(most) => latest(schedule, due_at, now, usize::from(most)),
            Self::Skip if now - due_at <= tolerance => vec![due_at],
            // The first that is not too late; the tick before, because `next_after` looks strictly behind it.
            Self::Skip => {
                let on_time = schedule.next_after(now - tolerance - TimeDelta::microseconds(1));
                on_time.filter(|at| *at <= now).into_iter().collect()
            }
        };
        Due { firings, next }
    }
}

/// The latest `most` firings from `due_at` to `now`, found from their end, so that a year of seconds costs no more
/// than what is fired.
fn latest(schedule: &Schedule, due_at: DateTime<Utc>, now: DateTime<Utc>, most: usize) -> Vec<DateTime<Utc>> {
    let mut firings: Vec<_> = schedule.back_from(now).take_while(|at| *at > due_at).take(most).collect();
    if firings.len() < most {
        firings.push(due_at);
    }
    firings.reverse();
    firings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn due(policy: &str, expression: &str, due_at: &str, now: &str) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let schedule = Schedule::parse(expression, "UTC").expect("a schedule");
        let policy: MissedRuns = policy.parse().expect("a policy");
        let due = policy.due(&schedule, at(due_at), at(now), TimeDelta::seconds(5));
        (due.firings, due.next)
    }

    const MINUTELY: &str = "0 * * * * *";

    #[test]
    fn a_firing_on_time_is_fired_under_every_policy() {
        for policy in ["skip", "once", "all:3"] {
            let (firings, next) = due(policy, MINUTELY, "2026-01-01T00:01:00Z", "2026-01-01T00:01:00.2Z");
            assert_eq!(firings, [at("2026-01-01T00:01:00Z")], "{policy}");
            assert_eq!(next, Some(at("2026-01-01T00:02:00Z")), "{policy}");
        }
    }

    #[test]
    fn missed_runs_by_policy() {
        // Four were due: at 00:01, :02, :03 and :04, the last of them three seconds ago.
        let cases: [(&str, &[&str]); 6] = [
            ("skip", &["00:04:00"]),
            ("once", &["00:01:00"]),
            ("all:1", &["00:04:00"]),
            ("all:3", &["00:02:00", "00:03:00", "00:04:00"]),
            ("all:4", &["00:01:00", "00:02:00", "00:03:00", "00:04:00"]),
            ("all:9", &["00:01:00", "00:02:00", "00:03:00", "00:04:00"]),
        ];
        for (policy, expected) in cases {
            let (firings, next) = due(policy, MINUTELY, "2026-01-01T00:01:00Z", "2026-01-01T00:04:03Z");
            let expected: Vec<_> = expected.iter().map(|time| at(&format!("2026-01-01T{time}Z"))).collect();
            assert_eq!(firings, expected, "{policy}");
            assert_eq!(next, Some(at("2026-01-01T00:05:00Z")), "{policy}");
        }
        let (firings, _) = due("skip", MINUTELY, "2026-01-01T00:01:00Z", "2026-01-01T00:04:30Z");
        assert!(firings.is_empty(), "the last of them is too late as well");
        let (firings, _) = due("skip", MINUTELY, "2026-01-01T00:01:00Z", "2026-01-01T00:04:00Z");
        assert_eq!(firings, [at("2026-01-01T00:04:00Z")], "due this very moment");
    }

    #[test]
    fn a_year_of_seconds_is_bounded() {
        let (firings, next) = due("all:1000", "* * * * * *", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        assert_eq!(firings.len(), 1000);
        assert_eq!(firings.last(), Some(&at("2026-01-01T00:00:00Z")));
        assert!(firings.is_sorted());
        assert_eq!(next, Some(at("2026-01-01T00:00:01Z")));
    }

    #[test]
    fn a_due_time_that_the_expression_does_not_name_is_fired_all_the_same() {
        let (firings, next) = due("all:9", "0 0 0 1 1 *", "2020-06-15T12:00:00Z", "2021-06-01T00:00:00Z");
        assert_eq!(firings, [at("2020-06-15T12:00:00Z"), at("2021-01-01T00:00:00Z")]);
        assert_eq!(next, Some(at("2022-01-01T00:00:00Z")));
    }

    #[test]
    fn what_is_no_policy_is_refused_and_what_is_survives_text() {
        for text in ["", "all", "all:", "all:0", "all:1001", "all:+1", "all:-1", "all:1.5", "Skip", "never", "all: 1"] {
            assert!(text.parse::<MissedRuns>().is_err(), "{text}");
        }
        for text in ["skip", "once", "all:1", "all:1000"] {
            assert_eq!(text.parse::<MissedRuns>().expect(text).to_string(), text);
        }
    }
}
