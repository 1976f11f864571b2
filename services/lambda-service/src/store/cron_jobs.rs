//! `cron_jobs`, and beside it which firings became events and what becomes of missed ones.

use chrono::{DateTime, Utc};
use domain::{EventId, FunctionId, TriggerId, contract::TriggerItem};
use schedule::MissedRuns;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Control, RawEvent, Store, StoreError, again, controls, event_queue};

/// A trigger to be added.
#[derive(Debug)]
pub struct NewTrigger<'a> {
    /// The function it calls.
    pub function_id: FunctionId,
    /// A name for people.
    pub name: &'a str,
    /// Six fields, seconds first; checked.
    pub cron_expression: &'a str,
    /// An IANA time zone; checked.
    pub timezone: &'a str,
    /// Whether it fires.
    pub enabled: bool,
    /// The first firing; none when the expression never fires.
    pub next_run_at: Option<DateTime<Utc>>,
    /// What becomes of missed runs, if not what the settings say.
    pub missed_runs: Option<MissedRuns>,
}

/// A trigger with its own policy, if it has one.
pub type TriggerWithPolicy = (TriggerItem, Option<MissedRuns>);

/// What of a trigger changes; none: it stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct TriggerChange {
    /// Whether it fires, and if so, when next.
    pub enabled: Option<(bool, Option<DateTime<Utc>>)>,
    /// What becomes of missed runs; `Some(None)`: what the settings say.
    pub missed_runs: Option<Option<MissedRuns>>,
}

/// A trigger that is due.
#[derive(Debug, Clone)]
pub struct DueTrigger {
    /// Its id.
    pub id: TriggerId,
    /// The function it calls.
    pub function_id: FunctionId,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub cron_expression: String,
    /// Its time zone.
    pub timezone: String,
    /// Since when.
    pub due_at: DateTime<Utc>,
    /// What becomes of missed runs, if not what the settings say.
    pub missed_runs: Option<MissedRuns>,
}

/// What is done about a due trigger.
#[derive(Debug, Clone)]
pub struct Firing {
    /// The events of its firings, each with the time that it was due.
    pub events: Vec<(DateTime<Utc>, RawEvent)>,
    /// When it is due next; none: never again.
    pub next_run_at: Option<DateTime<Utc>>,
}

/// What looking for due triggers came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired {
    /// Triggers that were due and have been moved on.
    pub triggers: usize,
    /// Events that were accepted.
    pub events: usize,
    /// Firings that had become events before.
    pub repeated: usize,
    /// How long until the next trigger is due, where none was; none when there is none, or while paused.
    pub next_in: Option<std::time::Duration>,
}

const ITEM: &str =
    "id, function_id, name, cron_expression, timezone, enabled, last_run_at, next_run_at, created_at, updated_at";

type Row = (
    Uuid,
    Uuid,
    String,
    String,
    String,
    bool,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
    DateTime<Utc>,
    DateTime<Utc>,
);

impl Store {
    /// Adds a trigger.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFunction`] and the others.
    pub async fn insert_trigger(&self, trigger: &NewTrigger<'_>) -> Result<TriggerId, StoreError> {
        let id = TriggerId::generate();
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        sqlx::query(
            "INSERT INTO cron_jobs (id, function_id, name, cron_expression, timezone, enabled, next_run_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.as_uuid())
        .bind(trigger.function_id.as_uuid())
        .bind(trigger.name)
        .bind(trigger.cron_expression)
        .bind(trigger.timezone)
        .bind(trigger.enabled)
        .bind(trigger.next_run_at)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::of_insert)?;
        set_policy(&mut transaction, id, trigger.missed_runs).await?;
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(id)
    }

    /// A function's triggers, the newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn triggers_of(&self, function: FunctionId) -> Result<Vec<TriggerItem>, StoreError> {
        let statement =
            format!("SELECT {ITEM} FROM cron_jobs WHERE function_id = $1 ORDER BY created_at DESC, id DESC");
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(function.as_uuid())
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::from_sqlx)?;
        Ok(rows.into_iter().map(item).collect())
    }

    /// One trigger.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn trigger(&self, id: TriggerId) -> Result<Option<TriggerWithPolicy>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from_sqlx)?;
        read(&mut connection, id).await
    }

    /// Changes a trigger; none when there is no such trigger.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn change_trigger(
        &self,
        id: TriggerId,
        change: TriggerChange,
    ) -> Result<Option<TriggerWithPolicy>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        if let Some((enabled, next_run_at)) = change.enabled {
            sqlx::query("UPDATE cron_jobs SET enabled = $2, next_run_at = $3 WHERE id = $1")
                .bind(id.as_uuid())
                .bind(enabled)
                .bind(next_run_at)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from_sqlx)?;
        }
        if read(&mut transaction, id).await?.is_none() {
            return Ok(None);
        }
        if let Some(policy) = change.missed_runs {
            sqlx::query("DELETE FROM cron_policies WHERE trigger_id = $1")
                .bind(id.as_uuid())
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from_sqlx)?;
            set_policy(&mut transaction, id, policy).await?;
        }
        let changed = read(&mut transaction, id).await?;
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(changed)
    }

    /// Deletes a trigger; false when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_trigger(&self, id: TriggerId) -> Result<bool, StoreError> {
        let delete = || async {
            sqlx::query("DELETE FROM cron_jobs WHERE id = $1").bind(id.as_uuid()).execute(&self.pool).await
        };
        let done = again(delete).await.map_err(StoreError::from_sqlx)?;
        sqlx::query("DELETE FROM cron_policies WHERE trigger_id = $1")
            .bind(id.as_uuid())
            .execute(&self.pool)
            .await
            .map_err(StoreError::from_sqlx)?;
        Ok(done.rows_affected() > 0)
    }

    /// Fires what is due, at most `most` triggers: one transaction, in which their events are accepted and they are
    /// moved on. Rows that another replica, or the monolith, is just firing are passed by.
    ///
    /// Time is the database's: replicas whose clocks differ agree about what is due.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing was fired.
    pub async fn fire_due_triggers(
        &self,
        most: i64,
        decide: impl Fn(&DueTrigger, DateTime<Utc>) -> Firing,
    ) -> Result<Fired, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        // Held to the end, so that a pause waits for this; the next statement sees a pause that it has waited for.
        controls::lock_shared(&mut transaction, Control::Cron).await?;
        if controls::is_paused(&mut transaction, Control::Cron).await? {
            return Ok(Fired::default());
        }
        let (now, due) = claim(&mut transaction, most).await?;
        let mut fired = Fired { triggers: due.len(), ..Fired::default() };
        for trigger in &due {
            let firing = decide(trigger, now);
            for (scheduled_at, event) in &firing.events {
                if fire(&mut transaction, trigger.id, *scheduled_at, event).await? {
                    fired.events += 1;
                } else {
                    fired.repeated += 1;
                }
            }
            move_on(&mut transaction, trigger.id, &firing, now).await?;
        }
        if due.is_empty() {
            fired.next_in = next_in(&mut transaction).await?;
        }
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(fired)
    }

    /// Forgets firings of before `days` days, which nobody will find due again, and policies of triggers that
    /// are gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_old_firings(&self, days: i32) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM cron_firings WHERE fired_at < now() - make_interval(days => $1)")
            .bind(days)
            .execute(&self.pool)
            .await
            .map_err(StoreError::from_sqlx)?;
        sqlx::query(
            "DELETE FROM cron_policies AS p WHERE NOT EXISTS (SELECT FROM cron_jobs AS j WHERE j.id = p.trigger_id)",
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::from_sqlx)
    }
}

/// Locks what is due, and says what time it is.
async fn claim(connection: &mut PgConnection, most: i64) -> Result<(DateTime<Utc>, Vec<DueTrigger>), StoreError> {
    type Row = (Uuid, Uuid, String, String, String, DateTime<Utc>, Option<String>);
    let now: DateTime<Utc> =
        sqlx::query_scalar("SELECT now()").fetch_one(&mut *connection).await.map_err(StoreError::from_sqlx)?;
    // The policy is asked apart from the lock: a join cannot be locked through every view.
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT j.id, j.function_id, j.name, j.cron_expression, j.timezone, j.next_run_at, \
         (SELECT missed_runs FROM cron_policies AS p WHERE p.trigger_id = j.id) \
         FROM cron_jobs AS j WHERE j.enabled AND j.next_run_at <= $1 ORDER BY j.next_run_at, j.id LIMIT $2 \
         FOR UPDATE OF j SKIP LOCKED",
    )
    .bind(now)
    .bind(most)
    .fetch_all(connection)
    .await
    .map_err(StoreError::from_sqlx)?;
    let due = |(id, function_id, name, cron_expression, timezone, due_at, policy): Row| {
        Ok(DueTrigger {
            id: id.into(),
            function_id: function_id.into(),
            name,
            cron_expression,
            timezone,
            due_at,
            missed_runs: policy.as_deref().map(parsed).transpose()?,
        })
    };
    Ok((now, rows.into_iter().map(due).collect::<Result<_, _>>()?))
}

/// Accepts the event of one firing, unless the firing became an event before.
async fn fire(
    connection: &mut PgConnection,
    trigger: TriggerId,
    scheduled_at: DateTime<Utc>,
    event: &RawEvent,
) -> Result<bool, StoreError> {
    let id: EventId = event.id;
    let claimed = sqlx::query(
        "INSERT INTO cron_firings (trigger_id, scheduled_at, event_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(trigger.as_uuid())
    .bind(scheduled_at)
    .bind(id.as_uuid())
    .execute(&mut *connection)
    .await
    .map_err(StoreError::from_sqlx)?;
    Ok(claimed.rows_affected() > 0 && event_queue::accept(connection, event, None).await?)
}

async fn move_on(
    connection: &mut PgConnection,
    trigger: TriggerId,
    firing: &Firing,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let fired_at = (!firing.events.is_empty()).then_some(now);
    sqlx::query("UPDATE cron_jobs SET last_run_at = COALESCE($2, last_run_at), next_run_at = $3 WHERE id = $1")
        .bind(trigger.as_uuid())
        .bind(fired_at)
        .bind(firing.next_run_at)
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::from_sqlx)
}

async fn next_in(connection: &mut PgConnection) -> Result<Option<std::time::Duration>, StoreError> {
    let seconds: Option<f64> = sqlx::query_scalar(
        "SELECT EXTRACT(EPOCH FROM min(next_run_at) - clock_timestamp())::double precision FROM cron_jobs WHERE enabled",
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::from_sqlx)?;
    Ok(seconds.map(|seconds| std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

async fn set_policy(
    connection: &mut PgConnection,
    trigger: TriggerId,
    policy: Option<MissedRuns>,
) -> Result<(), StoreError> {
    let Some(policy) = policy else { return Ok(()) };
    sqlx::query("INSERT INTO cron_policies (trigger_id, missed_runs) VALUES ($1, $2)")
        .bind(trigger.as_uuid())
        .bind(policy.to_string())
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::from_sqlx)
}

async fn read(connection: &mut PgConnection, id: TriggerId) -> Result<Option<TriggerWithPolicy>, StoreError> {
    let statement = format!("SELECT {ITEM} FROM cron_jobs WHERE id = $1");
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(id.as_uuid())
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::from_sqlx)?;
    let Some(row) = row else { return Ok(None) };
    let policy: Option<String> = sqlx::query_scalar("SELECT missed_runs FROM cron_policies WHERE trigger_id = $1")
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::from_sqlx)?;
    Ok(Some((item(row), policy.as_deref().map(parsed).transpose()?)))
}

fn parsed(policy: &str) -> Result<MissedRuns, StoreError> {
    policy.parse().map_err(|error| StoreError::Unreadable(Box::new(error)))
}

fn item(row: Row) -> TriggerItem {
    let (id, function_id, name, cron_expression, timezone, enabled, last_run_at, next_run_at, created_at, updated_at) =
        row;
    TriggerItem {
        id: id.into(),
        function_id: function_id.into(),
        name,
        cron_expression,
        timezone,
        enabled,
        last_run_at,
        next_run_at,
        created_at,
        updated_at,
    }
}
