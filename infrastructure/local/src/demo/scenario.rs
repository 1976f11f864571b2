//! The order of the chapters.

use std::{sync::Arc, time::Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    Pace, Screen, Summary, Target,
    databases::{Databases, Owner},
    functions::KINDS,
    packaging,
    platform::Platform,
    ramping, shadowing, splitting,
    stage::Stage,
    told::Ids,
    traffic::{Function, Traffic},
    verdict::Shown,
};

/// Creates the functions, drives the traffic through every chapter, and says what was seen.
///
/// # Errors
/// When the system cannot be used, or a chapter did not come to its end; what went wrong besides is in the summary.
pub async fn run(target: &Target, pace: Pace, screen: &Screen) -> anyhow::Result<Summary> {
    let begun = Instant::now();
    let platform = Platform::new(target)?;
    splitting::ensure_unmoved(target).await?;
    let before = Databases::of(&target.data)?.count(Owner::Monolith, &Ids::default()).await?;
    let functions = create_functions(&platform, pace, screen).await?;
    let (sender, samples) = mpsc::unbounded_channel();
    let traffic = Traffic::start(&platform, &functions, pace, sender);
    let mut stage = Stage::new(target, pace, screen, samples, &traffic)?;

    let mut steps = vec![stage.edit("legacy", 0.0).await?];
    stage.operator.set_defect(true).await?;
    let flawed = shadowing::shadow(&mut stage, "shadow, candidate with a planted defect").await?;
    let taken_back = ramping::until_taken_back(&mut stage, "ramp, candidate with a planted defect").await?;
    stage.operator.set_defect(false).await?;
    let repaired = shadowing::shadow(&mut stage, "shadow, repaired candidate").await?;
    steps.extend(ramping::to_the_end(&mut stage, "ramp, repaired candidate").await?);
    let went_back = stage.ratchet.take().map_or(0, |ratchet| ratchet.went_back);
    steps.push(stage.roll_back("rollback").await?);
    steps.push(stage.edit("100 % again", 100.0).await?);
    let moved = splitting::to_and_fro(&mut stage, &platform).await?;

    traffic.stop().await?;
    stage.collect_rest();
    let counts = splitting::account(&moved, &platform).await?;
    let unpackaged = packaging::build_and_call(&platform, screen).await;
    let shown = Shown {
        keys: pace.keys,
        steps,
        flawed,
        taken_back,
        repaired,
        went_back,
        moved,
        before,
        counts,
        unpackaged,
        candidate_after_rollback: stage.candidate_after_rollback,
        requests: stage.whole.requests(),
        failed: stage.whole.failures.len(),
        took: begun.elapsed(),
    };
    Ok(Summary::of(shown))
}

async fn create_functions(platform: &Platform, pace: Pace, screen: &Screen) -> anyhow::Result<Arc<[Function]>> {
    screen.say(&format!("creating {} functions of {} kinds through the gateway", pace.keys, KINDS.len()));
    // Names are unique, and a stack may be shown twice.
    let run = uuid::Uuid::now_v7().simple().to_string();
    let functions = stream::iter(0..pace.keys)
        .map(|number| {
            let kind = &KINDS[number % KINDS.len()];
            let name = format!("{}-{run}-{number}", kind.name);
            async move { anyhow::Ok(Function { id: platform.create(kind, &name).await?, kind }) }
        })
        .buffered(16)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(functions.into())
}
