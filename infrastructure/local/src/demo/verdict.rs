//! Whether all went as told.

use std::time::Duration;

use super::{
    ramping::TakenBack,
    shadowing::{SHADOWED_ROUTES, Shadowed},
    stage::StepResult,
};

/// How many standard deviations the observed share of keys may lie from the one asked for: one split of random keys
/// in 100,000 does.
const SHARE_DEVIATIONS: f64 = 4.5;

/// Where the planted defect shows in answers to calls: see `flawed_candidate`.
const DEFECTIVE_PATHS: [&str; 2] = ["$.output.total", "status"];

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
    for failed in flawed.failures.iter().chain(&repaired.failures) {
        problems.push(format!("a caller noticed the shadow: {}", failed.why));
    }
    problems
}

/// The guard must have taken the flawed candidate back for what callers got.
fn of_guard(shown: &Shown) -> Vec<String> {
    let taken_back = &shown.taken_back;
    let mut problems: Vec<String> =
        taken_back.other_failures.iter().map(|failed| format!("on the way to the guard: {}", failed.why)).collect();
    if taken_back.bad_answers == 0 {
        problems.push("the flawed candidate was taken back before it had given a bad answer".to_owned());
    }
    problems
}

fn of_step(step: &StepResult, keys: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let (name, tally) = (&step.name, &step.tally);
    if let Some(first) = tally.failures.first() {
        problems.push(format!("{name}: {} failed requests, the first: {}", tally.failures.len(), first.why));
    }
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
