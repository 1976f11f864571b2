//! Archives that must be taken, from whatever tool, and where they are unpacked to.

use std::{
    fs,
    io::{Cursor, Write},
    os::unix::fs::symlink,
    path::Path,
};

use function_package::{Limits, PackageError, inspect, unpack};
use tempfile::tempdir;

use crate::{
    crafted::{End, End64, Entry, archive, archive_ending, extra, longs},
    round_trip::{Tree, by_the_zip_crate, unpacked},
};

#[test]
fn good_archives_of_every_make_are_unpacked() {
    let content = "content ".repeat(50);
    let file = |name| Entry::file(name, &content);
    let expected = |name: &str, runs| -> Tree { [(name.to_owned(), Some((content.clone().into(), runs)))].into() };
    let zip64_sizes = file("a").with(|entry| {
        let sizes = longs([entry.directory.unpacked, entry.directory.packed].map(u64::from));
        entry.directory.extra = extra(1, sizes);
        (entry.directory.unpacked, entry.directory.packed) = (u32::MAX, u32::MAX);
    });
    let short_descriptor = file("a").streamed().with(|entry| drop(entry.descriptor.drain(..4)));
    let long_descriptor = file("a").streamed().with(|entry| {
        let sizes = [entry.directory.packed, entry.directory.unpacked].map(u64::from);
        entry.descriptor.truncate(8);
        entry.descriptor.extend(longs(sizes));
    });
    let times = extra(0x5455, [3, 1, 2, 3, 4]);
    for (make, bytes, tree) in [
        ("plain", archive(&[file("a")]), expected("a", false)),
        ("with its folders", archive(&[Entry::folder("d/"), file("d/a")]), expected("d/a", false)),
        ("folders last", archive(&[file("d/a"), Entry::folder("d/")]), expected("d/a", false)),
        ("streamed", archive(&[file("a").streamed()]), expected("a", false)),
        ("streamed without a signature", archive(&[short_descriptor]), expected("a", false)),
        ("streamed with long sizes", archive(&[long_descriptor]), expected("a", false)),
        ("with sizes in Zip64", archive(&[zip64_sizes]), expected("a", false)),
        (
            "with its end in Zip64",
            archive_ending(&[file("a")], &End { zip64: Some(End64::default()), ..End::default() }),
            expected("a", false),
        ),
        (
            "with a commit as its comment",
            archive_ending(&[file("a")], &End { comment: vec![b'f'; 40], ..End::default() }),
            expected("a", false),
        ),
        ("from MS-DOS", archive(&[Entry { attributes: 0x20, made_by: 20, ..file("a") }]), expected("a", false)),
        ("with times", archive(&[file("a").both(|header| header.extra = times.clone())]), expected("a", false)),
        (
            "padded to a boundary",
            archive(&[file("a").with(|entry| entry.own.extra = vec![0; 3])]),
            expected("a", false),
        ),
        ("set-user-id, for all to write", archive(&[file("a").mode(0o106_777)]), expected("a", true)),
        ("a program", archive(&[file("a").mode(0o100_755)]), expected("a", true)),
    ] {
        let found = unpacked(&bytes, &Limits::default()).1;
        assert_eq!(found, tree, "{make}");
    }
}

#[test]
fn an_archive_inside_stays_a_file() {
    let inner = crate::bad_archives::zeros(4);
    let (_work, tree) = unpacked(&archive(&[Entry::stored("inner.zip", &inner)]), &Limits::default());
    assert_eq!(tree, [("inner.zip".to_owned(), Some((inner, false)))].into());
}

#[test]
fn names_that_differ_in_case_are_two_files() {
    let (_work, tree) =
        unpacked(&archive(&[Entry::file("README", "1"), Entry::file("readme", "2")]), &Limits::default());
    assert_eq!(tree.len(), 2);
}

/// The target is there already: as a folder, as a link that leads elsewhere, as a link that leads nowhere.
#[test]
fn nothing_is_unpacked_over_or_through_what_is_there() {
    let zip = archive(&[Entry::file("a", "x")]);
    let plants: [fn(&Path, &Path); 4] = [
        |target, _| fs::create_dir(target).unwrap(),
        |target, elsewhere| symlink(elsewhere, target).unwrap(),
        |target, elsewhere| symlink(elsewhere.join("nothing"), target).unwrap(),
        |target, _| fs::write(target, "").unwrap(),
    ];
    for plant in plants {
        let work = tempdir().unwrap();
        let elsewhere = tempdir().unwrap();
        let target = work.path().join("package");
        plant(&target, elsewhere.path());
        let outcome = unpack(&mut Cursor::new(&zip), &target, &Limits::default());
        assert!(matches!(outcome, Err(PackageError::Machine { .. })), "{outcome:?}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1, "what was in the making is removed");
    }
}

/// As a submitted package would be made.
#[test]
fn packages_that_the_zip_crate_writes_are_taken() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    writer.add_directory("pkg", options).unwrap();
    writer.start_file("pkg/mod.py", options.unix_permissions(0o755)).unwrap();
    writer.write_all(b"x = 1\n").unwrap();
    writer.start_file("large.bin", options.large_file(true)).unwrap();
    writer.write_all(&[1; 5000]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let listing = inspect(&mut Cursor::new(&bytes), &Limits::default()).unwrap();
    assert!(listing.has_file("pkg/mod.py") && !listing.has_file("pkg"));
    assert_eq!(
        unpacked(&bytes, &Limits::default()).1,
        by_the_zip_crate(&bytes).into_iter().filter(|(_, file)| file.is_some()).collect()
    );
}
