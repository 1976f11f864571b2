//! A database as a test finds it, and the few things every test does with it.

use std::path::{Path, PathBuf};

use migration::{
    Mapping,
    shared::{self, Patience},
};
use sqlx::{AssertSqlSafe, PgPool, Row};
use testkit::TestDatabase;

/// The monolith's own migrations: what the mapping is for.
const MONOLITH: &str = include_str!("../../legacy/migrations/0001_mini_lambda.sql");

/// A mapping that moves one table, as it is.
pub const NOTES: &str =
    "[targets.shop]\nschema = \"shop\"\n[targets.shop.tables.note]\n[slices.shop]\ntarget = \"shop\"\n";

/// The mapping that the local stack uses.
pub const MINI_LAMBDA: &str = include_str!("../../infrastructure/local/mini-lambda/mapping.toml");

/// The same without its slices, for those of a test.
pub fn mini_lambda_tables() -> &'static str {
    MINI_LAMBDA.split_once("[slices").map_or(MINI_LAMBDA, |(tables, _)| tables)
}

/// A database with a pool; it is dropped with this value.
pub struct Database {
    pub pool: PgPool,
    pub server: TestDatabase,
}

impl Database {
    /// An empty one, with a schema made by `sql`.
    pub async fn with(sql: &str) -> Self {
        let server = testkit::postgres().await;
        let database = Self { pool: server.pool().await, server };
        database.run(sql).await;
        database
    }

    /// The monolith's, with the views of the lambda service over it.
    pub async fn mini_lambda() -> Self {
        let database = Self::monolith().await;
        database.provide(&mapping(MINI_LAMBDA)).await;
        database
    }

    /// The monolith's alone.
    pub async fn monolith() -> Self {
        Self::with(MONOLITH).await
    }

    /// Runs statements that must succeed.
    pub async fn run(&self, sql: &str) {
        self.attempt(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs statements.
    pub async fn attempt(&self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.map(|_| ())
    }

    /// The SQLSTATE that a statement fails with.
    pub async fn sqlstate(&self, sql: &str) -> String {
        let error = self.attempt(sql).await.expect_err("the statement is refused");
        error.as_database_error().and_then(|error| error.code()).expect("PostgreSQL refused it").into_owned()
    }

    /// One value, as text; `NULL` is `"null"`.
    pub async fn text(&self, sql: &str) -> String {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        row.try_get::<Option<String>, _>(0).expect("a column of text").unwrap_or_else(|| "null".to_owned())
    }

    /// One number.
    pub async fn count(&self, sql: &str) -> i64 {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        row.try_get(0).expect("a bigint")
    }

    /// Plans and applies; both must succeed.
    pub async fn provide(&self, mapping: &Mapping) {
        let plan = shared::plan(&self.pool, mapping).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        shared::apply(&self.pool, &plan, Patience::default())
            .await
            .unwrap_or_else(|error| panic!("{error}: {error:?}"));
    }

    /// What a plan would change, object by object.
    pub async fn planned(&self, mapping: &Mapping) -> Vec<String> {
        let plan = shared::plan(&self.pool, mapping).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        plan.changes.iter().map(|change| format!("{}: {}", change.object, change.reason)).collect()
    }

    /// The findings of a plan that does not fit.
    pub async fn findings(&self, mapping: &Mapping) -> String {
        shared::plan(&self.pool, mapping).await.expect_err("it does not fit").to_string()
    }
}

/// The tables and rows of Chinook, from where `CHINOOK_SQL` says or from beside the checkout; says why
/// when there are none.
#[expect(clippy::print_stdout, reason = "who runs the tests is told what was skipped")]
pub fn chinook() -> Option<String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chinook/chinook.sql");
    let path = std::env::var_os("CHINOOK_SQL").map_or_else(beside, PathBuf::from);
    let Ok(script) = std::fs::read_to_string(&path) else {
        println!("skipped: the Chinook script is not there ({}); CHINOOK_SQL may name it", path.display());
        return None;
    };
    // The script makes its own database and connects to it, which is psql's business.
    let (_, tables) = script.split_once("\\c chinook;").expect("the script connects to its database");
    Some(tables.to_owned())
}

/// A mapping without problems.
pub fn mapping(text: &str) -> Mapping {
    Mapping::from_toml("mapping.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}
