//! Room for the copy, where it can be learnt.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Report, Severity, at};
use crate::{finding::Finding, inspect::survey::SurveyedTable, slice::SlicePlan};

/// A copy takes about what the rows take, its indexes as much again, and WAL while it is written.
const SHARE: u64 = 3;

/// Says how much a copy will take, and whether there is room for it.
pub(super) async fn check(
    target: &mut PgConnection,
    plan: &SlicePlan,
    source: &BTreeMap<String, SurveyedTable>,
    report: &mut Report,
) -> sqlx::Result<()> {
    let tables = plan.tables.iter().filter_map(|table| source.get(table.source.name.as_str()));
    let bytes: u64 = tables.map(|table| u64::try_from(table.bytes).unwrap_or(0)).sum();
    let wanted = bytes.saturating_mul(SHARE);
    let (folder, is_near): (Option<String>, bool) = sqlx::query_as(
        // Null for who may not read it.
        "select (select setting from pg_settings where name = 'data_directory'), \
                coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true)",
    )
    .fetch_one(target)
    .await?;
    let free = folder.filter(|_| is_near).and_then(|folder| free_bytes(&folder));
    let needs =
        format!("the tables take {} MiB, and a copy with indexes and WAL about {} MiB", bytes >> 20, wanted >> 20);
    match free {
        Some(free) if free < wanted => report.errors([Finding::new(
            at(plan),
            format!("{needs}; {} MiB are free beside the target's data", free >> 20),
            "make room first: a full disk stops the whole server",
        )]),
        Some(_) => {}
        None if wanted >= 1 << 30 => report.add(
            Severity::Note,
            Finding::new(at(plan), needs, "see that the target's disk has so much room; it cannot be seen from here"),
        ),
        None => {}
    }
    Ok(())
}

fn free_bytes(folder: &str) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
