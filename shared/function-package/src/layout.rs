//! Where the entries lie in the file: one after the other, without gap or overlap, each with a header that
//! says what the directory says.

use std::io::{Read, Seek, SeekFrom};

use crate::{
    Entry, PackageError, Problem, Refusal,
    error::{reading, shown},
    extra_field::ExtraField,
    records::{DESCRIPTOR_SIGNATURE, LOCAL_BYTES, LOCAL_SIGNATURE, Record, SEE_ZIP64, flags},
};

/// Sorts the entries by place, checks that they cover the file up to the directory, and finds their data.
pub(crate) fn check(
    archive: &mut (impl Read + Seek),
    entries: &mut [Entry],
    directory_at: u64,
) -> Result<(), PackageError> {
    entries.sort_by_key(|entry| entry.header_at);
    let first_at = entries.first().map_or(directory_at, |first| first.header_at);
    if first_at > 0 {
        return Err(Problem::PrefixData { bytes: first_at }.into());
    }
    let mut rest = entries;
    while let Some((entry, after)) = rest.split_first_mut() {
        let next = after.first();
        let room = Room {
            end: next.map_or(directory_at, |next| next.header_at),
            neighbour: next.map_or("the ZIP's directory", |next| &next.path),
        };
        if entry.header_at >= directory_at {
            return Err(Refusal::of_entry(entry.path.as_bytes(), Problem::HeaderMisplaced).into());
        }
        check_entry(archive, entry, &room)?;
        rest = after;
    }
    Ok(())
}

/// How far an entry may reach, and what comes there.
struct Room<'a> {
    end: u64,
    neighbour: &'a str,
}

/// Reads the entry's own header; finds its data; checks that data and descriptor fill the room.
fn check_entry(archive: &mut (impl Read + Seek), entry: &mut Entry, room: &Room<'_>) -> Result<(), PackageError> {
    let name = entry.path.clone();
    let refuse = |problem| PackageError::from(Refusal::of_entry(name.as_bytes(), problem));
    let overlap = || refuse(Problem::Overlap { other: shown(room.neighbour.as_bytes()) });
    if room.end - entry.header_at < LOCAL_BYTES as u64 {
        return Err(overlap());
    }
    archive.seek(SeekFrom::Start(entry.header_at)).map_err(reading)?;
    let header = Record::<LOCAL_BYTES>::read(archive).map_err(reading)?;
    if header.u32(0) != LOCAL_SIGNATURE {
        return Err(refuse(Problem::HeaderMisplaced));
    }
    let (name_bytes, extra_bytes) = (usize::from(header.u16(26)), usize::from(header.u16(28)));
    entry.data_at = entry.header_at + (LOCAL_BYTES + name_bytes + extra_bytes) as u64;
    let data_ends = entry.data_at.saturating_add(entry.packed_bytes);
    if data_ends > room.end {
        return Err(overlap());
    }
    let mut names = vec![0; name_bytes + extra_bytes];
    archive.read_exact(&mut names).map_err(reading)?;
    let (own_name, extra) = names.split_at(name_bytes);
    compare(entry, &header, own_name, extra)?;
    let left = room.end - data_ends;
    if entry.flags & flags::DESCRIPTOR == 0 {
        return if left == 0 { Ok(()) } else { Err(refuse(Problem::HiddenData { bytes: left })) };
    }
    archive.seek(SeekFrom::Start(data_ends)).map_err(reading)?;
    if !descriptor_agrees(archive, left, entry)? {
        return Err(refuse(Problem::DescriptorMismatch));
    }
    Ok(())
}

fn compare(entry: &Entry, header: &Record<LOCAL_BYTES>, own_name: &[u8], extra: &[u8]) -> Result<(), Refusal> {
    let name = entry.path.as_bytes();
    let differs = |field| Err(Refusal::of_entry(name, Problem::HeaderMismatch { field }));
    let same_name = own_name.strip_suffix(b"/").filter(|_| entry.is_folder).unwrap_or(own_name) == name;
    if !same_name || own_name.ends_with(b"/") != entry.is_folder {
        return differs("name");
    }
    // Neither says anything about where the data is or what it is.
    const HARMLESS: u16 = flags::EFFORT | flags::UTF_8;
    if (header.u16(6) ^ entry.flags) & !HARMLESS != 0 {
        return differs("flags");
    }
    if header.u16(8) != entry.method.number() {
        return differs("compression");
    }
    let extra = ExtraField::parse(extra, own_name)?;
    let Some([unpacked_bytes, packed_bytes]) = own_sizes(header, &extra, entry) else {
        return Err(Refusal::of_entry(name, Problem::Zip64Inconsistent));
    };
    // Where a record follows the data, this header was written before the sizes were known.
    let unknown = |value: u64| entry.flags & flags::DESCRIPTOR != 0 && value == 0;
    let crc32 = header.u32(14);
    for (said, known, field) in [
        (u64::from(crc32), u64::from(entry.crc32), "checksum"),
        (packed_bytes, entry.packed_bytes, "packed size"),
        (unpacked_bytes, entry.unpacked_bytes, "unpacked size"),
    ] {
        if said != known && !unknown(said) {
            return differs(field);
        }
    }
    Ok(())
}

/// The sizes in an entry's own header. Some tools put a Zip64 field there that it does not ask for; then it must
/// agree.
fn own_sizes(header: &Record<LOCAL_BYTES>, extra: &ExtraField<'_>, entry: &Entry) -> Option<[u64; 2]> {
    let fields = [header.u32(22), header.u32(18)];
    if fields.contains(&SEE_ZIP64) {
        return extra.zip64_values(fields);
    }
    let known = [entry.unpacked_bytes, entry.packed_bytes].map(u64::to_le_bytes);
    let unasked = extra.zip64.unwrap_or_default();
    let agrees = unasked == known.as_flattened() || unasked.iter().all(|byte| *byte == 0);
    agrees.then(|| fields.map(u64::from))
}

/// Whether the bytes between the data and the next header are a record that repeats checksum and sizes: with or
/// without a signature, its sizes in 32 or 64 bits (APPNOTE 4.3.9).
fn descriptor_agrees(archive: &mut impl Read, bytes: u64, entry: &Entry) -> Result<bool, PackageError> {
    let mut rest = [0; 24];
    let Some(rest) = usize::try_from(bytes).ok().and_then(|bytes| rest.get_mut(..bytes)) else {
        return Ok(false);
    };
    archive.read_exact(rest).map_err(reading)?;
    let mut expected = Vec::with_capacity(24);
    if rest.len() % 8 == 0 {
        expected.extend(DESCRIPTOR_SIGNATURE.to_le_bytes());
    }
    expected.extend(entry.crc32.to_le_bytes());
    for size in [entry.packed_bytes, entry.unpacked_bytes] {
        if rest.len() < 20 {
            // A size beyond 32 bits does not fit such a record, and so differs from it.
            expected.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        } else {
            expected.extend(size.to_le_bytes());
        }
    }
    Ok(*rest == *expected)
}
