//! What a container is made of, and what it may do.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum,
    MountType, ResourcesUlimits,
};

/// A container to be made.
#[derive(Debug, Clone)]
pub struct ContainerPlan {
    /// The image, which must be on this machine.
    pub image: String,
    /// What it runs, below an init that reaps what its processes leave behind.
    pub command: Vec<String>,
    /// Where that begins.
    pub working_folder: String,
    /// Its variables, beside those of the image.
    pub environment: BTreeMap<String, String>,
    /// User and group by number, such as `65534:65534`.
    pub user: String,
    /// Folders of the host.
    pub mounts: Vec<ReadOnlyMount>,
    /// An empty folder at this place, for something to be mounted there later.
    pub mount_point: Option<String>,
    /// Memory of all processes together, with what is in `/tmp`.
    pub memory_bytes: u64,
    /// Size of `/tmp` and of `/dev/shm`, the only places that can be written.
    pub tmp_bytes: u64,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Processors' worth of CPU time.
    pub cpu_cores: f64,
    /// Limits of each process, by `setrlimit`'s names.
    pub limits_of_each_process: Vec<(&'static str, u64)>,
}

/// A folder of the host in a container.
#[derive(Debug, Clone)]
pub struct ReadOnlyMount {
    /// The host's.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: String,
}

/// Init, and the shell's moment before it becomes the interpreter.
const PROCESSES_OF_THE_CONTAINER: u32 = 2;

impl ContainerPlan {
    pub(crate) fn body(self, labels: HashMap<String, String>) -> ContainerCreateBody {
        let host_config = self.confinement();
        ContainerCreateBody {
            image: Some(self.image),
            entrypoint: Some(self.command),
            cmd: Some(Vec::new()),
            env: Some(self.environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
            user: Some(self.user),
            working_dir: Some(self.working_folder),
            hostname: Some("worker".to_owned()),
            labels: Some(labels),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }

    fn confinement(&self) -> HostConfig {
        let memory_bytes = signed(self.memory_bytes);
        let writable = format!("rw,nosuid,nodev,mode=1777,size={}", self.tmp_bytes);
        let mut tmpfs = HashMap::from([("/tmp".to_owned(), writable)]);
        tmpfs.extend(self.mount_point.clone().map(|place| (place, "ro,nosuid,nodev,mode=0755,size=4096".to_owned())));
        let ulimits = self.limits_of_each_process.iter().map(|(name, limit)| ResourcesUlimits {
            name: Some((*name).to_owned()),
            soft: Some(signed(*limit)),
            hard: Some(signed(*limit)),
        });
        HostConfig {
            network_mode: Some("none".to_owned()),
            ipc_mode: Some("private".to_owned()),
            readonly_rootfs: Some(true),
            tmpfs: Some(tmpfs),
            shm_size: Some(signed(self.tmp_bytes)),
            mounts: Some(self.mounts.iter().map(ReadOnlyMount::mount).collect()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // The filter of system calls is the daemon's default, which naming none leaves in place.
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            memory: Some(memory_bytes),
            // No swap on top.
            memory_swap: Some(memory_bytes),
            pids_limit: Some(i64::from(self.processes) + i64::from(PROCESSES_OF_THE_CONTAINER)),
            nano_cpus: Some((self.cpu_cores * 1e9) as i64),
            ulimits: Some(ulimits.collect()),
            init: Some(true),
            // What a function prints goes to the service alone; nothing is kept by the daemon.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }
    }
}

impl ReadOnlyMount {
    fn mount(&self) -> Mount {
        Mount {
            source: Some(self.source.to_string_lossy().into_owned()),
            target: Some(self.target.clone()),
            typ: Some(MountType::BIND),
            read_only: Some(true),
            bind_options: Some(MountBindOptions {
                propagation: Some(MountBindOptionsPropagationEnum::PRIVATE),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
