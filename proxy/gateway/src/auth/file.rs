//! Files with keys.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Key files are small; anything larger is some other file.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", .path.display())]
pub(crate) struct ReadProblem {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadProblem> {
    let checked = fs::metadata(path).and_then(|metadata| match metadata.len() {
        0..=MAX_BYTES => fs::read(path),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any file of keys")),
    });
    checked.map_err(|source| ReadProblem { path: path.to_owned(), source })
}

/// The whole file as text.
pub(super) fn read_text(path: &Path) -> Result<String, ReadProblem> {
    let text = String::from_utf8(read(path)?);
    text.map_err(|error| ReadProblem { path: path.to_owned(), source: io::Error::other(error.utf8_error()) })
}
