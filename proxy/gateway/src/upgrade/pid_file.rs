//! The file that tells which process serves.

use std::{fs, io, path::Path, process};

/// Writes this process's id, in one step, so that nobody reads half of it.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn write_pid(path: &Path) -> io::Result<()> {
    let new = path.with_extension(format!("{}.new", process::id()));
    fs::write(&new, format!("{}\n", process::id()))?;
    fs::rename(&new, path)
}

/// Removes the file, unless a successor has written its own id by now.
pub(crate) fn remove_pid(path: &Path) {
    let ours = fs::read_to_string(path).is_ok_and(|text| text.trim() == process::id().to_string());
    if ours {
        // A file that stays names a process that is gone, which its readers must expect anyway.
        let _ = fs::remove_file(path);
    }
}
