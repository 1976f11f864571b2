//! The crate's own copy and comparison, each in a process of its own.

use std::{env, time::Duration, time::Instant};

use anyhow::{Context as _, ensure};
use migration::{
    Mapping,
    copy::{self, ExportedSnapshot, Progress, Settings},
    slice::read_plan,
    verify,
};
use sqlx::PgPool;
use tokio::{process::Command, sync::watch};

const MAPPING: &str = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.executions.columns]
id = { type = "uuid" }
function_id = { type = "uuid" }
status = { type = "text" }
created_at = { type = "timestamptz" }
[slices.shop]
target = "shop"
"#;

/// What a run took.
pub struct Measured {
    pub time: Duration,
    /// The most memory that was resident.
    pub peak_bytes: u64,
}

/// Runs this program again with other words.
pub async fn spawn(what: &str, source: &str, target: &str) -> anyhow::Result<Measured> {
    let begun = Instant::now();
    let output = Command::new(env::current_exe()?).args([what, source, target]).output().await?;
    let time = begun.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Measured { time, peak_bytes: said.trim().parse().context("its memory")? })
}

pub async fn copy(source: &str, target: &str) -> anyhow::Result<()> {
    let (source, target) = (PgPool::connect(source).await?, PgPool::connect(target).await?);
    let mapping = Mapping::from_toml("mapping.toml", MAPPING)?;
    let mut settings = Settings::default();
    if let Ok(readers) = env::var("READERS") {
        settings.readers = readers.parse()?;
    }
    if let Ok(mebibytes) = env::var("CHUNK_MIB") {
        settings.chunk_bytes = mebibytes.parse::<u64>()? << 20;
    }
    let plan = copy::prepare(&source, &target, &mapping, "shop").await?;
    let (progress, _watched) = watch::channel(Progress::default());
    let exported = ExportedSnapshot::take(&source).await?;
    copy::run(&source, &target, &plan, exported.snapshot(), &settings, &progress).await?;
    exported.release().await?;
    let copied = Instant::now();
    copy::finish(&source, &target, &plan, &settings, &progress).await?;
    eprintln!("finished in {:.1} s", copied.elapsed().as_secs_f64());
    say_memory()
}

pub async fn verify(source: &str, target: &str) -> anyhow::Result<()> {
    let (source, target) = (PgPool::connect(source).await?, PgPool::connect(target).await?);
    let mapping = Mapping::from_toml("mapping.toml", MAPPING)?;
    let plan = read_plan(&mut *source.acquire().await?, &mut *target.acquire().await?, &mapping, "shop").await?;
    let outcome = verify::run(&source, &target, &plan, &verify::Settings::default()).await?;
    ensure!(outcome.is_clean(), "{outcome:?}");
    say_memory()
}

fn say_memory() -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel says it")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    println!("{}", kib << 10);
    Ok(())
}
