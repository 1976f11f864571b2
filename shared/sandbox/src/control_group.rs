//! One control group per worker: memory, processes and CPU of the whole tree together.
//!
//! With cgroup v1 a group is a folder in each of three hierarchies, made under one name at their tops, as
//! container engines do. With v2 it is one folder beside the service's own group: a group that holds
//! processes cannot hand controllers down, so the service must sit in a group of its own below the one
//! that was delegated to it (systemd: `Delegate=yes` with `DelegateSubgroup=`).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::{AsRawFd, RawFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::accounts::Accounts;

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
const CPU_PERIOD_US: f64 = 100_000.0;
const REMOVAL_DEADLINE: Duration = Duration::from_secs(2);

/// Where workers' groups are made.
#[derive(Debug, Clone)]
pub(crate) struct GroupParent {
    layout: Layout,
    /// Tells this service's groups from those of one that crashed: its pid and start time.
    owner: String,
    serial: Arc<AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// A folder each for memory, pids and cpu, and for cpuacct where that is apart.
    V1(Vec<PathBuf>),
    V2(PathBuf),
}

/// What a group allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u32,
    pub(crate) cpu_cores: f64,
}

/// One worker's group. Dropping it removes it, which the kernel allows once its processes are gone.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    folders: Vec<PathBuf>,
    /// Opened by the service, so that the worker may still enter after it has given up its privileges.
    doors: Vec<File>,
    accounts: Accounts,
    version_2: bool,
}

impl GroupParent {
    /// Finds where groups can be made, makes one to be sure, and removes what a crashed service left.
    pub(crate) fn find(name: &str) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| format!("/proc/self/mounts: {error}"))?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("/proc/self/cgroup: {error}"))?;
        let layout = Layout::of(&mounts, &own, name).ok_or("no memory, pids and cpu controllers are mounted")?;
        let parent = Self { layout, owner: process_identity(std::process::id())?, serial: Arc::default() };
        parent.prepare().map_err(|error| error.to_string())?;
        parent.remove_leftovers();
        let trial = GroupLimits { memory_bytes: 64 << 20, processes: 8, cpu_cores: 1.0 };
        parent.create(&trial).map_err(|error| error.to_string())?;
        Ok(parent)
    }

    /// The layout in words, for the log.
    pub(crate) fn describe(&self) -> String {
        match &self.layout {
            Layout::V1(folders) => format!("control groups v1 ({})", folders[0].display()),
            Layout::V2(folder) => format!("control groups v2 ({})", folder.display()),
        }
    }

    /// Makes a group with these limits.
    pub(crate) fn create(&self, limits: &GroupLimits) -> io::Result<ControlGroup> {
        let name = format!("{}-{}", self.owner, self.serial.fetch_add(1, Ordering::Relaxed));
        let version_2 = matches!(self.layout, Layout::V2(_));
        // Filled step by step, so that a failure half-way removes what was made.
        let mut group =
            ControlGroup { folders: Vec::new(), doors: Vec::new(), accounts: Accounts::default(), version_2 };
        for parent in self.layout.folders() {
            let folder = parent.join(&name);
            fs::create_dir(&folder).map_err(|error| at(&folder, &error))?;
            group.folders.push(folder);
        }
        group.limit(limits)?;
        group.accounts = Accounts::open(&group.folders, version_2);
        for folder in &group.folders {
            // A thread that moves itself by `tasks` needs no machine-wide lock, which was measured to cost a
            // cold start up to 16 ms in each hierarchy; the process that enters has one thread. Version 2
            // has no such file.
            let door = folder.join(if version_2 { "cgroup.procs" } else { "tasks" });
            group.doors.push(OpenOptions::new().write(true).open(&door).map_err(|error| at(&door, &error))?);
        }
        Ok(group)
    }

    fn prepare(&self) -> io::Result<()> {
        for folder in self.layout.folders() {
            fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
        }
        if let Layout::V2(folder) = &self.layout {
            let above = folder.parent().unwrap_or(folder);
            for group in [above, folder] {
                write(&group.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
            }
        }
        Ok(())
    }

    /// Groups whose service is gone hold no process any more: its workers died with it.
    fn remove_leftovers(&self) {
        for folder in self.layout.folders() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Some((owner, _)) = name.to_str().and_then(|name| name.rsplit_once('-')) else { continue };
                let pid = owner.split_once('.').and_then(|(pid, _)| pid.parse().ok());
                let is_alive = pid.is_some_and(|pid| process_identity(pid).is_ok_and(|identity| identity == owner));
                if pid.is_some() && !is_alive {
                    // Not worth more than the attempt: an empty group costs nothing.
                    let _ = fs::remove_dir(entry.path());
                }
            }
        }
    }
}

impl Layout {
    fn of(mounts: &str, own: &str, name: &str) -> Option<Self> {
        let mounted: Vec<(&str, &str, &str)> = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ');
                let (_, place, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
                Some((place, kind, options))
            })
            .collect();
        let hierarchy = |controller: &str| {
            mounted
                .iter()
                .find(|(_, kind, options)| *kind == "cgroup" && options.split(',').any(|option| option == controller))
                .map(|(place, ..)| Path::new(place).join(name))
        };
        let [memory, pids, cpu] = CONTROLLERS.map(hierarchy);
        if let (Some(memory), Some(pids), Some(cpu)) = (memory, pids, cpu) {
            let accounts = hierarchy("cpuacct").filter(|folder| *folder != cpu);
            return Some(Self::V1([memory, pids, cpu].into_iter().chain(accounts).collect()));
        }
        let (root, ..) = mounted.iter().find(|(_, kind, _)| *kind == "cgroup2")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let beside = Path::new(own).parent().unwrap_or(Path::new(""));
        Some(Self::V2(Path::new(root).join(beside).join(name)))
    }

    fn folders(&self) -> &[PathBuf] {
        match self {
            Self::V1(folders) => folders,
            Self::V2(folder) => std::slice::from_ref(folder),
        }
    }
}

impl ControlGroup {
    /// The descriptors to which a process writes `0` to enter.
    pub(crate) fn doors(&self) -> Vec<RawFd> {
        self.doors.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Nobody else enters.
    pub(crate) fn close_doors(&mut self) {
        self.doors.clear();
    }

    /// What the group has used.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Whether the kernel has killed a process of this group for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let file = if self.version_2 { "memory.events" } else { "memory.oom_control" };
        // A group that cannot be read any more has nothing to tell.
        let text = fs::read_to_string(self.folders[0].join(file)).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }

    fn limit(&self, limits: &GroupLimits) -> io::Result<()> {
        let quota_us = (limits.cpu_cores * CPU_PERIOD_US) as u64;
        let memory_bytes = limits.memory_bytes.to_string();
        let processes = limits.processes.to_string();
        if self.version_2 {
            let folder = &self.folders[0];
            write(&folder.join("memory.max"), &memory_bytes)?;
            write(&folder.join("pids.max"), &processes)?;
            write(&folder.join("cpu.max"), &quota_us.to_string())?;
            // Kernels without swap accounting have no such file, and then there is nothing to limit.
            let _ = write(&folder.join("memory.swap.max"), "0");
            // One killed process leaves the others of its tree in no sensible state.
            return write(&folder.join("memory.oom.group"), "1");
        }
        let [memory, pids, cpu] = [&self.folders[0], &self.folders[1], &self.folders[2]];
        write(&memory.join("memory.limit_in_bytes"), &memory_bytes)?;
        let _ = write(&memory.join("memory.memsw.limit_in_bytes"), &memory_bytes);
        write(&pids.join("pids.max"), &processes)?;
        write(&cpu.join("cpu.cfs_quota_us"), &quota_us.to_string())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + REMOVAL_DEADLINE;
        for folder in &self.folders {
            // A dead process leaves its group a moment after its death is reported.
            while let Err(error) = fs::remove_dir(folder) {
                if error.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if Instant::now() > deadline {
                    tracing::warn!(group = %folder.display(), %error, "a worker's control group could not be removed");
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The process's pid and start time, which no later process shares.
fn process_identity(pid: u32) -> Result<String, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field is the program's name in brackets and may hold anything; the 22nd is the start time.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or("an unknown format")?;
    let started = fields.split_whitespace().nth(19).ok_or("an unknown format")?;
    Ok(format!("{pid}.{started}"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";

    #[test]
    fn version_1_has_a_folder_in_each_hierarchy() {
        let folders = ["memory", "pids", "cpu,cpuacct"].map(|name| Path::new("/sys/fs/cgroup").join(name).join("w"));
        assert_eq!(Layout::of(V1, "4:memory:/elsewhere\n0::/\n", "w"), Some(Layout::V1(folders.to_vec())));
        let apart = format!("{}cgroup /sys/fs/cgroup/cpuacct cgroup rw,cpuacct 0 0\n", V1.replace(",cpuacct", ""));
        let folders = ["memory", "pids", "cpu", "cpuacct"].map(|name| Path::new("/sys/fs/cgroup").join(name).join("w"));
        assert_eq!(Layout::of(&apart, "0::/\n", "w"), Some(Layout::V1(folders.to_vec())));
    }

    #[test]
    fn version_2_has_one_folder_beside_the_services_own() {
        let own = "0::/system.slice/lambda.service/main\n";
        let folder = PathBuf::from("/sys/fs/cgroup/system.slice/lambda.service/w");
        assert_eq!(Layout::of(V2, own, "w"), Some(Layout::V2(folder)));
        assert_eq!(Layout::of(V2, "0::/\n", "w"), Some(Layout::V2(PathBuf::from("/sys/fs/cgroup/w"))));
    }

    #[test]
    fn a_machine_without_control_groups_has_no_layout() {
        assert_eq!(Layout::of("proc /proc proc rw 0 0\n", "0::/\n", "w"), None);
    }

    #[test]
    fn what_a_crashed_service_left_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().expect("a folder");
        let alive = process_identity(std::process::id()).expect("this process is alive");
        let kept = [format!("{alive}-7"), "1.0".to_owned(), "someone-else".to_owned()];
        for name in kept.iter().map(String::as_str).chain(["4194304.5-1", "1.99999999999-3"]) {
            fs::create_dir(place.path().join(name)).expect("a new folder");
        }
        let layout = Layout::V2(place.path().to_owned());
        GroupParent { layout, owner: alive, serial: Arc::default() }.remove_leftovers();
        let mut left: Vec<String> = fs::read_dir(place.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let mut kept = kept.to_vec();
        kept.sort();
        assert_eq!(left, kept);
    }
}
