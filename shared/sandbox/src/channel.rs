//! How a worker is spoken to: frames over its streams, or AWS's Runtime API.

use std::{future::Future, time::Duration};

use tokio::net::unix::pipe;

use crate::{
    FunctionCode, Invocation,
    conversation::{Answered, Broken, Conversation, LoadFailure},
    log_capture::LogCapture,
    runtime_api::RuntimeApi,
};

pub(crate) type Frames = Conversation<pipe::Sender, pipe::Receiver, pipe::Receiver>;

/// The host's half, whichever the worker's is. After any [`Broken`] nothing further may be asked.
#[derive(Debug)]
pub(crate) enum Channel {
    /// The built-in workers.
    Frames(Box<Frames>),
    /// Programs that packages or runtimes bring.
    RuntimeApi(Box<RuntimeApi>),
}

impl Channel {
    /// Has the function's code loaded, or waits until it is. `gone` ends when the worker's process is known
    /// to have ended.
    pub(crate) async fn load(
        &mut self,
        function: &FunctionCode,
        timeout: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<(), LoadFailure> {
        match self {
            Self::Frames(frames) => frames.load(function, timeout, gone).await,
            Self::RuntimeApi(api) => api.load(timeout, gone).await,
        }
    }

    /// Runs one call, and reads all that it printed.
    pub(crate) async fn call(&mut self, call: &Invocation, gone: impl Future<Output = ()>) -> Result<Answered, Broken> {
        match self {
            Self::Frames(frames) => frames.call(call, gone).await,
            Self::RuntimeApi(api) => api.call(call, gone).await,
        }
    }

    /// What the function prints.
    pub(crate) fn logs(&mut self) -> &mut LogCapture<pipe::Receiver> {
        match self {
            Self::Frames(frames) => &mut frames.logs,
            Self::RuntimeApi(api) => &mut api.logs,
        }
    }
}
