//! What a function prints: read all the time, kept up to a limit.

use std::{io, os::fd::AsFd as _, pin::Pin, task::Poll};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::unix::pipe,
};

const READ_BYTES: usize = 64 * 1024;
/// What a pipe can hold (Linux: 64 KiB unless it was changed): what was written before an answer is
/// never more than this behind it.
const PIPE_CAPACITY_BYTES: usize = 64 * 1024;

/// The log stream of one worker. Reading never stops at the limit, so a flood neither blocks the
/// function nor fills the host's memory.
#[derive(Debug)]
pub(crate) struct LogCapture<L> {
    stream: L,
    ended: bool,
    scratch: Box<[u8]>,
    kept: Vec<u8>,
    dropped_bytes: u64,
    limit_bytes: usize,
    /// Whether bytes wait that a poll may not show yet.
    has_more: fn(&L) -> bool,
}

impl LogCapture<pipe::Receiver> {
    /// Of a pipe, which the kernel is asked about: tokio knows of bytes only when it has seen their event, and may
    /// say that there are none when they have come before the answer that it just read.
    pub(crate) fn of_pipe(stream: pipe::Receiver, limit_bytes: usize) -> Self {
        let has_more = |stream: &pipe::Receiver| {
            let mut asked = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        };
        Self { has_more, ..Self::new(stream, limit_bytes) }
    }
}

impl<L: AsyncRead + Unpin> LogCapture<L> {
    /// Of a stream whose polls tell all that there is.
    pub(crate) fn new(stream: L, limit_bytes: usize) -> Self {
        Self {
            stream,
            ended: false,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            kept: Vec::new(),
            dropped_bytes: 0,
            limit_bytes,
            has_more: |_| false,
        }
    }

    /// Reads until the stream ends. Nothing is lost when it is dropped.
    pub(crate) async fn read_to_end(&mut self) {
        while !self.ended {
            std::future::poll_fn(|context| self.poll_once(context)).await;
        }
    }

    /// Reads for as long as it is polled.
    pub(crate) async fn read_forever(&mut self) {
        self.read_to_end().await;
        std::future::pending::<()>().await;
    }

    /// Reads what is there now, and no more than a pipe can hold: a thread that goes on printing
    /// cannot keep an answer back.
    pub(crate) async fn read_what_is_there(&mut self) {
        let mut total = 0;
        let drain = std::future::poll_fn(|context| {
            while !self.ended && total < PIPE_CAPACITY_BYTES {
                match self.poll_once(context) {
                    Poll::Ready(count) => total += count,
                    // Their event is on its way, and wakes.
                    Poll::Pending if (self.has_more)(&self.stream) => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(())
        });
        // Cooperative scheduling would report "nothing there" once the task's budget is spent.
        tokio::task::coop::unconstrained(drain).await;
    }

    /// Forgets what a worker printed while no call was running, and says how much that was.
    pub(crate) async fn discard_what_is_there(&mut self) -> u64 {
        self.read_what_is_there().await;
        let count = self.kept.len() as u64 + self.dropped_bytes;
        self.kept.clear();
        self.dropped_bytes = 0;
        count
    }

    /// The text of the call that ended.
    pub(crate) fn take(&mut self) -> String {
        let kept = std::mem::take(&mut self.kept);
        let mut text =
            String::from_utf8(kept).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let dropped_bytes = std::mem::take(&mut self.dropped_bytes);
        if dropped_bytes > 0 {
            text.push_str(&format!("\n[{dropped_bytes} bytes of output dropped]\n"));
        }
        text
    }

    /// Whether what was kept of this call contains `text`.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.kept.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn poll_once(&mut self, context: &mut std::task::Context<'_>) -> Poll<usize> {
        let mut buffer = ReadBuf::new(&mut self.scratch);
        let read: io::Result<()> = std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
        let count = buffer.filled().len();
        // A stream that fails has nothing more to say: as good as ended.
        self.ended = read.is_err() || count == 0;
        let room = self.limit_bytes.saturating_sub(self.kept.len()).min(count);
        self.kept.extend_from_slice(&self.scratch[..room]);
        self.dropped_bytes += (count - room) as u64;
        Poll::Ready(count)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_are_kept_and_the_rest_is_counted() {
        let flood = vec![b'x'; 1_000_000];
        let mut logs = LogCapture::new(flood.as_slice(), 10);
        logs.read_to_end().await;
        assert_eq!(logs.take(), "xxxxxxxxxx\n[999990 bytes of output dropped]\n");
        assert_eq!(logs.take(), "", "the next call starts afresh");
    }

    #[tokio::test]
    async fn what_is_there_is_read_without_waiting_for_more() {
        let (mut worker, host) = tokio::io::duplex(1024);
        let mut logs = LogCapture::new(host, 100);
        logs.read_what_is_there().await;
        worker.write_all("early \u{e9}\n".as_bytes()).await.expect("there is room");
        logs.read_what_is_there().await;
        assert!(logs.contains("early"));
        assert_eq!(logs.take(), "early \u{e9}\n");
        worker.write_all(b"between calls").await.expect("there is room");
        assert_eq!(logs.discard_what_is_there().await, 13);
        assert_eq!(logs.take(), "");
    }

    /// On one thread, which sees no event between the write and the read.
    #[tokio::test]
    async fn what_a_pipe_holds_is_read_before_its_event_is_seen() {
        let (worker, host) = pipe::pipe().expect("two descriptors");
        let mut logs = LogCapture::of_pipe(host, 100);
        logs.read_what_is_there().await;
        for _ in 0..100 {
            nix::unistd::write(&worker, b"loading").expect("there is room");
            assert_eq!(logs.discard_what_is_there().await, 7);
        }
        drop(worker);
        logs.read_what_is_there().await;
        assert_eq!(logs.take(), "");
    }

    #[tokio::test]
    async fn what_is_not_text_is_shown_as_such() {
        let mut logs = LogCapture::new(&b"a\xFFb"[..], 100);
        logs.read_to_end().await;
        assert_eq!(logs.take(), "a\u{FFFD}b");
    }
}
