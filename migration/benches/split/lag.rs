//! From a row's own timestamp to the moment in which a reader of the target sees it.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::ensure;
use migration::{
    Mapping,
    stream::{self, Direction},
};
use sqlx::{Connection as _, PgConnection, PgPool};
use testkit::PrivatePostgres;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    data::{connect, execute},
    follower::{self, Running},
    number,
    spread::Spread,
};

/// Between two looks at the target.
const LOOK: Duration = Duration::from_millis(1);

/// Who has seen nothing new for so long after the last write is behind by more than can be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const TABLE: &str = "create table beats (no bigint primary key, at timestamp not null default (clock_timestamp() at time \
                     zone 'UTC'), customer varchar(36) not null, note text)";

const MAPPING: &str = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.beats.columns]
at = { type = "timestamptz" }
customer = { type = "uuid" }
[slices.beats]
target = "shop"
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follower {
    Native,
    Ours,
}

impl fmt::Display for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Native { "native logical replication" } else { "strangler db sync, transformed" })
    }
}

/// One follower at one rate.
struct Measured {
    /// Rows that were really written in a second.
    rate: f64,
    lag: Spread,
    /// The median of an early part of the run, and of the last.
    early_ms: f64,
    late_ms: f64,
}

impl Measured {
    /// Whether it was as far behind in the end as in the beginning, and the source took as much as it was asked to.
    fn holds(&self, rate: u64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "a rate is small")]
        let asked = rate as f64;
        self.rate >= asked * 0.95 && self.late_ms <= self.early_ms * 2.0 + 50.0
    }
}

pub async fn run(source: &PrivatePostgres, target: &PrivatePostgres) -> anyhow::Result<()> {
    let (mut rate, seconds, writers) =
        (number("LAG_RATE", 500)?, number("LAG_SECONDS", 12)?, number("LAG_WRITERS", 8)?);
    println!("rows a second, one a transaction, {writers} writers, {seconds} s each; lag in ms until it is seen\n");
    println!("{:>6} {:<32} {:>8} {:>8} {:>8} {:>8} {:>7}", "asked", "", "written", "p50", "p99", "max", "held");
    let mut highest = None;
    loop {
        let mut p99 = Vec::new();
        let mut native_holds = false;
        for follower in [Follower::Native, Follower::Ours] {
            let measured = measure(follower, source, target, (rate, seconds, writers)).await?;
            let (lag, holds) = (&measured.lag, measured.holds(rate));
            println!(
                "{rate:>6} {:<32} {:>8.0} {:>8.1} {:>8.1} {:>8.1} {:>7}",
                follower.to_string(),
                measured.rate,
                lag.at(0.5),
                lag.at(0.99),
                lag.at(1.0),
                if holds { "yes" } else { "no" }
            );
            p99.push(lag.at(0.99));
            native_holds |= holds && follower == Follower::Native;
        }
        if !native_holds {
            break;
        }
        highest = Some((rate, p99));
        rate *= 2;
    }
    match highest {
        Some((rate, p99)) => println!(
            "\nat {rate} rows a second, the highest that native replication held: p99 {:.1} ms natively, {:.1} ms ours",
            p99[0], p99[1]
        ),
        None => println!("\nnative replication did not hold {rate} rows a second: begin with a lower LAG_RATE"),
    }
    Ok(())
}

async fn measure(
    follower: Follower,
    source: &PrivatePostgres,
    target: &PrivatePostgres,
    (rate, seconds, writers): (u64, u64, u64),
) -> anyhow::Result<Measured> {
    for server in [source, target] {
        execute(&server.url("postgres"), "drop database if exists beats with (force)").await?;
        execute(&server.url("postgres"), "create database beats").await?;
        execute(&server.url("postgres"), "checkpoint").await?;
    }
    let (from, to) = (source.url("beats"), target.url("beats"));
    execute(&from, TABLE).await?;
    let measured = match follower {
        Follower::Native => {
            execute(&to, TABLE).await?;
            follower::native(&from, &to).await?;
            let seen = "select no, extract(epoch from at)::float8 from beats where no > $1 order by no";
            let measured = rows(&from, &to, seen, (rate, seconds, writers)).await?;
            // With it the slot.
            execute(&to, "drop subscription native").await?;
            measured
        }
        Follower::Ours => {
            let (from_pool, to_pool) = (PgPool::connect(&from).await?, PgPool::connect(&to).await?);
            let mapping = Mapping::from_toml("mapping.toml", MAPPING)?;
            let running = Running::start((&from_pool, &to_pool), &mapping, "beats", Direction::Forward);
            running.flows(&to_pool, "beats", Direction::Forward).await;
            let seen = "select no, extract(epoch from at)::float8 from shop.beats where no > $1 order by no";
            let measured = rows(&from, &to, seen, (rate, seconds, writers)).await;
            running.stop().await?;
            stream::end(&from_pool, &to_pool, "beats", Direction::Forward).await?;
            measured?
        }
    };
    Ok(measured)
}

/// Writes, and sees what comes.
async fn rows(
    from: &str,
    to: &str,
    seen: &'static str,
    (rate, seconds, writers): (u64, u64, u64),
) -> anyhow::Result<Measured> {
    let written = Arc::new(AtomicI64::new(0));
    let all = i64::try_from(rate * seconds)?;
    let begun = Instant::now();
    let mut writing = JoinSet::new();
    for _ in 0..writers {
        let mut connection = connect(from).await?;
        let written = written.clone();
        writing.spawn(async move {
            loop {
                let no = written.fetch_add(1, Ordering::Relaxed) + 1;
                if no > all {
                    return connection.close().await;
                }
                #[allow(clippy::cast_precision_loss, reason = "some seconds")]
                sleep_until(begun + Duration::from_secs_f64(no as f64 / rate as f64)).await;
                sqlx::query("insert into beats (no, customer, note) values ($1, md5($2)::uuid::text, $2)")
                    .bind(no)
                    .bind(format!("the beat of number {no}"))
                    .execute(&mut connection)
                    .await?;
            }
        });
    }
    let looking = tokio::spawn(look(connect(to).await?, seen, all));
    while let Some(ended) = writing.join_next().await {
        ended??;
    }
    let took = begun.elapsed();
    let lags = looking.await??;
    let part = |from: f64, to: f64| {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "some rows")]
        let place = |share: f64| (share * all as f64) as i64;
        let wanted = place(from)..place(to);
        Spread::of(lags.iter().filter(|(no, _)| wanted.contains(no)).map(|(_, lag)| *lag))
    };
    #[allow(clippy::cast_precision_loss, reason = "some rows")]
    let rate = all as f64 / took.as_secs_f64();
    let (early_ms, late_ms) = (part(0.25, 0.4).at(0.5), part(0.85, 1.0).at(0.5));
    Ok(Measured { rate, lag: part(0.25, 1.1), early_ms, late_ms })
}

/// Looks until all rows are there; answers how old each was when it was first seen.
async fn look(mut connection: PgConnection, seen: &'static str, all: i64) -> anyhow::Result<Vec<(i64, Duration)>> {
    let mut lags = Vec::new();
    // Everything up to there has been seen, and of what is above it these.
    let (mut through, mut above) = (0, BTreeSet::new());
    let mut last = Instant::now();
    while through < all {
        let found: Vec<(i64, f64)> = sqlx::query_as(seen).bind(through).fetch_all(&mut connection).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        for (no, at) in found {
            if above.insert(no) {
                lags.push((no, Duration::from_secs_f64((now - at).max(0.0))));
                last = Instant::now();
            }
        }
        while above.remove(&(through + 1)) {
            through += 1;
        }
        ensure!(last.elapsed() < PATIENCE, "{} of {all} rows came", lags.len());
        sleep(LOOK).await;
    }
    Ok(lags)
}
