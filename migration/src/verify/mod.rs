//! Compares a slice's rows on both sides, value by value, through the mapping.
//!
//! ```text
//!   a table     in parts: ranges of its key, or all of it read page after page
//!   a part      count and sum of its rows' digests, on both sides at once; where they differ, or differ mostly,
//!               in buckets by a hash of the key
//!   a bucket    that differs: keys and digests of its rows
//!   a row       that differs: looked at again by its key until it is known, then the digests of its columns
//! ```
//!
//! Both databases do the digesting, and only digests travel. Nothing that is held grows with a table.
//!
//! | | |
//! |---|---|
//! | catches | every row that one side does not have, and every value that is not the same, to the bit; of a table without a key, rows that are not as often there |
//! | misses | a row whose 64-bit digest is the same by chance (1 in 2^64; each round has another seed, so the next one sees it); rows that are made to collide on purpose; of a time, a change that leaves the exclusive-or of the halves of its 64 bits as it was (1 in 2^32), which is all that PostgreSQL hashes of it; columns that the target computes itself and those the mapping does not speak of |
//! | costs | one pass over both tables, another over ranges that differ: about the time of a sequential scan that evaluates the mapping, a few bytes for each bucket, no lock, and a snapshot for as long as a table is read that is not read by ranges |
//! | needs | PostgreSQL 14 or later, the same encoding and byte order on both sides, `SELECT` on both |
//!
//! A row that is on its way is no difference: see `settle`. One that changes each time it is looked at
//! is listed as [`Kind::Unsettled`], which is neither. When the databases must not be loaded,
//! [`Settings::rows_per_second`] bounds it.
//!
//! With [`Settings::remember`] a round that was killed goes on with the parts that are not done, and
//! with what it had found; the next one begins anew.

mod digest;
mod keyless;
mod ledger;
mod part;
mod round;
mod scan;
mod settle;

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::watch;

use self::{digest::Scope, ledger::Ledger, round::Round};
pub(crate) use self::{
    digest::{Digest, Side},
    settle::shown,
};
use crate::{copy::CopyError, slice::SlicePlan, stream::Direction};

/// How two sides are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections to each side; at least 1.
    pub readers: usize,
    /// How much of a table is one part, in bytes on the disk.
    pub part_bytes: u64,
    /// A table that cannot be taken by ranges of its key is read once for so many bytes of it; what
    /// a killed round has read of such a share is read again.
    pub whole_bytes: u64,
    /// Rows in a bucket, about; at least 1.
    pub bucket_rows: u32,
    /// At most so many rows a second on each side; no limit when it is none.
    pub rows_per_second: Option<u64>,
    /// After so many rows that differ, the rest is not looked at; at least 1.
    pub max_differences: usize,
    /// How often a row that differs is looked at again, as it may be on its way.
    pub looks: u32,
    /// The time between two looks.
    pub pause: Duration,
    /// The slice's stream that is waited for, so that a row on its way is known from one that differs.
    pub following: Option<Following>,
    /// Whether the target's database remembers how far a round is.
    pub remember: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            readers: 2,
            part_bytes: 64 << 20,
            whole_bytes: 16 << 30,
            bucket_rows: 256,
            rows_per_second: None,
            max_differences: 100,
            looks: 3,
            pause: Duration::from_secs(1),
            following: None,
            remember: false,
        }
    }
}

/// A stream that brings changes from the side that is written to the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// Which way.
    pub direction: Direction,
    /// How long to wait for what was written before a row was read.
    pub patience: Duration,
}

/// What a round found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Rows of the candidate that were compared.
    pub rows: u64,
    /// Rows that are not the same.
    pub differences: Vec<Difference>,
    /// Rows that changed each time they were looked at.
    pub unsettled: Vec<Difference>,
    /// Whether there may be more: a limit was reached.
    pub truncated: bool,
}

impl Outcome {
    /// Whether every row was compared and is the same.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.unsettled.is_empty() && !self.truncated
    }
}

/// A row that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The candidate's table.
    pub table: String,
    /// The candidate's key, as a PostgreSQL array; of a table without a key, the row and how often
    /// it is there.
    pub key: String,
    /// In what way.
    pub kind: Kind,
}

/// In what way two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The candidate does not have it.
    Missing,
    /// Only the candidate has it.
    Extra,
    /// Values of these columns differ.
    Columns(Vec<String>),
    /// It did not stay as it is for long enough to be known.
    Unsettled,
}

impl Kind {
    const fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Columns(_) => "columns",
            Self::Unsettled => "unsettled",
        }
    }
}

/// How far a round is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Tables that are compared.
    pub tables_done: u64,
    /// All of the slice's.
    pub tables: u64,
    /// Parts that are compared.
    pub parts_done: u64,
    /// All of the tables that were begun.
    pub parts: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that differ.
    pub differences: u64,
}

/// Why a comparison did not end. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A table could not be read on one of the sides.
    #[error("cannot compare `{table}`")]
    Table {
        /// The candidate's table.
        table: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A database could not be reached, or its books not be kept.
    #[error("cannot {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A side could not be seen as it is at one point.
    #[error("cannot hold a side still")]
    Snapshot(#[source] CopyError),
    /// Somebody else compares the slice, and remembers it.
    #[error("another comparison of this slice is under way")]
    Busy,
    /// A part of this program ended in a way that it should not.
    #[error("a reader ended unexpectedly")]
    Reader(#[source] tokio::task::JoinError),
}

impl VerifyError {
    fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }
}

/// Compares every table of a slice.
pub async fn run(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    settings: &Settings,
) -> Result<Outcome, VerifyError> {
    run_watched(source, target, plan, settings, &watch::Sender::new(Progress::default())).await
}

/// The same, for who wants to see how far it is. It may be dropped at any moment.
///
/// The pools are only asked for their addresses.
pub async fn run_watched(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<Outcome, VerifyError> {
    // Half of all seeds: PostgreSQL reads the lowest number as the negative of one too high.
    let seed = i64::try_from(RandomState::new().build_hasher().finish() >> 1).unwrap_or(0);
    let ledger = if settings.remember {
        let keeper = scan::session(&target.connect_options(), &plan.target_schema)
            .await
            .map_err(VerifyError::database("reach the target"))?;
        Ledger::open(keeper, &plan.name, &fingerprint(plan), seed).await?
    } else {
        Ledger::forgetful(&plan.name, seed)
    };
    Round { source, target, plan, settings, progress }.run(ledger).await
}

/// What the latest round over a slice has found that came to its end and was to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Latest {
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that were not the same.
    pub differences: u64,
    /// Rows that changed each time they were looked at.
    pub unsettled: u64,
    /// How long ago it ended.
    pub seconds_ago: u64,
}

/// The latest round; none before the first.
///
/// # Errors
/// The target cannot be read.
pub async fn latest(target: &PgPool, slice: &str) -> Result<Option<Latest>, VerifyError> {
    ledger::latest(target, slice).await.map_err(VerifyError::database("read the books of the comparison"))
}

/// Forgets a round that was begun, so that the next one compares everything.
pub async fn forget(target: &PgPool, plan: &SlicePlan) -> Result<(), VerifyError> {
    let work = async { ledger::forget(&mut *target.acquire().await?, &plan.name).await };
    work.await.map_err(VerifyError::database("forget the last round"))
}

/// What a round depends on.
fn fingerprint(plan: &SlicePlan) -> String {
    let mut hasher = blake3::Hasher::new();
    for table in &plan.tables {
        for side in [Side::Source, Side::Target] {
            hasher.update(Digest::new(table, 0).of_buckets(side, &Scope::default(), 0).as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}
