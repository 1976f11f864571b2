//! The end of an archive, which says where its directory is.

use std::io::{Read, Seek, SeekFrom};

use crate::{
    Limits, PackageError, Problem,
    error::reading,
    records::{
        CENTRAL_BYTES, END_BYTES, END_SIGNATURE, END64_BYTES, END64_SIGNATURE, LOCATOR_BYTES, LOCATOR_SIGNATURE,
        Record, SEE_ZIP64, SEE_ZIP64_SHORT,
    },
};

/// Longer than what tools put there (a commit's id, for one), shorter than anything that is worth hiding.
const LONGEST_COMMENT_BYTES: u16 = 1024;

/// What the end says, checked against where it is.
#[derive(Debug)]
pub(crate) struct EndOfArchive {
    pub(crate) archive_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) directory_at: u64,
    pub(crate) directory_bytes: u64,
}

impl EndOfArchive {
    pub(crate) fn find(archive: &mut (impl Read + Seek), limits: &Limits) -> Result<Self, PackageError> {
        let archive_bytes = archive.seek(SeekFrom::End(0)).map_err(reading)?;
        if archive_bytes == 0 {
            return Err(Problem::NothingSent.into());
        }
        if archive_bytes > limits.archive.bytes() {
            return Err(Problem::ArchiveTooLarge { bytes: archive_bytes, limit: limits.archive.bytes() }.into());
        }
        let head = read_part(archive, 0, archive_bytes.min(HEAD_BYTES))?;
        // The farthest back that the record of the end can be, with the Zip64 records before it.
        let longest = (END64_BYTES + LOCATOR_BYTES + END_BYTES + usize::from(u16::MAX)) as u64;
        let tail_at = archive_bytes.saturating_sub(longest);
        let tail = read_part(archive, tail_at, archive_bytes - tail_at)?;
        let place = place_of_end(&tail, &head)?;
        let end = Self::read(&tail, place, tail_at, archive_bytes)?;
        end.check(limits)?;
        Ok(end)
    }

    /// Reads the record at `place` of the tail, and the Zip64 record before it where there is one.
    fn read(tail: &[u8], place: usize, tail_at: u64, archive_bytes: u64) -> Result<Self, Problem> {
        let end = Record::<END_BYTES>::at(tail, place).ok_or(Problem::Truncated)?;
        let comment_bytes = end.u16(20);
        if comment_bytes > LONGEST_COMMENT_BYTES {
            return Err(Problem::CommentTooLong { bytes: comment_bytes, limit: LONGEST_COMMENT_BYTES });
        }
        let (entries, bytes, at) = (end.u16(10), end.u32(12), end.u32(16));
        let sees_zip64 = entries == SEE_ZIP64_SHORT || bytes == SEE_ZIP64 || at == SEE_ZIP64;
        let disks = [end.u16(4), end.u16(6)];
        let mut found =
            Self { archive_bytes, entries: entries.into(), directory_at: at.into(), directory_bytes: bytes.into() };
        let mut ends_at = tail_at + place as u64;
        match Zip64End::before(tail, place, tail_at)? {
            Some(long) => {
                let agrees = |short: u64, see: u64, long: u64| short == see || short == long;
                if !agrees(found.entries, SEE_ZIP64_SHORT.into(), long.entries)
                    || !agrees(found.directory_bytes, SEE_ZIP64.into(), long.directory_bytes)
                    || !agrees(found.directory_at, SEE_ZIP64.into(), long.directory_at)
                    || disks.iter().any(|disk| *disk != 0 && *disk != SEE_ZIP64_SHORT)
                {
                    return Err(Problem::Zip64Inconsistent);
                }
                found.entries = long.entries;
                found.directory_bytes = long.directory_bytes;
                found.directory_at = long.directory_at;
                ends_at -= (END64_BYTES + LOCATOR_BYTES) as u64;
            }
            None if disks != [0, 0] || end.u16(8) != entries => return Err(Problem::MultiDisk),
            None if sees_zip64 => return Err(Problem::Zip64Inconsistent),
            None => {}
        }
        found.check_place(ends_at)?;
        Ok(found)
    }

    /// The directory must end where its end begins.
    fn check_place(&self, ends_at: u64) -> Result<(), Problem> {
        let says = self.directory_at.checked_add(self.directory_bytes);
        match says.and_then(|says| ends_at.checked_sub(says)) {
            Some(0) => Ok(()),
            // With something put before it, a ZIP keeps the places that it had.
            Some(bytes) => Err(Problem::PrefixData { bytes }),
            None => Err(Problem::DirectoryMisplaced),
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), Problem> {
        if self.entries > u64::from(limits.entries) {
            return Err(Problem::TooManyEntries { entries: self.entries, limit: limits.entries });
        }
        if self.entries == 0 && self.directory_bytes == 0 {
            return Err(Problem::NoFiles);
        }
        if self.entries == 0 || self.entries * CENTRAL_BYTES as u64 > self.directory_bytes {
            return Err(Problem::WrongEntryCount { said: self.entries });
        }
        Ok(())
    }
}

struct Zip64End {
    entries: u64,
    directory_at: u64,
    directory_bytes: u64,
}

impl Zip64End {
    /// The Zip64 record before the end at `place`, where there is one.
    fn before(tail: &[u8], place: usize, tail_at: u64) -> Result<Option<Self>, Problem> {
        let Some(locator_at) = place.checked_sub(LOCATOR_BYTES) else { return Ok(None) };
        let locator = Record::<LOCATOR_BYTES>::at(tail, locator_at).filter(|found| found.u32(0) == LOCATOR_SIGNATURE);
        let Some(locator) = locator else { return Ok(None) };
        let record_at = locator_at.checked_sub(END64_BYTES).ok_or(Problem::Zip64Inconsistent)?;
        let record = Record::<END64_BYTES>::at(tail, record_at).filter(|found| found.u32(0) == END64_SIGNATURE);
        let record = record.ok_or(Problem::Zip64Inconsistent)?;
        // Its own size, without the first 12 bytes; more would be an "extensible data sector".
        let is_plain = record.u64(4) == END64_BYTES as u64 - 12;
        if locator.u64(8) != tail_at + record_at as u64 || !is_plain {
            return Err(Problem::Zip64Inconsistent);
        }
        let disks = [locator.u32(4), record.u32(16), record.u32(20)];
        if disks != [0; 3] || locator.u32(16) > 1 || record.u64(24) != record.u64(32) {
            return Err(Problem::MultiDisk);
        }
        Ok(Some(Self { entries: record.u64(32), directory_bytes: record.u64(40), directory_at: record.u64(48) }))
    }
}

/// The one place in the tail where the record of the end is: its comment reaches to the end of the file exactly.
fn place_of_end(tail: &[u8], head: &[u8]) -> Result<usize, Problem> {
    let signature = END_SIGNATURE.to_le_bytes();
    let mut exact = None;
    let mut last = None;
    for place in (0..tail.len()).filter(|place| tail[*place..].starts_with(&signature)) {
        let Some(end) = Record::<END_BYTES>::at(tail, place) else {
            last = Some((place, usize::MAX));
            continue;
        };
        let ends = place + END_BYTES + usize::from(end.u16(20));
        last = Some((place, ends));
        if ends == tail.len() && exact.replace(place).is_some() {
            return Err(Problem::MultipleEnds);
        }
    }
    match (exact, last) {
        // Another one inside the comment: tools that search from the back would take that.
        (Some(exact), Some((last, _))) if last > exact => Err(Problem::MultipleEnds),
        (Some(exact), _) => Ok(exact),
        (None, Some((_, ends))) if ends < tail.len() => {
            Err(Problem::TrailingData { bytes: (tail.len() - ends) as u64 })
        }
        (None, Some(_)) => Err(Problem::Truncated),
        (None, None) if head.starts_with(b"PK\x03\x04") => Err(Problem::Truncated),
        (None, None) if head.starts_with(b"PK\x07\x08") || head.starts_with(b"PK00") => Err(Problem::MultiDisk),
        (None, None) => Err(Problem::NotAZip { looks_like: looks_like(head) }),
    }
}

const HEAD_BYTES: u64 = 265;

/// What people send in a ZIP's place, by its first bytes.
fn looks_like(head: &[u8]) -> &'static str {
    let known: [(&[u8], &str); 9] = [
        (b"\x1f\x8b", "gzip (.tar.gz?)"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!", "RAR"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"\x7fELF", "a Linux program"),
        (b"UEs", "Base64 of a ZIP"),
        (b"<", "HTML or XML"),
    ];
    if let Some((_, name)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return name;
    }
    if head.get(257..262) == Some(b"ustar") {
        return "tar";
    }
    if std::str::from_utf8(head).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace())) {
        return "text";
    }
    "something else"
}

fn read_part(archive: &mut (impl Read + Seek), at: u64, bytes: u64) -> Result<Vec<u8>, PackageError> {
    let mut part = vec![0; usize::try_from(bytes).expect("parts are short")];
    archive.seek(SeekFrom::Start(at)).and_then(|_| archive.read_exact(&mut part)).map_err(reading)?;
    Ok(part)
}
