//! Refusals, and failures of the machine.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::Problem;

/// The longest name that is shown, in characters.
const SHOWN_CHARACTERS: usize = 120;

/// Why a package is not accepted, for its author. Shows as one line: the entry, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub problem: Problem,
    /// The entry that is wrong, made safe to show: escaped and cut. None when the archive is.
    pub entry: Option<String>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The package is at fault; its author can mend it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The machine is; the package may be good.
    #[error("cannot {operation} {}", .path.display())]
    Machine {
        /// What was being done.
        operation: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Refusal {
    /// A stable name for the problem, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }

    pub(crate) fn of_entry(name: &[u8], problem: Problem) -> Self {
        Self { problem, entry: Some(shown(name)) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, entry: None }
    }
}

impl From<Problem> for PackageError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "`{entry}`: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// An archive that cannot be read. Places were checked before, so that an early end means that it changed or that
/// its reader gave less than it said.
pub(crate) fn reading(source: io::Error) -> PackageError {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return Problem::Truncated.into();
    }
    PackageError::Machine { operation: "read", path: PathBuf::from("the archive"), source }
}

/// A system call that failed.
pub(crate) fn machine(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> PackageError + use<> {
    let path = path.to_owned();
    move |error| PackageError::Machine { operation, path, source: error.into() }
}

/// A name as it can be shown on any terminal and in any log: what is not plain is escaped, what is long is cut.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '`' || is_unprintable(character) {
                shown.extend(character.escape_unicode());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
        // Names may be 64 KiB long.
        if shown.chars().nth(SHOWN_CHARACTERS).is_some() {
            let cut = shown.char_indices().nth(SHOWN_CHARACTERS).map_or(shown.len(), |(at, _)| at);
            shown.truncate(cut);
            shown.push('…');
            return shown;
        }
    }
    shown
}

/// Control characters, and those that turn the direction of text or cannot be seen: they make a name look like
/// another.
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_name_is_plain_and_short() {
        for (name, text) in [
            (&b"a/b.py"[..], "a/b.py"),
            ("größe.py".as_bytes(), "größe.py"),
            (b"a\nb\x1b[2J", "a\\u{a}b\\u{1b}[2J"),
            ("a\u{202e}yp".as_bytes(), "a\\u{202e}yp"),
            (b"a\xff\xfe", "a\\xff\\xfe"),
            (b"`", "\\u{60}"),
        ] {
            assert_eq!(shown(name), text);
        }
        let long = shown(&[b'x'; 70_000]);
        assert_eq!(long.chars().count(), SHOWN_CHARACTERS + 1);
        assert!(long.ends_with('…'));
        assert_eq!(shown(&[0xff; 70_000]).chars().count(), SHOWN_CHARACTERS + 1);
    }
}
