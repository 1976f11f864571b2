//! Writes an archive's files into a new folder.

use std::{
    io::{Read, Seek},
    path::Path,
};

use crate::{Limits, Listing, PackageError, content::ContentReader, inspect, new_folder::NewFolder};

/// Unpacks an archive into a folder that this makes: `into` must not exist, the folder it is in must.
///
/// The files are first written into a folder beside it, hidden, with a name of its own that ends in `.partial`,
/// which is renamed at the end and removed after any error. A process that is killed leaves it. Nothing is synced to
/// the disk: after a loss of power the files may be short, though the folder is there.
///
/// Folders and programs get the mode 755, other files 644, whatever the umask; memory is bounded by the directory's
/// names and two chunks of 64 KiB.
///
/// # Errors
/// [`PackageError::Refused`] with the first problem, [`PackageError::Machine`] when a file cannot be read or written.
pub fn unpack(archive: &mut (impl Read + Seek), into: &Path, limits: &Limits) -> Result<Listing, PackageError> {
    let listing = inspect(archive, limits)?;
    let mut folder = NewFolder::beside(into)?;
    let mut contents = ContentReader::new();
    for entry in &listing.entries {
        if entry.is_folder {
            folder.make_folder(&entry.path)?;
            // It has no content; what it has in its place must be none.
            contents.read(archive, entry, &mut |_| Ok(()))?;
        } else {
            let mut file = folder.make_file(&entry.path, entry.is_executable)?;
            contents.read(archive, entry, &mut |piece| file.write(piece))?;
        }
    }
    folder.keep_as(into)?;
    Ok(listing)
}
