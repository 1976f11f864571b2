//! One container.

use std::{sync::Arc, time::Duration};

use bollard::{
    Docker,
    errors::Error,
    models::ContainerState,
    query_parameters::{InspectContainerOptions, StartContainerOptions, WaitContainerOptions},
};
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    ContainerError,
    error::{docker, is_not_found},
    household::Shared,
};

/// Between two looks at a container whose end could not be waited for.
const PAUSE: Duration = Duration::from_secs(1);
/// Docker tells an end when it has put the container away, which takes it longer the more it has to do.
const END_GRACE: Duration = Duration::from_secs(5);
/// A kill for want of memory is told a moment after the end that it caused.
const LOOKS: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(20);
const KILLED: i64 = 128 + 9;

/// A container that was started. Dropping it removes it, with every process in it.
#[derive(Debug)]
pub struct Container {
    id: String,
    shared: Arc<Shared>,
    /// Once it was started.
    end: Option<End>,
    is_removed: bool,
}

/// What knows of its end.
#[derive(Debug)]
struct End {
    ended: watch::Receiver<bool>,
    _watching: AbortOnDropHandle<()>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerEnd {
    /// Its exit code, by the shell's convention; `None` when it has not ended, or is not known.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed a process of it for want of memory.
    pub ran_out_of_memory: bool,
}

impl Container {
    pub(crate) fn new(id: String, shared: Arc<Shared>) -> Self {
        Self { id, shared, end: None, is_removed: false }
    }

    pub(crate) async fn start(&mut self) -> Result<(), ContainerError> {
        let api = self.api();
        let started = api.start_container(&self.id, None::<StartContainerOptions>).await;
        started.map_err(docker("start a container"))?;
        let (sender, ended) = watch::channel(false);
        let (api, id) = (api.clone(), self.id.clone());
        let watching = tokio::spawn(async move {
            wait_for_end(&api, &id).await;
            sender.send_replace(true);
        });
        self.end = Some(End { ended, _watching: AbortOnDropHandle::new(watching) });
        Ok(())
    }

    /// Its id, which is in the paths of its control groups.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The number of its first process, as the daemon has it.
    ///
    /// # Errors
    /// When it has none any more, or the daemon does not say.
    pub async fn first_process(&self) -> Result<Option<u32>, ContainerError> {
        let state = self.state().await?;
        Ok(state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0))
    }

    /// Waits until its first process has ended. A container of which the daemon does not know counts as ended.
    pub async fn ended(&self) {
        if let Some(end) = &self.end {
            let mut ended = end.ended.clone();
            // An error means that the runtime stops.
            let _ = ended.wait_for(|has_ended| *has_ended).await;
        }
    }

    /// Whether it has.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.end.as_ref().is_none_or(|end| *end.ended.borrow())
    }

    /// How it ended. A process that has closed its streams is about to end: that is waited for a while.
    pub async fn end_of_it(&self) -> ContainerEnd {
        let _ = tokio::time::timeout(END_GRACE, self.ended()).await;
        let mut end = ContainerEnd { exit_code: None, ran_out_of_memory: false };
        for _ in 0..LOOKS {
            let Ok(state) = self.state().await else { break };
            if state.running == Some(true) {
                break;
            }
            let exit_code = state.exit_code;
            end.exit_code = exit_code.and_then(|code| i32::try_from(code).ok());
            end.ran_out_of_memory = state.oom_killed == Some(true);
            if end.ran_out_of_memory || exit_code != Some(KILLED) {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        end
    }

    /// Removes it, with every process in it, and waits until that is done.
    pub async fn remove(mut self) {
        self.is_removed = true;
        // An error means that the runtime stops.
        let _ = self.shared.remove_later(self.id.clone()).await;
    }

    async fn state(&self) -> Result<ContainerState, ContainerError> {
        let inspected = self.api().inspect_container(&self.id, None::<InspectContainerOptions>).await;
        Ok(inspected.map_err(docker("look at a container"))?.state.unwrap_or_default())
    }

    fn api(&self) -> &Docker {
        self.shared.daemon.api()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.is_removed {
            self.shared.remove_later(std::mem::take(&mut self.id));
        }
    }
}

/// Asks the daemon to tell the end, and asks again when the daemon went away meanwhile.
async fn wait_for_end(api: &Docker, id: &str) {
    loop {
        let mut waiting = std::pin::pin!(api.wait_container(id, None::<WaitContainerOptions>));
        match waiting.next().await {
            Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => return,
            Some(Err(error)) if is_not_found(&error) => return,
            Some(Err(_)) | None => tokio::time::sleep(PAUSE).await,
        }
    }
}
