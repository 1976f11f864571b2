//! How long a client may take for the head of an HTTP/1 request, however it sends it.
//!
//! pingora limits the wait for the next bytes, so a client that sends one byte a minute would keep its
//! connection for ever. Here the whole head has one deadline. pingora makes a request's context in the
//! very poll in which it has read the head, and that is how the end of a head is noticed: no timer runs
//! any longer than that. HTTP/2 connections are ended by `keepalive_timeout` when nothing is asked on them.

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
use tokio::time::{self, Sleep};

use super::accept::Shared;

thread_local! {
    /// Set while a future is polled that has read the head of its request.
    static HEAD_READ: Cell<bool> = const { Cell::new(false) };
}

/// Says that the head of the request that is being polled on this thread has been read.
pub(crate) fn head_was_read() {
    HEAD_READ.set(true);
}

/// The two deadlines.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadDeadlines {
    /// Of the first request, from when the connection can carry it.
    pub(super) first: Duration,
    /// Of each further one, from the end of the answer before it: the client may be idle first.
    pub(super) next: Duration,
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
        let HeadDeadlines { first, next } = self.shared.head_deadlines;
        if self.begun.swap(true, Ordering::Relaxed) { next } else { first }
    }
}

type Served<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

impl HttpServerApp for Connection {
    fn process_new_http<'app, 'shutdown, 'served>(
        self: &'app Arc<Self>,
        session: ServerSession,
        shutdown: &'shutdown ShutdownWatch,
    ) -> Served<'served>
    where
        'app: 'served,
        'shutdown: 'served,
    {
        let http2 = session.is_http2();
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
    deadline: Duration,
    /// Runs from when the head has to be waited for until it is there.
    waiting: Option<Pin<Box<Sleep>>>,
    head_read: bool,
    missed: M,
}

impl<'a, M> UntilHead<'a, M> {
    fn new(serving: Served<'a>, deadline: Duration, missed: M) -> Self {
        Self { serving, deadline, waiting: None, head_read: false, missed }
    }
}

impl<M: Fn() + Unpin> Future for UntilHead<'_, M> {
    type Output = Option<ReusedHttpStream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.head_read {
            return this.serving.as_mut().poll(context);
        }
        HEAD_READ.set(false);
        let polled = this.serving.as_mut().poll(context);
        if polled.is_ready() {
            return polled;
        }
        this.head_read = HEAD_READ.get();
        if this.head_read {
            this.waiting = None;
            return Poll::Pending;
        }
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(time::sleep(this.deadline)));
        if waiting.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        (this.missed)();
        // Dropping what serves it closes the connection.
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    fn until_head<'a>(serving: impl Future<Output = Option<ReusedHttpStream>> + Send + 'a) -> UntilHead<'a, fn()> {
        UntilHead::new(Box::pin(serving), Duration::from_secs(5), || ())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_ends_the_connection_at_its_deadline() {
        let begun = time::Instant::now();
        assert!(until_head(future::pending()).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_longer_than_its_head() {
        let begun = time::Instant::now();
        let serving = async {
            time::sleep(Duration::from_secs(4)).await;
            head_was_read();
            time::sleep(Duration::from_secs(60)).await;
            None
        };
        until_head(serving).await;
        assert_eq!(begun.elapsed().as_secs(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_another_request_on_the_thread_is_not_taken_for_its_own() {
        let begun = time::Instant::now();
        let other = until_head(async {
            head_was_read();
            future::pending().await
        });
        tokio::select! {
            biased;
            _ = other => unreachable!("it never ends"),
            ended = until_head(future::pending()) => assert!(ended.is_none()),
        }
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
