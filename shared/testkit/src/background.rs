//! The runtime that servers live on: it outlasts the runtimes of single tests.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            // A server that is dropped on one of them blocks it while the other one stops the server.
            .worker_threads(2)
            .thread_name("testkit")
            .enable_all()
            .build()
            .expect("a test machine can start a thread")
    })
}

/// Runs `future` there and waits for it from any runtime.
pub(crate) async fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    match runtime().spawn(future).await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// Runs `future` there and blocks this thread until it is done: for `Drop`.
pub(crate) fn run_blocking<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (done, wait) = std::sync::mpsc::channel();
    runtime().spawn(async move {
        let _ = done.send(future.await);
    });
    wait.recv().ok()
}

/// Spawns `future` there.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    runtime().spawn(future)
}
