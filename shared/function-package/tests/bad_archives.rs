//! The bad archives themselves, from the whole file down to the data. The build service's tests send them too.

use function_package::Limits;
use layered_config::ByteSize;

use crate::crafted::{DEFLATE, End, End64, Entry, Header, STORED, archive, archive_ending, deflated, extra, longs};

const SENTINEL: u32 = u32::MAX;
const NAME: &str = "index.py";

/// A bad archive.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub limits: Limits,
    /// Only the data itself shows it.
    pub needs_unpacking: bool,
}

pub fn all() -> Vec<Case> {
    [whole(), ends(), zip64(), names(), kinds(), places(), contents()].into_iter().flatten().collect()
}

/// One entry of so many MiB of zeros.
pub fn zeros(mib: usize) -> Vec<u8> {
    archive(&[Entry::file("zeros", vec![0; mib << 20])])
}

fn good() -> Entry {
    Entry::file(NAME, "def handler(event, context):\n    return event\n")
}

fn case(name: &'static str, bytes: Vec<u8>) -> Case {
    Case { name, bytes, limits: Limits::default(), needs_unpacking: false }
}

/// One that has this entry after a good one.
fn entry(name: &'static str, entry: Entry) -> Case {
    case(name, archive(&[good(), entry]))
}

fn limited(name: &'static str, bytes: Vec<u8>, limits: Limits) -> Case {
    Case { limits, ..case(name, bytes) }
}

fn data(name: &'static str, bad: Entry) -> Case {
    Case { needs_unpacking: true, ..entry(name, bad) }
}

fn whole() -> Vec<Case> {
    let zip = archive(&[good()]);
    let tar = [&[0; 257][..], b"ustar\0", &[0; 249]].concat();
    let small = Limits { archive: ByteSize::from_bytes(100), ..Limits::default() };
    let narrow = Limits { unpacked: ByteSize::from_bytes(1000), ..Limits::default() };
    let deep: Vec<Entry> = (0..2_000).map(|n| Entry::file(format!("{n}/{}f", "d/".repeat(28)), "")).collect();
    let many: Vec<Entry> = (0..100_000).map(|n| Entry::stored(format!("{n}"), "")).collect();
    let many_end = End { zip64: Some(End64::default()), ..End::default() };
    let bomb = Entry::file("0", vec![0; 64 << 20]);
    let bombs: Vec<Entry> =
        (0..32).map(|n| bomb.clone().both(|header| header.name = format!("{n}").into_bytes())).collect();
    let bomblets: Vec<Entry> = (0..40).map(|n| Entry::file(format!("{n}"), vec![0; 1 << 20])).collect();
    vec![
        case("nothing at all", vec![]),
        case("an end and nothing else", archive(&[])),
        case("folders only", archive(&[Entry::folder("a/"), Entry::folder("a/b/")])),
        case("source text", b"def handler(event, context):\n    return event\n".to_vec()),
        case("a tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        case("a tar", tar),
        case("a ZIP in Base64", b"UEsDBBQAAAAIAA==".to_vec()),
        case("noise", (0..400_u32).map(|n| (n * 89 % 251) as u8).collect()),
        limited("a file beyond the limit", zip.clone(), small),
        case("cut in half", zip[..zip.len() / 2].to_vec()),
        case("cut by one byte", zip[..zip.len() - 1].to_vec()),
        case("100,000 entries", archive_ending(&many, &many_end)),
        case("2,000 files in 56,000 folders", archive(&deep)),
        limited(
            "two files beyond the limit together",
            archive(&[Entry::stored("a", [0; 600]), Entry::stored("b", [0; 600])]),
            narrow,
        ),
        case("many small bombs", archive(&bomblets)),
        case("a ZIP of 2 GiB inside the ZIP", archive(&[Entry::file("bombs.zip", archive(&bombs))])),
    ]
}

fn ends() -> Vec<Case> {
    let ending = |end: End| archive_ending(&[good()], &end);
    let zip = archive(&[good()]);
    let end_of_nothing = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    let script = b"#!/bin/sh\nrm -rf /\n";
    let adjusted = {
        let shifted = Entry { gap: script.to_vec(), ..good() };
        archive(&[shifted])
    };
    let mut bad_directory = zip.clone();
    let directory = bad_directory.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    bad_directory[directory + 3] = 9;
    vec![
        case("bytes after the end", [&zip[..], b"<?php system($_GET['c']);"].concat()),
        case("a script before it", [&script[..], &zip].concat()),
        case("a script before it, places adjusted", adjusted),
        case("a ZIP behind a ZIP", [&zip[..], &zip].concat()),
        case("two ends, both up to the file's end", ending(End { comment: end_of_nothing.clone(), ..End::default() })),
        case(
            "another end inside the comment",
            ending(End { comment: [&end_of_nothing[..], b"..."].concat(), ..End::default() }),
        ),
        case("a comment of 60 KiB", ending(End { comment: vec![b'x'; 60 << 10], ..End::default() })),
        case("the second disk of two", ending(End { disk: 1, ..End::default() })),
        case("the first part of a split archive", [&b"PK\x07\x08PK\x03\x04"[..], &[0; 99]].concat()),
        case("fewer entries on this disk than in all", ending(End { entries_here: Some(0), ..End::default() })),
        case(
            "fewer entries said than there are",
            archive_ending(&[good(), Entry::file("b", "")], &End { entries: Some(1), ..End::default() }),
        ),
        case("more entries said than there are", ending(End { entries: Some(2), ..End::default() })),
        case("no entries said though there is one", ending(End { entries: Some(0), ..End::default() })),
        case("a directory beyond the end", ending(End { directory_at: Some(1 << 20), ..End::default() })),
        case("a directory before its place", ending(End { directory_at: Some(3), ..End::default() })),
        case("a directory of no such record", bad_directory),
    ]
}

fn zip64() -> Vec<Case> {
    let ending = |entries: Option<u16>, end64: Option<End64>| {
        archive_ending(&[good()], &End { entries, zip64: end64, ..End::default() })
    };
    let long = |change: fn(&mut End64)| {
        let mut end64 = End64::default();
        change(&mut end64);
        ending(None, Some(end64))
    };
    let locator_alone = {
        let mut comment = good();
        comment.directory.extra = extra(0xcafe, [&b"PK\x06\x07"[..], &[0; 16]].concat());
        archive(&[comment])
    };
    let sized = |values: Vec<u8>| {
        good().with(|entry| {
            entry.directory.extra = extra(1, values);
            entry.directory.unpacked = SENTINEL;
            entry.directory.packed = SENTINEL;
        })
    };
    vec![
        case("a Zip64 record said to be elsewhere", long(|end| end.record_at = Some(7))),
        case("a Zip64 record with another count", long(|end| end.entries = Some(2))),
        case(
            "a Zip64 directory at the end of all numbers",
            ending(None, Some(End64 { directory_at: Some(u64::MAX), ..End64::default() })),
        ),
        case("a Zip64 record with more behind it", long(|end| end.sector = b"hidden".to_vec())),
        case("a Zip64 record that lies about its size", long(|end| end.size = Some(u64::MAX))),
        case("a Zip64 archive on three disks", long(|end| end.disks = Some(3))),
        case("a count that only Zip64 could tell", ending(Some(u16::MAX), None)),
        case("a Zip64 locator without its record", locator_alone),
        case("a size that only Zip64 could tell", archive(&[good().with(|entry| entry.directory.unpacked = SENTINEL)])),
        case("a Zip64 field that is too short", archive(&[sized(longs([1]))])),
        case(
            "a Zip64 field that nobody asked for",
            archive(&[good().with(|entry| entry.directory.extra = extra(1, longs([9])))]),
        ),
        case(
            "a Zip64 field twice",
            archive(&[sized(longs([1, 1])).with(|entry| entry.directory.extra = entry.directory.extra.repeat(2))]),
        ),
        case("a Zip64 file of 9 exabytes", archive(&[sized(longs([1 << 63, 1 << 60]))])),
        case(
            "a Zip64 field of its own that differs",
            archive(&[good().with(|entry| entry.own.extra = extra(1, longs([1, 1])))]),
        ),
    ]
}

fn names() -> Vec<Case> {
    let named = |what, name: &[u8]| entry(what, Entry::file(name, "x"));
    let long_path = format!("{}x", "abcdefghi/".repeat(30)).repeat(2);
    let unicode = extra(0x7075, [&[1, 0, 0, 0, 0][..], b"../evil.py"].concat());
    vec![
        named("a name that leads up", b"../evil.py"),
        named("a name that leads up from below", b"a/b/../../../evil.py"),
        named("a name that leads up by backslashes", b"..\\..\\evil.py"),
        named("a name from the root", b"/etc/passwd"),
        named("a name from two roots", b"//etc/passwd"),
        named("a name on a drive", b"C:/evil.py"),
        named("a name on a drive with backslashes", b"C:\\evil.py"),
        named("a name on another machine", b"\\\\host\\share\\evil.py"),
        named("a name with a backslash", b"pkg\\mod.py"),
        named("a name with a NUL", b"evil.py\0.txt"),
        named("a name with a line break", b"a\nb.py"),
        named("a name that clears the terminal", b"\x1b[2Ja.py"),
        named("a name that reads backwards", "gpj.\u{202e}yp.exe".as_bytes()),
        named("a name that is not UTF-8", b"gr\xf6\xdfe.py"),
        named("a name of UTF-8 that is too long for its letters", b"\xc0\xae\xc0\xae/evil.py"),
        named("no name", b""),
        named("a name of one dot", b"./index.py"),
        named("a name with an empty part", b"pkg//mod.py"),
        named("a path of 602 bytes", long_path.as_bytes()),
        named("a name of 300 bytes", &[b'x'; 300]),
        named("a name of 64 KiB", &[b'x'; 65_000]),
        named(
            "a path of 40 parts",
            "d/".repeat(39).as_bytes().iter().copied().chain(*b"f").collect::<Vec<_>>().as_slice(),
        ),
        named("the same name twice", NAME.as_bytes()),
        case("a file and a folder of one name", archive(&[Entry::file("a", "x"), Entry::folder("a/")])),
        case("a file that is another's folder", archive(&[Entry::file("a/b/c", "x"), Entry::file("a/b", "x")])),
        entry(
            "a second name in the extra field",
            Entry::file("good.py", "x").both(|header| header.extra = unicode.clone()),
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let kind = |what, mode: u32| entry(what, Entry::stored("entry", "").mode(mode));
    let flagged = |what, flags: u16| entry(what, Entry::file("entry", "x").both(|header| header.flags |= flags));
    let method = |what, method: u16| entry(what, Entry::file("entry", "x").both(|header| header.method = method));
    let link = Entry::stored("link", "/etc").mode(0o120_777);
    let unix_link = extra(0x000d, [&[0; 12][..], b"/etc/passwd"].concat());
    let asi = |mode: u16, link: &[u8]| {
        let size = u32::try_from(link.len()).unwrap();
        extra(0x756e, [&[0; 4][..], &mode.to_le_bytes(), &size.to_le_bytes(), &[0; 4], link].concat())
    };
    let extended =
        |what, extra: Vec<u8>| entry(what, Entry::file("entry", "x").both(|header| header.extra = extra.clone()));
    vec![
        entry("a symbolic link", link.clone()),
        case("a symbolic link and a file behind it", archive(&[link.clone(), Entry::file("link/passwd", "x")])),
        entry("a symbolic link that says it is from MS-DOS", link.with(|entry| entry.made_by = 20)),
        extended("a hard link", unix_link.clone()),
        entry(
            "a hard link that only its own header tells",
            Entry::file("entry", "x").with(|entry| entry.own.extra = unix_link),
        ),
        extended("a symbolic link by ASi's field", asi(0o120_777, b"/etc/passwd")),
        extended("a hard link by ASi's field", asi(0o100_644, b"/etc/passwd")),
        kind("a character device", 0o020_666),
        kind("a block device", 0o060_666),
        kind("a pipe", 0o010_644),
        kind("a socket", 0o140_755),
        kind("a kind that there is not", 0o170_644),
        kind("a folder by its mode only", 0o040_755),
        entry("a folder by its name only", Entry::stored("entry/", "").mode(0o100_644)),
        entry("a folder by MS-DOS's attribute only", Entry::stored("entry", "").with(|entry| entry.attributes = 0x10)),
        entry("a folder with content", Entry { attributes: 0, ..Entry::stored("entry/", "x") }),
        flagged("encrypted", 1),
        flagged("strongly encrypted", 1 | 1 << 6),
        flagged("with masked headers", 1 << 13),
        method("encrypted by AES", 99),
        extended("encrypted by AES, by its field only", extra(0x9901, b"\x02\0AE\x03\x08\0")),
        flagged("a patch for another file", 1 << 5),
        method("packed by bzip2", 12),
        method("packed by LZMA", 14),
        method("packed by Deflate64", 9),
        method("packed by Zstandard", 93),
        method("packed by a method that there is not", 77),
        entry("on another disk", Entry::file("entry", "x").with(|entry| entry.disk = 1)),
        extended("an extra field longer than it is", vec![0xfe, 0xca, 99, 0, 1]),
        extended("an extra field that ends in its head", vec![0xfe, 0xca, 1]),
    ]
}

fn places() -> Vec<Case> {
    let same_place = Entry { only_in_directory: true, header_at: Some(0), ..Entry::file("b", "x") };
    let small = Limits { file: ByteSize::from_bytes(100), ..Limits::default() };
    let own = |what, change: fn(&mut Header)| {
        entry(what, Entry::file("entry", "some text").with(|entry| change(&mut entry.own)))
    };
    let gap_at_end = archive_ending(&[good()], &End::default());
    let directory = gap_at_end.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let at = u32::try_from(directory).unwrap() + 6;
    let mut gap_at_end = archive_ending(&[good()], &End { directory_at: Some(at), ..End::default() });
    gap_at_end.splice(directory..directory, *b"hidden");
    vec![
        limited("a file beyond its limit", archive(&[Entry::stored(NAME, [b' '; 101])]), small),
        case("a bomb of 16 MiB", zeros(16)),
        case("two entries in one place", archive(&[Entry::file("a", "x"), same_place])),
        case("an entry quoted in another (the better bomb)", quoted()),
        case(
            "data that runs into the next entry",
            archive(&[Entry::stored("a", "xx").both(|header| (header.packed, header.unpacked) = (9, 9)), good()]),
        ),
        case(
            "data that runs into the directory",
            archive(&[Entry::stored("a", "xx").both(|header| (header.packed, header.unpacked) = (9, 9))]),
        ),
        entry("a header behind the directory", Entry::file("b", "x").with(|entry| entry.header_at = Some(4_000_000))),
        entry("bytes between two entries", Entry { gap: b"hidden".to_vec(), ..Entry::file("b", "x") }),
        case("bytes before the directory", gap_at_end),
        entry(
            "a header that is none",
            Entry::file("b", "x").with(|entry| entry.gap = vec![]).with(|entry| entry.header_at = Some(2)),
        ),
        own("another name in its own header", |own| own.name = b"evil!".to_vec()),
        own("a folder by its own header", |own| own.name = b"entry/".to_vec()),
        own("another compression in its own header", |own| own.method = STORED),
        own("another size in its own header", |own| own.unpacked += 1),
        own("another packed size in its own header", |own| own.packed -= 1),
        own("another checksum in its own header", |own| own.crc32 ^= 1),
        own("encrypted by its own header", |own| own.flags |= 1),
        own("a record after the data by its own header", |own| own.flags |= 1 << 3),
        entry(
            "a record after the data that differs",
            Entry::file("b", "x").streamed().with(|entry| entry.descriptor[12] ^= 1),
        ),
        entry("no record after the data", Entry::file("b", "x").streamed().with(|entry| entry.descriptor.clear())),
        entry(
            "a record after the data that is too long",
            Entry::file("b", "x").streamed().with(|entry| entry.descriptor.extend([0; 99])),
        ),
        entry("stored with two sizes", Entry::stored("b", "xx").both(|header| header.unpacked = 9)),
    ]
}

fn contents() -> Vec<Case> {
    let text = b"some text, some text, some text";
    let packed = |data: Vec<u8>| Entry::packed("entry", DEFLATE, data, text);
    let cut = deflated(text);
    let cut = cut[..cut.len() - 2].to_vec();
    vec![
        data("a wrong checksum", Entry::stored("entry", text).both(|header| header.crc32 ^= 1)),
        data("a wrong checksum of packed data", Entry::file("entry", text).both(|header| header.crc32 ^= 1)),
        data("more data than said", Entry::file("entry", text).both(|header| header.unpacked = 7)),
        data("less data than said", Entry::file("entry", text).both(|header| header.unpacked = 70)),
        data("packed data that is none", packed(vec![0xff; 40])),
        data("packed data without its end", packed(cut)),
        data("packed data of no bytes", packed(vec![])),
        data("bytes behind the packed data", packed([&deflated(text)[..], b"hidden"].concat())),
        data("a second stream behind the packed data", packed(deflated(text).repeat(2))),
        data("a bomb that says it is small", Entry::packed("entry", DEFLATE, deflated(&vec![0; 8 << 20]), text)),
        data(
            "a folder with packed content",
            Entry { attributes: 0, ..Entry::packed("entry/", DEFLATE, deflated(text), b"") },
        ),
    ]
}

/// David Fifield's overlap: the first entry's data is one uncompressed block that quotes the second's header, and
/// then goes on as the second's data. A reader that follows both unpacks that data twice.
fn quoted() -> Vec<u8> {
    let second = Entry::file("b", vec![0; 1 << 16]);
    let header = archive(std::slice::from_ref(&second))[..31].to_vec();
    let length = u16::try_from(header.len()).unwrap();
    let block = [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
    let content = [&header[..], &vec![0; 1 << 16]].concat();
    let first = Entry::packed("a", DEFLATE, [&block[..], &header, &second.data].concat(), &content);
    let place = u32::try_from(31 + block.len()).unwrap();
    archive(&[first, Entry { only_in_directory: true, header_at: Some(place), ..second }])
}
