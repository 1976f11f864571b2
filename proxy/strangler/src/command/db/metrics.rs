//! The streams of a slice for Prometheus.

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use migration::stream::{self, Status};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A scrape that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// No request for metrics is longer.
const REQUEST_BYTES: usize = 8 << 10;

/// Answers one scrape after the other; without a listener, nobody.
pub(super) async fn serve(listener: Option<TcpListener>, source: &PgPool, target: &PgPool, slice: &str) {
    let Some(listener) = listener else { return std::future::pending().await };
    let forever: Result<Infallible, std::io::Error> = async {
        loop {
            let (connection, _) = listener.accept().await?;
            // A scraper that goes away, or is slow, is no trouble of ours.
            let _ = timeout(PATIENCE, answer(connection, source, target, slice)).await;
        }
    }
    .await;
    let Err(_no_more_connections) = forever;
    std::future::pending::<()>().await;
}

async fn answer(mut connection: TcpStream, source: &PgPool, target: &PgPool, slice: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES {
        if connection.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        match stream::status(source, target, slice).await {
            Ok(streams) => ("200 OK", text(&streams)),
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

/// One measure of every stream.
type Measure = (&'static str, &'static str, &'static str, fn(&Status) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
const MEASURES: [Measure; 11] = [
    ("strangler_stream_lag_bytes", "gauge", "Log between the source's end and what is applied.", |s| {
        s.lag_bytes.map(|n| n as f64)
    }),
    ("strangler_stream_lag_seconds", "gauge", "Between the last transaction's commit there and here.", |s| {
        s.stream.lag_ms.map(|ms| ms as f64 / 1000.0)
    }),
    ("strangler_stream_idle_seconds", "gauge", "Since anything was applied last.", |s| {
        s.stream.idle_ms.map(|ms| ms as f64 / 1000.0)
    }),
    ("strangler_stream_wal_held_bytes", "gauge", "Log that the source keeps for the slot.", |s| {
        s.slot.as_ref().map(|slot| slot.held_bytes as f64)
    }),
    ("strangler_stream_wal_safe_bytes", "gauge", "Log that may still be written before the slot is lost.", |s| {
        s.slot.as_ref().and_then(|slot| slot.safe_bytes).map(|n| n as f64)
    }),
    ("strangler_stream_transactions_total", "counter", "Transactions applied.", |s| Some(s.stream.transactions as f64)),
    ("strangler_stream_changes_total", "counter", "Changes of rows applied.", |s| Some(s.stream.changes as f64)),
    ("strangler_stream_quarantined", "gauge", "Changes in quarantine.", |s| Some(s.stream.quarantined as f64)),
    ("strangler_stream_stopped", "gauge", "1 when it has stopped by itself.", |s| {
        Some(f64::from(u8::from(s.stream.reason.is_some())))
    }),
    ("strangler_copy_rows", "gauge", "Rows that the copy has brought.", |s| {
        s.copy.as_ref().map(|copy| copy.rows as f64)
    }),
    ("strangler_copy_parts_left", "gauge", "Parts of tables that are not copied yet.", |s| {
        s.copy.as_ref().map(|copy| copy.chunks.saturating_sub(copy.done) as f64)
    }),
];

fn text(streams: &[Status]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in MEASURES {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for status in streams {
            if let Some(value) = value(status) {
                let slice = status.stream.slice.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = writeln!(text, "{name}{{slice=\"{slice}\",direction=\"{}\"}} {value}", status.stream.direction);
            }
        }
    }
    let _ = writeln!(
        text,
        "# HELP strangler_stream_stage 1 for the stage that a stream is in.\n# TYPE strangler_stream_stage gauge"
    );
    for Status { stream, .. } in streams {
        let slice = stream.slice.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let (direction, stage) = (stream.direction, stream.stage.as_str());
        let _ =
            writeln!(text, "strangler_stream_stage{{slice=\"{slice}\",direction=\"{direction}\",stage=\"{stage}\"}} 1");
    }
    text
}
