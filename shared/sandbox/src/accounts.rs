//! What a worker's whole process tree has used, as the kernel counts it in its control group.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};

/// The files, kept open: one is read before and after each call.
#[derive(Debug, Default)]
pub struct Accounts {
    cpu: Option<File>,
    peak: Option<File>,
    version_2: bool,
}

impl Accounts {
    /// The accounts of the control groups of a process that is in a group with `mark` in its path, such as a
    /// container's id: a process that is not is another one with the same number. What this process cannot see, because
    /// it is in a container itself, is not counted.
    #[must_use]
    pub fn of_process(pid: u32, mark: &str) -> Self {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let (folders, version_2) = folders_of(&groups, &mounts, mark);
        Self::open(&folders, version_2)
    }

    /// The accounts of a group with a folder in each of these hierarchies. What cannot be opened is not counted.
    pub(crate) fn open(folders: &[PathBuf], version_2: bool) -> Self {
        let first = |name: &str| folders.iter().find_map(|folder| File::open(folder.join(name)).ok());
        let (cpu, peak) = if version_2 {
            (first("cpu.stat"), first("memory.peak"))
        } else {
            (first("cpuacct.usage"), first("memory.max_usage_in_bytes"))
        };
        Self { cpu, peak, version_2 }
    }

    /// CPU time so far.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let mut buffer = [0; 512];
        let text = read(self.cpu.as_ref()?, &mut buffer)?;
        if !self.version_2 {
            return text.trim().parse().ok().map(Duration::from_nanos);
        }
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        usage.trim().parse().ok().map(Duration::from_micros)
    }

    /// The most memory at a time so far, `/tmp` and what the kernel keeps for the tree included.
    pub(crate) fn peak_memory_bytes(&self) -> Option<u64> {
        let mut buffer = [0; 64];
        read(self.peak.as_ref()?, &mut buffer)?.trim().parse().ok()
    }
}

/// Where a process's groups are, and whether they are of version 2.
fn folders_of(groups: &str, mounts: &str, mark: &str) -> (Vec<PathBuf>, bool) {
    let mut version_2 = false;
    let folders = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, place, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let path = groups.lines().find_map(|group| {
            let mut parts = group.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_this = match kind {
                "cgroup2" => controllers.is_empty(),
                "cgroup" => {
                    !controllers.is_empty()
                        && options.split(',').any(|option| controllers.split(',').any(|each| each == option))
                }
                _ => false,
            };
            (is_this && path.contains(mark)).then_some(path)
        })?;
        version_2 |= kind == "cgroup2";
        Some(PathBuf::from(format!("{place}{path}")))
    });
    let folders: Vec<PathBuf> = folders.collect();
    // In a hybrid layout version 2 has no controllers.
    let version_2 = version_2 && folders.len() == 1;
    (folders, version_2)
}

fn read<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a str> {
    let count = file.read_at(buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..count]).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn both_versions_say_the_same_in_their_own_words() {
        let place = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
            ("memory.peak", "4096\n"),
            ("cpuacct.usage", "1500000\n"),
            ("memory.max_usage_in_bytes", "4096\n"),
        ] {
            fs::write(place.path().join(name), text).expect("our own folder");
        }
        for version_2 in [true, false] {
            let accounts = Accounts::open(&[place.path().to_owned()], version_2);
            assert_eq!(accounts.cpu_time(), Some(Duration::from_micros(1500)));
            assert_eq!(accounts.peak_memory_bytes(), Some(4096));
        }
        let none = Accounts::open(&[PathBuf::from("/nowhere")], true);
        assert_eq!((none.cpu_time(), none.peak_memory_bytes()), (None, None));
    }

    #[test]
    fn a_processs_groups_are_found_by_their_mark() {
        let version_1 = "3:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n";
        let mounts = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n";
        let (folders, version_2) = folders_of(version_1, mounts, "abc");
        assert!(!version_2);
        let expected = ["/sys/fs/cgroup/memory/docker/abc", "/sys/fs/cgroup/cpu,cpuacct/docker/abc"];
        assert_eq!(folders, expected.map(PathBuf::from));
        assert!(folders_of(version_1, mounts, "other").0.is_empty(), "another process has its number by now");

        let version_2 = "0::/system.slice/docker-abc.scope\n";
        let found = folders_of(version_2, "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n", "abc");
        assert_eq!(found, (vec![PathBuf::from("/sys/fs/cgroup/system.slice/docker-abc.scope")], true));
    }
}
