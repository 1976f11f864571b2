//! The containers of one life of a service.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bollard::query_parameters::{CreateContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    Container, ContainerError, ContainerPlan, Daemon,
    error::{docker, is_not_found},
    life_folder::LifeFolder,
};

/// Labels of every container of ours: whose it is, and of which life.
const HOME_LABEL: &str = "mini-lambda.home";
const LIFE_LABEL: &str = "mini-lambda.life";

/// A removal is tried so often, with pauses that double.
const REMOVAL_ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// One life's. Cheap to clone. Containers outlive it; [`Household::close`] waits until those that were dropped are gone.
#[derive(Debug, Clone)]
pub struct Household {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) daemon: Daemon,
    folder: LifeFolder,
    errands: TaskTracker,
    runtime: Handle,
}

impl Household {
    /// Opens a new life below `folder`, which replicas on one machine may share, and removes what lives that are over
    /// have left behind.
    ///
    /// # Errors
    /// When the folder cannot be used, or the daemon does not do as it is asked.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(daemon: Daemon, folder: &Path) -> Result<Self, ContainerError> {
        let opened = LifeFolder::open(folder);
        let life = opened.map_err(|source| ContainerError::Folder { folder: folder.to_owned(), source })?;
        let shared = Shared { daemon, folder: life, errands: TaskTracker::new(), runtime: Handle::current() };
        let household = Self { shared: Arc::new(shared) };
        household.sweep().await?;
        Ok(household)
    }

    /// The daemon.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.shared.daemon
    }

    /// A new folder for one container, on this machine, to be removed by whoever uses it, at the latest with this life.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn room(&self) -> Result<PathBuf, ContainerError> {
        let folder = &self.shared.folder;
        folder.room().map_err(|source| ContainerError::Folder { folder: folder.home().to_owned(), source })
    }

    /// Makes and starts a container. Whoever stops waiting for it leaves none behind.
    ///
    /// # Errors
    /// [`ContainerError::NoImage`], or what Docker says; no container is left then.
    pub async fn start(&self, plan: ContainerPlan) -> Result<Container, ContainerError> {
        let (sender, started) = oneshot::channel();
        let household = self.clone();
        // A request that is broken off may be done all the same, and then somebody must know of the container.
        let starting = async move { drop(sender.send(household.make(plan).await)) };
        self.shared.errands.spawn_on(starting, &self.shared.runtime);
        started.await.map_err(|_| ContainerError::Stopped)?
    }

    async fn make(&self, plan: ContainerPlan) -> Result<Container, ContainerError> {
        let image = plan.image.clone();
        let api = self.shared.daemon.api();
        let made = api.create_container(None::<CreateContainerOptions>, plan.body(self.labels())).await;
        let made = made.map_err(|error| {
            if is_not_found(&error) { ContainerError::NoImage { image } } else { docker("make a container")(error) }
        })?;
        let mut container = Container::new(made.id, Arc::clone(&self.shared));
        container.start().await?;
        Ok(container)
    }

    /// Waits until every container that was dropped or ended is removed.
    pub async fn close(&self) {
        self.shared.errands.close();
        self.shared.errands.wait().await;
    }

    fn labels(&self) -> HashMap<String, String> {
        let folder = &self.shared.folder;
        let home = folder.home().to_string_lossy().into_owned();
        HashMap::from([(HOME_LABEL.to_owned(), home), (LIFE_LABEL.to_owned(), folder.life().to_owned())])
    }

    /// Removes the containers of lives that are over, then what says that they are.
    async fn sweep(&self) -> Result<(), ContainerError> {
        let folder = &self.shared.folder;
        let ended = folder.ended();
        let mut ended: BTreeSet<String> = ended
            .map_err(|source| ContainerError::Folder { folder: folder.home().to_owned(), source })?
            .into_iter()
            .collect();
        let label = format!("{HOME_LABEL}={}", folder.home().display());
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.shared.daemon.api().list_containers(Some(options)).await.map_err(docker("list containers"))?;
        let mut count = 0;
        for container in found {
            let life = container.labels.and_then(|mut labels| labels.remove(LIFE_LABEL)).unwrap_or_default();
            let (Some(id), true) = (container.id, ended.contains(&life) || folder.has_ended(&life)) else { continue };
            if !self.shared.remove(&id).await {
                ended.remove(&life);
            }
            count += 1;
        }
        if count > 0 {
            tracing::info!(containers = count, "removed what a former life of this service left behind");
        }
        for life in ended {
            if let Err(error) = folder.remove(&life) {
                tracing::warn!(%error, life, "the folder of a former life was not removed");
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Removes a container with every process in it, and does not wait for it.
    pub(crate) fn remove_later(self: &Arc<Self>, id: String) -> tokio::task::JoinHandle<()> {
        let shared = Arc::clone(self);
        let removing = async move {
            shared.remove(&id).await;
        };
        self.errands.spawn_on(removing, &self.runtime)
    }

    /// Whether it is gone. One that is not is left for the next life.
    async fn remove(&self, id: &str) -> bool {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=REMOVAL_ATTEMPTS {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match self.daemon.api().remove_container(id, Some(options)).await {
                Ok(()) => return true,
                Err(error) if is_not_found(&error) => return true,
                Err(error) if attempt == REMOVAL_ATTEMPTS => {
                    tracing::error!(%error, container.id = id, "a container was not removed");
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        false
    }
}
