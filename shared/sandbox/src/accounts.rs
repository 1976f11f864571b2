//! What a worker's whole process tree has used, as the kernel counts it in its control group.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf, time::Duration};

/// The files, kept open: one is read before and after each call.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    cpu: Option<File>,
    peak: Option<File>,
    version_2: bool,
}

impl Accounts {
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
}
