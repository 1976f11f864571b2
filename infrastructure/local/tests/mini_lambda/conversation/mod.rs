//! One scripted conversation, held with the monolith, with the candidate, and with the gateway at 0, 50
//! and 100 %. Nobody may be able to tell which side answered, except where the contract says so.
//!
//! To add a case, add it to a table in `cases`: a name, requests, and the answers that they must have.
//! Ids, times and measured numbers are written as `[id]`, `[time]` and `[number]`; `{run}` in a request
//! and `[run]` in an answer stand for the run's name, so that runs do not meet.

mod cases;
mod comparison;
mod reply;
mod step;
mod transcript;

use std::collections::BTreeMap;

use self::{
    comparison::Comparison,
    step::Case,
    transcript::{Partner, Transcript},
};
use super::{
    rollout::MOVING,
    site::{Side, Site, System},
};

#[tokio::test]
async fn nobody_can_tell_which_side_answered() {
    let system = Site::new().start().await;
    let cases = cases::all();

    let legacy = hold(&system, Partner::Legacy, &cases).await;
    let candidate = hold(&system, Partner::Candidate, &cases).await;
    let at_0 = at_percent(&system, 0, &cases).await;
    let at_50 = at_percent(&system, 50, &cases).await;
    let at_100 = at_percent(&system, 100, &cases).await;

    let mut found = Comparison::default();
    for transcript in [&legacy, &candidate, &at_0, &at_50, &at_100] {
        found.with_the_table(transcript, &cases);
    }
    found.between_sides(&legacy, &candidate, &cases);
    for through_gateway in [&at_0, &at_50, &at_100] {
        found.with_the_side_that_served(through_gateway, &legacy, &candidate, &cases);
    }
    found.nothing();

    assert!(!at_0.moved_sides().contains(&Side::Candidate), "at 0 % nothing is on the candidate");
    assert!(!at_100.moved_sides().contains(&Side::Legacy), "at 100 % nothing is on legacy");
    assert_eq!(at_50.moved_sides().len(), 2, "at 50 % both sides serve");
    each_key_has_one_side(&at_50);
    system.stack.stop().await;
}

async fn hold(system: &System, partner: Partner, cases: &[Case]) -> Transcript {
    Transcript::record(system, partner, cases).await
}

async fn at_percent(system: &System, percent: i64, cases: &[Case]) -> Transcript {
    system.set_percent(&MOVING, percent).await;
    hold(system, Partner::Gateway(percent), cases).await
}

/// All routes of one function share a key, so they share a side.
fn each_key_has_one_side(transcript: &Transcript) {
    let mut sides = BTreeMap::new();
    for (key, side) in transcript.keys() {
        let first = sides.entry(key).or_insert(side);
        assert_eq!(*first, side, "function {key} changed sides");
    }
}
