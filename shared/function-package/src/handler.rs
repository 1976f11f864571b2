//! Where a function begins: the file and the name that its handler names.

use domain::Language;

use crate::{Limits, Listing, Problem, Refusal, entry_path};

/// What kind of program runs a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeFamily {
    /// `python3.x`
    Python,
    /// `nodejsNN`
    Node,
    /// `provided`, `provided.al2`, …: the package brings a program named `bootstrap`.
    Provided,
}

/// Where a function begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// The file in the package.
    pub file: String,
    /// What must be found in it; for Node it may be a path such as `group.handler`. None for `bootstrap`.
    pub function: Option<String>,
}

/// The program that `provided` runtimes run.
const BOOTSTRAP: &str = "bootstrap";
/// The module of a handler that names none.
const DEFAULT_MODULE: &str = "index";

impl RuntimeFamily {
    /// The family of runtimes for this language; `None` when packages in it cannot be run.
    #[must_use]
    pub const fn of(language: Language) -> Option<Self> {
        match language {
            Language::Python => Some(Self::Python),
            Language::Node => Some(Self::Node),
            Language::Provided => Some(Self::Provided),
            Language::Go => None,
        }
    }
}

/// Finds the file that a handler names among those of a package, as the runtimes do:
///
/// | family | handler | file | function |
/// |---|---|---|---|
/// | Python | `index.handler`, `pkg/mod.handler`, `pkg.mod.handler` | `pkg/mod.py` or `pkg/mod/__init__.py` | the last part |
/// | Node | `index.handler`, `pkg/mod.group.handler` | `pkg/mod` with `.js`, `.mjs` or `.cjs` | all after the first dot of the file's name |
/// | provided | anything | `bootstrap`, which must be executable | |
///
/// A handler without a dot is a function of `index`.
///
/// # Errors
/// When the handler is no such name or there is no such file.
pub fn find_entry_point(listing: &Listing, family: RuntimeFamily, handler: &str) -> Result<EntryPoint, Refusal> {
    let (module, function, endings): (String, String, &[&str]) = match family {
        RuntimeFamily::Provided => return find_bootstrap(listing),
        RuntimeFamily::Python => {
            let (module, function) = handler.rsplit_once('.').unwrap_or((DEFAULT_MODULE, handler));
            (module.replace('.', "/"), function.to_owned(), &[".py", "/__init__.py"])
        }
        RuntimeFamily::Node => {
            let (folder, name) = handler.rsplit_once('/').map_or(("", handler), |(folder, name)| (folder, name));
            let (module, function) = name.split_once('.').unwrap_or((DEFAULT_MODULE, name));
            let module = if folder.is_empty() { module.to_owned() } else { format!("{folder}/{module}") };
            (module, function.to_owned(), &[".js", ".mjs", ".cjs"])
        }
    };
    let refuse = |problem| Refusal::of_entry(handler.as_bytes(), problem);
    let is_plain = matches!(entry_path::parse(module.as_bytes(), &Limits::default()), Ok((_, false)));
    if !is_plain || !function.split('.').all(is_identifier) {
        return Err(refuse(Problem::HandlerMalformed));
    }
    let candidates: Vec<String> = endings.iter().map(|ending| format!("{module}{ending}")).collect();
    match candidates.iter().find(|file| listing.has_file(file)) {
        Some(file) => Ok(EntryPoint { file: file.clone(), function: Some(function) }),
        None => Err(refuse(Problem::HandlerFileMissing { looked_for: candidates.join(", ") })),
    }
}

fn find_bootstrap(listing: &Listing) -> Result<EntryPoint, Refusal> {
    let found = listing.entries.iter().find(|entry| &*entry.path == BOOTSTRAP && !entry.is_folder);
    match found {
        None => Err(Problem::BootstrapMissing.into()),
        Some(entry) if !entry.is_executable => {
            Err(Refusal::of_entry(BOOTSTRAP.as_bytes(), Problem::BootstrapNotExecutable))
        }
        Some(_) => Ok(EntryPoint { file: BOOTSTRAP.to_owned(), function: None }),
    }
}

/// A name in either language, roughly: letters of any script, digits, `_` and `$`, and no digit first.
fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || matches!(first, '_' | '$'))
        && characters.all(|other| other.is_alphanumeric() || matches!(other, '_' | '$'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, inspect::Method};

    fn listing(files: &[&str]) -> Listing {
        let entry = |path: &&str| Entry {
            path: path.trim_end_matches('*').into(),
            is_folder: false,
            is_executable: path.ends_with('*'),
            packed_bytes: 0,
            unpacked_bytes: 0,
            method: Method::Stored,
            crc32: 0,
            flags: 0,
            header_at: 0,
            data_at: 0,
        };
        Listing { entries: files.iter().map(entry).collect(), files: 0, archive_bytes: 0, unpacked_bytes: 0 }
    }

    #[test]
    fn handlers_name_files_as_the_runtimes_read_them() {
        use RuntimeFamily::{Node, Provided, Python};
        let package =
            listing(&["index.py", "pkg/mod.py", "whole/__init__.py", "index.js", "pkg/es.mjs", "c.cjs", "bootstrap*"]);
        for (family, handler, file, function) in [
            (Python, "index.handler", "index.py", Some("handler")),
            (Python, "handler", "index.py", Some("handler")),
            (Python, "pkg/mod.handler", "pkg/mod.py", Some("handler")),
            (Python, "pkg.mod.handler", "pkg/mod.py", Some("handler")),
            (Python, "whole.größe", "whole/__init__.py", Some("größe")),
            (Node, "index.handler", "index.js", Some("handler")),
            (Node, "handler", "index.js", Some("handler")),
            (Node, "pkg/es.group.handler", "pkg/es.mjs", Some("group.handler")),
            (Node, "c.$_1", "c.cjs", Some("$_1")),
            (Provided, "whatever", "bootstrap", None),
        ] {
            let found = find_entry_point(&package, family, handler).expect(handler);
            assert_eq!((&*found.file, found.function.as_deref()), (file, function), "{handler}");
        }
    }

    #[test]
    fn every_other_handler_has_its_reason() {
        use RuntimeFamily::{Node, Provided, Python};
        let package = listing(&["index.py", "bootstrap"]);
        for (family, handler, code) in [
            (Python, "", "handler_malformed"),
            (Python, "index.", "handler_malformed"),
            (Python, ".handler", "handler_malformed"),
            (Python, "index.1st", "handler_malformed"),
            (Python, "index.a-b", "handler_malformed"),
            (Python, "../index.handler", "handler_malformed"),
            (Python, "/etc/index.handler", "handler_malformed"),
            (Node, "../../index.handler", "handler_malformed"),
            (Node, "index.a..b", "handler_malformed"),
            (Python, "index.py.handler", "handler_file_missing"),
            (Python, "absent.handler", "handler_file_missing"),
            (Node, "index.handler", "handler_file_missing"),
            (Provided, "", "bootstrap_not_executable"),
        ] {
            assert_eq!(find_entry_point(&package, family, handler).expect_err(handler).code(), code, "{handler}");
        }
        assert_eq!(find_entry_point(&listing(&[]), Provided, "").expect_err("none").code(), "bootstrap_missing");
    }
}
