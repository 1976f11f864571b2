//! What is asked of Docker.

use std::{collections::HashMap, time::Duration};

use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig},
    query_parameters::{CreateContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use domain::Runtime;
use layered_config::ByteSize;

use super::{DockerConfig, ENDING_DEADLINE, ExecutorError, docker_failed};

/// Label of every container of ours; its value names the pool.
const POOL_LABEL: &str = "mini-lambda.legacy.pool";
const FIRST_PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct ContainerApi {
    docker: Docker,
    config: DockerConfig,
    memory: ByteSize,
}

impl ContainerApi {
    pub(super) const fn new(docker: Docker, config: DockerConfig, memory: ByteSize) -> Self {
        Self { docker, config, memory }
    }

    pub(super) const fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) const fn config(&self) -> &DockerConfig {
        &self.config
    }

    pub(super) async fn ping(&self) -> Result<(), ExecutorError> {
        self.docker.ping().await.map(drop).map_err(docker_failed("answer"))
    }

    /// A new running container for the runtime; gives its id.
    pub(super) async fn create(&self, runtime: Runtime) -> Result<String, ExecutorError> {
        let image = &self.config.images.get(&runtime).ok_or(ExecutorError::NoImage(runtime))?.image;
        let body = ContainerCreateBody {
            image: Some(image.clone()),
            // Waits for an input that never comes, without a child process of its own.
            entrypoint: Some(["/bin/sh", "-c", "read _"].map(str::to_owned).to_vec()),
            open_stdin: Some(true),
            user: Some(self.config.user.clone()),
            working_dir: Some("/tmp".to_owned()),
            labels: Some(HashMap::from([(POOL_LABEL.to_owned(), self.config.pool.clone())])),
            host_config: Some(self.confinement()),
            ..ContainerCreateBody::default()
        };
        let options = None::<CreateContainerOptions>;
        let id = self.docker.create_container(options, body).await.map_err(docker_failed("make a container"))?.id;
        if let Err(error) = self.docker.start_container(&id, None).await {
            self.remove(&id).await;
            return Err(docker_failed("start a container")(error));
        }
        Ok(id)
    }

    fn confinement(&self) -> HostConfig {
        let limits = &self.config.limits;
        let memory_bytes = i64::try_from(self.memory.bytes()).unwrap_or(i64::MAX);
        let tmp = format!("rw,nosuid,nodev,mode=1777,size={}", limits.tmp.bytes());
        let nano_cpus = (limits.cpu_cores * 1e9) as i64;
        HostConfig {
            network_mode: Some("none".to_owned()),
            ipc_mode: Some("private".to_owned()),
            readonly_rootfs: Some(true),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmp)])),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            memory: Some(memory_bytes),
            // No swap on top.
            memory_swap: Some(memory_bytes),
            // The container's first process, and the shell's moment before the interpreter.
            pids_limit: Some(i64::from(limits.processes) + 2),
            nano_cpus: Some(nano_cpus),
            // What a function prints travels on the exec's own stream; nothing is kept.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }
    }

    /// Removes a container with every process in it. A container that cannot be removed is left for
    /// the next start.
    pub(super) async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        if let Err(error) = self.docker.remove_container(id, Some(options)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, container.id = id, "a container was not removed");
        }
    }

    /// Every container of the pool, of this life or a former one.
    pub(super) async fn pooled(&self) -> Result<Vec<String>, ExecutorError> {
        let label = format!("{POOL_LABEL}={}", self.config.pool);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await.map_err(docker_failed("list containers"))?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    /// The exit code of a process that is about to end; `None` when it does not in time.
    pub(super) async fn exit_code(&self, exec_id: &str) -> Option<i32> {
        let ended = async {
            let mut pause = FIRST_PAUSE;
            loop {
                let state = self.docker.inspect_exec(exec_id).await.ok()?;
                if state.running == Some(false) {
                    return state.exit_code.and_then(|code| i32::try_from(code).ok());
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        };
        tokio::time::timeout(ENDING_DEADLINE, ended).await.ok().flatten()
    }

    /// Whether nothing runs in the container but its first process.
    pub(super) async fn is_idle(&self, id: &str) -> bool {
        let top = self.docker.top_processes(id, None).await;
        top.is_ok_and(|top| top.processes.is_some_and(|processes| processes.len() == 1))
    }
}
