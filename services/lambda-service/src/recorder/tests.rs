//! The recorder against a sink whose every answer the test decides.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

pub(super) fn record() -> Record {
    Record {
        id: ExecutionId::generate(),
        function_id: FunctionId::generate(),
        status: ExecutionStatus::Failed,
        is_warm_start: true,
        duration_ms: 12,
        memory_used_bytes: 34_000_000,
        error_message: Some("ValueError: \"no\"\nnone at all ☃".to_owned()),
        created_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
    }
}

/// Rows by id with how often each was inserted.
#[derive(Default)]
struct Table {
    rows: Mutex<BTreeMap<ExecutionId, Record>>,
    batches: AtomicUsize,
    failures_left: AtomicUsize,
    refused: HashSet<ExecutionId>,
}

impl Sink for Table {
    async fn insert(&self, records: &[&Record]) -> Result<u64, SinkError> {
        let failing = self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if failing.is_ok() {
            return Err(SinkError::Transient(anyhow::anyhow!("away")));
        }
        if records.iter().any(|record| self.refused.contains(&record.id)) {
            return Err(SinkError::Refused(anyhow::anyhow!("no such value")));
        }
        self.batches.fetch_add(1, Ordering::SeqCst);
        let mut rows = self.rows.lock().unwrap();
        let before = rows.len();
        rows.extend(records.iter().map(|record| (record.id, (*record).clone())));
        Ok((rows.len() - before) as u64)
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        journal: folder.to_owned(),
        segment_bytes: 2_000,
        journal_max_bytes: 1 << 20,
        max_pending: 1_000,
        batch_rows: 10,
        linger: Duration::from_millis(5),
    }
}

const SOON: Duration = Duration::from_secs(60);

async fn add(recorder: &Recorder, record: &Record) {
    recorder.permit().unwrap().record(record.clone(), SOON).await.unwrap();
}

fn journal_is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().all(|entry| entry.unwrap().file_name() == "lock")
}

#[tokio::test(start_paused = true)]
async fn rows_are_written_in_batches_and_the_journal_is_empty_after_a_clean_stop() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(folder.path())).unwrap();
    let table = Table::default();
    let records: Vec<_> = (0..105).map(|_| record()).collect();
    let writing = async {
        for record in &records {
            add(&recorder, record).await;
        }
        assert_eq!(recorder.close(SOON).await, 0);
    };
    tokio::join!(recorder.run(&table), writing);
    assert_eq!(table.rows.lock().unwrap().len(), 105);
    assert!(table.batches.load(Ordering::SeqCst) <= 12, "rows go in batches");
    assert!(journal_is_empty(folder.path()));
}

#[tokio::test(start_paused = true)]
async fn a_flush_makes_every_earlier_row_visible() {
    let folder = tempfile::tempdir().unwrap();
    let mut slow = settings(folder.path());
    slow.linger = Duration::from_secs(3_600);
    let recorder = Recorder::open(slow).unwrap();
    let table = Table::default();
    let reading = async {
        let record = record();
        add(&recorder, &record).await;
        recorder.flush(SOON).await.unwrap();
        assert!(table.rows.lock().unwrap().contains_key(&record.id));
    };
    tokio::select! {
        () = recorder.run(&table) => unreachable!("nobody closed it"),
        () = reading => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_absent_database_loses_nothing_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(folder.path())).unwrap();
    let table = Table { failures_left: AtomicUsize::new(7), ..Table::default() };
    let writing = async {
        for _ in 0..25 {
            add(&recorder, &record()).await;
        }
        assert_eq!(recorder.close(SOON).await, 0);
    };
    tokio::join!(recorder.run(&table), writing);
    assert_eq!(table.rows.lock().unwrap().len(), 25);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_is_written_once_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::default();
    let records: Vec<_> = (0..40).map(|_| record()).collect();
    {
        // Some are in the database already: the process died before it could say so to the journal.
        let killed = Recorder::open(settings(folder.path())).unwrap();
        for record in &records {
            add(&killed, record).await;
        }
        table.insert(&records.iter().take(15).collect::<Vec<_>>()).await.unwrap();
    }
    let next = Recorder::open(settings(folder.path())).unwrap();
    let (_, left) = tokio::join!(next.run(&table), next.close(SOON));
    assert_eq!(left, 0);
    let rows = table.rows.lock().unwrap();
    assert_eq!(rows.len(), records.len());
    assert!(records.iter().all(|record| rows.get(&record.id) == Some(record)));
    assert!(journal_is_empty(folder.path()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_a_database_leaves_the_rows_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    {
        let recorder = Recorder::open(settings(folder.path())).unwrap();
        let away = Table { failures_left: AtomicUsize::new(usize::MAX), ..Table::default() };
        add(&recorder, &record()).await;
        let (_, left) = tokio::join!(recorder.run(&away), recorder.close(Duration::from_secs(3)));
        assert_eq!(left, 1);
    }
    let recorder = Recorder::open(settings(folder.path())).unwrap();
    let table = Table::default();
    tokio::join!(recorder.run(&table), recorder.close(SOON));
    assert_eq!(table.rows.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn calls_are_refused_before_the_history_overflows() {
    let folder = tempfile::tempdir().unwrap();
    let mut tight = settings(folder.path());
    tight.max_pending = 2;
    let recorder = Recorder::open(tight).unwrap();
    let under_way = recorder.permit().unwrap();
    add(&recorder, &record()).await;
    assert_eq!(recorder.permit().unwrap_err(), RecordError::Full);
    drop(under_way);
    assert!(recorder.permit().is_ok(), "a call that ends without a row gives its room back");
}

#[tokio::test]
async fn the_journal_has_a_bound_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut tight = settings(folder.path());
    tight.journal_max_bytes = 500;
    let recorder = Recorder::open(tight).unwrap();
    add(&recorder, &record()).await;
    add(&recorder, &record()).await;
    assert_eq!(recorder.permit().unwrap_err(), RecordError::Full);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_the_database_refuses_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(folder.path())).unwrap();
    let records: Vec<_> = (0..8).map(|_| record()).collect();
    let table = Table { refused: [records[3].id].into(), ..Table::default() };
    let writing = async {
        for record in &records {
            add(&recorder, record).await;
        }
        assert_eq!(recorder.close(SOON).await, 0);
    };
    tokio::join!(recorder.run(&table), writing);
    let rows = table.rows.lock().unwrap();
    assert_eq!(rows.len(), 7);
    assert!(!rows.contains_key(&records[3].id));
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_the_answer_waits_for_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(folder.path())).unwrap();
    let permit = recorder.permit().unwrap();
    // The folder goes away under it: no segment can be begun.
    let path = folder.path().to_owned();
    folder.close().unwrap();
    assert!(!path.exists());

    let lost = permit.record(record(), Duration::from_secs(1)).await;
    assert_eq!(lost, Err(RecordError::NotDurable), "nobody writes to the database");

    let table = Table::default();
    let permit = recorder.permit().unwrap();
    tokio::select! {
        () = recorder.run(&table) => unreachable!("nobody closed it"),
        recorded = permit.record(record(), SOON) => assert_eq!(recorded, Ok(())),
    }
    assert_eq!(table.rows.lock().unwrap().len(), 2);
}

#[test]
fn a_row_is_made_fit_for_the_database() {
    let long = Record { error_message: Some(format!("a\0b{}", "ü".repeat(5_000))), ..record() }.fit();
    let text = long.error_message.unwrap();
    assert_eq!(text.chars().count(), MAX_ERROR_CHARS);
    assert!(text.starts_with("a\u{fffd}b"));
}
