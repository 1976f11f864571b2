//! Makes an archive of a folder.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use crate::{
    Digest, Limits, PackageError, Problem, Refusal,
    deflate::{Packed, Packer},
    folder_walk::{Found, walk},
    records::{CENTRAL_SIGNATURE, END_SIGNATURE, LOCAL_SIGNATURE, flags},
};

/// An archive that [`pack`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// How many files are in it.
    pub files: u32,
    /// Size of all files together, unpacked.
    pub unpacked_bytes: u64,
}

/// Makes the file `out`, which must not exist, of all that is in `folder`.
///
/// The same files make the same bytes, on every machine: entries in the order of their names, all times the first of
/// 1980, of modes only whether the owner may run a file, one compression setting of one library in safe Rust. Its
/// version, which `Cargo.lock` holds, is the only thing outside the files that the bytes depend on. A file that would
/// not shrink, or shrink more than `ratio` allows, is stored as it is. Folders are entries only when they are empty.
///
/// What it makes is accepted by [`unpack`](crate::unpack) with [`Limits::of_artifacts`]. Memory is bounded by the
/// names of the files. After an error there is no `out`.
///
/// # Errors
/// [`PackageError::Refused`] when the folder holds what a package may not, such as links, or more than the limits
/// allow; [`PackageError::Machine`] when a file cannot be read or written.
pub fn pack(folder: &Path, out: &Path, limits: &Limits) -> Result<Artifact, PackageError> {
    let file = File::options().read(true).write(true).create_new(true).open(out).map_err(writing(out))?;
    let packed = write_archive(folder, file, out, limits);
    if packed.is_err() {
        // The error that led here says more than one of this.
        let _ = fs::remove_file(out);
    }
    packed
}

fn write_archive(folder: &Path, file: File, out: &Path, limits: &Limits) -> Result<Artifact, PackageError> {
    let mut archive = ArchiveWriter {
        file,
        out,
        limits,
        packer: Packer::new(limits.ratio),
        directory: Vec::new(),
        at: 0,
        entries: 0,
        files: 0,
        unpacked_bytes: 0,
    };
    walk(folder, limits, &mut |found| archive.add(&found))?;
    archive.finish()
}

struct ArchiveWriter<'a> {
    file: File,
    out: &'a Path,
    limits: &'a Limits,
    packer: Packer,
    /// Written behind the last entry.
    directory: Vec<u8>,
    /// Where the next entry begins.
    at: u64,
    entries: u32,
    files: u32,
    unpacked_bytes: u64,
}

/// What both headers of an entry say.
struct Header<'a> {
    path: &'a str,
    is_folder: bool,
    is_executable: bool,
    packed: Packed,
}

impl ArchiveWriter<'_> {
    fn add(&mut self, found: &Found<'_>) -> Result<(), PackageError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Problem::TooManyEntries { entries: self.entries.into(), limit: self.limits.entries }.into());
        }
        match *found {
            Found::EmptyFolder { path } => {
                self.write_entry(&Header { path, is_folder: true, is_executable: false, packed: Packed::NOTHING })
            }
            Found::File { path, file, is_executable, bytes } => {
                self.check_size(path, bytes)?;
                self.files += 1;
                let mut header = Header { path, is_folder: false, is_executable, packed: Packed::NOTHING };
                let data_at = self.at + header.own().len() as u64;
                header.packed = self.packer.pack(file, &mut self.file, data_at).map_err(writing(self.out))?;
                // It may have grown while it was read.
                self.check_size(path, header.packed.unpacked_bytes)?;
                self.unpacked_bytes += header.packed.unpacked_bytes;
                self.write_entry(&header)
            }
        }
    }

    fn check_size(&self, path: &str, bytes: u64) -> Result<(), PackageError> {
        let (file, unpacked) = (self.limits.file.bytes(), self.limits.unpacked.bytes());
        if bytes > file {
            return Err(Refusal::of_entry(path.as_bytes(), Problem::FileTooLarge { bytes, limit: file }).into());
        }
        if self.unpacked_bytes.saturating_add(bytes) > unpacked {
            return Err(Problem::UnpackedTooLarge { limit: unpacked }.into());
        }
        Ok(())
    }

    /// Writes the entry's own header before its data, which is there already.
    fn write_entry(&mut self, header: &Header<'_>) -> Result<(), PackageError> {
        let own = header.own();
        let written = self.file.seek(SeekFrom::Start(self.at)).and_then(|_| self.file.write_all(&own));
        written.map_err(writing(self.out))?;
        let at = self.short(self.at)?;
        self.directory.extend(header.of_directory(at));
        self.at += own.len() as u64 + header.packed.packed_bytes;
        Ok(())
    }

    fn finish(mut self) -> Result<Artifact, PackageError> {
        if self.files == 0 {
            return Err(Problem::NoFiles.into());
        }
        let (directory_at, directory_bytes) = (self.short(self.at)?, self.short(self.directory.len() as u64)?);
        let entries = u16::try_from(self.entries).map_err(|_| self.too_large())?;
        let mut end = std::mem::take(&mut self.directory);
        end.extend(END_SIGNATURE.to_le_bytes());
        end.extend([0, 0, entries, entries].map(u16::to_le_bytes).as_flattened());
        end.extend([directory_bytes, directory_at].map(u32::to_le_bytes).as_flattened());
        end.extend(0_u16.to_le_bytes());
        let bytes = self.at + end.len() as u64;
        let digest = self
            .file
            .seek(SeekFrom::Start(self.at))
            .and_then(|_| self.file.write_all(&end))
            // A file that was packed in vain may have been longer.
            .and_then(|()| self.file.set_len(bytes))
            .and_then(|()| self.file.rewind())
            .and_then(|()| Digest::of(&self.file));
        Ok(Artifact {
            digest: digest.map_err(writing(self.out))?,
            bytes,
            files: self.files,
            unpacked_bytes: self.unpacked_bytes,
        })
    }

    /// Only limits that nobody has validated let an archive grow so large that it would need Zip64.
    fn short(&self, place: u64) -> Result<u32, PackageError> {
        u32::try_from(place).map_err(|_| self.too_large())
    }

    fn too_large(&self) -> PackageError {
        Problem::ArchiveTooLarge { bytes: self.at, limit: u32::MAX.into() }.into()
    }
}

impl Header<'_> {
    /// The first of January 1980: the earliest that the format can say.
    const DATE: u16 = 0x0021;
    const VERSION: u16 = 20;
    const UNIX: u16 = 3 << 8;

    fn own(&self) -> Vec<u8> {
        let mut bytes = LOCAL_SIGNATURE.to_le_bytes().to_vec();
        bytes.extend(Self::VERSION.to_le_bytes());
        self.push_common(&mut bytes);
        bytes.extend(self.path.as_bytes());
        bytes.extend(self.ending());
        bytes
    }

    fn of_directory(&self, at: u32) -> Vec<u8> {
        let mut bytes = CENTRAL_SIGNATURE.to_le_bytes().to_vec();
        bytes.extend([Self::UNIX | Self::VERSION, Self::VERSION].map(u16::to_le_bytes).as_flattened());
        self.push_common(&mut bytes);
        // Comment, disk, inner attributes.
        bytes.extend([0; 6]);
        bytes.extend(self.attributes().to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend(self.path.as_bytes());
        bytes.extend(self.ending());
        bytes
    }

    fn push_common(&self, bytes: &mut Vec<u8>) {
        let Packed { method, crc32, packed_bytes, unpacked_bytes } = self.packed;
        bytes.extend([flags::UTF_8, method.number(), 0, Self::DATE].map(u16::to_le_bytes).as_flattened());
        bytes.extend(crc32.to_le_bytes());
        for size in [packed_bytes, unpacked_bytes] {
            // The archive itself ends before this is cut.
            bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        }
        let name_bytes = self.path.len() + self.ending().len();
        bytes.extend(u16::try_from(name_bytes).expect("paths are at most 3,072 bytes").to_le_bytes());
        bytes.extend([0; 2]);
    }

    fn ending(&self) -> &'static [u8] {
        if self.is_folder { b"/" } else { b"" }
    }

    fn attributes(&self) -> u32 {
        match (self.is_folder, self.is_executable) {
            (true, _) => 0o040_755 << 16 | 0x10,
            (false, true) => 0o100_755 << 16,
            (false, false) => 0o100_644 << 16,
        }
    }
}

fn writing(out: &Path) -> impl Fn(std::io::Error) -> PackageError {
    move |source| PackageError::Machine { operation: "pack to", path: out.to_owned(), source }
}
