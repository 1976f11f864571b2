//! How a thread gives way to all others of a machine.
//!
//! A nice value alone does not do it. It makes the share of the CPU smaller that a thread gets while others want it
//! too; but a thread that runs keeps the CPU until its slice is over (`RUN_TO_PARITY` of Linux 6.6 and later), so a
//! request that arrives while a copy is compared on the same CPU waits for a millisecond and more. That was the p99
//! of `scripts/bench shadow`. The scheduler lets a thread that wakes up take the CPU at once from one that has asked
//! for a longer slice than its own (6.12 and later); so the threads of copies ask for the longest there is. Their
//! share is what the nice value says, so they are never starved, as they could be in the class `SCHED_IDLE`; and the
//! larger it is, the less often has one that serves had its own share already, and waits after all.
//! `SCHED_BATCH` tells older kernels about the same.

use std::{io, mem};

use nix::libc;

/// The longest slice that the scheduler grants: `sched(7)`.
const LONGEST_SLICE_NS: u64 = 100_000_000;

/// Makes the calling thread give way, by this much where it and others want the CPU at once.
///
/// # Errors
/// What the system says, for example that the thread gives way more already.
pub(super) fn give_way(nice: u8) -> io::Result<()> {
    // On Linux a nice value is a thread's own.
    rustix::process::setpriority_process(None, nice.into())?;
    prefer_long_slices(nice)
}

#[cfg(target_os = "linux")]
fn prefer_long_slices(nice: u8) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(mem::size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: u32::try_from(libc::SCHED_BATCH).unwrap_or_default(),
        sched_flags: 0,
        sched_nice: nice.into(),
        sched_priority: 0,
        sched_runtime: LONGEST_SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure is whole, says its own size, and is only read.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn prefer_long_slices(_nice: u8) -> io::Result<()> {
    Ok(())
}
