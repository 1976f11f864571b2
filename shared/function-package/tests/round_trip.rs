//! What goes in comes out, and the same comes out every time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Cursor, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use function_package::{Artifact, Digest, Limits, PackageError, Problem, pack, unpack};
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use crate::crafted::{Entry, archive};

/// Paths with content, whether it may be run, and folders as `None`.
pub type Tree = BTreeMap<String, Option<(Vec<u8>, bool)>>;

fn write_tree(folder: &Path, tree: &Tree) {
    for (path, file) in tree {
        let path = folder.join(path);
        match file {
            None => fs::create_dir_all(&path).unwrap(),
            Some((content, runs)) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, PermissionsExt::from_mode(if *runs { 0o755 } else { 0o644 })).unwrap();
            }
        }
    }
}

/// What is in a folder; of folders only the empty ones.
fn read_tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(&below).unwrap().map(|entry| entry.unwrap().path()).collect();
        if entries.is_empty() {
            tree.insert(below.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), None);
        }
        for path in entries {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                assert_eq!(metadata.mode() & 0o7777, 0o755, "{path:?}");
                folders.push(path);
            } else {
                assert!([0o755, 0o644].contains(&(metadata.mode() & 0o7777)), "{path:?}");
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                tree.insert(name, Some((fs::read(&path).unwrap(), metadata.mode() & 0o100 != 0)));
            }
        }
    }
    tree
}

fn packed(tree: &Tree, limits: &Limits) -> (Artifact, Vec<u8>) {
    let work = tempdir().unwrap();
    let folder = work.path().join("folder");
    fs::create_dir(&folder).unwrap();
    write_tree(&folder, tree);
    let out = work.path().join("out.zip");
    let artifact = pack(&folder, &out, limits).unwrap();
    let bytes = fs::read(&out).unwrap();
    assert_eq!(artifact.bytes, bytes.len() as u64);
    assert_eq!(artifact.digest, Digest::of(&bytes[..]).unwrap());
    (artifact, bytes)
}

pub fn unpacked(bytes: &[u8], limits: &Limits) -> (TempDir, Tree) {
    let work = tempdir().unwrap();
    let into = work.path().join("package");
    unpack(&mut Cursor::new(bytes), &into, limits).unwrap();
    let tree = read_tree(&into);
    (work, tree)
}

/// By another reader, to see that it is not only ours that reads what we write and take.
pub fn by_the_zip_crate(bytes: &[u8]) -> Tree {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut tree = Tree::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let name = entry.name().unwrap().trim_end_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let runs = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
        tree.insert(name, (!entry.is_dir()).then_some((content, runs)));
    }
    tree
}

fn trees() -> impl Strategy<Value = Tree> {
    // Folders and files have names of their own letters, so that no file is another's folder.
    let path = ("([a-cé]{1,3}/){0,4}", "[x-z.ü]{1,3}f");
    let short = proptest::collection::vec(any::<u8>(), 0..200);
    let even = (any::<u8>(), 0_usize..300_000).prop_map(|(byte, length)| vec![byte; length]);
    let file = (path, prop_oneof![4 => short, 1 => even], any::<bool>());
    proptest::collection::vec(file, 1..12).prop_map(|files| {
        files
            .into_iter()
            .map(|((folder, name), content, runs)| (format!("{folder}{name}"), Some((content, runs))))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_unpacked(tree in trees()) {
        let limits = Limits::default();
        let (artifact, bytes) = packed(&tree, &limits);
        prop_assert_eq!(artifact.files as usize, tree.len());
        let (_work, found) = unpacked(&bytes, &limits.of_artifacts());
        prop_assert_eq!(&found, &tree);
        prop_assert_eq!(&by_the_zip_crate(&bytes), &tree);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in Just(archive(&[Entry::file("a", "text"), Entry::file("b", "x").streamed()])),
                                      changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let work = tempdir().unwrap();
        let outcome = unpack(&mut Cursor::new(&bytes), &work.path().join("package"), &Limits::default());
        prop_assert_eq!(outcome.is_ok(), work.path().join("package").exists());
        prop_assert_eq!(fs::read_dir(work.path()).unwrap().count(), usize::from(outcome.is_ok()));
        // Whatever is accepted, another reader sees the same.
        if outcome.is_ok() {
            prop_assert_eq!(read_tree(&work.path().join("package")), by_the_zip_crate(&bytes));
        }
    }
}

fn small_tree() -> Tree {
    let text = b"text ".repeat(1000);
    [
        ("index.py", Some((text.clone(), false))),
        ("bin/tool", Some((text, true))),
        ("bin-a", Some((vec![7; 5], false))),
        ("empty/folder", None),
    ]
    .map(|(path, file)| (path.to_owned(), file))
    .into()
}

#[test]
fn neither_order_nor_time_nor_umask_nor_owner_shows_in_what_is_packed() {
    let tree = small_tree();
    let (first, bytes) = packed(&tree, &Limits::default());
    let work = tempdir().unwrap();
    let other = work.path().join("other");
    // Made in the reverse order, with other times and modes.
    for (path, file) in tree.iter().rev() {
        write_tree(&other, &[(path.clone(), file.clone())].into());
        if file.is_some() {
            let runs = fs::metadata(other.join(path)).unwrap().mode() & 0o100;
            fs::set_permissions(other.join(path), PermissionsExt::from_mode(0o602 | runs)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000);
            File::options().write(true).open(other.join(path)).unwrap().set_modified(time).unwrap();
        }
    }
    let out = work.path().join("out.zip");
    assert_eq!(pack(&other, &out, &Limits::default()).unwrap(), first);
    assert_eq!(fs::read(&out).unwrap(), bytes);
    // And what was unpacked is packed to the same again.
    let again = work.path().join("again");
    unpack(&mut Cursor::new(&bytes), &again, &Limits::default().of_artifacts()).unwrap();
    assert_eq!(pack(&again, &work.path().join("again.zip"), &Limits::default()).unwrap(), first);
}

/// When this changes, every function that is built again gets a new artifact: say so where it is released.
#[test]
fn the_bytes_of_an_artifact_are_what_they_always_were() {
    let (artifact, _) = packed(&small_tree(), &Limits::default());
    insta::assert_snapshot!(artifact.digest, @"f7dae9ad985617dbcd16e2abb876b65b4b3e9a1fa90f32dd24e77ced2eee144c");
}

#[test]
fn what_shrinks_too_well_is_stored_so_that_it_can_be_unpacked() {
    let tree: Tree = [("zeros".to_owned(), Some((vec![0; 3 << 20], false)))].into();
    let limits = Limits::default();
    let (artifact, bytes) = packed(&tree, &limits);
    assert!(artifact.bytes > 3 << 20);
    assert_eq!(unpacked(&bytes, &limits.of_artifacts()).1, tree);
}

#[test]
fn what_a_package_may_not_hold_is_not_packed() {
    let limits = Limits { file: layered_config::ByteSize::from_bytes(10), entries: 3, ..Limits::default() };
    type Fill = fn(&Path);
    let refusals: [(Fill, Problem); 5] = [
        (|folder| symlink("/etc/passwd", folder.join("entry")).unwrap(), Problem::Symlink),
        (|folder| drop(std::os::unix::net::UnixListener::bind(folder.join("entry")).unwrap()), Problem::PipeOrSocket),
        (|folder| fs::write(folder.join("a\\b"), "").unwrap(), Problem::BackslashInName),
        (
            |folder| fs::write(folder.join("entry"), "more than ten").unwrap(),
            Problem::FileTooLarge { bytes: 13, limit: 10 },
        ),
        (
            |folder| ["a", "b", "c", "d"].into_iter().for_each(|name| fs::write(folder.join(name), "").unwrap()),
            Problem::TooManyEntries { entries: 4, limit: 3 },
        ),
    ];
    for (fill, problem) in refusals {
        let work = tempdir().unwrap();
        let folder = work.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fill(&folder);
        match pack(&folder, &work.path().join("out.zip"), &limits) {
            Err(PackageError::Refused(refusal)) => assert_eq!(refusal.problem, problem),
            other => panic!("{other:?}"),
        }
        assert!(!work.path().join("out.zip").exists());
    }
}
