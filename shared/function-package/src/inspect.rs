//! Reads an archive's directory, and refuses what is not plain.

use std::io::{BufReader, Read, Seek, SeekFrom};

use crate::{
    Limits, PackageError, Problem, Refusal,
    end_of_archive::EndOfArchive,
    entry_path,
    error::reading,
    extra_field::ExtraField,
    layout,
    records::{CENTRAL_BYTES, CENTRAL_SIGNATURE, Record, flags},
    tree,
};

/// What is in an archive, by its directory and headers; no data was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Files and folders, in the order in which their data lies in the archive.
    pub entries: Vec<Entry>,
    /// How many of them are files.
    pub files: u32,
    /// Size of the archive.
    pub archive_bytes: u64,
    /// Size of all files together, unpacked.
    pub unpacked_bytes: u64,
}

/// One file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path: relative, plain, with `/` between its parts and none at its end.
    pub path: Box<str>,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether its owner may run it.
    pub is_executable: bool,
    /// Size of its data in the archive.
    pub packed_bytes: u64,
    /// Size of its data unpacked.
    pub unpacked_bytes: u64,
    pub(crate) method: Method,
    pub(crate) crc32: u32,
    pub(crate) flags: u16,
    /// Where its own header begins.
    pub(crate) header_at: u64,
    /// Where its data begins; known once its header was read.
    pub(crate) data_at: u64,
}

/// How an entry's data is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflate,
}

impl Method {
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Stored => 0,
            Self::Deflate => 8,
        }
    }
}

impl Listing {
    /// Whether the archive has a file of this path.
    #[must_use]
    pub fn has_file(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| !entry.is_folder && *entry.path == *path)
    }
}

/// Reads the directory of an archive and the header of each entry, and checks all that can be known from them.
/// Holds the names in memory, and nothing else that grows. Nothing is unpacked, so whether the data keeps what the
/// headers promise is only seen by [`unpack`](crate::unpack).
///
/// # Errors
/// [`PackageError::Refused`] with the first problem, [`PackageError::Machine`] when the archive cannot be read.
pub fn inspect(archive: &mut (impl Read + Seek), limits: &Limits) -> Result<Listing, PackageError> {
    let end = EndOfArchive::find(archive, limits)?;
    archive.seek(SeekFrom::Start(end.directory_at)).map_err(reading)?;
    let mut directory = BufReader::new(archive.by_ref().take(end.directory_bytes));
    let mut listing = Listing { entries: Vec::new(), files: 0, archive_bytes: end.archive_bytes, unpacked_bytes: 0 };
    for _ in 0..end.entries {
        let entry = read_entry(&mut directory, limits, end.entries)?;
        listing.unpacked_bytes = listing.unpacked_bytes.saturating_add(entry.unpacked_bytes);
        if listing.unpacked_bytes > limits.unpacked.bytes() {
            return Err(Problem::UnpackedTooLarge { limit: limits.unpacked.bytes() }.into());
        }
        listing.files += u32::from(!entry.is_folder);
        listing.entries.push(entry);
    }
    if directory.read(&mut [0]).map_err(reading)? > 0 {
        return Err(Problem::WrongEntryCount { said: end.entries }.into());
    }
    if listing.files == 0 {
        return Err(Problem::NoFiles.into());
    }
    if limits.is_bomb(listing.archive_bytes, listing.unpacked_bytes) {
        let ratio = listing.unpacked_bytes / listing.archive_bytes.max(1);
        return Err(Problem::ArchiveBomb { ratio, limit: limits.ratio }.into());
    }
    tree::check(&listing.entries, limits)?;
    layout::check(archive, &mut listing.entries, end.directory_at)?;
    Ok(listing)
}

fn read_entry(directory: &mut impl Read, limits: &Limits, said: u64) -> Result<Entry, PackageError> {
    let header = Record::<CENTRAL_BYTES>::read(directory).map_err(|error| at_end(error, said))?;
    if header.u32(0) != CENTRAL_SIGNATURE {
        return Err(Problem::DirectoryCorrupt.into());
    }
    let mut bytes = |length: u16| {
        let mut bytes = vec![0; usize::from(length)];
        directory.read_exact(&mut bytes).map_err(|error| at_end(error, said))?;
        Ok::<_, PackageError>(bytes)
    };
    let (name, extra) = (bytes(header.u16(28))?, bytes(header.u16(30))?);
    bytes(header.u16(32))?;
    entry_of(&header, &name, &extra, limits).map_err(PackageError::from)
}

/// A directory that ends before its last entry: there are fewer than its end says.
fn at_end(error: std::io::Error, said: u64) -> PackageError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        Problem::WrongEntryCount { said }.into()
    } else {
        reading(error)
    }
}

fn entry_of(header: &Record<CENTRAL_BYTES>, name: &[u8], extra: &[u8], limits: &Limits) -> Result<Entry, Refusal> {
    let refuse = |problem| Refusal::of_entry(name, problem);
    let (path, is_folder) = entry_path::parse(name, limits).map_err(refuse)?;
    let flags = header.u16(8);
    check_flags(flags).map_err(refuse)?;
    let method = method_of(header.u16(10)).map_err(refuse)?;
    let extra = ExtraField::parse(extra, name)?;
    if header.u16(34) != 0 {
        return Err(refuse(Problem::MultiDisk));
    }
    let [unpacked_bytes, packed_bytes, header_at] = extra
        .zip64_values([header.u32(24), header.u32(20), header.u32(42)])
        .ok_or_else(|| refuse(Problem::Zip64Inconsistent))?;
    let is_executable = check_kind(header.u32(38), is_folder).map_err(refuse)?;
    let entry = Entry {
        path,
        is_folder,
        is_executable,
        packed_bytes,
        unpacked_bytes,
        method,
        crc32: header.u32(16),
        flags,
        header_at,
        data_at: 0,
    };
    check_sizes(&entry, limits).map_err(refuse)?;
    Ok(entry)
}

fn check_flags(flags: u16) -> Result<(), Problem> {
    if flags & (flags::ENCRYPTED | flags::STRONG_ENCRYPTION | flags::MASKED_HEADERS) != 0 {
        return Err(Problem::Encrypted);
    }
    if flags & !(flags::EFFORT | flags::DESCRIPTOR | flags::UTF_8) != 0 {
        return Err(Problem::UnsupportedFlags { flags });
    }
    Ok(())
}

fn method_of(number: u16) -> Result<Method, Problem> {
    /// AES, which names the real method elsewhere.
    const ENCRYPTED: u16 = 99;
    match number {
        0 => Ok(Method::Stored),
        8 => Ok(Method::Deflate),
        ENCRYPTED => Err(Problem::Encrypted),
        method => Err(Problem::UnsupportedMethod { method }),
    }
}

/// Compares what the attributes say with what the name says; answers whether the owner may run it.
///
/// The upper half is a Unix mode, or 0, whatever system the entry claims to come from: what one tool ignores
/// another may believe.
fn check_kind(attributes: u32, is_folder: bool) -> Result<bool, Problem> {
    const DOS_FOLDER: u32 = 0x10;
    const OWNER_RUNS: u16 = 0o100;
    let mode = (attributes >> 16) as u16;
    let by_mode = kind_of_mode(mode)?;
    let by_attribute = (attributes & DOS_FOLDER != 0).then_some(true);
    if [by_mode, by_attribute].into_iter().flatten().any(|folder| folder != is_folder) {
        return Err(Problem::KindMismatch);
    }
    Ok(!is_folder && mode & OWNER_RUNS != 0)
}

/// Whether a Unix mode is a folder's; `None` when it does not say.
pub(crate) fn kind_of_mode(mode: u16) -> Result<Option<bool>, Problem> {
    match mode >> 12 {
        0o00 => Ok(None),
        0o04 => Ok(Some(true)),
        0o10 => Ok(Some(false)),
        0o12 => Err(Problem::Symlink),
        0o02 | 0o06 => Err(Problem::Device),
        0o01 | 0o14 => Err(Problem::PipeOrSocket),
        _ => Err(Problem::UnknownKind),
    }
}

fn check_sizes(entry: &Entry, limits: &Limits) -> Result<(), Problem> {
    let Entry { packed_bytes, unpacked_bytes, .. } = *entry;
    if entry.is_folder && unpacked_bytes > 0 {
        return Err(Problem::FolderWithData);
    }
    if entry.method == Method::Stored && packed_bytes != unpacked_bytes {
        return Err(Problem::StoredSizesDiffer);
    }
    if unpacked_bytes > limits.file.bytes() {
        return Err(Problem::FileTooLarge { bytes: unpacked_bytes, limit: limits.file.bytes() });
    }
    if limits.is_bomb(packed_bytes, unpacked_bytes) {
        return Err(Problem::Bomb { ratio: unpacked_bytes / packed_bytes.max(1), limit: limits.ratio });
    }
    Ok(())
}
