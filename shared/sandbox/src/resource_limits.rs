//! Limits that the kernel keeps for every process of a worker, with or without control groups.

use std::io;

use domain::Language;
use nix::sys::resource::{Resource, setrlimit};

use crate::Limits;

/// What an interpreter needs for itself, on top of the function's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overhead {
    /// Writable private address space: more than is ever resident, because of thread stacks and V8's
    /// reservations.
    pub(crate) data_bytes: u64,
    /// Resident memory, with `bwrap`'s and the kernel's share.
    pub(crate) resident_bytes: u64,
}

impl Overhead {
    pub(crate) fn of(language: Language) -> Self {
        const MIB: u64 = 1024 * 1024;
        match language {
            // Its program may be anything, and reserve as much as Node does.
            Language::Provided => Self { data_bytes: 256 * MIB, resident_bytes: 32 * MIB },
            Language::Python | Language::Go => Self { data_bytes: 24 * MIB, resident_bytes: 32 * MIB },
            Language::Node => Self { data_bytes: 256 * MIB, resident_bytes: 96 * MIB },
        }
    }
}

/// What the kernel is to keep a worker in a container to: the same bounds as in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Memory of all processes together, `/tmp` included.
    pub memory_bytes: u64,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Processors' worth of CPU time.
    pub cpu_cores: f64,
    /// Size of the private `/tmp`.
    pub tmp_bytes: u64,
    /// Limits of each process, by the names that `setrlimit` and Docker share.
    pub of_each_process: [(&'static str, u64); 5],
}

impl Bounds {
    /// Those of a worker for code in this language that may use so much memory.
    #[must_use]
    pub fn new(limits: &Limits, language: Language, memory_bytes: u64) -> Self {
        let each = ResourceLimits::new(limits, language, memory_bytes);
        Self {
            memory_bytes: whole_memory_bytes(limits, language, memory_bytes),
            processes: limits.processes,
            cpu_cores: limits.cpu_cores,
            tmp_bytes: limits.tmp.bytes(),
            of_each_process: [
                ("data", each.data_bytes),
                ("nofile", each.open_files),
                ("fsize", each.file_bytes),
                ("cpu", each.cpu_seconds),
                ("core", 0),
            ],
        }
    }
}

/// The memory of a worker's whole tree: `/tmp` is memory too, and has a limit of its own.
pub(crate) fn whole_memory_bytes(limits: &Limits, language: Language, memory_bytes: u64) -> u64 {
    memory_bytes.saturating_add(Overhead::of(language).resident_bytes).saturating_add(limits.tmp.bytes())
}

/// The limits of one worker, ready to be set between `fork` and `exec`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResourceLimits {
    data_bytes: u64,
    open_files: u64,
    file_bytes: u64,
    cpu_seconds: u64,
}

impl ResourceLimits {
    pub(crate) fn new(limits: &Limits, language: Language, memory_bytes: u64) -> Self {
        Self {
            // Not the whole address space (RLIMIT_AS): V8 reserves many GiB that it never touches.
            data_bytes: memory_bytes.saturating_add(Overhead::of(language).data_bytes),
            open_files: u64::from(limits.open_files),
            file_bytes: limits.tmp.bytes(),
            cpu_seconds: limits.cpu_lifetime.get().as_secs(),
        }
    }

    /// Sets them for this process and all that it starts. Only system calls: it runs after `fork`.
    pub(crate) fn apply(&self) -> io::Result<()> {
        for (resource, limit) in [
            (Resource::RLIMIT_DATA, self.data_bytes),
            (Resource::RLIMIT_NOFILE, self.open_files),
            (Resource::RLIMIT_FSIZE, self.file_bytes),
            (Resource::RLIMIT_CPU, self.cpu_seconds),
            (Resource::RLIMIT_CORE, 0),
        ] {
            setrlimit(resource, limit, limit)?;
        }
        Ok(())
    }
}
