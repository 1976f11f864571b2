//! W3C Trace Context, level 1: the `traceparent` header.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// The length of its value.
pub const HEADER_BYTES: usize = 55;

/// The place of one request in a trace, as `00-<trace id>-<span id>-<flags>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// The start of a new trace, sampled.
    #[must_use]
    pub fn generate() -> Self {
        // All zeroes is invalid by the specification, and as likely as 2^-128.
        let (trace_id, span_id) = rand::random();
        Self { trace_id, span_id, sampled: true }
    }

    /// Reads a header. `None` when it is not valid; the specification then says to start a new trace.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = lower_hex::<1>(version)?;
        // Version 00 ends here; later versions may add parts, ff is forbidden.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let context = Self {
            trace_id: lower_hex(trace_id)?,
            span_id: lower_hex(span_id)?,
            sampled: lower_hex::<1>(flags)?[0] & 1 == 1,
        };
        (context.trace_id != [0; 16] && context.span_id != [0; 8]).then_some(context)
    }

    /// The header if it is valid, else a new trace.
    #[must_use]
    pub fn parse_or_generate(header: Option<&str>) -> Self {
        header.and_then(Self::parse).unwrap_or_else(Self::generate)
    }

    /// A new span below this one.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: rand::random(), ..self }
    }

    /// The trace's id as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> impl fmt::Display {
        Hex(self.trace_id)
    }

    /// The same digits, for who writes them by hand.
    #[must_use]
    pub fn trace_id_digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        write_hex(&self.trace_id, &mut digits);
        digits
    }

    /// The span's id as 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn span_id(self) -> impl fmt::Display {
        Hex(self.span_id)
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.sampled
    }

    /// The header's value, as ASCII.
    #[must_use]
    pub fn to_header(self) -> [u8; HEADER_BYTES] {
        let mut header = *b"00-tttttttttttttttttttttttttttttttt-ssssssssssssssss-00";
        write_hex(&self.trace_id, &mut header[3..35]);
        write_hex(&self.span_id, &mut header[36..52]);
        header[54] += u8::from(self.sampled);
        header
    }

    /// The same place, recorded or not.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }

    /// The same place as a remote parent for OpenTelemetry.
    #[must_use]
    pub fn to_span_context(self) -> SpanContext {
        self.span_context(true)
    }

    /// As [`Self::to_span_context`], of a span that this process made or did not.
    pub(crate) fn span_context(self, is_remote: bool) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        SpanContext::new(
            TraceId::from_bytes(self.trace_id),
            SpanId::from_bytes(self.span_id),
            flags,
            is_remote,
            TraceState::NONE,
        )
    }
}

impl From<&SpanContext> for TraceContext {
    fn from(context: &SpanContext) -> Self {
        Self {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            sampled: context.is_sampled(),
        }
    }
}

/// The header's value.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.to_header();
        f.write_str(std::str::from_utf8(&header).map_err(|_| fmt::Error)?)
    }
}

struct Hex<const N: usize>([u8; N]);

/// The digits go out in one piece: a `write!` for each byte took more time than all else that a gateway
/// does to a request's headers.
impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * MAX_ID_BYTES];
        let digits = &mut digits[..2 * N];
        write_hex(&self.0, digits);
        f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }
}

/// Fills `digits`, two for each byte.
fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// A trace's id is the longest.
const MAX_ID_BYTES: usize = 16;

/// Exactly `N` bytes in lower case, as the specification demands.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_header_survives() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(header).expect("the example of the specification");
        assert_eq!(context.to_string(), header);
        assert_eq!(TraceContext::from(&context.to_span_context()), context);
        let child = context.child();
        assert_eq!(child.trace_id().to_string(), context.trace_id().to_string());
        assert_ne!(child.span_id().to_string(), context.span_id().to_string());
        let generated = TraceContext::generate();
        assert_eq!(TraceContext::parse(&generated.to_string()), Some(generated));
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        assert!(TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra").is_some());
    }
}
