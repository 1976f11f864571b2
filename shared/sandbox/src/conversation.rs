//! The host's half of the worker protocol, over any three streams.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use crate::{
    FunctionCode, FunctionResult, Invocation, Limits,
    frame::{Answer, AnswerStream, CallResult, FrameError, Status, invoke_request, load_request},
    log_capture::LogCapture,
};

/// One worker's streams. After any [`Broken`] no further frame may be sent.
#[derive(Debug)]
pub(crate) struct Conversation<W, R, L> {
    requests: W,
    answers: AnswerStream<R>,
    pub(crate) logs: LogCapture<L>,
    output_limit_bytes: usize,
}

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The worker ended, or closed its streams.
    Ended,
    /// It did not answer in time.
    TimedOut,
    /// It said what the protocol does not allow.
    Violation(String),
}

/// Why the function's code was not loaded.
#[derive(Debug)]
pub(crate) enum LoadFailure {
    /// The worker says why.
    Refused(String),
    /// The worker says nothing any more.
    Broken(Broken),
}

/// What the worker answered to a call.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) result: FunctionResult,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) reusable: bool,
}

impl Answered {
    /// A failure that the worker did not have to tell.
    pub(crate) fn failed(error: String) -> Self {
        Self { result: FunctionResult::Failed { error }, peak_memory_bytes: 0, reusable: false }
    }
}

impl<W, R, L> Conversation<W, R, L>
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
    L: AsyncRead + Unpin,
{
    pub(crate) fn new(requests: W, answers: R, logs: LogCapture<L>, limits: &Limits) -> Self {
        let output_limit_bytes = limits.output.as_usize();
        Self { requests, answers: AnswerStream::new(answers, output_limit_bytes), logs, output_limit_bytes }
    }

    /// Has the function's code loaded. `gone` ends when the worker's process is known to have ended.
    pub(crate) async fn load(
        &mut self,
        function: &FunctionCode,
        timeout: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<(), LoadFailure> {
        let request = load_request(function, self.output_limit_bytes);
        let (answer, _) = self.exchange(&request, timeout, gone).await.map_err(LoadFailure::Broken)?;
        self.logs.read_what_is_there().await;
        match answer {
            Answer::Loaded => Ok(()),
            Answer::LoadFailed { error } => Err(LoadFailure::Refused(error)),
            Answer::Result(_) => Err(LoadFailure::Broken(unexpected("a result came before the code was loaded"))),
        }
    }

    /// Runs one call, and reads all that it printed.
    pub(crate) async fn call(&mut self, call: &Invocation, gone: impl Future<Output = ()>) -> Result<Answered, Broken> {
        if self.answers.has_unasked().await {
            return Err(unexpected("an answer came that nobody asked for"));
        }
        let stray_bytes = self.logs.discard_what_is_there().await;
        if stray_bytes > 0 {
            tracing::debug!(stray_bytes, "dropped what the function printed between two calls");
        }
        let (answer, output) = self.exchange(&invoke_request(call), call.timeout, gone).await?;
        self.logs.read_what_is_there().await;
        match answer {
            Answer::Result(result) if result.execution_id == call.execution_id => accept(result, output),
            Answer::Result(_) => Err(unexpected("the answer is to another call")),
            Answer::Loaded | Answer::LoadFailed { .. } => Err(unexpected("the answer is not a result")),
        }
    }

    /// Sends one frame and reads one, with the log stream read all the while.
    async fn exchange(
        &mut self,
        request: &[u8],
        timeout: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<(Answer, Bytes), Broken> {
        let (requests, answers) = (&mut self.requests, &mut self.answers);
        // A timeout beyond the clock's range is none at all.
        let deadline = Instant::now().checked_add(timeout);
        let exchange = async {
            // A worker that no longer reads has ended or is about to; what it still answers decides.
            if requests.write_all(request).await.is_ok() {
                let _ = requests.flush().await;
            }
            answers.next().await
        };
        // In this order, because an answer counts even when the worker ended right after it.
        tokio::select! {
            biased;
            answer = exchange => answer.map_err(|error| match error {
                FrameError::Ended => Broken::Ended,
                FrameError::Malformed(text) => Broken::Violation(text),
            }),
            () = gone => Err(Broken::Ended),
            () = passed(deadline) => Err(Broken::TimedOut),
            () = self.logs.read_forever() => unreachable!("a future that never ends"),
        }
    }

    /// Tells the worker that no further request comes, which ends it.
    pub(crate) async fn close(&mut self) {
        // A worker that is gone needs no telling.
        let _ = self.requests.shutdown().await;
    }
}

pub(crate) async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn accept(result: CallResult, output: Bytes) -> Result<Answered, Broken> {
    let CallResult { status, error, reusable, peak_memory_bytes, .. } = result;
    let result = match (status, error) {
        (Status::Success, None) => {
            let output = String::from_utf8(output.into())
                .ok()
                .and_then(|text| RawValue::from_string(text).ok())
                .ok_or_else(|| unexpected("the result is not JSON"))?;
            FunctionResult::Success { output }
        }
        (Status::Failed, Some(error)) => FunctionResult::Failed { error },
        _ => return Err(unexpected("the answer says neither success nor why not")),
    };
    Ok(Answered { result, peak_memory_bytes, reusable })
}

fn unexpected(text: &str) -> Broken {
    Broken::Violation(text.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use domain::Language;
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;
    use crate::{Code, Launch};

    type Streams = Conversation<DuplexStream, DuplexStream, DuplexStream>;

    /// The worker's ends: requests, answers, logs.
    struct Puppet(DuplexStream, DuplexStream, DuplexStream);

    fn conversation() -> (Streams, Puppet) {
        let (requests, their_requests) = tokio::io::duplex(1 << 20);
        let (their_answers, answers) = tokio::io::duplex(1 << 20);
        let (their_logs, logs) = tokio::io::duplex(1 << 20);
        let limits = Limits::default();
        let logs = LogCapture::new(logs, limits.logs.as_usize());
        let conversation = Conversation::new(requests, answers, logs, &limits);
        (conversation, Puppet(their_requests, their_answers, their_logs))
    }

    fn frame(header: &str, payload: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        for length in [header.len(), payload.len()] {
            frame.put_u32(u32::try_from(length).expect("short"));
        }
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(payload.as_bytes());
        frame
    }

    fn result(execution_id: &str, output: &str) -> Vec<u8> {
        let header = format!(
            r#"{{"type":"result","execution_id":"{execution_id}","status":"success","reusable":true,"peak_memory_bytes":1}}"#
        );
        frame(&header, output)
    }

    fn call(execution_id: &str) -> Invocation {
        Invocation {
            execution_id: execution_id.to_owned(),
            event: Bytes::from_static(b"{}"),
            timeout: Duration::from_secs(3),
        }
    }

    async fn answers_with(bytes: &[u8]) -> Result<Answered, Broken> {
        let (mut host, mut puppet) = conversation();
        let reply = async {
            let _ = puppet.0.read(&mut [0; 1024]).await;
            puppet.1.write_all(bytes).await.expect("there is room");
            std::future::pending::<()>().await;
        };
        let call = call("e-1");
        tokio::select! {
            outcome = host.call(&call, std::future::pending()) => outcome,
            () = reply => unreachable!("a future that never ends"),
        }
    }

    #[tokio::test]
    async fn an_answer_must_be_json_to_this_very_call() {
        let good = answers_with(&result("e-1", "[1]")).await.expect("an answer");
        assert!(matches!(good.result, FunctionResult::Success { output } if output.get() == "[1]"));
        for (bytes, reason) in [
            (result("e-2", "1"), "the answer is to another call"),
            (result("e-1", "[1"), "the result is not JSON"),
            (result("e-1", ""), "the result is not JSON"),
            (frame(r#"{"type":"loaded"}"#, ""), "the answer is not a result"),
            (
                frame(
                    r#"{"type":"result","execution_id":"e-1","status":"failed","reusable":true,"peak_memory_bytes":1}"#,
                    "",
                ),
                "the answer says neither success nor why not",
            ),
        ] {
            let broken = answers_with(&bytes).await.expect_err("a violation");
            assert!(matches!(&broken, Broken::Violation(text) if text == reason), "{reason}: {broken:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_late_is_never_taken_for_the_next() {
        let (mut host, mut puppet) = conversation();
        puppet.1.write_all(&result("e-1", "1")).await.expect("there is room");
        let broken = host.call(&call("e-1"), std::future::pending()).await.expect_err("a violation");
        assert!(matches!(broken, Broken::Violation(text) if text == "an answer came that nobody asked for"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_floods_its_log_and_never_answers_times_out() {
        let (mut host, mut puppet) = conversation();
        let flood = async {
            loop {
                puppet.2.write_all(&[b'x'; 65_536]).await.expect("the host reads");
                tokio::task::yield_now().await;
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        let call = call("e-1");
        tokio::select! {
            outcome = host.call(&call, std::future::pending()) => {
                assert!(matches!(outcome, Err(Broken::TimedOut)));
            }
            () = flood => unreachable!("a future that never ends"),
        }
        assert!(host.logs.take().ends_with("bytes of output dropped]\n"));
    }

    #[tokio::test]
    async fn an_answer_counts_though_its_worker_has_ended() {
        let (mut host, mut puppet) = conversation();
        let function = FunctionCode {
            function_id: "f".to_owned(),
            function_name: "f".to_owned(),
            language: Language::Python,
            launch: Launch::default(),
            code: Code::Source("".into()),
            handler: "handler".to_owned(),
            environment: std::collections::BTreeMap::new(),
            memory_bytes: 1,
        };
        puppet.1.write_all(&frame(r#"{"type":"loaded"}"#, "")).await.expect("there is room");
        drop(puppet);
        host.load(&function, Duration::from_secs(1), async {}).await.expect("it was loaded");
        let broken = host.call(&call("e-1"), async {}).await.expect_err("it ended");
        assert!(matches!(broken, Broken::Ended));
    }
}
