//! Mismatches in PostgreSQL, in the schema and by the connection settings of the shared rollout store; so
//! all gateways see those of all.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row as _, types::Json};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use uuid::Uuid;

use super::{
    Store, StoreError,
    mismatch::{ClusterCount, MAX_CLUSTERS, Mismatch, Summary},
};
use crate::{
    config::{MismatchesConfig, PostgresConfig},
    control::connect,
};

/// See the module.
pub(super) struct PostgresMismatches {
    database: PostgresConfig,
    keep: Duration,
    most: i64,
    most_bytes: i64,
    /// Of the store's thread, and running while that waits for the database.
    runtime: Runtime,
    connection: Option<PgConnection>,
    migrated: bool,
}

impl PostgresMismatches {
    /// The store in this database; nothing is connected yet.
    pub(super) fn new(config: &MismatchesConfig, database: &PostgresConfig) -> std::io::Result<Self> {
        Ok(Self {
            database: database.clone(),
            keep: config.keep.get(),
            most: i64::try_from(config.max_stored).unwrap_or(i64::MAX),
            most_bytes: i64::try_from(config.max_stored_bytes.bytes()).unwrap_or(i64::MAX),
            runtime: Builder::new_current_thread().enable_all().build()?,
            connection: None,
            migrated: false,
        })
    }

    /// Does something in the database. A connection that failed is not used again.
    fn run<T>(&mut self, mut act: impl AsyncFnMut(&mut PgConnection) -> sqlx::Result<T>) -> Result<T, StoreError> {
        let Self { database, runtime, connection, migrated, .. } = self;
        runtime.block_on(async {
            for rested in [true, false] {
                let mut used = match connection.take() {
                    Some(rested) => rested,
                    None => connect(database, migrated).await.map_err(|error| StoreError::Database(said(&error)))?,
                };
                match timeout(database.timeout.get(), act(&mut used)).await {
                    Ok(Ok(done)) => {
                        *connection = Some(used);
                        return Ok(done);
                    }
                    // A connection may have ended while it rested.
                    Ok(Err(sqlx::Error::Io(_))) if rested => {}
                    Ok(Err(error)) => return Err(StoreError::Database(said(&error))),
                    Err(_) => return Err(StoreError::Database("no answer in time".to_owned())),
                }
            }
            Err(StoreError::Database("the connection is lost".to_owned()))
        })
    }
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    crate::control::chain(error)
}

impl Store for PostgresMismatches {
    fn append(&mut self, mismatches: &[Mismatch], counted: &[ClusterCount]) -> Result<(), StoreError> {
        let rows = Rows::of(mismatches);
        let counts = Counts::of(counted);
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            sqlx::query(
                "INSERT INTO shadow_mismatches (id, at, route, bytes, mismatch) \
                 SELECT id, at, route, octet_length(mismatch), mismatch::json \
                 FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[]) AS row (id, at, route, mismatch) \
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(&rows.ids)
            .bind(&rows.times)
            .bind(&rows.routes)
            .bind(&rows.texts)
            .execute(&mut *transaction)
            .await?;
            // In one order for all gateways, so that two never wait for each other.
            sqlx::query(
                "INSERT INTO shadow_clusters AS known (route, path, kind, count, first_at, last_at, example) \
                 SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], \
                                      $6::timestamptz[], $7::uuid[]) AS row (route, path, kind) ORDER BY 1, 2, 3 \
                 ON CONFLICT (route, path, kind) DO UPDATE SET count = known.count + excluded.count, \
                     first_at = least(known.first_at, excluded.first_at), \
                     last_at = greatest(known.last_at, excluded.last_at), example = excluded.example",
            )
            .bind(&counts.routes)
            .bind(&counts.paths)
            .bind(&counts.kinds)
            .bind(&counts.counts)
            .bind(&counts.first)
            .bind(&counts.last)
            .bind(&counts.examples)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        })
    }

    fn prune(&mut self) -> Result<(), StoreError> {
        let (most, most_bytes, keep_s) = (self.most, self.most_bytes, self.keep.as_secs_f64());
        let clusters = i64::try_from(MAX_CLUSTERS).unwrap_or(i64::MAX);
        self.run(async |connection| {
            sqlx::query(
                "DELETE FROM shadow_mismatches WHERE at < now() - make_interval(secs => $3) OR id IN ( \
                     SELECT id FROM (SELECT id, row_number() OVER latest AS number, sum(bytes) OVER latest AS total \
                         FROM shadow_mismatches WINDOW latest AS (ORDER BY at DESC, id DESC)) AS counted \
                     WHERE number > $1 OR total > $2)",
            )
            .bind(most)
            .bind(most_bytes)
            .bind(keep_s)
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "DELETE FROM shadow_clusters WHERE (route, path, kind) IN ( \
                     SELECT route, path, kind FROM shadow_clusters ORDER BY last_at DESC OFFSET $1)",
            )
            .bind(clusters)
            .execute(connection)
            .await?;
            Ok(())
        })
    }

    fn get(&mut self, id: Uuid) -> Result<Option<Mismatch>, StoreError> {
        self.run(async |connection| {
            let statement = "SELECT mismatch FROM shadow_mismatches WHERE id = $1";
            let row = sqlx::query(statement).bind(id).fetch_optional(connection).await?;
            row.map(|row| row.try_get::<Json<Mismatch>, _>(0).map(|found| found.0)).transpose()
        })
    }

    fn latest(&mut self, route: Option<&str>, limit: usize) -> Result<Vec<Summary>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.run(async |connection| {
            let statement = "SELECT mismatch FROM shadow_mismatches WHERE $1::text IS NULL OR route = $1 \
                             ORDER BY at DESC, id DESC LIMIT $2";
            let rows = sqlx::query(statement).bind(route).bind(limit).fetch_all(connection).await?;
            rows.iter().map(|row| Ok(row.try_get::<Json<Mismatch>, _>(0)?.0.summary())).collect()
        })
    }

    fn clusters(&mut self) -> Result<Vec<ClusterCount>, StoreError> {
        self.run(async |connection| {
            let statement = "SELECT to_json(c) FROM shadow_clusters AS c ORDER BY count DESC, route, path, kind";
            let rows = sqlx::query(statement).fetch_all(connection).await?;
            rows.iter().map(|row| Ok(row.try_get::<Json<ClusterCount>, _>(0)?.0)).collect()
        })
    }
}

/// Mismatches, column by column.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    times: Vec<chrono::DateTime<chrono::Utc>>,
    routes: Vec<String>,
    texts: Vec<String>,
}

impl Rows {
    fn of(mismatches: &[Mismatch]) -> Self {
        let mut rows = Self::default();
        for mismatch in mismatches {
            // What was made of texts and numbers has a text.
            let Ok(text) = serde_json::to_string(mismatch) else { continue };
            rows.ids.push(mismatch.id);
            rows.times.push(mismatch.at);
            rows.routes.push(mismatch.route.clone());
            rows.texts.push(text);
        }
        rows
    }
}

/// Counts, column by column.
#[derive(Default)]
struct Counts {
    routes: Vec<String>,
    paths: Vec<String>,
    kinds: Vec<&'static str>,
    counts: Vec<i64>,
    first: Vec<chrono::DateTime<chrono::Utc>>,
    last: Vec<chrono::DateTime<chrono::Utc>>,
    examples: Vec<Uuid>,
}

impl Counts {
    fn of(counted: &[ClusterCount]) -> Self {
        let mut columns = Self::default();
        for count in counted {
            columns.routes.push(count.route.clone());
            columns.paths.push(count.path.clone());
            columns.kinds.push(count.kind.as_str());
            columns.counts.push(i64::try_from(count.count).unwrap_or(i64::MAX));
            columns.first.push(count.first_at);
            columns.last.push(count.last_at);
            columns.examples.push(count.example);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use layered_config::{ByteSize, HumanDuration, Secret};

    use super::*;
    use crate::shadow::store::mismatch::example;

    /// With bounds of number, bytes and age. Each on the same tables.
    async fn kept_with(database: &PostgresConfig, config: MismatchesConfig, more: Vec<Mismatch>) -> Vec<Uuid> {
        let database = database.clone();
        // It has a runtime of its own, as on its thread in the gateway.
        let kept = tokio::task::spawn_blocking(move || {
            let mut store = PostgresMismatches::new(&config, &database).unwrap();
            let counted: Vec<ClusterCount> = more.iter().take(1).flat_map(ClusterCount::of).collect();
            for _ in 0..2 {
                store.append(&more, &counted).unwrap();
            }
            store.prune().unwrap();
            if let Some(last) = more.last() {
                assert_eq!(store.get(last.id).unwrap().as_ref(), Some(last));
            }
            let odd = store.latest(Some("odd"), 1_000).unwrap();
            assert!(odd.iter().all(|summary| summary.route == "odd"));
            (store.latest(None, 1_000).unwrap(), store.clusters().unwrap())
        });
        let (kept, clusters) = kept.await.unwrap();
        assert_eq!((clusters.len(), clusters[0].count), (1, 2), "counts go on, whatever is removed");
        kept.iter().map(|summary| summary.id).collect()
    }

    #[tokio::test]
    async fn number_bytes_and_age_have_bounds_and_nothing_is_kept_twice() {
        let server = testkit::postgres().await;
        let database = PostgresConfig { url: Secret::new(server.url.clone()), ..PostgresConfig::default() };
        let config = MismatchesConfig::default;
        let all: Vec<Mismatch> = (0..30).map(example).collect();
        let latest = |most: usize| -> Vec<Uuid> { all.iter().rev().take(most).map(|mismatch| mismatch.id).collect() };
        assert_eq!(kept_with(&database, config(), all.clone()).await, latest(30));
        let few = MismatchesConfig { max_stored: 20, ..config() };
        assert_eq!(kept_with(&database, few, Vec::new()).await, latest(20));
        let bytes = serde_json::to_vec(&all[29]).unwrap().len() * 10 + 100;
        let small =
            MismatchesConfig { max_stored_bytes: ByteSize::from_bytes(u64::try_from(bytes).unwrap()), ..config() };
        assert_eq!(kept_with(&database, small, Vec::new()).await, latest(10));
        let short = MismatchesConfig { keep: HumanDuration::from_millis(1), ..config() };
        assert_eq!(kept_with(&database, short, Vec::new()).await, latest(0));
    }
}
