//! The table that is moved: executions as the monolith keeps them, with ids as text and times without a
//! zone.

use std::fmt;

use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use testkit::PrivatePostgres;

/// In which order the ids of new rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Ordered,
    Random,
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Ordered { "ordered" } else { "random" })
    }
}

/// The source.
pub struct Data {
    pub url: String,
    pub bytes: u64,
    pub keys: Keys,
    pub version: String,
}

pub async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    Ok(url.parse::<PgConnectOptions>()?.connect().await?)
}

pub async fn execute(url: &str, sql: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connect(url).await?).await?;
    Ok(())
}

/// The settings that both servers get.
pub async fn prepare_server(url: &str) -> anyhow::Result<()> {
    for sql in [
        "alter system set max_wal_size = '8GB'",
        "alter system set checkpoint_timeout = '1h'",
        "alter system set maintenance_work_mem = '256MB'",
        "alter system set autovacuum = off",
        "select pg_reload_conf()",
    ] {
        execute(url, sql).await?;
    }
    Ok(())
}

impl Data {
    pub async fn make(source: &PrivatePostgres, rows: u64, keys: Keys) -> anyhow::Result<Self> {
        execute(&source.url("postgres"), "create database shop").await?;
        let url = source.url("shop");
        // 48 bits of time, then the version, as `uuid_generate_v7` makes them.
        let id = match keys {
            Keys::Ordered => {
                "substr(r, 1, 8) || '-' || substr(r, 9, 4) || '-7' || substr(h, 1, 3) || '-8' || substr(h, 4, 3) || '-' || substr(h, 7, 12)"
            }
            Keys::Random => {
                "substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 14, 3) || '-8' || substr(h, 18, 3) || '-' || substr(h, 21, 12)"
            }
        };
        execute(
            &url,
            &format!(
                "create table executions (
                     id varchar(255) not null, function_id varchar(255) not null, status varchar(50) not null,
                     is_warm_start boolean not null default false, duration_ms bigint not null default 0,
                     memory_used_bytes bigint not null default 0, error_message text,
                     created_at timestamp not null default (now() at time zone 'utc')
                 );
                 insert into executions
                     select {id}, md5((n % 1000)::text)::uuid::text, case when n % 20 = 0 then 'failed' else 'success' end,
                            n % 10 > 0, n % 997, n * 4096 % 268435456,
                            case when n % 20 = 0 then 'Error: index out of range at line ' || n % 50 end,
                            '2024-01-01'::timestamp + n * interval '97 ms'
                     from (select n, lpad(to_hex(1700000000000 + n * 97), 12, '0') as r, md5(n::text) as h
                           from generate_series(1::bigint, {rows}) n) as made;
                 alter table executions add primary key (id);"
            ),
        )
        .await?;
        execute(&url, "vacuum (analyze) executions").await?;
        execute(&url, "checkpoint").await?;
        let mut connection = connect(&url).await?;
        let (bytes, version): (i64, String) =
            sqlx::query_as("select pg_table_size('executions'), current_setting('server_version')")
                .fetch_one(&mut connection)
                .await?;
        Ok(Self { url, bytes: u64::try_from(bytes)?, keys, version })
    }
}

/// An empty database; with an empty schema `shop` for those that need the table to be there.
pub async fn fresh_target(target: &PrivatePostgres, keeps_schema: bool) -> anyhow::Result<String> {
    let admin = target.url("postgres");
    execute(&admin, "drop database if exists moved with (force)").await?;
    execute(&admin, "create database moved").await?;
    // The files of the last one are gone, and nobody pays for them later.
    execute(&admin, "checkpoint").await?;
    let url = target.url("moved");
    if !keeps_schema {
        execute(&url, "create schema shop").await?;
    }
    Ok(url)
}

pub async fn count(url: &str, table: &str) -> anyhow::Result<u64> {
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")))
        .fetch_one(&mut connect(url).await?)
        .await?;
    Ok(u64::try_from(count)?)
}
