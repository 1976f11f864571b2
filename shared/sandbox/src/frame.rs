//! Frames of the worker protocol: two lengths, a JSON header, a raw payload.

use std::{collections::BTreeMap, io};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{FunctionCode, Invocation, TASK_ROOT};

const LENGTHS_BYTES: usize = 8;
/// Headers of answers hold ids, numbers and an error text, which the bootstrap cuts at 8,192 characters.
const LARGEST_HEADER_BYTES: usize = 128 * 1024;
/// Room for a usual answer; a longer one grows the buffer to its length at once.
const READ_BYTES: usize = 16 * 1024;

/// What the host sends.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request<'a> {
    Load {
        function_id: &'a str,
        function_name: &'a str,
        handler: &'a str,
        /// Where the code is, when it is not the payload.
        #[serde(skip_serializing_if = "Option::is_none")]
        folder: Option<&'static str>,
        environment: &'a BTreeMap<String, String>,
        memory_limit_mb: u64,
        output_limit_bytes: usize,
    },
    Invoke {
        execution_id: &'a str,
        timeout_ms: u64,
    },
}

/// The header of what the worker sends.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Answer {
    Loaded,
    LoadFailed { error: String },
    Result(CallResult),
}

/// The header of the answer to a call.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct CallResult {
    pub(crate) execution_id: String,
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) reusable: bool,
    pub(crate) peak_memory_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Success,
    Failed,
}

/// Why no answer could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream ended: the worker is gone, or has closed it.
    #[error("the answer stream ended")]
    Ended,
    /// What came is not an answer.
    #[error("{0}")]
    Malformed(String),
}

pub(crate) fn load_request(function: &FunctionCode, output_limit_bytes: usize) -> Vec<u8> {
    let source = function.code.source();
    let header = Request::Load {
        function_id: &function.function_id,
        function_name: &function.function_name,
        handler: &function.handler,
        folder: source.is_none().then_some(TASK_ROOT),
        environment: &function.environment,
        memory_limit_mb: function.memory_mb(),
        output_limit_bytes,
    };
    encode(&header, source.unwrap_or_default().as_bytes())
}

pub(crate) fn invoke_request(call: &Invocation) -> Vec<u8> {
    let timeout_ms = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
    encode(&Request::Invoke { execution_id: &call.execution_id, timeout_ms }, &call.event)
}

fn encode(header: &Request<'_>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTHS_BYTES + 256 + payload.len());
    frame.put_bytes(0, LENGTHS_BYTES);
    serde_json::to_writer(&mut frame, header).expect("strings and numbers can be written as JSON");
    let header_length = frame.len() - LENGTHS_BYTES;
    for (place, length) in [(0, header_length), (4, payload.len())] {
        let length = u32::try_from(length).expect("configuration keeps sources and events below 4 GiB");
        frame[place..place + 4].copy_from_slice(&length.to_be_bytes());
    }
    frame.extend_from_slice(payload);
    frame
}

/// Reads answers, and knows when more came than was asked for.
#[derive(Debug)]
pub(crate) struct AnswerStream<R> {
    stream: R,
    buffer: BytesMut,
    largest_payload_bytes: usize,
}

impl<R: AsyncRead + Unpin> AnswerStream<R> {
    pub(crate) fn new(stream: R, largest_payload_bytes: usize) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(READ_BYTES), largest_payload_bytes }
    }

    /// The next answer and its payload. Can be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<(Answer, Bytes), FrameError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(FrameError::Ended),
                Ok(_) => {}
                // A broken stream says no more about a worker than one that ended.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(FrameError::Malformed(error.to_string()));
                }
                Err(_) => return Err(FrameError::Ended),
            }
        }
    }

    /// Whether the worker said something that nobody asked for.
    pub(crate) async fn has_unasked(&mut self) -> bool {
        if self.buffer.is_empty() {
            // Only what is there already counts: the biased order asks the stream first.
            tokio::select! {
                biased;
                _ = self.stream.read_buf(&mut self.buffer) => {}
                () = std::future::ready(()) => {}
            }
        }
        !self.buffer.is_empty()
    }

    fn take_frame(&mut self) -> Result<Option<(Answer, Bytes)>, FrameError> {
        let Some(lengths) = self.buffer.get(..LENGTHS_BYTES) else {
            return Ok(None);
        };
        let mut lengths = lengths;
        let header_length = lengths.get_u32() as usize;
        let payload_length = lengths.get_u32() as usize;
        if header_length > LARGEST_HEADER_BYTES || payload_length > self.largest_payload_bytes {
            return Err(FrameError::Malformed(format!(
                "an answer of {header_length} + {payload_length} bytes was announced"
            )));
        }
        let frame_length = LENGTHS_BYTES + header_length + payload_length;
        if self.buffer.len() < frame_length {
            self.buffer.reserve((frame_length - self.buffer.len()).max(READ_BYTES));
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(frame_length).freeze();
        self.buffer.reserve(READ_BYTES);
        frame.advance(LENGTHS_BYTES);
        let header = frame.split_to(header_length);
        let answer = serde_json::from_slice(&header)
            .map_err(|error| FrameError::Malformed(format!("an answer cannot be read: {error}")))?;
        Ok(Some((answer, frame)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn answer_frame(header: &str, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.put_u32(u32::try_from(header.len()).expect("short"));
        frame.put_u32(u32::try_from(payload.len()).expect("short"));
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    const RESULT: &str =
        r#"{"type":"result","execution_id":"e","status":"success","reusable":true,"peak_memory_bytes":7}"#;

    #[test]
    fn a_request_is_lengths_header_and_the_event_untouched() {
        let call = Invocation {
            execution_id: "e-1".to_owned(),
            event: Bytes::from_static(b"{ \"a\" : 1 }"),
            timeout: Duration::from_secs(3),
        };
        let frame = invoke_request(&call);
        let header = br#"{"type":"invoke","execution_id":"e-1","timeout_ms":3000}"#;
        assert_eq!(frame[..8], [0, 0, 0, 56, 0, 0, 0, 11]);
        assert_eq!(&frame[8..64], header);
        assert_eq!(&frame[64..], b"{ \"a\" : 1 }");
    }

    #[tokio::test]
    async fn answers_are_read_one_by_one() {
        let mut bytes = answer_frame(r#"{"type":"loaded"}"#, b"");
        bytes.extend(answer_frame(RESULT, b"[1]"));
        let mut stream = AnswerStream::new(bytes.as_slice(), 1024);
        assert_eq!(stream.next().await.expect("loaded").0, Answer::Loaded);
        assert!(stream.has_unasked().await);
        let (answer, output) = stream.next().await.expect("a result");
        assert!(matches!(answer, Answer::Result(result) if result.peak_memory_bytes == 7));
        assert_eq!(output, "[1]");
        assert!(!stream.has_unasked().await);
        assert!(matches!(stream.next().await, Err(FrameError::Ended)));
    }

    #[tokio::test]
    async fn what_is_not_an_answer_is_malformed_and_never_waited_for() {
        let announced_too_much = [0, 0, 0, 1, 0xFF, 0, 0, 0];
        let text = b"hello from a print\n";
        let unknown = answer_frame(r#"{"type":"surprise"}"#, b"");
        for bytes in [&announced_too_much[..], text, &unknown] {
            let (mut worker, host) = tokio::io::duplex(1024);
            tokio::io::AsyncWriteExt::write_all(&mut worker, bytes).await.expect("there is room");
            let mut stream = AnswerStream::new(host, 1024);
            assert!(matches!(stream.next().await, Err(FrameError::Malformed(_))), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut stream = AnswerStream::new(bytes.as_slice(), 64);
            while runtime.block_on(stream.next()).is_ok() {}
        }

        #[test]
        fn a_frame_may_come_in_any_pieces(cut in 0_usize..110) {
            let bytes = answer_frame(RESULT, b"[1]");
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut stream = AnswerStream::new(AsyncReadExt::chain(first, second), 64);
            prop_assert!(runtime.block_on(stream.next()).is_ok());
        }
    }
}
