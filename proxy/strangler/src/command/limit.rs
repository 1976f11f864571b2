//! `strangler limits`, `strangler limit POLICY RATE`

use std::process::ExitCode;

use crate::{
    admin::{
        Admin,
        limits::{LimitChanged, Quota},
    },
    arguments::limits::LimitArguments,
    connection::Connection,
    output::Output,
};

pub(crate) async fn list(connection: &Connection, output: &Output) -> anyhow::Result<ExitCode> {
    let limits = Admin::new(connection)?.limits().await?;
    output.result(&limits, || {
        let mut table = output.table(&["policy", "counts", "for", "rate", "burst", "configured"], 4..5);
        for policy in &limits.policies {
            let all = (format!("each {}", policy.counts), &policy.quota, shown(&policy.configured));
            let overrides = policy.overrides.iter().map(|one| (format!("{:?}", one.key), &one.quota, "-".to_owned()));
            for (subject, quota, configured) in std::iter::once(all).chain(overrides) {
                let (name, counts) = (policy.name.clone(), policy.counts.clone());
                table.add_row([name, counts, subject, quota.rate.clone(), quota.burst.to_string(), configured]);
            }
        }
        table.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn set(connection: &Connection, change: &LimitArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let changed = Admin::new(connection)?.set_limit(change).await?;
    let LimitChanged { policy, key, from, to, revision } = &changed;
    let what = key.as_ref().map_or_else(|| policy.clone(), |key| format!("{policy} for {key:?}"));
    let quota = |quota: &Option<Quota>| quota.as_ref().map_or_else(|| "as for all".to_owned(), shown);
    output.result(&changed, || {
        if from == to {
            format!("{what}: {} already; nothing changed", quota(to))
        } else {
            format!("{what}: {} -> {} (revision {revision})", quota(from), quota(to))
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn shown(quota: &Quota) -> String {
    format!("{}, {} at once", quota.rate, quota.burst)
}
