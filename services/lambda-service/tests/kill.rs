//! SIGKILL at any moment: what was answered is in the history after the next start.

use std::{collections::HashSet, time::Duration};

use testkit::eventually;

use crate::{
    history::{Load, recorded},
    system::{ECHO, SOON, Setup},
};

const ROUNDS: u64 = 12;

#[tokio::test]
async fn a_kill_loses_no_answered_execution() {
    // Slow batches, so that a kill finds rows that only the journal has.
    let mut system = Setup::default().with("RECORDER__LINGER", "100ms").start().await;
    let id = system.create("python3.11", ECHO).await;
    let database = system.database().await;
    let mut answered = HashSet::new();
    for round in 0..ROUNDS {
        let load = Load::on(&system, &id, 4);
        // A different moment of the writer's cycle in each round.
        let target = 20 + usize::try_from(round * 37 % 90).unwrap();
        eventually(SOON, || async { load.count() >= target }).await;
        system.service.kill().await;
        answered.extend(load.end().await);
        system.service.start_again().await;
    }
    eventually(Duration::from_secs(10), || async { answered.is_subset(&recorded(&database, &id).await) }).await;

    let status = system.service.terminate(SOON).await;
    assert!(status.success(), "{status}");
    assert_eq!(system.journal_segments(), 0, "what was replayed is not kept");
}
