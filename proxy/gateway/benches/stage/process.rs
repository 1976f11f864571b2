//! A process tree bound to some cores, and what the system says it used.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// Which cores a process may use.
#[derive(Debug, Clone, Copy)]
pub enum Cores {
    /// The first: whoever is measured.
    Measured,
    /// All but the first: origin and load.
    Rest,
    /// The same, and only while nobody else wants them: whoever would have a machine of its own. A nice value would not
    /// do: what runs keeps a core until its slice is over.
    RestWhenIdle,
}

impl Cores {
    /// A command that runs the program on these cores.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let count = thread::available_parallelism().map_or(2, usize::from);
        let list = match self {
            Self::Measured => "0".to_owned(),
            Self::Rest | Self::RestWhenIdle => format!("1-{}", count - 1),
        };
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &list]);
        if matches!(self, Self::RestWhenIdle) {
            command.args(["chrt", "--idle", "0"]);
        }
        command.arg(program);
        command
    }
}

/// A running program with its children. Dropping it ends them.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it and waits until it listens there.
    pub fn start(mut command: Command, log: &Path, listens: SocketAddr) -> anyhow::Result<Self> {
        let output = fs::File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn();
        let mut process = Self { child: child.with_context(|| format!("cannot start {command:?}"))? };
        let started = Instant::now();
        while TcpStream::connect(listens).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("{command:?} ended with {status}:\n{}", fs::read_to_string(log)?);
            }
            if started.elapsed() > START_DEADLINE {
                bail!("{command:?} does not listen on {listens}:\n{}", fs::read_to_string(log)?);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    /// User and system time of the process and its children so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let ticks_a_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
        let mut ticks = 0;
        for pid in self.tree()? {
            let stat = Stat::of(pid)?;
            ticks += stat.user_ticks + stat.system_ticks;
        }
        Ok(Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64))
    }

    /// The most memory that the process and its children have each held, summed. Shared pages count
    /// once for each.
    pub fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        let peak = |pid: u32| -> anyhow::Result<u64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
        };
        self.tree()?.into_iter().map(peak).sum()
    }

    fn tree(&self) -> anyhow::Result<Vec<u32>> {
        let mut tree = vec![self.child.id()];
        let all: Vec<(u32, u32)> = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| Some((pid, Stat::of(pid).ok()?.parent)))
            .collect();
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Ok(tree)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx and HAProxy end their workers on SIGTERM; SIGKILL would leave them behind.
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        let _ = pid.map(|pid| kill(pid, Signal::SIGTERM));
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in brackets may hold anything, so fields count from its last bracket: proc(5).
        let fields: Vec<&str> = text.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied().context("too few fields");
        Ok(Self { parent: field(4)?.parse()?, user_ticks: field(14)?.parse()?, system_ticks: field(15)?.parse()? })
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
