//! What the gateway was started as, and so what its successor is started as.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

/// The binary and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// This process's. The path is the name it was called by and not what that name led to, so that
    /// a link that points to a new release by now starts the new release.
    ///
    /// # Errors
    /// When neither the name nor the system tells the path.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        let folders = env::var_os("PATH").unwrap_or_default();
        let path = match find(&name, &folders) {
            Some(path) => std::path::absolute(path)?,
            None => env::current_exe()?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }
}

/// As a shell finds it: a name with a slash is a path, another is looked for in the folders.
fn find(name: &OsStr, folders: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 || path.is_absolute() {
        return path.is_file().then(|| path.to_owned());
    }
    env::split_paths(folders).map(|folder| folder.join(path)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, full) = (folder.path().join("empty"), folder.path().join("full"));
        for folder in [&empty, &full] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(full.join("gateway"), "").unwrap();
        let folders = env::join_paths([&empty, &full]).unwrap();
        let find = |name: &Path| find(name.as_os_str(), &folders);
        assert_eq!(find(Path::new("gateway")), Some(full.join("gateway")));
        assert_eq!(find(&full.join("gateway")), Some(full.join("gateway")));
        assert_eq!(find(Path::new("another")), None);
        assert_eq!(find(&empty.join("gateway")), None);
    }
}
