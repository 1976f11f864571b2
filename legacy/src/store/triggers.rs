//! The table `cron_triggers`.

use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{FunctionId, TriggerId, contract::TriggerItem};
use sqlx::{Postgres, Transaction};

use super::{Store, StoreError, cron_pause, failed, parsed, utc};

/// A trigger to be added.
#[derive(Debug)]
pub(crate) struct NewTrigger<'a> {
    pub(crate) function_id: FunctionId,
    pub(crate) name: &'a str,
    pub(crate) cron_expression: &'a str,
    pub(crate) timezone: &'a str,
    pub(crate) enabled: bool,
    /// `None` when the expression never fires.
    pub(crate) next_run_at: Option<DateTime<Utc>>,
}

/// One due trigger, locked until the claim is settled or dropped. Dropping it leaves the trigger
/// as it was: still due.
#[derive(Debug)]
pub(crate) struct TriggerClaim {
    transaction: Transaction<'static, Postgres>,
    pub(crate) id: TriggerId,
    pub(crate) function_id: FunctionId,
    pub(crate) name: String,
    pub(crate) cron_expression: String,
    pub(crate) timezone: String,
    /// When it should have fired.
    pub(crate) due_at: DateTime<Utc>,
}

type Row =
    (String, String, String, String, bool, Option<NaiveDateTime>, Option<NaiveDateTime>, NaiveDateTime, NaiveDateTime);

impl Store {
    pub(crate) async fn insert_trigger(&self, trigger: &NewTrigger<'_>) -> Result<TriggerId, StoreError> {
        let id = TriggerId::generate();
        sqlx::query(
            "insert into cron_triggers (id, function_id, name, cron_expression, timezone, enabled, next_run_at)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.to_string())
        .bind(trigger.function_id.to_string())
        .bind(trigger.name)
        .bind(trigger.cron_expression)
        .bind(trigger.timezone)
        .bind(trigger.enabled)
        .bind(trigger.next_run_at.map(|at| at.naive_utc()))
        .execute(&self.pool)
        .await
        .map_err(failed("adding a cron trigger"))?;
        Ok(id)
    }

    pub(crate) async fn triggers_of(&self, function_id: FunctionId) -> Result<Vec<TriggerItem>, StoreError> {
        const OPERATION: &str = "listing cron triggers";
        let rows: Vec<Row> = sqlx::query_as(
            "select id, name, cron_expression, timezone, enabled, last_run_at, next_run_at, created_at, updated_at
             from cron_triggers where function_id = $1 order by created_at desc, id desc",
        )
        .bind(function_id.to_string())
        .fetch_all(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        rows.into_iter()
            .map(|(id, name, cron_expression, timezone, enabled, last_run_at, next_run_at, created_at, updated_at)| {
                Ok(TriggerItem {
                    id: parsed(OPERATION, "trigger id", &id)?,
                    function_id,
                    name,
                    cron_expression,
                    timezone,
                    enabled,
                    last_run_at: last_run_at.map(utc),
                    next_run_at: next_run_at.map(utc),
                    created_at: utc(created_at),
                    updated_at: utc(updated_at),
                })
            })
            .collect()
    }

    /// `false` when there is no such trigger.
    pub(crate) async fn delete_trigger(&self, id: TriggerId) -> Result<bool, StoreError> {
        let done = sqlx::query("delete from cron_triggers where id = $1")
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed("deleting a cron trigger"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Locks the longest-due trigger that no other replica holds; `None` when nothing is due.
    pub(crate) async fn claim_due_trigger(&self, now: DateTime<Utc>) -> Result<Option<TriggerClaim>, StoreError> {
        const OPERATION: &str = "claiming a due cron trigger";
        let mut transaction = self.pool.begin().await.map_err(failed(OPERATION))?;
        // Held to the end of the firing, so that a pause waits for it; the next statement sees a pause that
        // this one has waited for.
        cron_pause::lock_shared(&mut *transaction).await?;
        let row: Option<(String, String, String, String, String, NaiveDateTime)> = sqlx::query_as(
            "select id, function_id, name, cron_expression, timezone, next_run_at
             from cron_triggers where enabled and next_run_at <= $1
                 and not exists (select from cron_scheduler.state where paused)
             order by next_run_at, id limit 1
             for update skip locked",
        )
        .bind(now.naive_utc())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed(OPERATION))?;
        let Some((id, function_id, name, cron_expression, timezone, due_at)) = row else { return Ok(None) };
        Ok(Some(TriggerClaim {
            transaction,
            id: parsed(OPERATION, "trigger id", &id)?,
            function_id: parsed(OPERATION, "function id", &function_id)?,
            name,
            cron_expression,
            timezone,
            due_at: utc(due_at),
        }))
    }
}

impl TriggerClaim {
    /// Records that the trigger fired at `fired_at` and is due again at `next_run_at` (never, when
    /// `None`), and lets go of it.
    pub(crate) async fn settle(
        mut self,
        fired_at: DateTime<Utc>,
        next_run_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "settling a cron trigger";
        sqlx::query("update cron_triggers set last_run_at = $2, next_run_at = $3 where id = $1")
            .bind(self.id.to_string())
            .bind(fired_at.naive_utc())
            .bind(next_run_at.map(|at| at.naive_utc()))
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(OPERATION))?;
        self.transaction.commit().await.map_err(failed(OPERATION))
    }

    /// Takes the trigger out of the schedule without firing it: its expression cannot be read.
    pub(crate) async fn unschedule(mut self) -> Result<(), StoreError> {
        const OPERATION: &str = "taking a cron trigger out of the schedule";
        sqlx::query("update cron_triggers set next_run_at = null where id = $1")
            .bind(self.id.to_string())
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(OPERATION))?;
        self.transaction.commit().await.map_err(failed(OPERATION))
    }
}
