//! How long a client may take for the head of an HTTP/1 request, however it sends it.
//!
//! pingora limits the wait for the next bytes, so a client that sends one byte a minute would keep its
//! connection for ever. Here the whole head has one deadline. It is looked at whenever the client has sent
//! something, which needs no timer of its own: a client that is silent is pingora's to end. pingora makes a
//! request's context in the very poll in which it has read the head, and that is how the end of a head is
//! noticed. HTTP/2 connections are ended by `keepalive_timeout` when nothing is asked on them.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use tokio::time::Instant;

use super::accept::Shared;

thread_local! {
    /// Set while a future is polled that has read the head of its request.
    static HEAD_READ: Cell<bool> = const { Cell::new(false) };
}

/// Says that the head of the request that is being polled on this thread has been read.
pub(crate) fn head_was_read() {
    HEAD_READ.set(true);
}

/// The deadlines.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadDeadlines {
    /// Of the first request, from when the connection can carry it.
    pub(super) first: Duration,
    /// Of each further one, from the end of the answer before it: the client may be idle first.
    pub(super) next: Duration,
    /// How long a client may send nothing before and within a head, in seconds.
    pub(super) silence_s: u64,
}

/// One client connection, as pingora's engine is to see it.
pub(super) struct Connection {
    shared: Arc<Shared>,
    begun: AtomicBool,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, begun: AtomicBool::new(false) })
    }

    fn deadline(&self) -> Duration {
        let HeadDeadlines { first, next, .. } = self.shared.head_deadlines;
        if self.begun.swap(true, Ordering::Relaxed) { next } else { first }
    }
}

type Served<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

impl HttpServerApp for Connection {
    fn process_new_http<'app, 'shutdown, 'served>(
        self: &'app Arc<Self>,
        mut session: ServerSession,
        shutdown: &'shutdown ShutdownWatch,
    ) -> Served<'served>
    where
        'app: 'served,
        'shutdown: 'served,
    {
        let http2 = session.is_http2();
        if session.get_keepalive().is_some() {
            // pingora's own would be a minute for the first head of a connection.
            session.set_keepalive(Some(self.shared.head_deadlines.silence_s));
        }
        let serving = self.shared.proxy.process_new_http(session, shutdown);
        if http2 {
            return serving;
        }
        Box::pin(UntilHead::new(serving, self.deadline(), || self.shared.metrics.heads_timed_out.inc()))
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.shared.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.shared.proxy.server_options()
    }
}

/// Serves a request, unless its head does not come in time.
struct UntilHead<'a, M> {
    serving: Served<'a>,
    /// Nothing once the head has been read.
    deadline: Option<Instant>,
    missed: M,
}

impl<'a, M> UntilHead<'a, M> {
    fn new(serving: Served<'a>, within: Duration, missed: M) -> Self {
        Self { serving, deadline: Some(Instant::now() + within), missed }
    }
}

impl<M: Fn() + Unpin> Future for UntilHead<'_, M> {
    type Output = Option<ReusedHttpStream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(deadline) = this.deadline else { return this.serving.as_mut().poll(context) };
        HEAD_READ.set(false);
        let polled = this.serving.as_mut().poll(context);
        if polled.is_ready() {
            return polled;
        }
        if HEAD_READ.get() {
            this.deadline = None;
        } else if Instant::now() > deadline {
            (this.missed)();
            // Dropping what serves it closes the connection.
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use tokio::time;

    use super::*;

    fn until_head<'a>(serving: impl Future<Output = Option<ReusedHttpStream>> + Send + 'a) -> UntilHead<'a, fn()> {
        UntilHead::new(Box::pin(serving), Duration::from_secs(5), || ())
    }

    /// A client that sends a byte every 400 ms, and never the last one.
    async fn dripping() -> Option<ReusedHttpStream> {
        loop {
            time::sleep(Duration::from_millis(400)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_ends_the_connection_at_its_deadline() {
        let begun = Instant::now();
        assert!(until_head(dripping()).await.is_none());
        assert_eq!(begun.elapsed().as_millis() / 100, 52, "the first byte after it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_longer_than_its_head() {
        let begun = Instant::now();
        let serving = async {
            time::sleep(Duration::from_secs(4)).await;
            head_was_read();
            for _ in 0..10 {
                time::sleep(Duration::from_secs(6)).await;
            }
            None
        };
        until_head(serving).await;
        assert_eq!(begun.elapsed().as_secs(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_another_request_on_the_thread_is_not_taken_for_its_own() {
        let other = until_head(async {
            head_was_read();
            future::pending().await
        });
        tokio::select! {
            biased;
            _ = other => unreachable!("it never ends"),
            ended = until_head(dripping()) => assert!(ended.is_none()),
        }
    }
}
