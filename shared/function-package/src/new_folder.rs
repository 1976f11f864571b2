//! A folder that is made in full or not at all.
//!
//! Everything is opened relative to a descriptor of the folder, part by part, and never through a link; every file
//! is made and never found. What somebody plants meanwhile is an error and not a way out.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, RenameFlags, fchmod, mkdirat, openat, renameat_with},
    io::Errno,
};
use uuid::Uuid;

use crate::{PackageError, Problem, Refusal, error::machine};

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::WRONLY).union(OFlags::CLOEXEC);

/// The modes that unpacked files get, whatever the umask: functions run as other users than the service's.
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

/// A folder in the making, under a name that nobody knows. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct NewFolder {
    temporary: PathBuf,
    root: OwnedFd,
    /// The folder that the last entry was in: archives are mostly in order.
    last: Option<(Box<str>, OwnedFd)>,
    is_kept: bool,
}

impl NewFolder {
    /// Makes it beside `target`, so that renaming it is one step.
    pub(crate) fn beside(target: &Path) -> Result<Self, PackageError> {
        let Some(name) = target.file_name() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it has no name");
            return Err(PackageError::Machine { operation: "unpack to", path: target.to_owned(), source });
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", Uuid::now_v7().simple()));
        let temporary = target.with_file_name(hidden);
        let failed = |operation| machine(operation, &temporary);
        mkdirat(CWD, &temporary, Mode::RWXU).map_err(failed("make the folder"))?;
        let root = openat(CWD, &temporary, FOLDER, Mode::empty()).map_err(failed("open the folder"))?;
        Ok(Self { temporary, root, last: None, is_kept: false })
    }

    /// Makes a folder and those above it.
    pub(crate) fn make_folder(&mut self, path: &str) -> Result<(), PackageError> {
        self.folder(path).map(drop)
    }

    /// Makes a file that is not there yet, in folders that may be.
    pub(crate) fn make_file(&mut self, path: &str, is_program: bool) -> Result<NewFile, PackageError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let shown = self.temporary.join(path);
        let folder = self.folder(folder)?;
        let file = openat(folder, name, NEW_FILE, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
            // Names were found to differ: so this file system does not tell them apart.
            Errno::EXIST => Refusal::of_entry(path.as_bytes(), Problem::DuplicateName).into(),
            error => machine("make the file", &shown)(error),
        })?;
        let mode = if is_program { PROGRAM_MODE } else { FILE_MODE };
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(machine("set the mode of", &shown))?;
        Ok(NewFile { file: file.into(), path: shown })
    }

    /// Gives it its name. Fails when there is anything of that name.
    pub(crate) fn keep_as(mut self, target: &Path) -> Result<(), PackageError> {
        fchmod(&self.root, Mode::from_raw_mode(FOLDER_MODE)).map_err(machine("set the mode of", &self.temporary))?;
        renameat_with(CWD, &self.temporary, CWD, target, RenameFlags::NOREPLACE).map_err(machine("make", target))?;
        self.is_kept = true;
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<&OwnedFd, PackageError> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| **last != *path) {
            let opened = self.open_folder(path)?;
            self.last = Some((path.into(), opened));
        }
        Ok(&self.last.as_ref().expect("it was just opened").1)
    }

    fn open_folder(&self, path: &str) -> Result<OwnedFd, PackageError> {
        let mut opened: Option<OwnedFd> = None;
        for (end, part) in parts(path) {
            let shown = || self.temporary.join(&path[..end]);
            let above = opened.as_ref().unwrap_or(&self.root);
            let is_new = match mkdirat(above, part, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(machine("make the folder", &shown())(error)),
            };
            let folder = openat(above, part, FOLDER, Mode::empty())
                .map_err(|error| machine("open the folder", &shown())(error))?;
            if is_new {
                fchmod(&folder, Mode::from_raw_mode(FOLDER_MODE))
                    .map_err(|error| machine("set the mode of", &shown())(error))?;
            }
            opened = Some(folder);
        }
        Ok(opened.expect("a path has a part"))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_kept {
            // Follows no link. What cannot be removed is left under its telling name.
            let _ = std::fs::remove_dir_all(&self.temporary);
        }
    }
}

/// A file in the making.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    path: PathBuf,
}

impl NewFile {
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), PackageError> {
        self.file.write_all(piece).map_err(|source| PackageError::Machine {
            operation: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// The parts of a path, each with where it ends.
fn parts(path: &str) -> impl Iterator<Item = (usize, &str)> {
    path.split('/').scan(0, |at, part| {
        let end = *at + part.len();
        *at = end + 1;
        Some((end, part))
    })
}
