//! Handlers checked by the real interpreters in real sandboxes.

use std::{fs, io::Cursor, os::unix::fs::PermissionsExt, sync::OnceLock};

use function_package::{CheckError, Limits, RuntimeFamily, check_entry_point, find_entry_point, unpack};
use sandbox::{Sandbox, SandboxConfig};
use tempfile::tempdir;

use crate::crafted::{Entry, archive};

fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(SandboxConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

/// "good", or the refusal.
async fn verdict(family: RuntimeFamily, handler: &str, files: &[(&str, &str)]) -> String {
    let entries: Vec<Entry> = files.iter().map(|(path, content)| Entry::file(path, content)).collect();
    let work = tempdir().unwrap();
    fs::set_permissions(work.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let folder = work.path().join("package");
    let listing = unpack(&mut Cursor::new(archive(&entries)), &folder, &Limits::default()).unwrap();
    let entry = match find_entry_point(&listing, family, handler) {
        Ok(entry) => entry,
        Err(refusal) => return refusal.to_string(),
    };
    let verdict = match check_entry_point(sandbox(), &folder, family, None, &entry).await {
        Ok(()) => "good".to_owned(),
        Err(CheckError::Refused(refusal)) => refusal.to_string(),
        Err(error) => panic!("{error:?}"),
    };
    assert!(!folder.join("ran").exists() && !work.path().join("ran").exists());
    verdict
}

#[tokio::test]
async fn python_handlers_are_parsed_and_their_names_found() {
    for source in [
        "def handler(event, context):\n    raise SystemExit('it was run')",
        "async def handler(event, context): pass",
        "handler = lambda event, context: 1",
        "import functools\nhandler: object = functools.partial(print)",
        "try:\n    from fast import handler\nexcept ImportError:\n    from slow import handler",
        "from app import main as handler",
        "if True:\n    (other, handler) = 1, 2",
        "from app import *",
        "globals()['handler'] = print",
        "class handler: pass",
        "# coding: latin-1\nname = 'gr\\xf6\\xdfe'\ndef handler(e, c): pass",
    ] {
        assert_eq!(verdict(RuntimeFamily::Python, "index.handler", &[("index.py", source)]).await, "good", "{source}");
    }
    let package = [("pkg/mod.py", "def handler(e, c): pass")];
    assert_eq!(verdict(RuntimeFamily::Python, "pkg.mod.handler", &package).await, "good");
}

#[tokio::test]
async fn node_handlers_are_parsed_and_their_names_found() {
    for (file, source) in [
        ("index.js", "process.exit(9); exports.handler = async () => 1;"),
        ("index.js", "module.exports = { handler() {} };"),
        ("index.js", "module.exports = require('./app');"),
        ("index.js", "module.exports = { ...require('./app') };"),
        ("index.cjs", "exports.handler = () => 1;"),
        ("index.mjs", "export const handler = async () => await 1;"),
        ("index.mjs", "export * from './app.mjs';"),
    ] {
        assert_eq!(verdict(RuntimeFamily::Node, "index.handler", &[(file, source)]).await, "good", "{source}");
    }
    let module = [("package.json", r#"{"type": "module"}"#), ("src/app.js", "export function handler() {}\nawait 1;")];
    assert_eq!(verdict(RuntimeFamily::Node, "src/app.handler", &module).await, "good");
}

#[tokio::test]
async fn every_other_handler_is_refused_for_its_own_reason() {
    use RuntimeFamily::{Node, Provided, Python};
    let mut report = String::new();
    for (family, handler, file, source) in [
        (Python, "index.handler", "index.py", "def handler(event, context)\n    pass"),
        (Python, "index.handler", "index.py", "print 'Python 2'"),
        (Python, "index.handler", "index.py", "def main(event, context): pass\n# handler"),
        (Python, "index.handler", "index.py", "def outer():\n    def handler(e, c): pass"),
        (Python, "index.handler", "index.py", ""),
        (Python, "index.handler", "app/index.py", "def handler(e, c): pass"),
        (Python, "../index.handler", "index.py", ""),
        (Node, "index.handler", "index.js", "exports.handler = async () => {\n  return 1;\n"),
        (Node, "index.handler", "index.mjs", "export const handler = ;"),
        (Node, "index.handler", "index.js", "exports.main = () => 1; exports.handlers = 2;"),
        (Node, "index.handler", "index.js", "module.exports = { main };"),
        (Node, "index.handler", "index.ts", "export const handler = () => 1;"),
        (Node, "index.group.handler", "index.js", "exports.group = {};"),
        (Provided, "anything", "main", ""),
        (Provided, "anything", "bootstrap", ""),
    ] {
        let verdict = plain(&verdict(family, handler, &[(file, source)]).await);
        report.push_str(&format!("{handler} in {file}: {source:?}\n  {verdict}\n\n"));
    }
    insta::assert_snapshot!(report);
}

/// Without the interpreter's own words, which its versions put differently.
fn plain(verdict: &str) -> String {
    match verdict.split_once(" (line ").zip(verdict.split_once("Error: ")) {
        Some(((_, line), (kind, _))) => format!("{kind}Error: … (line {line}"),
        None => verdict.to_owned(),
    }
}

/// Parsers have been made to crash by deep nesting.
#[tokio::test]
async fn hostile_sources_that_break_parsers_are_refused() {
    for (family, file, source) in [
        (RuntimeFamily::Python, "index.py", format!("handler = {}", "(".repeat(200_000))),
        (RuntimeFamily::Python, "index.py", format!("handler = {}1", "-".repeat(500_000))),
        (RuntimeFamily::Node, "index.js", format!("exports.handler = {}", "[".repeat(900_000))),
    ] {
        let verdict = verdict(family, "index.handler", &[(file, &source)]).await;
        assert!(verdict.starts_with(&format!("`{file}`: ")), "{verdict}");
    }
}
