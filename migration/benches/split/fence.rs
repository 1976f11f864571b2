//! How long writes are held while rows change their owner.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::ensure;
use migration::{
    Mapping,
    cutover::{Cutover, Hooks, Report, Settings, Step},
    slice::read_plan,
    stream::Direction,
};
use sqlx::PgPool;
use testkit::PrivatePostgres;
use tokio::time::{Instant, sleep};

use crate::{
    data::execute,
    follower::Running,
    number,
    site::{Site, Writers, Written},
    spread::Spread,
};

/// Rows that are there in the beginning.
const ROWS: i64 = 20_000;

/// Between two changes of the owner.
const PAUSE: Duration = Duration::from_millis(500);

const TABLE: &str = "create table orders (no bigint primary key, placed timestamp not null default (now() at time zone \
                     'UTC'), customer varchar(36) not null, note text)";

const MAPPING: &str = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.orders.columns]
placed = { type = "timestamptz" }
customer = { type = "uuid" }
[slices.orders]
target = "shop"
"#;

/// When each step of one change of the owner was reached.
type Steps = Vec<(Step, Instant)>;

pub async fn run(source: &PrivatePostgres, target: &PrivatePostgres) -> anyhow::Result<()> {
    let (fences, rate) = (number("FENCES", 20)?, number("FENCE_RATE", 500)?);
    for server in [source, target] {
        execute(&server.url("postgres"), "create database orders").await?;
    }
    let (from, to) = (source.url("orders"), target.url("orders"));
    execute(&from, TABLE).await?;
    let fill = format!(
        "insert into orders select n, now(), md5(n::text)::uuid::text, 'order ' || n from generate_series(1, {ROWS}) n"
    );
    execute(&from, &fill).await?;
    execute(&from, "vacuum (analyze) orders").await?;
    let (monolith, candidate) = (PgPool::connect(&from).await?, PgPool::connect(&to).await?);
    let mapping = Mapping::from_toml("mapping.toml", MAPPING)?;
    let ends = (&monolith, &candidate);
    let forward = Running::start(ends, &mapping, "orders", Direction::Forward);
    forward.flows(&candidate, "orders", Direction::Forward).await;
    execute(&to, "alter table shop.orders alter column placed set default now()").await?;
    let back = Running::start(ends, &mapping, "orders", Direction::Reverse);
    back.flows(&monolith, "orders", Direction::Reverse).await;
    eprintln!("{ROWS} rows are there, and changes flow both ways");
    let site = Site::start(&monolith, &candidate).await?;
    let plan = read_plan(&mut *monolith.acquire().await?, &mut *candidate.acquire().await?, &mapping, "orders").await?;

    let reached: Arc<Mutex<Steps>> = Arc::default();
    let noting = reached.clone();
    let watch = move |step: Step| -> futures::future::BoxFuture<'static, ()> {
        noting.lock().unwrap_or_else(PoisonError::into_inner).push((step, Instant::now()));
        Box::pin(std::future::ready(()))
    };
    // Rows are compared before anything is held, which is not what is measured here.
    let settings = Settings { verify: false, ..Settings::default() };
    let (gateway, hooks) = (site.client()?, Hooks::default());
    let cutover = Cutover {
        monolith: &monolith,
        candidate: &candidate,
        plan: &plan,
        gateway: &gateway,
        hooks: &hooks,
        settings: &settings,
        watch: &watch,
    };
    let writers = Writers::start(&site, rate, ROWS + 1);
    let mut passes: Vec<(Report, Steps)> = Vec::new();
    for fence in 0..fences {
        sleep(PAUSE).await;
        let passing =
            Box::pin(async { if fence % 2 == 0 { cutover.cut_over().await } else { cutover.roll_back().await } });
        let report = passing.await?;
        eprintln!("{} of {fences}: held for {:.1} ms", fence + 1, report.held_ms.unwrap_or(f64::NAN));
        passes.push((report, std::mem::take(&mut *reached.lock().unwrap_or_else(PoisonError::into_inner))));
    }
    sleep(PAUSE).await;
    let written = writers.stop().await?;
    let (owner, table) = if fences % 2 == 0 { (&monolith, "orders") } else { (&candidate, "shop.orders") };
    let there: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select no from {table} where no > {ROWS}")))
        .fetch_all(owner)
        .await?;
    show(&passes, &written, &there.into_iter().collect(), rate)?;
    forward.stop().await?;
    back.stop().await
}

fn show(passes: &[(Report, Steps)], written: &[Written], there: &BTreeSet<i64>, rate: u64) -> anyhow::Result<()> {
    let held = Spread::of(
        passes.iter().filter_map(|(report, _)| report.held_ms).map(|ms| Duration::from_secs_f64(ms / 1_000.0)),
    );
    let waited: u64 = passes.iter().map(|(report, _)| report.waited).sum();
    println!("{} changes of the owner at {rate} writes a second, {ROWS} rows before", passes.len());
    println!(
        "held, ms: min {:.1}, p50 {:.1}, p90 {:.1}, max {:.1}; {waited} writes waited",
        held.at(0.0),
        held.at(0.5),
        held.at(0.9),
        held.at(1.0)
    );
    let all = Spread::of(written.iter().map(|written| written.took));
    println!("writes, ms: p50 {:.1}, p99 {:.1}, slowest {:.1}", all.at(0.5), all.at(0.99), all.at(1.0));
    println!("\nmedian ms until each step from the one before");
    for (before, step) in Step::ALL
        .iter()
        .zip(&Step::ALL[1..])
        .filter(|(before, step)| **before >= Step::Holding && **step <= Step::Lifted)
    {
        let times = passes.iter().filter_map(|(_, steps)| {
            let at = |wanted: Step| steps.iter().find(|(step, _)| *step == wanted).map(|(_, at)| *at);
            Some(at(*step)?.duration_since(at(*before)?))
        });
        println!("{:>8.1}  {step}", Spread::of(times).at(0.5));
    }
    let failed: Vec<&Written> = written.iter().filter(|written| written.failed.is_some()).collect();
    let lost = written.iter().filter(|written| written.failed.is_none() && !there.contains(&written.no)).count();
    println!("\n{} writes, {} failed, {lost} lost", written.len(), failed.len());
    ensure!(
        failed.is_empty() && lost == 0,
        "writes failed or were lost: {:?}",
        failed.first().map(|written| &written.failed)
    );
    Ok(())
}
