use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Once;

use local_servers::FolderLock;
use tempfile::TempDir;

const PREFIX: &str = "testkit-";

/// A temporary folder for servers, locked while it is in use: what a killed test run left behind is
/// recognised by its free lock and removed by the next one.
#[derive(Debug)]
pub(crate) struct TestFolder {
    folder: TempDir,
    _lock: FolderLock,
}

impl TestFolder {
    pub(crate) fn new() -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(remove_abandoned);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary folder can be made");
        // Passable, so that PostgreSQL gets to its part when root runs it as another account; what is
        // inside has its own, stricter modes.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("our own folder");
        let lock = FolderLock::try_take(folder.path()).expect("our own folder").expect("nobody knows of it yet");
        Self { folder, _lock: lock }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_abandoned() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // Without a lock file it is being made right now, or is not ours.
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && path.join("lock").is_file();
        if ours && let Ok(Some(_lock)) = FolderLock::try_take(&path) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}
