//! Chapters in which legacy serves and the candidate only gets copies.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{
    operator::{Compared, Difference},
    stage::Stage,
    tally::{Failed, Tally},
};

/// The routes whose answers are compared: calls, as dry runs, and reads.
pub(super) const SHADOWED_ROUTES: [&str; 2] = ["invoke", "function"];

/// The upstream that must agree to dry runs.
const CANDIDATE: &str = "lambda";

/// The agreement is asked for every few seconds.
const AGREEMENT_DEADLINE: Duration = Duration::from_secs(20);

/// The chapter goes on until so many answers of each route were compared: more than the calls among which there is
/// one of each kind that the planted defect spoils.
const LEAST_COMPARED: u64 = 40;

/// It must have been so many within this time.
const LONGEST: Duration = Duration::from_secs(120);

/// Longer than a copy may take.
const COPIES_DEADLINE: Duration = Duration::from_secs(15);

/// What a chapter showed.
pub(super) struct Shadowed {
    /// For each of [`SHADOWED_ROUTES`].
    pub(super) compared: [Compared; SHADOWED_ROUTES.len()],
    /// In which ways answers differed in this chapter.
    pub(super) differences: Vec<Difference>,
    /// Requests of callers meanwhile, and those that failed.
    pub(super) requests: u64,
    pub(super) failures: Vec<Failed>,
}

/// Compares every answer for a while.
pub(super) async fn shadow(stage: &mut Stage<'_>, name: &str) -> anyhow::Result<Shadowed> {
    stage.operator.wait_for_agreement(CANDIDATE, AGREEMENT_DEADLINE).await?;
    let before = look(stage).await?;
    let known = stage.operator.differences().await?;
    set(stage, 100.0).await?;
    stage.screen.chapter(name, "strangler shadow set invoke 100, and function 100");
    stage.screen.say("legacy answers every caller; the candidate gets a copy of each request, of calls as a dry run");
    let (start, mut tally) = (Instant::now(), Tally::default());
    let mut compared = since(&look(stage).await?, &before);
    while start.elapsed() < stage.pace.step || !enough(&compared) {
        ensure!(start.elapsed() < LONGEST, "hardly anything was compared: {compared:?}");
        stage.collect(start, Duration::from_secs(1), &mut [&mut tally]).await;
        compared = since(&look(stage).await?, &before);
        stage.screen.shadow_second(&compared, &tally);
    }
    set(stage, 0.0).await?;
    stage.settle(start, &mut tally).await?;
    stage.operator.wait_for_copies(&SHADOWED_ROUTES, COPIES_DEADLINE).await?;
    let compared = since(&look(stage).await?, &before);
    let differences = new_differences(stage.operator.differences().await?, &known);
    let shadowed = Shadowed { compared, differences, requests: tally.requests(), failures: tally.failures };
    stage.screen.shadowed(&shadowed);
    Ok(shadowed)
}

fn enough(compared: &[Compared; SHADOWED_ROUTES.len()]) -> bool {
    compared.iter().all(|compared| compared.in_all() >= LEAST_COMPARED)
}

async fn set(stage: &Stage<'_>, percent: f64) -> anyhow::Result<()> {
    for route in SHADOWED_ROUTES {
        stage.operator.set_shadow(route, percent).await?;
    }
    Ok(())
}

async fn look(stage: &Stage<'_>) -> anyhow::Result<[Compared; SHADOWED_ROUTES.len()]> {
    let [calls, reads] = SHADOWED_ROUTES;
    Ok([stage.operator.compared(calls).await?, stage.operator.compared(reads).await?])
}

fn since(
    now: &[Compared; SHADOWED_ROUTES.len()],
    before: &[Compared; SHADOWED_ROUTES.len()],
) -> [Compared; SHADOWED_ROUTES.len()] {
    std::array::from_fn(|route| now[route].since(&before[route]))
}

/// What came to what was known before, the most frequent first.
fn new_differences(now: Vec<Difference>, known: &[Difference]) -> Vec<Difference> {
    let is_same =
        |one: &Difference, two: &Difference| (&one.route, &one.path, &one.kind) == (&two.route, &two.path, &two.kind);
    let added = now.into_iter().map(|difference| {
        let before = known.iter().find(|known| is_same(known, &difference)).map_or(0, |known| known.count);
        Difference { count: difference.count.saturating_sub(before), ..difference }
    });
    let mut added: Vec<_> = added.filter(|difference| difference.count > 0).collect();
    added.sort_by(|one, two| two.count.cmp(&one.count).then_with(|| one.path.cmp(&two.path)));
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_shown() {
        let difference = |path: &str, count| Difference {
            route: "invoke".to_owned(),
            path: path.to_owned(),
            kind: "value".to_owned(),
            count,
        };
        let known = [difference("$.a", 3), difference("$.b", 1)];
        let now = vec![difference("$.a", 3), difference("$.b", 3), difference("$.c", 5)];
        assert_eq!(new_differences(now, &known), [difference("$.c", 5), difference("$.b", 2)]);
    }
}
