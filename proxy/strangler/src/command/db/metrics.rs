//! The streams of a slice for Prometheus.

use std::{convert::Infallible, fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use migration::{
    copy::Progress,
    stream::{self, Stage, Status},
    verify::{self, Latest},
};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::output::Output;

/// A scrape that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// No request for metrics is longer.
const REQUEST_BYTES: usize = 8 << 10;

/// Listens where it is asked to, and says where that is.
pub(super) async fn listen(address: Option<SocketAddr>, output: &Output) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    output.progress(&format!("metrics at http://{}/metrics", listener.local_addr()?));
    Ok(Some(listener))
}

/// Answers one scrape after the other; without a listener, nobody.
pub(super) async fn serve(
    listener: Option<TcpListener>,
    source: &PgPool,
    target: &PgPool,
    slice: &str,
    copied: Option<watch::Receiver<Progress>>,
) {
    let Some(listener) = listener else { return std::future::pending().await };
    let forever: Result<Infallible, std::io::Error> = async {
        loop {
            let (connection, _) = listener.accept().await?;
            // A scraper that goes away, or is slow, is no trouble of ours.
            let _ = timeout(PATIENCE, answer(connection, source, target, slice, copied.as_ref())).await;
        }
    }
    .await;
    let Err(_no_more_connections) = forever;
    std::future::pending::<()>().await;
}

async fn answer(
    mut connection: TcpStream,
    source: &PgPool,
    target: &PgPool,
    slice: &str,
    copied: Option<&watch::Receiver<Progress>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES {
        if connection.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        match text(source, target, slice, copied).await {
            Ok(text) => ("200 OK", text),
            Err(error) => ("503 Service Unavailable", format!("# {error}\n")),
        }
    } else {
        ("404 Not Found", "# it is /metrics\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await?;
    connection.shutdown().await
}

async fn text(
    source: &PgPool,
    target: &PgPool,
    slice: &str,
    copied: Option<&watch::Receiver<Progress>>,
) -> anyhow::Result<String> {
    let streams = stream::status(source, target, slice).await?;
    let compared = verify::latest(target, slice).await?;
    let mut text = String::new();
    for measure in &STREAMS {
        measure.write(&mut text, streams.iter().map(|status| (labels_of(status), status)));
    }
    let stages = streams
        .iter()
        .map(|status| (format!("{},stage=\"{}\"", labels_of(status), status.stream.stage.as_str()), status));
    STAGE.write(&mut text, stages);
    let slice = format!("slice=\"{}\"", escaped(slice));
    let copied = copied.map(|copied| copied.borrow().clone());
    for measure in &COPY {
        measure.write(&mut text, copied.iter().map(|progress| (slice.clone(), progress)));
    }
    for measure in &COMPARISON {
        measure.write(&mut text, compared.iter().map(|latest| (slice.clone(), latest)));
    }
    Ok(text)
}

/// Names, as dashboards and alerts know them.
pub(crate) mod names {
    /// Gauge: bytes of log between where the source writes and what is applied.
    pub(crate) const LAG_BYTES: &str = "strangler_stream_lag_bytes";
    /// Gauge: seconds between the last transaction's commit over there and here.
    pub(crate) const LAG_SECONDS: &str = "strangler_stream_lag_seconds";
    /// Gauge: seconds since anything was applied last; a running stream applies a heartbeat each second.
    pub(crate) const IDLE_SECONDS: &str = "strangler_stream_idle_seconds";
    /// Gauge: bytes of log that the source keeps for the slot.
    pub(crate) const WAL_HELD_BYTES: &str = "strangler_stream_wal_held_bytes";
    /// Gauge: bytes of log that may still be written before the slot is lost.
    pub(crate) const WAL_SAFE_BYTES: &str = "strangler_stream_wal_safe_bytes";
    /// Gauge: 1 when the slot is lost, and changes with it.
    pub(crate) const SLOT_LOST: &str = "strangler_stream_slot_lost";
    /// Counter: transactions applied.
    pub(crate) const TRANSACTIONS_TOTAL: &str = "strangler_stream_transactions_total";
    /// Counter: changes of rows applied.
    pub(crate) const CHANGES_TOTAL: &str = "strangler_stream_changes_total";
    /// Gauge: changes in quarantine.
    pub(crate) const QUARANTINED: &str = "strangler_stream_quarantined";
    /// Gauge: 1 when it has stopped by itself.
    pub(crate) const STOPPED: &str = "strangler_stream_stopped";
    /// Gauge: 1 for the `stage` that a stream is in.
    pub(crate) const STAGE: &str = "strangler_stream_stage";
    /// Gauge: rows that the copy has brought.
    pub(crate) const COPY_ROWS: &str = "strangler_copy_rows";
    /// Gauge: parts of tables that are not copied yet.
    pub(crate) const COPY_PARTS_LEFT: &str = "strangler_copy_parts_left";
    /// Counter: bytes that this process has sent for the copy.
    pub(crate) const COPY_BYTES_TOTAL: &str = "strangler_copy_bytes_total";
    /// Gauge: 1 while the copy waits because a server has too much to do.
    pub(crate) const COPY_PAUSED: &str = "strangler_copy_paused";
    /// Counter: seconds that the copy has waited for that.
    pub(crate) const COPY_PAUSED_SECONDS_TOTAL: &str = "strangler_copy_paused_seconds_total";
    /// Gauge: sessions of others at work on the source, where they are limited.
    pub(crate) const COPY_SOURCE_ACTIVE_SESSIONS: &str = "strangler_copy_source_active_sessions";
    /// Gauge: seconds that a commit takes at the source, where they are limited.
    pub(crate) const COPY_SOURCE_COMMIT_SECONDS: &str = "strangler_copy_source_commit_seconds";
    /// Gauge: the farthest that a standby or a stream is behind, where that is limited.
    pub(crate) const COPY_REPLICATION_LAG_BYTES: &str = "strangler_copy_replication_lag_bytes";
    /// Gauge: rows that the latest comparison has compared.
    pub(crate) const VERIFY_ROWS: &str = "strangler_verify_rows";
    /// Gauge: rows that were not the same in it.
    pub(crate) const VERIFY_DIFFERENCES: &str = "strangler_verify_differences";
    /// Gauge: rows in it that changed each time they were looked at.
    pub(crate) const VERIFY_UNSETTLED: &str = "strangler_verify_unsettled";
    /// Gauge: seconds since the latest comparison ended.
    pub(crate) const VERIFY_AGE_SECONDS: &str = "strangler_verify_age_seconds";
}

/// One measure of something.
struct Measure<T> {
    name: &'static str,
    help: &'static str,
    /// None where there is nothing to tell.
    value: fn(&T) -> Option<f64>,
}

impl<T> Measure<T> {
    fn write<'a>(&self, text: &mut String, all: impl Iterator<Item = (String, &'a T)>)
    where
        T: 'a,
    {
        let Self { name, help, value } = self;
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, measured) in all {
            if let Some(value) = value(measured) {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
    }
}

const fn measure<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Measure<T> {
    Measure { name, help, value }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn one_if(whether: bool) -> f64 {
    f64::from(u8::from(whether))
}

const STREAMS: [Measure<Status>; 12] = [
    measure(names::LAG_BYTES, "Log between the source's end and what is applied.", |s| s.lag_bytes.map(number)),
    measure(names::LAG_SECONDS, "Between the last transaction's commit there and here.", |s| {
        s.stream.lag_ms.map(seconds)
    }),
    measure(names::IDLE_SECONDS, "Since anything was applied last.", |s| s.stream.idle_ms.map(seconds)),
    measure(names::WAL_HELD_BYTES, "Log that the source keeps for the slot.", |s| {
        s.slot.as_ref().map(|slot| number(slot.held_bytes))
    }),
    measure(names::WAL_SAFE_BYTES, "Log that may still be written before the slot is lost.", |s| {
        s.slot.as_ref().and_then(|slot| slot.safe_bytes).map(number)
    }),
    measure(names::SLOT_LOST, "1 when the slot is lost, and changes with it.", |s| {
        let gone = s.slot.as_ref().is_none_or(|slot| slot.wal_status == "lost");
        Some(one_if(s.stream.stage == Stage::Lost || gone && s.stream.stage != Stage::Creating))
    }),
    measure(names::TRANSACTIONS_TOTAL, "Transactions applied.", |s| Some(number(s.stream.transactions))),
    measure(names::CHANGES_TOTAL, "Changes of rows applied.", |s| Some(number(s.stream.changes))),
    measure(names::QUARANTINED, "Changes in quarantine.", |s| Some(number(s.stream.quarantined))),
    measure(names::STOPPED, "1 when it has stopped by itself.", |s| Some(one_if(s.stream.reason.is_some()))),
    measure(names::COPY_ROWS, "Rows that the copy has brought.", |s| s.copy.as_ref().map(|copy| number(copy.rows))),
    measure(names::COPY_PARTS_LEFT, "Parts of tables that are not copied yet.", |s| {
        s.copy.as_ref().map(|copy| number(copy.chunks.saturating_sub(copy.done)))
    }),
];

const STAGE: Measure<Status> = measure(names::STAGE, "1 for the stage that a stream is in.", |_| Some(1.0));

/// Of the copy that this process makes.
const COPY: [Measure<Progress>; 6] = [
    measure(names::COPY_BYTES_TOTAL, "Bytes that this process has sent for the copy.", |p| {
        Some(number(p.bytes_of_this_run))
    }),
    measure(names::COPY_PAUSED, "1 while the copy waits because a server has too much to do.", |p| {
        Some(one_if(p.paused.is_some()))
    }),
    measure(names::COPY_PAUSED_SECONDS_TOTAL, "How long the copy has waited for that.", |p| {
        Some(number(p.paused_ms) / 1000.0)
    }),
    measure(names::COPY_SOURCE_ACTIVE_SESSIONS, "Sessions of others at work on the source, where limited.", |p| {
        p.load.active_sessions.map(number)
    }),
    measure(names::COPY_SOURCE_COMMIT_SECONDS, "What a commit takes at the source, where limited.", |p| {
        p.load.commit_us.map(|micros| number(micros) / 1_000_000.0)
    }),
    measure(names::COPY_REPLICATION_LAG_BYTES, "The farthest that anybody is behind, where limited.", |p| {
        p.load.lag_bytes.map(number)
    }),
];

const COMPARISON: [Measure<Latest>; 4] = [
    measure(names::VERIFY_ROWS, "Rows that the latest comparison has compared.", |l| Some(number(l.rows))),
    measure(names::VERIFY_DIFFERENCES, "Rows that were not the same in it.", |l| Some(number(l.differences))),
    measure(names::VERIFY_UNSETTLED, "Rows in it that changed each time they were looked at.", |l| {
        Some(number(l.unsettled))
    }),
    measure(names::VERIFY_AGE_SECONDS, "Since the latest comparison ended.", |l| Some(number(l.seconds_ago))),
];

fn labels_of(Status { stream, .. }: &Status) -> String {
    format!("slice=\"{}\",direction=\"{}\"", escaped(&stream.slice), stream.direction)
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
