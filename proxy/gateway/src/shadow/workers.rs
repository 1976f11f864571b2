//! The threads that send copies, receive their answers and compare.
//!
//! They are a runtime of its own: copies use as many CPUs as there are threads here and no more, and on a busy
//! machine the system gives the threads that serve requests the larger part, and gives it at once, because these
//! give way ([`giving_way`](super::giving_way)). So under full load copies become late, and are dropped, before
//! requests do.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use super::giving_way::give_way;

/// The threads. Dropping this ends them without waiting.
pub(super) struct Workers(Option<Runtime>);

impl Workers {
    pub(super) fn start(threads: usize, nice: u8) -> io::Result<Self> {
        let give_way = move || {
            if let Err(error) = give_way(nice) {
                tracing::warn!(%error, nice, "the threads of shadowing do not give way to others");
            }
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(1)
            .thread_name("shadow")
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.as_ref().expect("only `stop` takes the runtime away").handle().clone()
    }

    /// Ends every task. A comparison that is in the middle of its work ends with the process.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
