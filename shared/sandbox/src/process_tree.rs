//! A worker's processes: started, watched and ended as one.
//!
//! `bwrap` stays outside as the sandbox's parent; its child is the first process ("init") of a new pid
//! namespace, and when that dies the kernel kills everything in the namespace, whatever session or signal
//! mask it has. The end of init is therefore the end of the tree.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command},
    sync::mpsc,
    time::Duration,
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
};

use crate::{accounts::Accounts, control_group::ControlGroup, resource_limits::ResourceLimits, uid::UidLease};

/// A tree that outlives SIGKILL by this much hangs in the kernel.
const DEATH_DEADLINE: Duration = Duration::from_secs(5);

/// What a worker holds of the machine while it lives.
#[derive(Debug)]
pub(crate) struct Holdings {
    pub(crate) uid: Option<UidLease>,
    pub(crate) group: Option<ControlGroup>,
}

/// The two threads that outlive every worker.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    /// Starts processes. `bwrap --die-with-parent` follows the *thread* that started it, so this cannot
    /// be a thread of a pool that may end.
    spawner: mpsc::Sender<SpawnJob>,
    /// Waits for the ends of killed trees, which dropping a worker cannot.
    janitor: mpsc::Sender<Remains>,
}

struct SpawnJob {
    command: Command,
    holdings: Holdings,
    /// Held until the child has its copies.
    child_ends: Vec<OwnedFd>,
    keeper: Keeper,
    reply: oneshot::Sender<io::Result<ProcessTree>>,
}

/// A tree that was killed, with what it held: given back once it is gone.
#[derive(Debug)]
struct Remains {
    bwrap: Child,
    init: Option<OwnedFd>,
    holdings: Holdings,
    reply: Option<oneshot::Sender<()>>,
}

/// A live process tree. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct ProcessTree {
    /// Taken when it is killed.
    parts: Option<(Child, Holdings)>,
    init: Option<OwnedFd>,
    keeper: Keeper,
}

impl Keeper {
    pub(crate) fn start() -> io::Result<Self> {
        let (spawner, jobs) = mpsc::channel::<SpawnJob>();
        let (janitor, remains) = mpsc::channel::<Remains>();
        std::thread::Builder::new().name("sandbox-spawn".to_owned()).spawn(move || {
            for job in jobs {
                job.run();
            }
        })?;
        std::thread::Builder::new().name("sandbox-janitor".to_owned()).spawn(move || {
            for remains in remains {
                remains.clear_away();
            }
        })?;
        Ok(Self { spawner, janitor })
    }

    /// Starts the command with what it holds; `child_ends` are closed on this side once it runs.
    pub(crate) async fn spawn(
        &self,
        command: Command,
        holdings: Holdings,
        child_ends: Vec<OwnedFd>,
    ) -> io::Result<ProcessTree> {
        let (reply, tree) = oneshot::channel();
        let job = SpawnJob { command, holdings, child_ends, keeper: self.clone(), reply };
        let stopped = || io::Error::other("the thread that starts workers has stopped");
        self.spawner.send(job).map_err(|_| stopped())?;
        tree.await.map_err(|_| stopped())?
    }
}

impl SpawnJob {
    fn run(mut self) {
        let started = self.command.spawn();
        // The child's ends of the streams: while this side has them too, no stream ever ends.
        drop((self.command, self.child_ends));
        if let Some(group) = &mut self.holdings.group {
            group.close_doors();
        }
        let tree =
            started.map(|bwrap| ProcessTree { parts: Some((bwrap, self.holdings)), init: None, keeper: self.keeper });
        // Nobody waits any more when the start was cancelled: the tree is dropped here, and so killed.
        drop(self.reply.send(tree));
    }
}

impl ProcessTree {
    /// A descriptor that becomes readable when `bwrap`, and so the interpreter, has ended.
    pub(crate) fn watch_end(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let (bwrap, _) = self.parts.as_ref().expect("a tree is watched while it lives");
        let end = open_pidfd(bwrap.id())?;
        // SAFETY: an `OwnedFd` stays open, and the same, for as long as the `AsyncFd` owns it.
        Ok(unsafe { AsyncFd::register_with_interest(end, Interest::READABLE) }?)
    }

    /// Reads from `bwrap`'s information which process is init, so that the tree's end can be waited for.
    pub(crate) fn identify_init(&mut self, information: &[u8]) -> io::Result<()> {
        #[derive(serde::Deserialize)]
        struct Information {
            #[serde(rename = "child-pid")]
            child_pid: u32,
        }
        let information: Information = serde_json::from_slice(information)?;
        let init = open_pidfd(information.child_pid)?;
        // Until bwrap has ended it has not reaped init, so that the pid cannot be another process's.
        if self.exit_code().is_some() {
            return Err(io::Error::other("bwrap ended while the worker started"));
        }
        self.init = Some(init);
        Ok(())
    }

    /// The first process inside, once it was identified.
    pub(crate) fn init(&self) -> BorrowedFd<'_> {
        self.init.as_ref().expect("a tree is handed on when its init is known").as_fd()
    }

    /// How `bwrap` ended, if it has: the interpreter's exit code, or 128 + its signal.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let (bwrap, _) = self.parts.as_mut()?;
        let status = bwrap.try_wait().ok().flatten()?;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// What the tree has used, where that is counted.
    pub(crate) fn accounts(&self) -> Option<&Accounts> {
        self.parts.as_ref().and_then(|(_, holdings)| holdings.group.as_ref()).map(ControlGroup::accounts)
    }

    /// Whether a process of the tree was killed for want of memory, where that can be known.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.parts
            .as_ref()
            .and_then(|(_, holdings)| holdings.group.as_ref())
            .is_some_and(ControlGroup::ran_out_of_memory)
    }

    /// Kills the tree and waits until none of it is left.
    pub(crate) async fn end(mut self) {
        let (reply, gone) = oneshot::channel();
        self.kill(Some(reply));
        // An error means that the janitor has stopped, with the process itself.
        let _ = gone.await;
    }

    fn kill(&mut self, reply: Option<oneshot::Sender<()>>) {
        let Some((mut bwrap, holdings)) = self.parts.take() else { return };
        let init = self.init.take();
        match &init {
            Some(init) => send_signal(init, Signal::SIGKILL),
            // bwrap is not reaped yet, so its pid is its own; init follows its parent.
            None => drop(bwrap.kill()),
        }
        // The janitor runs as long as any tree has a keeper.
        drop(self.keeper.janitor.send(Remains { bwrap, init, holdings, reply }));
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        self.kill(None);
    }
}

impl Remains {
    fn clear_away(mut self) {
        let is_gone = self.init.as_ref().is_none_or(wait_for_end);
        // Its work is done, or init hangs: either way it must not stay.
        drop(self.bwrap.kill());
        drop(self.bwrap.wait());
        if is_gone {
            drop(self.holdings);
        } else {
            tracing::error!(
                deadline_s = DEATH_DEADLINE.as_secs(),
                "a killed worker does not die; its user id is not used again"
            );
            std::mem::forget(self.holdings.uid);
        }
        if let Some(reply) = self.reply {
            // Nobody waits for the end of a worker that was dropped.
            let _ = reply.send(());
        }
    }
}

/// What happens in the new process before it becomes `bwrap`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) limits: ResourceLimits,
    /// Descriptors that are kept open for `bwrap`.
    pub(crate) kept: Vec<RawFd>,
    /// Control groups to enter.
    pub(crate) doors: Vec<RawFd>,
}

impl Entry {
    /// Has the command do this between `fork` and `exec`.
    pub(crate) fn install(self, command: &mut Command) {
        // SAFETY: `enter` makes system calls only; it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || self.enter());
        }
    }

    fn enter(&self) -> io::Result<()> {
        // Whatever descriptor of the service was not marked so: none may reach a function.
        // SAFETY: takes numbers only. Kernels before 5.11 refuse it, and then std's own marks must do.
        unsafe {
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        for kept in &self.kept {
            // SAFETY: takes numbers only; the descriptor was opened by the parent and is still open here.
            if unsafe { libc::fcntl(*kept, libc::F_SETFD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for door in &self.doors {
            // SAFETY: the buffer is one byte of static memory.
            if unsafe { libc::write(*door, b"0".as_ptr().cast(), 1) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        self.limits.apply()
    }
}

pub(crate) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only, and returns a new descriptor (close-on-exec by definition) or -1.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let descriptor = RawFd::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0);
    let descriptor = descriptor.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call above just returned it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn send_signal(process: &OwnedFd, signal: Signal) {
    // SAFETY: takes numbers and a null pointer that the call defines. It fails when the process is gone,
    // which is what is wanted.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        );
    }
}

fn wait_for_end(process: &OwnedFd) -> bool {
    let timeout = PollTimeout::try_from(DEATH_DEADLINE).expect("a few seconds fit");
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut watched, timeout) {
            Ok(count) => return count > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
