//! When a cron trigger fires next.

use std::str::FromStr as _;

use chrono::{DateTime, SubsecRound as _, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};

/// Why a trigger cannot be scheduled.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The zone is none of the IANA database.
    #[error("`{0}` is not an IANA time zone such as UTC or Europe/Berlin")]
    TimeZone(String),
    /// The expression cannot be read.
    #[error("`{expression}` is not a cron expression of six fields, seconds first: {source}")]
    Expression {
        /// The expression, cut to 64 characters.
        expression: String,
        /// What is wrong with it.
        source: CronError,
    },
}

/// A cron expression of six fields, seconds first, in an IANA time zone.
///
/// When the clocks change (croner's rules): a fixed time that the clocks skip fires at the first instant after
/// the gap; a fixed time that they repeat fires the first time only; an expression with a wildcard or step in its
/// hour fires in every hour that really passes.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// Reads an expression and a zone.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, ScheduleError> {
        let zone = Tz::from_str(timezone).map_err(|_| ScheduleError::TimeZone(excerpt(timezone)))?;
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build()
            .parse(expression)
            .map_err(|source| ScheduleError::Expression { expression: excerpt(expression), source })?;
        Ok(Self { cron, zone })
    }

    /// The first firing strictly after `instant`; `None` when there is none, as on 30 February.
    #[must_use]
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = instant.with_timezone(&self.zone);
        // The only error is that the search ran to its end without a match.
        self.cron.find_next_occurrence(&local, false).ok().map(|at| at.with_timezone(&Utc))
    }

    /// The firings at `instant` and before it, the latest first: those that [`Schedule::next_after`] finds in the
    /// other direction, also where clocks change.
    pub fn back_from(&self, instant: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        // Firings are on whole seconds, and so is the search.
        let mut from = (instant.trunc_subsecs(0), true);
        std::iter::from_fn(move || {
            let local = from.0.with_timezone(&self.zone);
            let found = self.cron.find_previous_occurrence(&local, from.1).ok()?.with_timezone(&Utc);
            from = (found, false);
            Some(found)
        })
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firings(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(expression, zone).expect("a valid schedule");
        let mut at: DateTime<Utc> = after.parse().expect("a time");
        std::iter::from_fn(|| {
            at = schedule.next_after(at)?;
            Some(at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        })
        .take(count)
        .collect()
    }

    #[test]
    fn ordinary_days() {
        let cases: [(&str, &str, &str, &[&str]); 6] = [
            ("*/5 * * * * *", "UTC", "2026-01-01T00:00:02Z", &["2026-01-01T00:00:05Z", "2026-01-01T00:00:10Z"]),
            ("0 30 9 * * MON-FRI", "UTC", "2026-01-02T10:00:00Z", &["2026-01-05T09:30:00Z"]),
            ("0 0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", &["2026-01-02T00:00:00Z"]),
            ("0 0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", &["2026-01-01T03:30:00Z"]),
            ("0 0 0 29 2 *", "UTC", "2026-03-01T00:00:00Z", &["2028-02-29T00:00:00Z"]),
            ("0 0 0 L * *", "UTC", "2026-02-01T00:00:00Z", &["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]),
        ];
        for (expression, zone, after, expected) in cases {
            assert_eq!(firings(expression, zone, after, expected.len()), expected, "{expression} {zone}");
        }
    }

    #[test]
    fn when_the_clocks_change() {
        let cases: [(&str, &str, &str, &str, &[&str]); 7] = [
            (
                "a fixed time in the gap fires when the gap ends",
                "0 30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            ),
            (
                "a fixed time that is repeated fires once",
                "0 30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            ),
            (
                "every hour that passes, when one is skipped",
                "0 0 * * * *",
                "Europe/Berlin",
                "2026-03-29T00:00:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"],
            ),
            (
                "every hour that passes, when one is repeated",
                "0 0 * * * *",
                "Europe/Berlin",
                "2026-10-24T23:30:00Z",
                &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
            ),
            (
                "the other side of the Atlantic",
                "0 30 2 * * *",
                "America/New_York",
                "2026-03-08T00:00:00Z",
                &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
            ),
            (
                "a change of half an hour",
                "0 15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T00:00:00Z",
                &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
            ),
            (
                "a zone without changes",
                "0 30 2 * * *",
                "UTC",
                "2026-03-28T12:00:00Z",
                &["2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"],
            ),
        ];
        for (what, expression, zone, after, expected) in cases {
            assert_eq!(firings(expression, zone, after, expected.len()), expected, "{what}");
        }
    }

    /// Firings between two instants, found in either direction.
    fn both_ways(expression: &str, zone: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> [Vec<DateTime<Utc>>; 2] {
        let schedule = Schedule::parse(expression, zone).expect("a valid schedule");
        let mut at = from;
        let forward = std::iter::from_fn(|| {
            at = schedule.next_after(at)?;
            Some(at)
        });
        let forward: Vec<_> = forward.take_while(|at| *at <= to).collect();
        let mut back: Vec<_> = schedule.back_from(to).take_while(|at| *at > from).collect();
        back.reverse();
        [forward, back]
    }

    #[test]
    fn both_directions_agree_over_a_year_of_changes() {
        let zones =
            ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tehran", "UTC"];
        let expressions = [
            "0 30 2 * * *",
            "0 0 0 * * *",
            "30 15 1,2,3 * * *",
            "0 0 */3 * * *",
            "0 */20 * * * *",
            "0 30 2 L * *",
            "15 59 23 * * SUN",
            "0 15 2 * 3,10 *",
        ];
        for zone in zones {
            for expression in expressions {
                let (from, to) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
                let [forward, back] =
                    both_ways(expression, zone, from.parse().expect("a time"), to.parse().expect("a time"));
                assert!(forward.windows(2).all(|pair| pair[0] < pair[1]), "{expression} {zone}");
                assert_eq!(forward, back, "{expression} {zone}");
            }
        }
    }

    proptest::proptest! {
        /// From wherever the search begins, also within a second and within a change of clocks.
        #[test]
        fn a_search_from_anywhere_finds_the_same(
            start_ms in 0_i64..2_000_000_000_000, hours in 1_i64..72, zone in 0_usize..4, expression in 0_usize..4,
        ) {
            let zone = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"][zone];
            let expression = ["0 30 2 * * *", "*/7 * * * * *", "0 0 * * * *", "5 4 3 * * 1-5"][expression];
            let from = DateTime::from_timestamp_millis(start_ms).expect("a time");
            let [forward, back] = both_ways(expression, zone, from, from + chrono::TimeDelta::hours(hours));
            proptest::prop_assert_eq!(forward, back);
        }
    }

    #[test]
    fn what_never_fires_has_no_next() {
        assert_eq!(firings("0 0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", 1), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let cases = [
            ("", "UTC"),
            ("* * * * *", "UTC"),
            ("* * * * * * 2026", "UTC"),
            ("60 * * * * *", "UTC"),
            ("* * 24 * * *", "UTC"),
            ("0 0 0 0 * *", "UTC"),
            ("0 0 0 * 13 *", "UTC"),
            ("5-1 * * * * *", "UTC"),
            ("*/0 * * * * *", "UTC"),
            ("* * * * * MOO", "UTC"),
            ("rm -rf /", "UTC"),
            ("0 0 0 * * *", "Europe/Atlantis"),
            ("0 0 0 * * *", ""),
            ("0 0 0 * * *", "UTC; drop table functions"),
        ];
        for (expression, zone) in cases {
            assert!(Schedule::parse(expression, zone).is_err(), "`{expression}` in `{zone}`");
        }
    }
}
