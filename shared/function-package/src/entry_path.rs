//! What an entry may be called.

use crate::{Limits, Problem, error::is_unprintable};

/// What Linux allows a file's name to be (`NAME_MAX`), in bytes.
const LONGEST_PART_BYTES: usize = 255;

/// Reads a name as it lies in the archive: a plain relative path, and whether it is a folder's.
pub(crate) fn parse(name: &[u8], limits: &Limits) -> Result<(Box<str>, bool), Problem> {
    if name.is_empty() {
        return Err(Problem::EmptyName);
    }
    if name.contains(&0) {
        return Err(Problem::NulInName);
    }
    let name = std::str::from_utf8(name).map_err(|_| Problem::NameNotUtf8)?;
    if name.chars().any(is_unprintable) {
        return Err(Problem::ControlCharacterInName);
    }
    if name.contains('\\') {
        return Err(if is_traversal(name) { Problem::Traversal } else { Problem::BackslashInName });
    }
    if name.starts_with('/') {
        return Err(Problem::AbsolutePath);
    }
    if matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
        return Err(Problem::DriveLetter);
    }
    if is_traversal(name) {
        return Err(Problem::Traversal);
    }
    let (path, is_folder) = name.strip_suffix('/').map_or((name, false), |path| (path, true));
    if path.len() > limits.path_bytes as usize {
        return Err(Problem::PathTooLong { bytes: path.len(), limit: limits.path_bytes });
    }
    for part in path.split('/') {
        if part.is_empty() || part == "." {
            return Err(Problem::CrookedPath);
        }
        if part.len() > LONGEST_PART_BYTES {
            return Err(Problem::NameTooLong { bytes: part.len() });
        }
    }
    let depth = path.split('/').count();
    if depth > limits.path_depth as usize {
        return Err(Problem::PathTooDeep { depth, limit: limits.path_depth });
    }
    Ok((path.into(), is_folder))
}

/// Whether a part leads up, to whichever system's eyes.
fn is_traversal(name: &str) -> bool {
    name.split(['/', '\\']).any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_are_taken_as_they_are() {
        for (name, path, is_folder) in [
            ("index.py", "index.py", false),
            ("pkg/mod.py", "pkg/mod.py", false),
            ("pkg/", "pkg", true),
            ("node_modules/@scope/a b/..c/d..js", "node_modules/@scope/a b/..c/d..js", false),
            ("größe/日本.py", "größe/日本.py", false),
            ("node:fs", "node:fs", false),
        ] {
            let (found, folder) = parse(name.as_bytes(), &Limits::default()).expect(name);
            assert_eq!((&*found, folder), (path, is_folder));
        }
    }

    #[test]
    fn every_other_name_has_its_reason() {
        for (name, problem) in [
            ("", Problem::EmptyName),
            ("a\0.py", Problem::NulInName),
            ("a\x7f", Problem::ControlCharacterInName),
            ("..", Problem::Traversal),
            ("a/../b", Problem::Traversal),
            ("../../etc/passwd", Problem::Traversal),
            ("..\\..\\x", Problem::Traversal),
            ("a\\b", Problem::BackslashInName),
            ("\\\\server\\share", Problem::BackslashInName),
            ("/etc/passwd", Problem::AbsolutePath),
            ("//x", Problem::AbsolutePath),
            ("C:/x", Problem::DriveLetter),
            ("./a", Problem::CrookedPath),
            ("a//b", Problem::CrookedPath),
            ("a/./b", Problem::CrookedPath),
            ("a//", Problem::CrookedPath),
        ] {
            assert_eq!(parse(name.as_bytes(), &Limits::default()), Err(problem), "{name:?}");
        }
        assert_eq!(parse(b"a\xff", &Limits::default()), Err(Problem::NameNotUtf8));
        let limits = Limits { path_bytes: 300, path_depth: 2, ..Limits::default() };
        assert_eq!(parse(&[b'x'; 301], &limits), Err(Problem::PathTooLong { bytes: 301, limit: 300 }));
        assert_eq!(parse(&[b'x'; 256], &limits), Err(Problem::NameTooLong { bytes: 256 }));
        assert_eq!(parse(b"a/b/c", &limits), Err(Problem::PathTooDeep { depth: 3, limit: 2 }));
    }
}
