//! Every file below a folder, in one order, and never through a link.

use std::{
    ffi::CString,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};

use crate::{Limits, PackageError, Problem, Refusal, entry_path, error::machine};

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is found below a folder.
pub(crate) enum Found<'a> {
    /// A folder with nothing in it.
    EmptyFolder { path: &'a str },
    /// A file.
    File { path: &'a str, file: &'a File, is_executable: bool, bytes: u64 },
}

/// Hands every file and every empty folder to `visit`. The order depends on the names only.
///
/// Build steps of strangers may have filled the folder, so what is neither file nor folder is refused, and so is
/// what changes its kind meanwhile. It is opened by descriptors, part by part.
pub(crate) fn walk(
    folder: &Path,
    limits: &Limits,
    visit: &mut dyn FnMut(Found<'_>) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let root =
        openat(CWD, folder, READ | OFlags::DIRECTORY, Mode::empty()).map_err(machine("open the folder", folder))?;
    let mut walk = Walk { shown: folder, limits, visit };
    walk.folder(&root, "")
}

struct Walk<'a> {
    shown: &'a Path,
    limits: &'a Limits,
    visit: &'a mut dyn FnMut(Found<'_>) -> Result<(), PackageError>,
}

impl Walk<'_> {
    /// As deep as paths may be, which is checked before each step down.
    fn folder(&mut self, folder: &OwnedFd, path: &str) -> Result<(), PackageError> {
        let names = self.names(folder, path)?;
        if names.is_empty() && !path.is_empty() {
            return (self.visit)(Found::EmptyFolder { path });
        }
        for name in names {
            let mut below = path.as_bytes().to_vec();
            if !path.is_empty() {
                below.push(b'/');
            }
            below.extend(name.as_bytes());
            let refuse = |problem| PackageError::from(Refusal::of_entry(&below, problem));
            let (below, _) = entry_path::parse(&below, self.limits).map_err(refuse)?;
            self.entry(folder, &name, &below)?;
        }
        Ok(())
    }

    fn names(&self, folder: &OwnedFd, path: &str) -> Result<Vec<CString>, PackageError> {
        let failed = || machine("list the folder", &self.shown.join(path));
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name().to_owned();
            if !matches!(name.as_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CString, path: &str) -> Result<(), PackageError> {
        let failed = |operation| machine(operation, &self.shown.join(path));
        let refuse = |problem| PackageError::from(Refusal::of_entry(path.as_bytes(), problem));
        // Asked before it is opened: opening a device or a pipe may do something.
        let stat = statat(folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at"))?;
        let is_folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            FileType::Symlink => return Err(refuse(Problem::Symlink)),
            FileType::CharacterDevice | FileType::BlockDevice => return Err(refuse(Problem::Device)),
            FileType::Fifo | FileType::Socket => return Err(refuse(Problem::PipeOrSocket)),
            FileType::Unknown => return Err(refuse(Problem::UnknownKind)),
        };
        let opened = openat(folder, name.as_c_str(), READ | OFlags::NONBLOCK, Mode::empty())
            .map_err(|error| if error == Errno::LOOP { refuse(Problem::Symlink) } else { failed("open")(error) })?;
        let stat = fstat(opened.as_fd()).map_err(failed("look at"))?;
        match (FileType::from_raw_mode(stat.st_mode), is_folder) {
            (FileType::Directory, true) => self.folder(&opened, path),
            (FileType::RegularFile, false) => self.file(opened, path, &stat),
            _ => Err(refuse(Problem::UnknownKind)),
        }
    }

    fn file(&mut self, opened: OwnedFd, path: &str, stat: &Stat) -> Result<(), PackageError> {
        let is_executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        (self.visit)(Found::File { path, file: &File::from(opened), is_executable, bytes })
    }
}
