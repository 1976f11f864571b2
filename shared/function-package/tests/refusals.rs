//! The table of bad archives: each is refused for its own reason, and nothing is touched.

use std::{fmt::Write, fs, io::Cursor, os::unix::fs::MetadataExt, path::Path};

use function_package::{Limits, PackageError, Refusal, inspect, unpack};
use layered_config::ByteSize;

use crate::{bad_archives, crafted};

/// Far less than what is unpacked.
const MOST_MEMORY_KIB: u64 = 8 * 1024;

#[test]
fn every_bad_archive_is_refused_for_its_own_reason_and_touches_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let work = outside.path().join("work");
    fs::create_dir(&work).unwrap();
    for name in ["evil", "evil.py", "etc/passwd", "canary/file"] {
        let path = outside.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "as it was").unwrap();
    }
    let before = census(outside.path());
    let mut report = String::new();
    let cases = bad_archives::all();
    for case in &cases {
        let refusal = refused(unpack(&mut Cursor::new(&case.bytes), &work.join("package"), &case.limits), case.name);
        let by_headers = inspect(&mut Cursor::new(&case.bytes), &case.limits);
        if case.needs_unpacking {
            by_headers.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        } else {
            assert_eq!(refused(by_headers, case.name), refusal, "{}", case.name);
        }
        assert_eq!(census(outside.path()), before, "{} left something behind", case.name);
        writeln!(report, "{}\n  {}: {refusal}\n", case.name, refusal.code()).unwrap();
    }
    assert!(cases.len() >= 60, "{} archives", cases.len());
    insta::assert_snapshot!(report);
}

/// The largest inputs, with limits that let them in as far as they come.
#[test]
fn memory_is_bounded_whatever_an_archive_says() {
    let work = tempfile::tempdir().unwrap();
    let limits = Limits {
        unpacked: ByteSize::from_mib(2048),
        file: ByteSize::from_mib(2048),
        entries: 65_534,
        ratio: 1_032,
        ..Limits::default()
    };
    let bomb = bad_archives::zeros(64);
    let before_kib = most_memory_kib();
    let listing = unpack(&mut Cursor::new(&bomb), &work.path().join("zeros"), &limits).unwrap();
    assert_eq!(listing.unpacked_bytes, 64 << 20);
    let said = crafted::Entry::file("index.py", "x").both(|header| header.unpacked = u32::MAX - 1);
    let lying = crafted::archive(&[said]);
    refused(inspect(&mut Cursor::new(&lying), &limits), "lying");
    let grown_kib = most_memory_kib() - before_kib;
    assert!(grown_kib < MOST_MEMORY_KIB, "{grown_kib} KiB");
}

fn refused<T>(outcome: Result<T, PackageError>, name: &str) -> Refusal {
    match outcome {
        Err(PackageError::Refused(refusal)) => refusal,
        Err(error) => panic!("{name}: {error:?}"),
        Ok(_) => panic!("{name} was accepted"),
    }
}

/// Every path with its kind, mode, time and content.
fn census(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            // The work folder's own time changes with what was in it.
            let time = if metadata.is_dir() { 0 } else { metadata.mtime_nsec() };
            lines.push(format!("{} {:o} {time} {content}", path.display(), metadata.mode()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines
}

fn most_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
