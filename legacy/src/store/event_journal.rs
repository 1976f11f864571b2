//! The table `in_process_bus.events`: what the in-process bus accepted and has not settled.

use std::time::Duration;

use domain::EventId;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::{Store, StoreError, failed};

impl Store {
    /// Adds an event unless `capacity` events wait already (two publishers at once may overshoot by
    /// one); an event with the same id that still waits makes this a no-op. `false` when full.
    pub(crate) async fn journal_event(&self, id: EventId, body: &str, capacity: i64) -> Result<bool, StoreError> {
        let (accepted,): (bool,) = sqlx::query_as(
            "with room as (
                 select (select count(*) from (select from in_process_bus.events limit $3) as waiting) < $3 as free
             ), added as (
                 insert into in_process_bus.events (id, body)
                 select $1, $2 from room where free
                 on conflict (id) do nothing
             )
             select free from room",
        )
        .bind(id.as_uuid())
        .bind(body)
        .bind(capacity)
        .fetch_one(&self.pool)
        .await
        .map_err(failed("journalling an event"))?;
        Ok(accepted)
    }

    /// How many events are not done with, whoever holds them.
    pub(crate) async fn count_events(&self) -> Result<u64, StoreError> {
        let (count,): (i64,) = sqlx::query_as("select count(*) from in_process_bus.events")
            .fetch_one(&self.pool)
            .await
            .map_err(failed("counting events"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Leases up to `limit` events that nobody holds, oldest first.
    pub(crate) async fn lease_events(
        &self,
        holder: Uuid,
        lease: Duration,
        limit: i64,
    ) -> Result<Vec<(EventId, String)>, StoreError> {
        let rows: Vec<(Uuid, String)> = sqlx::query_as(
            // Materialized: as a plain subquery it could be run again for each row, and lease more
            // than `limit`.
            "with free as materialized (
                 select id from in_process_bus.events
                 where available_at <= now() and (leased_until is null or leased_until < now())
                 order by available_at, id limit $3
                 for update skip locked
             )
             update in_process_bus.events as event set leased_by = $1, leased_until = now() + $2
             from free where event.id = free.id
             returning event.id, event.body",
        )
        .bind(holder)
        .bind(interval(lease))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(failed("leasing events"))?;
        Ok(rows.into_iter().map(|(id, body)| (EventId::from(id), body)).collect())
    }

    /// Keeps those of `events` that `holder` has leased for another `lease`.
    pub(crate) async fn renew_event_leases(
        &self,
        holder: Uuid,
        events: &[EventId],
        lease: Duration,
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = events.iter().map(|id| id.as_uuid()).collect();
        sqlx::query("update in_process_bus.events set leased_until = now() + $3 where leased_by = $1 and id = any($2)")
            .bind(holder)
            .bind(ids)
            .bind(interval(lease))
            .execute(&self.pool)
            .await
            .map_err(failed("renewing the leases of events"))?;
        Ok(())
    }

    /// Forgets an event that is done with; nothing happens when another holder has it by now.
    pub(crate) async fn forget_event(&self, id: EventId, holder: Uuid) -> Result<(), StoreError> {
        sqlx::query("delete from in_process_bus.events where id = $1 and leased_by = $2")
            .bind(id.as_uuid())
            .bind(holder)
            .execute(&self.pool)
            .await
            .map_err(failed("forgetting an event"))?;
        Ok(())
    }

    /// Puts an event back, as `body`, to be delivered after `delay`.
    pub(crate) async fn requeue_event(
        &self,
        id: EventId,
        holder: Uuid,
        body: &str,
        delay: Duration,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update in_process_bus.events
             set body = $3, available_at = now() + $4, leased_by = null, leased_until = null
             where id = $1 and leased_by = $2",
        )
        .bind(id.as_uuid())
        .bind(holder)
        .bind(body)
        .bind(interval(delay))
        .execute(&self.pool)
        .await
        .map_err(failed("putting an event back"))?;
        Ok(())
    }
}

fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
