//! `strangler slices` and `strangler fence`: whose rows are whose, and writes held by hand.

use std::{process::ExitCode, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    admin::{Admin, slices::FenceView},
    arguments::cutover::FenceArguments,
    connection::Connection,
    output::Output,
};

/// How long a fence outlives this process.
const LEASE: Duration = Duration::from_secs(2);

/// Between two renewals.
const RENEWAL: Duration = Duration::from_millis(500);

pub(crate) async fn list(connection: &Connection, output: &Output) -> anyhow::Result<ExitCode> {
    let slices = Admin::new(connection)?.slices().await?;
    output.result(&slices, || {
        let mut table = output.table(&["slice", "owner", "stage", "own candidate", "routes", "fence"], 0..0);
        for slice in &slices.slices {
            let fence = slice.fence.as_ref().map_or_else(|| "-".to_owned(), |fence| format!("{:.0} ms", fence.held_ms));
            table.add_row([
                slice.name.clone(),
                slice.owner.clone(),
                slice.stage.clone(),
                slice.candidate.clone(),
                slice.routes.join(", "),
                fence,
            ]);
        }
        table.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Holds the writes of a slice until the time is over or Ctrl-C comes.
pub(crate) async fn fence(connection: &Connection, asked: FenceArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(connection)?;
    let token = uuid::Uuid::now_v7().simple().to_string();
    let until = Instant::now() + asked.hold;
    admin.place_fence(&asked.slice, &token, asked.hold, LEASE).await?;
    output.progress(&format!("writes of slice `{}` are held; Ctrl-C lets them go on", asked.slice));
    let drained = async {
        let mut said = false;
        loop {
            let fence: FenceView = admin.renew_fence(&asked.slice, &token, LEASE).await?;
            if fence.drained && !said {
                output.progress("no write is in flight through any gateway");
                said = true;
            }
            sleep(RENEWAL).await;
        }
    };
    let ended: anyhow::Result<()> = tokio::select! {
        failed = drained => failed,
        () = sleep_until(until) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let lifted = admin.lift_fence(&asked.slice, &token).await;
    ended?;
    // The bound may have been quicker.
    let Ok(lifted) = lifted else {
        output.progress("the fence had ended at its bound");
        return Ok(ExitCode::SUCCESS);
    };
    output.result(&lifted, || {
        format!("writes were held for {:.0} ms; {} waited", lifted.held_ms.unwrap_or_default(), lifted.released)
    })?;
    Ok(ExitCode::SUCCESS)
}
