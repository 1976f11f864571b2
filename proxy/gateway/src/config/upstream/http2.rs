use layered_config::{ByteSize, HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// The largest flow-control window that HTTP/2 knows (RFC 9113, section 6.9.1).
const MAX_WINDOW_BYTES: u64 = (1 << 31) - 1;
/// The window that every stream begins with (RFC 9113, section 6.9.2).
const MIN_WINDOW_BYTES: u64 = 65_535;

/// Limits of HTTP/2 connections to an upstream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamHttp2Config {
    /// How many requests share a connection, at most; the upstream may allow fewer.
    pub max_streams: usize,
    /// How often an idle or silent connection is asked whether it is still there. One that does not
    /// answer is given up.
    pub ping_interval: HumanDuration,
    /// How much of one answer may be on its way before the client has taken it.
    pub stream_window: ByteSize,
    /// The same for all answers on one connection together.
    pub connection_window: ByteSize,
}

impl Default for UpstreamHttp2Config {
    fn default() -> Self {
        Self {
            max_streams: 100,
            ping_interval: HumanDuration::from_secs(10),
            stream_window: ByteSize::from_mib(1),
            connection_window: ByteSize::from_mib(8),
        }
    }
}

impl UpstreamHttp2Config {
    pub(crate) fn window(size: ByteSize) -> u32 {
        u32::try_from(size.bytes().min(MAX_WINDOW_BYTES)).unwrap_or(u32::MAX >> 1)
    }
}

impl Validate for UpstreamHttp2Config {
    fn validate(&self, report: &mut Report) {
        if self.max_streams == 0 {
            report.problem("max_streams", "no request would ever be sent", "write 1 or more");
        }
        if self.ping_interval.get().is_zero() {
            report.problem("ping_interval", "it must not be zero", "write a duration such as \"10s\"");
        }
        for (key, window) in [("stream_window", self.stream_window), ("connection_window", self.connection_window)] {
            if !(MIN_WINDOW_BYTES..=MAX_WINDOW_BYTES).contains(&window.bytes()) {
                report.problem(key, "no window can have that size", "write 64 KiB or more, and less than 2 GiB");
            }
        }
    }
}
