//! What becomes of a candidate with a defect: the shadow sees it before any client does, and when it is let onto
//! traffic all the same, the guard takes it off.

use std::time::{Duration, Instant};

use super::{
    rollout_file,
    scenario::{MOVING_ROUTES, Stage},
    tally::Tally,
};

/// The route whose answers are compared.
const SHADOWED_ROUTE: &str = "function";

/// The route that is guarded.
const GUARDED_ROUTE: &str = "invoke";

/// The share at which the defective candidate is let onto traffic.
const PERCENT: f64 = 50.0;

/// The guard must act within this time.
const DEADLINE: Duration = Duration::from_secs(30);

/// What was found.
pub(super) struct Found {
    /// Answers that the shadow compared while all traffic was on legacy, and those of them that differed.
    pub(super) compared: u64,
    pub(super) different: u64,
    /// From the defective candidate's first share of traffic to its last; none when nobody took it off.
    pub(super) taken_off_after: Option<Duration>,
    /// Clients' requests that the defect failed meanwhile.
    pub(super) failed: usize,
    /// Requests that failed while the shadow was all that saw the candidate.
    pub(super) failed_in_shadow: usize,
    /// Who took it off, and why.
    pub(super) by: (String, String),
}

/// Plants the defect and lets it be found twice. Afterwards it is out again, and all traffic on legacy.
pub(super) async fn find(stage: &mut Stage<'_>) -> anyhow::Result<Found> {
    stage.platform.set_defect(true).await?;
    let (compared, different, failed_in_shadow) = shadow(stage).await?;
    let (taken_off_after, failed) = let_onto_traffic(stage).await?;
    let by = stage.platform.last_change().await?;
    stage.platform.set_defect(false).await?;
    Ok(Found { compared, different, taken_off_after, failed, failed_in_shadow, by })
}

/// Compares every answer while legacy serves.
async fn shadow(stage: &mut Stage<'_>) -> anyhow::Result<(u64, u64, usize)> {
    let file = &stage.target.rollout_file;
    rollout_file::set_shadow(file, SHADOWED_ROUTE, 100.0)?;
    stage.screen.say("\nshadow: every read of a function is sent to the candidate too, and legacy answers");
    let mut seen = Tally::default();
    let start = Instant::now();
    while start.elapsed() < stage.pace.step {
        stage.collect(start, Duration::from_secs(1), &mut seen).await;
    }
    rollout_file::set_shadow(file, SHADOWED_ROUTE, 0.0)?;
    let equal = stage.platform.compared(SHADOWED_ROUTE, "equal").await?;
    let different = stage.platform.compared(SHADOWED_ROUTE, "different").await?;
    stage.screen.say(&format!("shadow: {} answers compared, {different} differ", equal + different));
    Ok((equal + different, different, seen.failures.len()))
}

/// Lets the defective candidate onto traffic in spite of that, and waits for the guard.
async fn let_onto_traffic(stage: &mut Stage<'_>) -> anyhow::Result<(Option<Duration>, usize)> {
    rollout_file::set_percent(&stage.target.rollout_file, &MOVING_ROUTES, PERCENT)?;
    stage.wait_in_force(PERCENT).await?;
    stage.screen.say(&format!("defective candidate at {PERCENT} %: every second call of a function fails there"));
    let (start, mut seen) = (Instant::now(), Tally::default());
    let taken_off = loop {
        stage.collect(start, Duration::from_millis(50), &mut seen).await;
        let percentages = stage.platform.percentages().await?;
        if percentages.iter().any(|(route, percent)| route == GUARDED_ROUTE && *percent == 0.0) {
            break Some(start.elapsed());
        }
        if start.elapsed() > DEADLINE {
            break None;
        }
    };
    // What is still out belongs to this.
    stage.collect(start, Duration::from_secs(1), &mut seen).await;
    rollout_file::set_percent(&stage.target.rollout_file, &MOVING_ROUTES, 0.0)?;
    stage.wait_in_force(0.0).await?;
    Ok((taken_off, seen.failures.len()))
}
