//! One round: every part of every table, each remembered when it is done.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::{Mutex, watch};

use super::{
    Difference, Kind, Outcome, Progress, Settings, VerifyError,
    digest::{Digest, Side, Uuids},
    keyless,
    ledger::Ledger,
    part::{Part, divide},
    scan::{Buckets, Pair, buckets, buckets_by_pages, differing, mostly_differ, totals},
    settle::{Between, Suspect, settle},
};
use crate::{
    copy::Throttle,
    slice::{SlicePlan, TablePlan},
};

/// The most rows that are held of one side while a group of buckets is looked into.
const HELD_ROWS: i64 = 1_000_000;

pub(super) struct Round<'a> {
    pub(super) source: &'a PgPool,
    pub(super) target: &'a PgPool,
    pub(super) plan: &'a SlicePlan,
    pub(super) settings: &'a Settings,
    pub(super) progress: &'a watch::Sender<Progress>,
}

/// What the workers of a round share.
struct Shared {
    ledger: Ledger,
    outcome: Outcome,
    /// A row may be in one part on one side and in another on the other.
    named: BTreeSet<(String, String)>,
}

/// What was seen of a table so far, which says how its next part is read for less.
#[derive(Debug, Default)]
struct Experience {
    /// Parts of which the totals were compared, and those that were not the same.
    totals: AtomicU32,
    other_totals: AtomicU32,
    /// Many texts are UUIDs in another form than the usual one.
    misspelled: AtomicBool,
}

impl Experience {
    /// Whether it pays to look at the totals of a part before it is divided: not where most of them have differed.
    fn tries_totals(&self) -> bool {
        self.other_totals.load(Ordering::Relaxed) * 2 <= self.totals.load(Ordering::Relaxed)
    }

    fn saw_totals(&self, same: bool) {
        self.totals.fetch_add(1, Ordering::Relaxed);
        self.other_totals.fetch_add(u32::from(!same), Ordering::Relaxed);
    }

    /// How the next part is digested.
    fn digest<'a>(&self, exact: Digest<'a>) -> Digest<'a> {
        if self.misspelled.load(Ordering::Relaxed) { exact } else { exact.as_spelled().unwrap_or(exact) }
    }

    /// Reads a part, and once more by UUIDs where most of it differed by texts: each row would be looked at by itself.
    async fn read<E>(
        &self,
        digest: &mut Digest<'_>,
        mut buckets: impl AsyncFnMut(&Digest<'_>) -> Result<(Buckets, Buckets), E>,
    ) -> Result<(Buckets, Buckets), E> {
        let (there, here) = buckets(digest).await?;
        if digest.uuids == Uuids::AsTheyAre || !mostly_differ(&there, &here) {
            return Ok((there, here));
        }
        self.misspelled.store(true, Ordering::Relaxed);
        digest.uuids = Uuids::AsTheyAre;
        buckets(digest).await
    }
}

impl Shared {
    fn add(&mut self, found: &[Difference], max: usize) {
        for difference in found {
            if !self.named.insert((difference.table.clone(), difference.key.clone())) {
                continue;
            }
            let list = match difference.kind {
                Kind::Unsettled => &mut self.outcome.unsettled,
                _ => &mut self.outcome.differences,
            };
            if list.len() < max {
                list.push(difference.clone());
            } else {
                self.outcome.truncated = true;
            }
        }
    }
}

impl Round<'_> {
    pub(super) async fn run(&self, mut ledger: Ledger) -> Result<Outcome, VerifyError> {
        let books = || VerifyError::database("keep the books of the comparison");
        let found = ledger.found().await.map_err(books())?;
        let shared = Mutex::new(Shared { ledger, outcome: Outcome::default(), named: BTreeSet::new() });
        shared.lock().await.add(&found, self.settings.max_differences);
        self.progress.send_replace(Progress { tables: self.plan.tables.len() as u64, ..Progress::default() });
        let throttle = Arc::new(Throttle::new(self.settings.rows_per_second));
        for table in &self.plan.tables {
            self.table(table, &shared, &throttle).await?;
            self.progress.send_modify(|progress| progress.tables_done += 1);
            if shared.lock().await.outcome.truncated {
                break;
            }
        }
        let Shared { ledger, outcome, .. } = shared.into_inner();
        ledger.close(&outcome).await.map_err(books())?;
        Ok(outcome)
    }

    async fn table(
        &self,
        table: &TablePlan,
        shared: &Mutex<Shared>,
        throttle: &Arc<Throttle>,
    ) -> Result<(), VerifyError> {
        let failed = |source| VerifyError::Table { table: table.target.to_string(), source };
        let digest = Digest::new(table, shared.lock().await.ledger.seed);
        let experience = Experience::default();
        let mut first = Pair::open(self.source, self.target, self.plan).await.map_err(failed)?;
        let parts = self.parts(&mut first, &digest, shared).await.map_err(failed)?;
        let (by_pages, by_keys): (Vec<Part>, VecDeque<Part>) = split(parts);
        for part in by_pages {
            if shared.lock().await.outcome.truncated {
                return Ok(());
            }
            let (source, target) = (self.source, self.target);
            let mut digest = experience.digest(digest);
            let read = async |digest: &Digest<'_>| {
                buckets_by_pages(source, target, self.plan, digest, &part, self.settings, throttle).await
            };
            let (there, here) = experience.read(&mut digest, read).await?;
            self.finish(&mut first, &digest, &part, &there, &here, shared).await.map_err(failed)?;
        }
        let workers = self.settings.readers.max(1).min(by_keys.len());
        let left = Mutex::new(by_keys);
        let mut pairs = vec![first];
        while pairs.len() < workers {
            pairs.push(Pair::open(self.source, self.target, self.plan).await.map_err(failed)?);
        }
        let work = pairs.iter_mut().map(|pair| self.work(pair, (digest, &experience), &left, shared, throttle));
        futures::future::try_join_all(work).await.map_err(failed)?;
        Ok(())
    }

    /// The parts that are not done yet.
    async fn parts(&self, pair: &mut Pair, digest: &Digest<'_>, shared: &Mutex<Shared>) -> sqlx::Result<Vec<Part>> {
        let mut parts = shared.lock().await.ledger.parts(digest.table).await?;
        if parts.is_empty() {
            let divided = divide(&mut pair.source, &mut pair.target, digest, self.settings).await?;
            shared.lock().await.ledger.divide(digest.table, &divided).await?;
            parts = divided.into_iter().map(|part| (part, None)).collect();
        }
        let done: u64 = parts.iter().filter_map(|(_, rows)| *rows).sum();
        shared.lock().await.outcome.rows += done;
        self.progress.send_modify(|progress| {
            progress.parts += parts.len() as u64;
            progress.parts_done += parts.iter().filter(|(_, rows)| rows.is_some()).count() as u64;
            progress.rows += done;
        });
        Ok(parts.into_iter().filter(|(_, rows)| rows.is_none()).map(|(part, _)| part).collect())
    }

    async fn work(
        &self,
        pair: &mut Pair,
        (exact, experience): (Digest<'_>, &Experience),
        left: &Mutex<VecDeque<Part>>,
        shared: &Mutex<Shared>,
        throttle: &Throttle,
    ) -> sqlx::Result<()> {
        while !shared.lock().await.outcome.truncated {
            let Some(part) = left.lock().await.pop_front() else { break };
            let mut digest = experience.digest(exact);
            if experience.tries_totals() {
                let (there, here) = totals(pair, &digest, &part, throttle).await?;
                experience.saw_totals(there == here);
                if there == here {
                    self.finish(pair, &digest, &part, &there, &here, shared).await?;
                    continue;
                }
            }
            let read = async |digest: &Digest<'_>| buckets(pair, digest, &part, throttle).await;
            let (there, here) = experience.read(&mut digest, read).await?;
            self.finish(pair, &digest, &part, &there, &here, shared).await?;
        }
        Ok(())
    }

    /// Looks into what differs, and remembers that the part is done.
    async fn finish(
        &self,
        pair: &mut Pair,
        digest: &Digest<'_>,
        part: &Part,
        there: &Buckets,
        here: &Buckets,
        shared: &Mutex<Shared>,
    ) -> sqlx::Result<()> {
        let mut found = Vec::new();
        for group in differing(there, here) {
            if digest.table.identity.is_empty() {
                found.extend(keyless::compare(pair, digest, part.mask(), &group, self.settings).await?);
            } else {
                let suspects = suspects(pair, digest, part, &group).await?;
                let between = Between { source: self.source, target: self.target, slice: &self.plan.name };
                found.extend(settle(between, pair, digest, self.settings, suspects).await?);
            }
            if found.len() > self.settings.max_differences {
                break;
            }
        }
        let rows = here.values().map(|bucket| bucket.rows).sum();
        let mut shared = shared.lock().await;
        shared.ledger.done(digest.table, part, rows, &found).await?;
        shared.outcome.rows += rows;
        shared.add(&found, self.settings.max_differences);
        self.progress.send_modify(|progress| {
            progress.parts_done += 1;
            progress.rows += rows;
            progress.differences = shared.outcome.differences.len() as u64;
        });
        Ok(())
    }
}

fn split(parts: Vec<Part>) -> (Vec<Part>, VecDeque<Part>) {
    let (by_pages, by_keys): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.by_pages);
    (by_pages, by_keys.into())
}

/// The rows in some buckets that are not the same on both sides.
async fn suspects(pair: &mut Pair, digest: &Digest<'_>, part: &Part, buckets: &[i32]) -> sqlx::Result<Vec<Suspect>> {
    type Row = (Vec<String>, Vec<String>, i64);
    let sql = |side| AssertSqlSafe(digest.of_rows(side, &part.scope(side, None), part.mask()));
    let there = sqlx::query_as(sql(Side::Source)).bind(buckets).bind(HELD_ROWS).fetch_all(&mut pair.source);
    let here = sqlx::query_as(sql(Side::Target)).bind(buckets).bind(HELD_ROWS).fetch_all(&mut pair.target);
    let (there, here): (Vec<Row>, Vec<Row>) = tokio::try_join!(there, here)?;
    let mut left: std::collections::BTreeMap<Vec<String>, (Vec<String>, i64)> =
        there.into_iter().map(|(key, source_key, digest)| (key, (source_key, digest))).collect();
    let mut suspects = Vec::new();
    for (key, source_key, digest) in here {
        match left.remove(&key) {
            Some((_, there)) if there == digest => {}
            Some((source_key, _)) => suspects.push(Suspect { key, source_key }),
            None => suspects.push(Suspect { key, source_key }),
        }
    }
    suspects.extend(left.into_iter().map(|(key, (source_key, _))| Suspect { key, source_key }));
    Ok(suspects)
}
