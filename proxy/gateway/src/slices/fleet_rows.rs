//! The statements of the fleet.

use std::time::Duration;

use sqlx::{
    Row as _,
    postgres::{PgListener, PgRow},
};
use uuid::Uuid;

use super::{Hold, fleet::Instance};

/// A fence that stands, by the database's clock.
pub(super) struct StandingRow {
    pub(super) slice: String,
    pub(super) token: String,
    pub(super) left: Duration,
}

/// This process, as the others see it.
pub(super) struct Beat<'a> {
    pub(super) instance: Uuid,
    pub(super) name: &'a str,
    pub(super) lease: Duration,
    pub(super) revision: u64,
}

pub(super) async fn beat(listener: &mut PgListener, beat: &Beat<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO gateway_instances (instance, name, lease_ms, revision) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (instance) DO UPDATE SET heard_at = clock_timestamp(), revision = excluded.revision",
    )
    .bind(beat.instance)
    .bind(beat.name.to_owned())
    .bind(milliseconds(beat.lease))
    .bind(beat.revision.cast_signed())
    .execute(&mut *listener)
    .await
    .map(drop)
}

/// Forgets gateways that are long gone, and with them what they acknowledged.
pub(super) async fn forget_gone(listener: &mut PgListener) -> sqlx::Result<()> {
    let statement = "DELETE FROM gateway_instances WHERE heard_at < clock_timestamp() - interval '1 day'";
    sqlx::query(statement).execute(&mut *listener).await.map(drop)
}

pub(super) async fn standing(listener: &mut PgListener) -> sqlx::Result<Vec<StandingRow>> {
    let rows = sqlx::query(
        "SELECT slice, token, extract(epoch FROM until_at - clock_timestamp())::float8 AS left_s \
         FROM slice_fences WHERE until_at > clock_timestamp()",
    )
    .fetch_all(&mut *listener)
    .await?;
    let read = |row: &PgRow| {
        let left = Duration::try_from_secs_f64(row.try_get::<f64, _>("left_s")?).unwrap_or_default();
        Ok(StandingRow { slice: row.try_get("slice")?, token: row.try_get("token")?, left })
    };
    rows.iter().map(read).collect()
}

/// Places a fence where none stands, or keeps the one of this token; `false` where another stands.
pub(super) async fn place(listener: &mut PgListener, slice: &str, token: &str, hold: Hold) -> sqlx::Result<bool> {
    let placed = sqlx::query(
        "INSERT INTO slice_fences AS known (slice, token, placed_at, bound_at, until_at) \
         SELECT $1, $2, at, at + $3 * interval '1 ms', at + least($3, $4) * interval '1 ms' \
         FROM (SELECT clock_timestamp() AS at) AS now \
         ON CONFLICT (slice) DO UPDATE SET token = excluded.token, placed_at = excluded.placed_at, \
             bound_at = excluded.bound_at, until_at = excluded.until_at \
         WHERE known.until_at <= clock_timestamp()",
    )
    .bind(slice.to_owned())
    .bind(token.to_owned())
    .bind(milliseconds(hold.bound))
    .bind(milliseconds(hold.lease))
    .execute(&mut *listener)
    .await?;
    Ok(placed.rows_affected() == 1)
}

/// Renews a lease; `false` where no fence of this token stands.
pub(super) async fn renew(listener: &mut PgListener, slice: &str, token: &str, lease: Duration) -> sqlx::Result<bool> {
    let renewed = sqlx::query(
        "UPDATE slice_fences SET until_at = least(bound_at, clock_timestamp() + $3 * interval '1 ms') \
         WHERE slice = $1 AND token = $2 AND until_at > clock_timestamp()",
    )
    .bind(slice.to_owned())
    .bind(token.to_owned())
    .bind(milliseconds(lease))
    .execute(&mut *listener)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Lifts a fence; `false` where none of this token stands.
pub(super) async fn lift(listener: &mut PgListener, slice: &str, token: &str) -> sqlx::Result<bool> {
    let lifted = sqlx::query(
        "UPDATE slice_fences SET until_at = clock_timestamp() \
         WHERE slice = $1 AND token = $2 AND until_at > clock_timestamp()",
    )
    .bind(slice.to_owned())
    .bind(token.to_owned())
    .execute(&mut *listener)
    .await?;
    Ok(lifted.rows_affected() == 1)
}

pub(super) async fn acknowledge(
    listener: &mut PgListener,
    instance: Uuid,
    slice: &str,
    token: &str,
    (found, drained_after): (usize, Option<Duration>),
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH old AS (DELETE FROM slice_fence_acks WHERE slice = $1 AND instance = $3 AND token <> $2) \
         INSERT INTO slice_fence_acks (slice, token, instance, found, drained_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (slice, token, instance) DO UPDATE SET drained_ms = excluded.drained_ms",
    )
    .bind(slice.to_owned())
    .bind(token.to_owned())
    .bind(instance)
    .bind(i64::try_from(found).unwrap_or(i64::MAX))
    .bind(drained_after.map(|after| after.as_secs_f64() * 1_000.0))
    .execute(&mut *listener)
    .await
    .map(drop)
}

/// Every gateway that is not gone, with what it says of this fence.
pub(super) async fn instances(listener: &mut PgListener, slice: &str, token: &str) -> sqlx::Result<Vec<Instance>> {
    let rows = sqlx::query(
        "SELECT known.instance, known.name, known.revision, ack.found, ack.drained_ms \
         FROM gateway_instances AS known LEFT JOIN slice_fence_acks AS ack \
             ON ack.instance = known.instance AND ack.slice = $1 AND ack.token = $2 \
         WHERE known.heard_at > clock_timestamp() - known.lease_ms * interval '1 ms' ORDER BY known.started_at",
    )
    .bind(slice.to_owned())
    .bind(token.to_owned())
    .fetch_all(&mut *listener)
    .await?;
    let read = |row: &PgRow| {
        Ok(Instance {
            instance: row.try_get("instance")?,
            name: row.try_get("name")?,
            revision: row.try_get::<i64, _>("revision")?.cast_unsigned(),
            found: row.try_get::<Option<i64>, _>("found")?.map(i64::cast_unsigned),
            drained_after_ms: row.try_get("drained_ms")?,
        })
    };
    rows.iter().map(read).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
