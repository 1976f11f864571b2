use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::{runtime::Builder, time::Instant};

use super::{Follower, Slices};

/// No fence stands: the next look at the clock may be long in coming.
const NOTHING_STANDS: Duration = Duration::from_secs(3_600);

/// Starts the thread that lifts fences whose time is over, and stands behind those of the whole fleet. It goes
/// on until the process ends: what waits must not wait for ever. Returns when the fences that stand have been
/// looked at, or cannot be.
pub(crate) fn watch(slices: Arc<Slices>, follower: Option<Follower>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (looked, first_look) = mpsc::channel();
    let patience = follower.as_ref().map(Follower::patience);
    let watch = move || {
        runtime.block_on(async {
            match follower {
                None => expire(&slices).await,
                Some(follower) => tokio::select! {
                    () = expire(&slices) => {}
                    () = follower.run(looked) => {}
                },
            }
        });
    };
    thread::Builder::new().name("slices".to_owned()).spawn(watch)?;
    if let Some(patience) = patience {
        let _ = first_look.recv_timeout(patience);
    }
    Ok(())
}

async fn expire(slices: &Slices) {
    loop {
        // Registered before the look, so that a fence placed in between is not slept through.
        let changed = slices.changed.notified();
        let now = Instant::now();
        let next = slices.iter().filter_map(|(_, gate)| gate.expire(now)).min();
        let until = next.unwrap_or(now + NOTHING_STANDS);
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}
