//! Replication slots: made by the replication protocol, so that a snapshot of exactly their first
//! point comes with them.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;

use super::{Direction, StreamError};
use crate::{
    copy::Snapshot,
    link::{Address, LinkError, Session},
    lsn::Lsn,
};

/// A snapshot of the source at a slot's first point, for as long as this value lives.
pub struct SlotSnapshot {
    snapshot: Snapshot,
    _session: Session,
}

impl SlotSnapshot {
    /// What readers are told. Its position is exact: the snapshot has what committed before, and
    /// nothing else.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// What a server says about a slot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SlotState {
    /// Whether somebody reads it.
    pub active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// Bytes of log that the server keeps because of it.
    pub held_bytes: u64,
    /// Bytes of log that may still be written before it is lost; none without `max_slot_wal_keep_size`.
    pub safe_bytes: Option<u64>,
    /// Everything before it has been confirmed.
    pub confirmed_lsn: Option<Lsn>,
    /// Where the server writes now.
    pub current_lsn: Lsn,
}

impl SlotState {
    /// Bytes of log between where the server writes and what has been confirmed.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        self.confirmed_lsn.map_or(0, |confirmed| self.current_lsn.since(confirmed))
    }
}

/// The beginning of a slot's name: lower-case letters, digits and `_`, as PostgreSQL wants it, with
/// a digest where the slice's name has anything else. Nine more fit.
pub(crate) fn stem(slice: &str, direction: Direction) -> String {
    let plain: String = slice
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '_' })
        .take(24)
        .collect();
    let digest =
        if plain == slice { String::new() } else { format!("_{}", &blake3::hash(slice.as_bytes()).to_hex()[..8]) };
    format!("strangler_{plain}{digest}_{direction}")
}

/// Whether a replication origin is one of a stream whose slot's name begins so: the name of the slot
/// with the number of a lane.
pub(crate) fn is_origin_of(origin: &str, stem: &str) -> bool {
    // stem, eight digits of the slot, number
    origin.rsplitn(3, '_').nth(2) == Some(stem)
}

/// Makes a slot, and holds the snapshot of its first point. Waits for the transactions that are
/// under way, as every slot does.
pub(crate) async fn create(
    from: &PgPool,
    name: &str,
    temporary: bool,
    patience: Duration,
) -> Result<SlotSnapshot, StreamError> {
    let address = Address::of(&from.connect_options());
    let mut session =
        Session::connect(&address).await.map_err(StreamError::link("reach the source for replication"))?;
    let kind = if temporary { "TEMPORARY " } else { "" };
    let command = format!("CREATE_REPLICATION_SLOT \"{name}\" {kind}LOGICAL pgoutput EXPORT_SNAPSHOT");
    let rows = match timeout(patience, session.query(&command)).await {
        Ok(answer) => answer.map_err(StreamError::link("make the replication slot"))?,
        Err(_elapsed) => {
            return Err(StreamError::Stopped {
                slice: name.to_owned(),
                reason: format!(
                    "a slot waits for every transaction that began before it, and one of them has been open for {} s; \
                 look at pg_stat_activity for the oldest xact_start",
                    patience.as_secs()
                ),
            });
        }
    };
    let mut row = rows.into_iter().next().unwrap_or_default().into_iter();
    // slot_name, consistent_point, snapshot_name, output_plugin
    let (lsn, id) = match (row.nth(1).flatten(), row.next().flatten()) {
        (Some(lsn), Some(id)) => (lsn, id),
        _ => {
            let source = LinkError::Protocol("an answer to the making of a slot that is none".to_owned());
            return Err(StreamError::Link { what: "make the replication slot", source });
        }
    };
    Ok(SlotSnapshot { snapshot: Snapshot { id, lsn }, _session: session })
}

/// What the server says; none when it has no such slot.
pub(crate) async fn state(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<SlotState>> {
    type Row = (bool, Option<String>, Option<i64>, Option<i64>, Option<String>, String);
    let found: Option<Row> = sqlx::query_as(
        "select active, wal_status, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint, safe_wal_size, \
                confirmed_flush_lsn::text, pg_current_wal_insert_lsn()::text \
         from pg_replication_slots where slot_name = $1 and database = current_database()",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(found.map(|(active, wal_status, held, safe, confirmed, current)| SlotState {
        active,
        wal_status: wal_status.unwrap_or_else(|| "lost".to_owned()),
        held_bytes: held.map_or(0, count),
        safe_bytes: safe.map(count),
        confirmed_lsn: confirmed.and_then(|text| text.parse().ok()),
        current_lsn: current.parse().unwrap_or_default(),
    }))
}

/// Drops a slot that is there, after whoever reads it has been asked to end.
pub(crate) async fn drop_if_there(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let sql = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1";
    match once_free(connection, sql, name).await {
        // 42704: somebody else has dropped it in between.
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("42704") => Ok(()),
        other => other,
    }
}

/// Drops the origins that the lanes of a slot have written under: each takes one of the server's
/// `max_replication_slots` until then.
pub(crate) async fn drop_origins(connection: &mut PgConnection, slot: &str) -> sqlx::Result<()> {
    let sql =
        "select pg_replication_origin_drop(roname) from pg_replication_origin where starts_with(roname, $1 || '_')";
    once_free(connection, sql, slot).await
}

/// Runs a statement about `name` again, for a while, until nobody has what it drops: who was told to end a moment ago
/// is still noticed.
async fn once_free(connection: &mut PgConnection, sql: &'static str, name: &str) -> sqlx::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match sqlx::query(sql).bind(name).execute(&mut *connection).await {
            // 55006: it is active.
            Err(sqlx::Error::Database(refused))
                if refused.code().as_deref() == Some("55006") && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_names_that_postgres_takes_and_slices_do_not_share() {
        assert_eq!(stem("orders", Direction::Forward), "strangler_orders_forward");
        let odd = stem("Örders \"; drop", Direction::Reverse);
        assert!(odd.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{odd}");
        assert_ne!(odd, stem("Orders \"; drop", Direction::Reverse));
        assert!(stem(&"x".repeat(63), Direction::Forward).len() + 9 <= 63);
        let origin = super::super::origin_name("strangler_orders_reverse_0123abcd", 2);
        assert!(is_origin_of(&origin, &stem("orders", Direction::Reverse)));
        assert!(!is_origin_of(&origin, &stem("orders", Direction::Forward)));
        assert!(!is_origin_of("strangler_orders_reverse_reverse_0123abcd_0", &stem("orders", Direction::Reverse)));
    }
}
