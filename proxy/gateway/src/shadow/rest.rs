//! Leaves a side of a route alone for a moment that has no answer to be compared, copy after copy. Most of those cost
//! a connection of their own, so such a side would cost more than one that answers.

use std::time::{Duration, Instant};

use super::outcome::Dropped;
use crate::upstream::circuit::{CircuitSettings, Gate, Outcome, Ticket};

/// Whether a side is left alone: a circuit of its own, which knows nothing of the requests that the side serves.
pub(super) struct Rest {
    gate: Gate,
    lasts: Duration,
}

impl Rest {
    /// Rests for `lasts`, or up to a fifth less by chance, once `after` copies in a row have failed. Then one copy
    /// finds out whether all may be made again.
    pub(super) fn new(after: u32, lasts: Duration, now: Instant) -> Self {
        let settings = CircuitSettings {
            consecutive_failures: if lasts.is_zero() { 0 } else { after },
            share: None,
            open_for: lasts,
            open_for_max: lasts,
            trials: 1,
        };
        Self { gate: Gate::new(settings, now), lasts }
    }

    /// Asks to make a copy now; nothing while the side is left alone. A ticket may be lost: where a copy is not sent
    /// in the end, another one finds out a rest later.
    pub(super) fn ask(&self, now: Instant) -> Option<Ticket> {
        self.gate.admit(now).ok()
    }

    /// Takes in how a copy ended.
    pub(super) fn ended<T>(&self, ticket: Ticket, how: &Result<T, Dropped>, now: Instant) {
        let outcome = match how {
            Ok(_) => Outcome::Success,
            Err(Dropped::OtherUnavailable | Dropped::OtherBroken | Dropped::OtherTimeout | Dropped::OtherTooLarge) => {
                Outcome::Failure
            }
            Err(_) => Outcome::Unknown,
        };
        self.gate.record(ticket, outcome, now, || true);
    }

    /// How much longer a copy that was dropped keeps its place at the side: up to a rest, by chance, when it ran out of
    /// time. Copies to a side that is too slow begin together where its places are empty, so they end together, and
    /// the next ones would begin together again, each with a connection of its own.
    pub(super) fn keeps_place(&self, dropped: Dropped) -> Duration {
        if dropped == Dropped::OtherTimeout { self.lasts.mul_f64(rand::random()) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn may_copy(rest: &Rest, now: Instant) -> bool {
        rest.ask(now).is_some()
    }

    /// One copy from its beginning to its end.
    fn copy(rest: &Rest, how: Result<(), Dropped>, now: Instant) {
        let ticket = rest.ask(now).expect("it may be made");
        rest.ended(ticket, &how, now);
    }

    #[test]
    fn a_side_that_fails_in_a_row_gets_one_copy_in_each_rest() {
        let begun = Instant::now();
        let rest = Rest::new(3, SECOND, begun);
        for _ in 0..2 {
            copy(&rest, Err(Dropped::OtherBroken), begun);
            assert!(may_copy(&rest, begun));
        }
        copy(&rest, Err(Dropped::OtherUnavailable), begun);
        assert!(!may_copy(&rest, begun) && !may_copy(&rest, begun + SECOND / 2));
        let first = rest.ask(begun + SECOND).expect("one finds out");
        assert!(!may_copy(&rest, begun + SECOND), "and only one");
        rest.ended(first, &Err::<(), _>(Dropped::OtherBroken), begun + SECOND);
        assert!(!may_copy(&rest, begun + SECOND * 3 / 2));
        copy(&rest, Ok(()), begun + SECOND * 2);
        assert!(may_copy(&rest, begun + SECOND * 2) && may_copy(&rest, begun + SECOND * 2));
    }

    #[test]
    fn only_what_happens_in_a_row_and_is_the_other_sides_doing_counts() {
        let begun = Instant::now();
        let rest = Rest::new(2, SECOND, begun);
        for _ in 0..5 {
            copy(&rest, Err(Dropped::Memory), begun);
        }
        copy(&rest, Err(Dropped::OtherTooLarge), begun);
        copy(&rest, Ok(()), begun);
        copy(&rest, Err(Dropped::OtherTimeout), begun);
        assert!(may_copy(&rest, begun));
        copy(&rest, Err(Dropped::OtherTooLarge), begun);
        assert!(!may_copy(&rest, begun));
    }

    #[test]
    fn one_copy_finds_out_a_rest_after_another_was_lost() {
        let begun = Instant::now();
        let rest = Rest::new(1, SECOND, begun);
        copy(&rest, Err(Dropped::OtherBroken), begun);
        assert!(may_copy(&rest, begun + SECOND), "it is not sent in the end");
        assert!(!may_copy(&rest, begun + SECOND * 3 / 2));
        copy(&rest, Ok(()), begun + SECOND * 2);
        assert!(may_copy(&rest, begun + SECOND * 2) && may_copy(&rest, begun + SECOND * 2));
    }

    #[test]
    fn a_place_is_kept_for_a_part_of_a_rest_where_the_side_was_too_slow() {
        let rest = Rest::new(3, SECOND, Instant::now());
        let kept: Vec<Duration> = (0..1_000).map(|_| rest.keeps_place(Dropped::OtherTimeout)).collect();
        assert!(kept.iter().all(|kept| *kept <= SECOND));
        let early = kept.iter().filter(|kept| **kept < SECOND / 2).count();
        assert!((300..700).contains(&early), "they are spread out: {early}");
        assert_eq!(rest.keeps_place(Dropped::OtherTooLarge), Duration::ZERO, "it was quick");
        let never = Rest::new(3, Duration::ZERO, Instant::now());
        assert_eq!(never.keeps_place(Dropped::OtherTimeout), Duration::ZERO);
    }

    #[test]
    fn a_side_is_never_left_alone_for_no_time() {
        let begun = Instant::now();
        let rest = Rest::new(1, Duration::ZERO, begun);
        copy(&rest, Err(Dropped::OtherBroken), begun);
        assert!(may_copy(&rest, begun) && may_copy(&rest, begun));
    }
}
