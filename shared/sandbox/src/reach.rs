//! Whether functions can reach a folder of the host.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Others than owner and group may pass through.
const OTHERS_PASS: u32 = 0o001;

/// The first folder on the way up from `folder` that functions may not pass through, if there is one: as long as there
/// is, code in the folder ([`Code::Folder`](crate::Code::Folder)) cannot be run. Under root each function is a user of
/// its own, whom the folder's mode has to let through; otherwise it is the user of this process.
#[must_use]
pub fn barrier(folder: &Path) -> Option<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|found| found.mode() & OTHERS_PASS == 0);
    folder.ancestors().find(closed).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_folder_that_others_cannot_pass_is_named() {
        let work = tempfile::tempdir().expect("a temporary folder");
        let inside = work.path().join("packages");
        fs::create_dir(&inside).expect("our own folder");
        let close = |mode| fs::set_permissions(work.path(), Permissions::from_mode(mode)).expect("our own folder");
        close(0o700);
        let is_root = nix::unistd::geteuid().is_root();
        assert_eq!(barrier(&inside).as_deref(), is_root.then_some(work.path()));
        close(0o711);
        assert_eq!(barrier(&inside), None);
    }
}
