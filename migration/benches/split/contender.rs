//! Who moves the table, and how.

use std::{process::Stdio, time::Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::{
    data::{Data, execute},
    ours::{self, Measured},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Ours,
    /// One stream of binary COPY with the same SELECT, then the primary key.
    PlainCopy,
    DumpAndRestore,
    PgCopyDb,
}

const MAKE: &str = "create table shop.executions (
    id uuid not null, function_id uuid not null, status text not null, is_warm_start boolean not null,
    duration_ms bigint not null, memory_used_bytes bigint not null, error_message text, created_at timestamptz not null)";

const SELECT: &str = "select id::uuid, function_id::uuid, status::text, is_warm_start, duration_ms, memory_used_bytes, \
                      error_message, created_at at time zone 'UTC' from executions";

impl Contender {
    pub const ALL: [Self; 4] = [Self::Ours, Self::PlainCopy, Self::DumpAndRestore, Self::PgCopyDb];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "strangler db copy, transformed",
            Self::PlainCopy => "psql COPY | psql COPY, binary, one stream, transformed",
            Self::DumpAndRestore => "pg_dump | psql, as it is",
            Self::PgCopyDb => "pgcopydb clone, 4 tables and 4 indexes at once, as it is",
        }
    }

    /// Whether it makes the schema as it is in the source.
    pub const fn keeps_schema(self) -> bool {
        matches!(self, Self::DumpAndRestore | Self::PgCopyDb)
    }

    pub const fn table(self) -> &'static str {
        if self.keeps_schema() { "public.executions" } else { "shop.executions" }
    }

    pub async fn run(self, data: &Data, to: &str) -> anyhow::Result<Measured> {
        let begun = Instant::now();
        match self {
            Self::Ours => return ours::spawn("--copy", &data.url, to).await,
            Self::PlainCopy => {
                execute(to, MAKE).await?;
                let out = format!("copy ({SELECT}) to stdout (format binary)");
                pipe(
                    Command::new("psql").args([&data.url, "-qc", &out]),
                    Command::new("psql").args([to, "-qc", "copy shop.executions from stdin (format binary)"]),
                )
                .await?;
                execute(to, "alter table shop.executions add primary key (id)").await?;
            }
            Self::DumpAndRestore => {
                pipe(
                    Command::new("pg_dump").args(["--no-owner", &data.url]),
                    Command::new("psql").args([to, "-q", "-v", "ON_ERROR_STOP=1"]),
                )
                .await?;
            }
            Self::PgCopyDb => {
                let folder = tempfile::tempdir()?;
                let output = Command::new("pgcopydb")
                    .args(["clone", "--source", &data.url, "--target", to, "--table-jobs", "4", "--index-jobs", "4"])
                    .args(["--no-owner", "--not-consistent", "--dir"])
                    .arg(folder.path().join("work"))
                    .output()
                    .await
                    .context("pgcopydb")?;
                ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(Measured { time: begun.elapsed(), peak_bytes: 0 })
    }
}

async fn pipe(from: &mut Command, to: &mut Command) -> anyhow::Result<()> {
    let mut from = from.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let out: Stdio = from.stdout.take().context("its output")?.try_into()?;
    let mut to = to.stdin(out).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
    let (from, to) = (from.wait().await?, to.wait().await?);
    ensure!(from.success() && to.success(), "{from}, {to}");
    Ok(())
}
