//! One line, formatted by hand: it is made for every request.

use std::{
    cell::RefCell,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::DateTime;
use telemetry::TraceContext;

/// What is known of a request when it has ended.
#[derive(Debug)]
pub struct Line<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Its trace.
    pub trace: TraceContext,
    /// Its method.
    pub method: &'a str,
    /// Its path as sent, without the query, which may hold secrets.
    pub path: &'a str,
    /// The route it took.
    pub route: Option<&'a str>,
    /// What its decision was sticky to.
    pub key: Option<&'a str>,
    /// The side that served it.
    pub side: Option<&'static str>,
    /// Why that side, or why none.
    pub reason: &'static str,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
    /// From its arrival to the end of its answer.
    pub latency: Duration,
    /// From the choice of an upstream to the header of its answer.
    pub upstream: Option<Duration>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
}

impl Line<'_> {
    pub(super) fn format(&self, now: SystemTime, out: &mut String) {
        out.push_str("{\"ts\":\"");
        push_time(now, out);
        push_text("\",\"request_id\":\"", self.request_id, out);
        push_text("\",\"trace_id\":\"", str::from_utf8(&self.trace.trace_id_digits()).unwrap_or_default(), out);
        push_text("\",\"method\":\"", self.method, out);
        push_text("\",\"path\":\"", self.path, out);
        for (name, value) in
            [("\",\"route\":\"", self.route), ("\",\"key\":\"", self.key), ("\",\"side\":\"", self.side)]
        {
            if let Some(value) = value {
                push_text(name, value, out);
            }
        }
        push_text("\",\"reason\":\"", self.reason, out);
        push_number("\",\"status\":", u64::from(self.status), out);
        push_number(",\"latency_us\":", micros(self.latency), out);
        if let Some(upstream) = self.upstream {
            push_number(",\"upstream_us\":", micros(upstream), out);
        }
        push_number(",\"bytes_received\":", self.bytes_received, out);
        push_number(",\"bytes_sent\":", self.bytes_sent, out);
        out.push_str("}\n");
    }
}

fn push_text(before: &str, text: &str, out: &mut String) {
    out.push_str(before);
    escape(text, out);
}

fn push_number(before: &str, number: u64, out: &mut String) {
    out.push_str(before);
    out.push_str(itoa::Buffer::new().format(number));
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds. The calendar is consulted once a second.
fn push_time(now: SystemTime, out: &mut String) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since_epoch.as_secs() {
            let time = DateTime::from_timestamp(i64::try_from(since_epoch.as_secs()).unwrap_or(0), 0);
            *text = time.unwrap_or_default().format("%Y-%m-%dT%H:%M:%S.").to_string();
            *second = since_epoch.as_secs();
        }
        out.push_str(text);
    });
    let millis = since_epoch.subsec_millis();
    for place in [100, 10, 1] {
        out.push(char::from_digit(millis / place % 10, 10).unwrap_or('0'));
    }
    out.push('Z');
}

/// JSON's escapes, and those for bytes that could break a terminal or a line-based reader.
fn escape(text: &str, out: &mut String) {
    // Nearly all that is logged is printable ASCII, which is told by its bytes; without a way out early, many at once.
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push_str(text);
        return;
    }
    let plain = |c: char| !matches!(c, '"' | '\\') && !c.is_control() && c != '\u{2028}' && c != '\u{2029}';
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            plain_char if plain(plain_char) => out.push(plain_char),
            other => {
                let code = u32::from(other);
                write!(out, "\\u{code:04x}").expect("writing to a string cannot fail");
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::access_log) fn line<'a>(request_id: &'a str, path: &'a str) -> Line<'a> {
        Line {
            request_id,
            trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid"),
            method: "POST",
            path,
            route: Some("invoke"),
            key: None,
            side: Some("legacy"),
            reason: "weight",
            status: 200,
            latency: Duration::from_micros(1_500),
            upstream: Some(Duration::from_micros(900)),
            bytes_received: 1,
            bytes_sent: 2,
        }
    }

    #[test]
    fn a_line_is_json_whatever_the_client_sent() {
        let line = line("r\"1", "/a\\b\n\u{1b}[31m\u{2028}é");
        let mut text = String::new();
        line.format(UNIX_EPOCH + Duration::from_millis(1_700_000_000_007), &mut text);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        let expected = serde_json::json!({
            "ts": "2023-11-14T22:13:20.007Z", "request_id": "r\"1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "method": "POST", "path": "/a\\b\n\u{1b}[31m\u{2028}é", "route": "invoke", "side": "legacy",
            "reason": "weight", "status": 200, "latency_us": 1_500, "upstream_us": 900, "bytes_received": 1,
            "bytes_sent": 2,
        });
        assert_eq!(parsed, expected);
    }
}
