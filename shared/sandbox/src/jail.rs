//! The `bwrap` command line: what a worker can see of the machine.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{Limits, TASK_ROOT};

/// Folders at the top that distributions have as links into `/usr`, or as real folders.
const SYSTEM_FOLDERS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Files without which the loader is slow or a Debian alternative leads nowhere.
const SYSTEM_FILES: [&str; 2] = ["/etc/ld.so.cache", "/etc/alternatives"];

/// The folder of a function's code in a sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Folder<'a> {
    /// There is none.
    Absent,
    /// It is mounted there when it is known.
    Later,
    /// It is this one.
    Here(&'a Path),
}

/// The descriptors that `bwrap` inherits beside its streams.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    /// Where it says which process is init.
    pub(crate) information: i32,
    /// More arguments, which nobody else on the machine may read.
    pub(crate) private_arguments: Option<i32>,
    /// Filters of system calls.
    pub(crate) filters: Vec<i32>,
}

impl Descriptors {
    /// All of them.
    pub(crate) fn all(&self) -> Vec<i32> {
        let filters = self.filters.iter().copied();
        filters.chain(self.private_arguments).chain([self.information]).collect()
    }
}

/// The arguments of `bwrap` up to the command that it runs: the same for every worker but for the folder of its code.
pub(crate) fn arguments(
    limits: &Limits,
    interpreter_prefix: Option<&Path>,
    folder: Folder<'_>,
    descriptors: &Descriptors,
) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.add(["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]);
    arguments.add(["--cap-drop", "ALL", "--hostname", "worker", "--info-fd"]);
    arguments.add([descriptors.information.to_string()]);
    arguments.add(["--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME", "/tmp"]);
    arguments.add(["--setenv", "TMPDIR", "/tmp", "--setenv", "LANG", "C.UTF-8"]);
    if let Some(descriptor) = descriptors.private_arguments {
        arguments.add(["--args".to_owned(), descriptor.to_string()]);
    }
    for descriptor in &descriptors.filters {
        arguments.add(["--add-seccomp-fd".to_owned(), descriptor.to_string()]);
    }
    arguments.add(["--ro-bind", "/usr", "/usr"]);
    for folder in SYSTEM_FOLDERS {
        let path = Path::new("/").join(folder);
        match fs::read_link(&path) {
            Ok(target) => arguments.add([OsString::from("--symlink"), target.into(), path.into()]),
            Err(_) if path.is_dir() => arguments.add([OsString::from("--ro-bind"), path.clone().into(), path.into()]),
            Err(_) => {}
        }
    }
    for file in SYSTEM_FILES {
        arguments.add(["--ro-bind-try", file, file]);
    }
    if let Some(prefix) = interpreter_prefix.filter(|prefix| !prefix.starts_with("/usr")) {
        arguments.add([OsString::from("--ro-bind"), prefix.into(), prefix.into()]);
    }
    let tmp_bytes = limits.tmp.bytes().to_string();
    arguments.add(["--proc", "/proc", "--dev", "/dev"]);
    for folder in ["/dev/shm", "/tmp"] {
        arguments.add(["--size", &tmp_bytes, "--perms", "1777", "--tmpfs", folder]);
    }
    let mut working_folder = "/tmp";
    match folder {
        Folder::Absent => {}
        Folder::Later => arguments.add(["--dir", TASK_ROOT]),
        Folder::Here(folder) => {
            arguments.add([OsString::from("--ro-bind"), folder.into(), TASK_ROOT.into()]);
            arguments.add(["--setenv", "LAMBDA_TASK_ROOT", TASK_ROOT]);
            working_folder = TASK_ROOT;
        }
    }
    // bwrap builds both as writable tmpfs without a limit.
    arguments.add(["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", working_folder, "--"]);
    arguments.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<T: Into<OsString>>(&mut self, more: impl IntoIterator<Item = T>) {
        self.0.extend(more.into_iter().map(Into::into));
    }
}

/// The program of this name on `PATH`, if there is one.
pub(crate) fn on_path(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).filter(|file| file.is_file()).collect()
}
