//! Whether all went as told.

use std::time::Duration;

use super::{
    databases::Counts,
    ramping::TakenBack,
    shadowing::{SHADOWED_ROUTES, Shadowed},
    splitting::{Change, Moved},
    stage::StepResult,
    tally::Failed,
};

/// How many standard deviations the observed share of keys may lie from the one asked for: one split of random keys
/// in 100,000 does.
const SHARE_DEVIATIONS: f64 = 4.5;

/// Where the planted defect shows in answers to calls: see `flawed_candidate`.
const DEFECTIVE_PATHS: [&str; 2] = ["$.output.total", "status"];

/// A fence may not stand for longer than `strangler db cutover` lets it.
const LONGEST_HOLD_MS: f64 = 5_000.0;

/// What the chapters showed.
pub(super) struct Shown {
    pub(super) keys: usize,
    pub(super) steps: Vec<StepResult>,
    pub(super) flawed: Shadowed,
    pub(super) taken_back: TakenBack,
    pub(super) repaired: Shadowed,
    /// Requests whose key went back to legacy while the percentage rose.
    pub(super) went_back: u64,
    /// Requests that were begun when all was back on legacy and went to the candidate.
    pub(super) candidate_after_rollback: u64,
    /// What became of the data, and how it stands against what callers were told: before and in the end.
    pub(super) moved: Moved,
    pub(super) before: Counts,
    pub(super) counts: Counts,
    /// Packages that did not become functions, or should not have, and why.
    pub(super) unpackaged: Vec<String>,
    /// All requests, and those that failed for whatever reason.
    pub(super) requests: u64,
    pub(super) failed: usize,
    pub(super) took: Duration,
}

/// What the whole demonstration showed.
pub struct Summary {
    pub(super) shown: Shown,
    /// Every reason for which the demonstration failed.
    pub problems: Vec<String>,
}

impl Summary {
    pub(super) fn of(shown: Shown) -> Self {
        let mut problems = of_shadows(&shown.flawed, &shown.repaired);
        problems.extend(of_guard(&shown));
        problems.extend(shown.steps.iter().flat_map(|step| of_step(step, shown.keys)));
        for (count, what) in [
            (shown.went_back, "requests went to legacy whose key had been on the candidate, while the ramp rose"),
            (shown.candidate_after_rollback, "requests went to the candidate after everything was back on legacy"),
            (
                (shown.failed as u64).saturating_sub(shown.taken_back.bad_answers),
                "requests failed, not counting those that the planted defect failed",
            ),
        ] {
            if count > 0 {
                problems.push(format!("{count} {what}"));
            }
        }
        problems.extend(of_data(&shown));
        problems.extend(shown.unpackaged.iter().map(|why| format!("package {why}")));
        Self { shown, problems }
    }
}

/// The planted defect must be found and named, what is not defective must be equal, and no caller may notice.
fn of_shadows(flawed: &Shadowed, repaired: &Shadowed) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, route) in SHADOWED_ROUTES.into_iter().enumerate() {
        for (candidate, shadowed) in [("flawed", flawed), ("repaired", repaired)] {
            let compared = &shadowed.compared[index];
            let is_defective = candidate == "flawed" && route == "invoke";
            if is_defective != (compared.different > 0) {
                problems.push(format!(
                    "{route}, {candidate}: {} of {} answers differ",
                    compared.different,
                    compared.in_all()
                ));
            }
        }
    }
    for path in DEFECTIVE_PATHS {
        if !flawed.differences.iter().any(|difference| difference.route == "invoke" && difference.path == path) {
            problems.push(format!("the shadow did not name {path}, where the planted defect is"));
        }
    }
    for (candidate, shadowed) in [("flawed", flawed), ("repaired", repaired)] {
        let doing = format!("while the {candidate} candidate was only shadowed");
        problems.extend(some_failed(&doing, &shadowed.failures));
    }
    problems
}

/// The guard must have taken the flawed candidate back for what callers got.
fn of_guard(shown: &Shown) -> Vec<String> {
    let taken_back = &shown.taken_back;
    let mut problems: Vec<String> =
        some_failed("while the guard watched the flawed candidate", &taken_back.other_failures).into_iter().collect();
    if taken_back.bad_answers == 0 {
        problems.push("the flawed candidate was taken back before it had given a bad answer".to_owned());
    }
    problems
}

/// Nothing may be lost, nothing twice, and nobody may notice.
fn of_data(shown: &Shown) -> Vec<String> {
    let Shown { moved, before, counts, .. } = shown;
    let mut problems = Vec::new();
    let mut found = |what: String| problems.push(what);
    if moved.compared.differ() > 0 {
        found(format!("split: {} rows of the copy differ", moved.compared.differ()));
    }
    for change in &moved.changes {
        let Change { name, passed, compared, counts, astray } = change;
        if passed.held_ms.is_none_or(|held| held > LONGEST_HOLD_MS) {
            found(format!("{name}: writes were held for {:?} ms", passed.held_ms));
        }
        if compared.differ() > 0 {
            found(format!("{name}: {} rows differ", compared.differ()));
        }
        if *astray > 0 {
            found(format!("{name}: {astray} requests were answered by who does not own the rows"));
        }
        if !counts.is_complete() {
            found(format!("{name}: not all that callers were told of is there once: {counts:?}"));
        }
    }
    if !counts.is_complete() {
        found(format!("in the end not all that callers were told of is there once: {counts:?}"));
    }
    // What failed may have been done all the same.
    for (what, there, before, failed) in [
        ("functions", counts.functions.untold, before.functions.untold, moved.not_created.len()),
        ("executions", counts.executions.untold, before.executions.untold, shown.failed),
    ] {
        if there > before + failed {
            found(format!("{} {what} are there that no caller was told of", there - before));
        }
    }
    if let Some(first) = moved.not_created.first() {
        found(format!("split: {} functions could not be created, the first: {first}", moved.not_created.len()));
    }
    problems
}

fn some_failed(when: &str, failures: &[Failed]) -> Option<String> {
    let first = failures.first()?;
    Some(format!("{when}: {} failed requests, the first: {}", failures.len(), first.why))
}

fn of_step(step: &StepResult, keys: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let (name, tally) = (&step.name, &step.tally);
    problems.extend(some_failed(name, &tally.failures));
    let seen = tally.keys().0;
    match tally.observed_percent() {
        None => problems.push(format!("{name}: nothing was served")),
        Some(observed) if (observed - step.asked_percent).abs() > tolerance(step.asked_percent, seen) => {
            problems.push(format!("{name}: {observed:.1} % of keys on the candidate, {} % asked", step.asked_percent));
        }
        Some(_) => {}
    }
    // The gateway ends a step of a ramp whether or not every key was asked for, and before that is noticed here
    // calls are on their way at the next percentage.
    if !step.ramped && seen < keys {
        problems.push(format!("{name}: only {seen} of {keys} keys were seen in {:.0?}", step.took));
    }
    if !step.ramped && tally.keys_on_both_sides > 0 {
        problems.push(format!("{name}: {} keys changed sides within the step", tally.keys_on_both_sides));
    }
    problems
}

/// How far the share of so many random keys may lie from the one asked for, in percentage points.
fn tolerance(percent: f64, keys: usize) -> f64 {
    let share = percent / 100.0;
    // A few calls may be a step ahead.
    let ahead = if share > 0.0 && share < 1.0 { 1.0 } else { 0.0 };
    SHARE_DEVIATIONS * 100.0 * (share * (1.0 - share) / keys.max(1) as f64).sqrt() + ahead
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Instant};

    use serde_json::json;

    use super::*;
    use crate::demo::{
        databases::{Count, Owner},
        operator::{Compared, Difference},
        platform::Side,
        splitting::{self, Synced},
        tally::{Sample, Tally},
    };

    fn sample(key: usize, side: Side) -> Sample {
        let now = Instant::now();
        Sample { key, is_call: true, started: now, ended: now, outcome: Ok((side, 1_000)) }
    }

    fn step(name: &str, percent: f64, on_candidate: usize, ramped: bool) -> StepResult {
        let mut tally = Tally::default();
        for key in 0..100 {
            tally.add(&sample(key, if key < on_candidate { Side::Candidate } else { Side::Legacy }));
        }
        StepResult { name: name.to_owned(), asked_percent: percent, took: Duration::from_secs(1), tally, ramped }
    }

    fn shadowed(differences: &[&str]) -> Shadowed {
        let compared = |different| Compared { equal: 10, explained: 90, different, dropped: BTreeMap::new() };
        let difference = |path: &&str| Difference {
            route: "invoke".to_owned(),
            path: (*path).to_owned(),
            kind: "value".to_owned(),
            count: 1,
        };
        Shadowed {
            compared: [compared(differences.len() as u64), compared(0)],
            differences: differences.iter().map(difference).collect(),
            requests: 200,
            failures: Vec::new(),
        }
    }

    fn counts(functions: usize, executions: usize) -> Counts {
        let count = |untold| Count { told: 100, untold, ..Count::default() };
        Counts { functions: count(functions), executions: count(executions) }
    }

    fn moved() -> Moved {
        let change = |name| Change {
            name,
            passed: serde_json::from_value(json!({"held_ms": 31.0, "waited": 2, "found_in_flight": 1})).expect("one"),
            compared: splitting::Compared::default(),
            counts: counts(0, 0),
            astray: 0,
        };
        Moved {
            synced: Synced::default(),
            compared: splitting::Compared::default(),
            changes: vec![change("own database"), change("taken back")],
            owner: Owner::Candidate,
            completed: true,
            created: 10,
            not_created: Vec::new(),
            requests: 100,
            failed: 0,
        }
    }

    fn as_told() -> Shown {
        let change = json!({"at": "2026-01-01T00:00:00Z", "actor": "guard", "reason": "errors"});
        Shown {
            keys: 100,
            steps: vec![
                step("legacy", 0.0, 0, false),
                step("ramp 25 %", 25.0, 26, true),
                step("all", 100.0, 100, false),
            ],
            flawed: shadowed(&DEFECTIVE_PATHS),
            taken_back: TakenBack {
                calls: 28,
                bad_answers: 14,
                other_failures: Vec::new(),
                after_start: Duration::from_secs(5),
                after_first: None,
                change: serde_json::from_value(change).expect("a change"),
            },
            repaired: shadowed(&[]),
            went_back: 0,
            candidate_after_rollback: 0,
            moved: moved(),
            before: counts(0, 0),
            counts: counts(0, 14),
            unpackaged: Vec::new(),
            requests: 1_000,
            failed: 14,
            took: Duration::from_secs(60),
        }
    }

    fn differing() -> splitting::Compared {
        serde_json::from_value(json!({"rows": 9, "differences": [{}], "unsettled": []})).expect("a comparison")
    }

    #[test]
    fn what_goes_as_told_has_no_problem() {
        assert_eq!(Summary::of(as_told()).problems, Vec::<String>::new());
    }

    #[test]
    fn whatever_does_not_is_said() {
        type Spoil = fn(&mut Shown);
        let changes: [(Spoil, &str); 19] = [
            (|shown| shown.flawed = shadowed(&["status"]), "did not name $.output.total"),
            (|shown| shown.flawed = shadowed(&[]), "invoke, flawed: 0 of 100 answers differ"),
            (|shown| shown.flawed.compared[1].different = 1, "function, flawed: 1 of 101"),
            (|shown| shown.repaired = shadowed(&["$.status"]), "invoke, repaired: 1 of 101"),
            (|shown| shown.taken_back.bad_answers = 0, "before it had given a bad answer"),
            (|shown| shown.failed = 15, "1 requests failed, not counting"),
            (|shown| shown.went_back = 2, "2 requests went to legacy"),
            (|shown| shown.candidate_after_rollback = 3, "3 requests went to the candidate after"),
            (|shown| shown.moved.compared = differing(), "1 rows of the copy differ"),
            (|shown| shown.moved.changes[1].compared = differing(), "taken back: 1 rows differ"),
            (|shown| shown.moved.changes[0].passed.held_ms = None, "own database: writes were held for None"),
            (|shown| shown.moved.changes[0].astray = 1, "own database: 1 requests were answered by who does not own"),
            (|shown| shown.counts.functions.missing = 1, "in the end not all that callers were told of"),
            (|shown| shown.counts = counts(1, 14), "1 functions are there that no caller was told of"),
            (
                |shown| shown.moved.not_created.push("500".to_owned()),
                "1 functions could not be created, the first: 500",
            ),
            (|shown| shown.unpackaged.push("js: refused".to_owned()), "package js: refused"),
            (|shown| shown.steps[1] = step("ramp 25 %", 25.0, 60, true), "60.0 % of keys on the candidate, 25 % asked"),
            (|shown| shown.keys = 101, "legacy: only 100 of 101 keys"),
            (|shown| shown.steps[0].tally.add(&sample(1, Side::Candidate)), "1 keys changed sides"),
        ];
        for (change, said) in changes {
            let mut shown = as_told();
            change(&mut shown);
            let problems = Summary::of(shown).problems;
            assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:?}");
        }
    }
}
