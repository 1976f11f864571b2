//! The door of a slice's tables in one database: a trigger that refuses every write, while it is shut.
//!
//! It hangs in both databases from the first preparation on, and is shut in the one that does not own the
//! rows. A table of which only some rows move refuses those rows; the others stay writable.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use crate::{
    identifier::{Identifier, QualifiedName, dollar_quoted, literal, search_path},
    slice::SlicePlan,
};

/// Triggers run in the order of their names, and this one must see what the others have made of a row.
const NAME: &str = "zz_strangler_moved";

/// Between two tries to get a lock that others hold.
const PAUSE: Duration = Duration::from_millis(20);

/// The door of one database.
#[derive(Debug, Clone)]
pub(super) struct Door {
    slice: String,
    schema: Identifier,
    leaves: Vec<Leaf>,
}

/// One table with it.
#[derive(Debug, Clone)]
struct Leaf {
    table: QualifiedName,
    /// Which of its rows are the slice's; all when it is none.
    filter: Option<String>,
}

/// How a door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stand {
    /// Not there.
    Absent,
    /// Writes pass.
    Open,
    /// Writes are refused.
    Shut,
    /// Some tables have one, or are shut, and others not.
    Partly,
}

impl Door {
    /// That of the monolith's tables.
    pub(super) fn of_monolith(plan: &SlicePlan) -> Self {
        let leaf = |table: &crate::slice::TablePlan| Leaf { table: table.source.clone(), filter: table.filter.clone() };
        Self {
            slice: plan.name.clone(),
            schema: plan.source_schema.clone(),
            leaves: plan.tables.iter().map(leaf).collect(),
        }
    }

    /// That of the candidate's.
    pub(super) fn of_candidate(plan: &SlicePlan) -> Self {
        let leaf = |table: &crate::slice::TablePlan| Leaf { table: table.target.clone(), filter: None };
        Self {
            slice: plan.name.clone(),
            schema: plan.target_schema.clone(),
            leaves: plan.tables.iter().map(leaf).collect(),
        }
    }

    /// The tables, as `LOCK TABLE` takes them.
    pub(super) fn lock_statement(&self) -> String {
        let tables: Vec<String> = self.leaves.iter().map(|leaf| leaf.table.quoted()).collect();
        format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", tables.join(", "))
    }

    /// Hangs it, open, where it is not there.
    pub(super) async fn hang(&self, pool: &PgPool, lock_wait: Duration, patience: Duration) -> sqlx::Result<()> {
        if self.stand(&mut *pool.acquire().await?).await? != Stand::Absent {
            // One that hangs in some tables only is of an earlier mapping; what is missing is added.
            let missing = self.missing(&mut *pool.acquire().await?).await?;
            if missing.is_empty() {
                return Ok(());
            }
        }
        self.patiently(pool, lock_wait, patience, async |connection| {
            sqlx::raw_sql(include_str!("door.sql")).execute(&mut *connection).await?;
            for (index, table) in self.missing(connection).await? {
                for statement in self.hanging(&self.leaves[index], &table) {
                    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
                }
            }
            Ok(())
        })
        .await
    }

    fn hanging(&self, leaf: &Leaf, table: &str) -> Vec<String> {
        let slice = literal(&self.slice);
        let Some(filter) = &leaf.filter else {
            return vec![
                format!(
                    "CREATE TRIGGER {NAME} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT \
                     EXECUTE FUNCTION strangler.refuse_moved({slice})"
                ),
                format!("ALTER TABLE {table} DISABLE TRIGGER {NAME}"),
            ];
        };
        // A name that two tables cannot share, in a schema that is the toolkit's.
        let digest = blake3::hash(format!("{} {table}", self.slice).as_bytes()).to_hex();
        let function = format!("strangler.refuse_moved_{}", &digest[..16]);
        let path = search_path(&self.schema);
        let body = dollar_quoted(&format!(
            "BEGIN \
             IF TG_OP <> 'DELETE' AND (SELECT ({filter}) FROM (SELECT (NEW).*) AS base) THEN \
             PERFORM strangler.refuse({slice}, TG_TABLE_NAME); END IF; \
             IF TG_OP <> 'INSERT' AND (SELECT ({filter}) FROM (SELECT (OLD).*) AS base) THEN \
             PERFORM strangler.refuse({slice}, TG_TABLE_NAME); END IF; \
             IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END"
        ));
        vec![
            format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = {path} AS {body}"
            ),
            format!(
                "CREATE TRIGGER {NAME} BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW \
                 EXECUTE FUNCTION {function}()"
            ),
            format!("ALTER TABLE {table} DISABLE TRIGGER {NAME}"),
        ]
    }

    /// What shuts it, as it hangs now, for a transaction of the caller's.
    pub(super) async fn shutting(&self, connection: &mut PgConnection) -> sqlx::Result<String> {
        self.altering(connection, "ENABLE").await
    }

    /// What opens it, the same.
    pub(super) async fn opening(&self, connection: &mut PgConnection) -> sqlx::Result<String> {
        self.altering(connection, "DISABLE").await
    }

    /// Shuts it, waiting for whoever writes.
    pub(super) async fn shut(&self, pool: &PgPool, lock_wait: Duration, patience: Duration) -> sqlx::Result<()> {
        if self.stand(&mut *pool.acquire().await?).await? == Stand::Shut {
            return Ok(());
        }
        self.shut_after_all(pool, lock_wait, patience).await
    }

    /// Shuts it, whatever a transaction that opens it comes to and that nobody waits for any more: it has the same lock.
    pub(super) async fn shut_after_all(
        &self,
        pool: &PgPool,
        lock_wait: Duration,
        patience: Duration,
    ) -> sqlx::Result<()> {
        self.patiently(pool, lock_wait, patience, async |connection| self.alter(connection, "ENABLE").await).await
    }

    /// Opens it.
    pub(super) async fn open(&self, pool: &PgPool, lock_wait: Duration, patience: Duration) -> sqlx::Result<()> {
        if self.stand(&mut *pool.acquire().await?).await? == Stand::Open {
            return Ok(());
        }
        self.patiently(pool, lock_wait, patience, async |connection| self.alter(connection, "DISABLE").await).await
    }

    /// Takes it out of its hinges.
    pub(super) async fn remove(&self, pool: &PgPool, lock_wait: Duration, patience: Duration) -> sqlx::Result<()> {
        self.patiently(pool, lock_wait, patience, async |connection| {
            for (_, table) in self.hung(connection).await? {
                let statement = format!("DROP TRIGGER IF EXISTS {NAME} ON {table}");
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
            }
            Ok(())
        })
        .await
    }

    async fn alter(&self, connection: &mut PgConnection, act: &str) -> sqlx::Result<()> {
        let statements = self.altering(connection, act).await?;
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
    }

    async fn altering(&self, connection: &mut PgConnection, act: &str) -> sqlx::Result<String> {
        let hung = self.hung(connection).await?;
        let statements = hung.iter().map(|(_, table)| format!("ALTER TABLE {table} {act} TRIGGER {NAME}"));
        Ok(statements.collect::<Vec<_>>().join("; "))
    }

    /// How it stands.
    pub(super) async fn stand(&self, connection: &mut PgConnection) -> sqlx::Result<Stand> {
        let all = self.tables(connection).await?;
        let hung: Vec<bool> = all.iter().filter_map(|(_, _, shut)| *shut).collect();
        Ok(match (hung.len(), hung.iter().filter(|shut| **shut).count()) {
            (0, _) => Stand::Absent,
            (there, 0) if there == all.len() => Stand::Open,
            (there, shut) if there == all.len() && shut == there => Stand::Shut,
            _ => Stand::Partly,
        })
    }

    async fn hung(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<(usize, String)>> {
        let all = self.tables(connection).await?;
        Ok(all.into_iter().filter(|(_, _, shut)| shut.is_some()).map(|(index, table, _)| (index, table)).collect())
    }

    async fn missing(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<(usize, String)>> {
        let all = self.tables(connection).await?;
        Ok(all.into_iter().filter(|(_, _, shut)| shut.is_none()).map(|(index, table, _)| (index, table)).collect())
    }

    /// Every table and each of its partitions, as SQL, and whether its door is shut; none where it has none.
    /// Triggers for statements fire for the table that the statement names, so partitions have their own; those
    /// for rows come down from the parent.
    async fn tables(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<(usize, String, Option<bool>)>> {
        let mut found = Vec::new();
        for (index, leaf) in self.leaves.iter().enumerate() {
            let rows: Vec<(String, Option<bool>)> = sqlx::query_as(
                "SELECT format('%I.%I', n.nspname, c.relname), t.tgenabled <> 'D' \
                 FROM (SELECT to_regclass($1)::oid AS root) AS named \
                 JOIN LATERAL (SELECT root AS oid UNION SELECT relid::oid FROM pg_partition_tree(root::regclass) WHERE NOT $3) AS tree \
                     ON true \
                 JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = $2 ORDER BY c.oid <> root, 1",
            )
            .bind(leaf.table.quoted())
            .bind(NAME)
            .bind(leaf.filter.is_some())
            .fetch_all(&mut *connection)
            .await?;
            found.extend(rows.into_iter().map(|(table, shut)| (index, table, shut)));
        }
        Ok(found)
    }

    /// Does something in one transaction that needs locks on tables others write, without making them queue
    /// behind it for long: it gives up soon and tries again.
    async fn patiently(
        &self,
        pool: &PgPool,
        lock_wait: Duration,
        patience: Duration,
        act: impl AsyncFn(&mut PgConnection) -> sqlx::Result<()>,
    ) -> sqlx::Result<()> {
        let until = Instant::now() + patience;
        let mut connection = pool.acquire().await?.detach();
        loop {
            let mut transaction = connection.begin().await?;
            let done = async {
                set_lock_timeout(&mut transaction, lock_wait).await?;
                act(&mut transaction).await
            };
            match done.await {
                Ok(()) => {
                    transaction.commit().await?;
                    return connection.close().await;
                }
                Err(error) if is_locked(&error) && Instant::now() < until => {
                    transaction.rollback().await?;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Limits how long the rest of a transaction waits for locks.
pub(super) async fn set_lock_timeout(connection: &mut PgConnection, wait: Duration) -> sqlx::Result<()> {
    let milliseconds = wait.as_millis().max(1).to_string();
    sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(milliseconds).execute(connection).await.map(drop)
}

/// Whether others hold what was wanted, or a deadlock with them was broken.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03" || code == "40P01")
}
