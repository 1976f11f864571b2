//! Settings of HTTP/2 from clients: what one connection may cost.

use layered_config::{ByteSize, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// The limits of each HTTP/2 connection. The header list of a request is limited by
/// `http.header_limit`, decompressed, and with it the CONTINUATION frames that may carry it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2Config {
    /// How many requests a client may have open at once.
    pub max_streams: u32,
    /// How many requests that the client has reset may wait to be looked at; one more ends the
    /// connection (CVE-2023-44487).
    pub max_pending_resets: usize,
    /// How many requests with mistakes the gateway resets before it ends the connection.
    pub max_error_resets: usize,
    /// How much of one request's body may be on its way without having been taken by the upstream.
    pub stream_window: ByteSize,
    /// The same for all requests of a connection together.
    pub connection_window: ByteSize,
}

/// The largest window there is (RFC 9113, section 6.9.1).
const LARGEST_WINDOW_BYTES: u64 = (1 << 31) - 1;
/// The window of every connection until it is made larger (RFC 9113, section 6.9.2).
const SMALLEST_WINDOW_BYTES: u64 = 65_535;

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_streams: 100,
            max_pending_resets: 20,
            max_error_resets: 100,
            stream_window: ByteSize::from_kib(256),
            connection_window: ByteSize::from_mib(1),
        }
    }
}

impl Validate for Http2Config {
    fn validate(&self, report: &mut Report) {
        if self.max_streams == 0 {
            report.problem("max_streams", "no request could be sent", "write 1 or more");
        }
        for (key, window) in [("stream_window", self.stream_window), ("connection_window", self.connection_window)] {
            if !(SMALLEST_WINDOW_BYTES..=LARGEST_WINDOW_BYTES).contains(&window.bytes()) {
                let fix = "write a size from \"64KiB\" to \"1GiB\"";
                report.problem(key, "it is no window that HTTP/2 has", fix);
            }
        }
        if self.connection_window.bytes() < self.stream_window.bytes() {
            let fix = "write at least the size of `stream_window`";
            report.problem("connection_window", "one request could not use its own window", fix);
        }
    }
}
