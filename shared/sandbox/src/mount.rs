//! A folder of the host, mounted in a sandbox that runs already.

use std::{
    ffi::{CString, c_uint},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    libc,
    sched::{CloneFlags, setns, unshare},
};
use tokio::sync::oneshot;

use crate::TASK_ROOT;

/// Mounts the folder, and nothing below it that is mounted on its own, read-only at [`TASK_ROOT`] in the sandbox of this
/// process. Only root can. A thread of its own enters the sandbox's mounts and ends there.
///
/// The copy of the mount is made outside and locked read-only before it is anywhere: what the sandbox gets is one
/// folder, and no way to any other.
pub(crate) async fn mount_inside(process: BorrowedFd<'_>, folder: &Path) -> io::Result<()> {
    let process = process.try_clone_to_owned()?;
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let (reply, mounted) = oneshot::channel();
    std::thread::Builder::new().name("package-mount".to_owned()).spawn(move || {
        // Nobody waits any more when the start was cancelled.
        let _ = reply.send(copy_and_mount(&process, &folder));
    })?;
    mounted.await.map_err(|_| io::Error::other("the thread that mounts it has stopped"))?
}

fn copy_and_mount(process: &OwnedFd, folder: &CString) -> io::Result<()> {
    let copy = copy_mount(folder)?;
    make_read_only(&copy)?;
    // A thread that shares its working folder with others may not change its mounts.
    unshare(CloneFlags::CLONE_FS)?;
    setns(process, CloneFlags::CLONE_NEWNS)?;
    attach(&copy, &CString::new(TASK_ROOT).expect("a path of ours"))
}

fn copy_mount(folder: &CString) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that outlives the call, which returns a new descriptor or -1.
    let copy = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, folder.as_ptr(), flags) };
    let copy = RawFd::try_from(copy).ok().filter(|copy| *copy >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call above just returned it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn make_read_only(mount: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: an empty path means the descriptor, and the attributes outlive the call, which only reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_uint,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attach(mount: &OwnedFd, place: &CString) -> io::Result<()> {
    // SAFETY: both paths are C strings that outlive the call; the first is empty and means the descriptor.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
