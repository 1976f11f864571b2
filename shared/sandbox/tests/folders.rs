//! Code in a folder of several files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;

use super::*;

/// A folder that workers of any user can read.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

pub(crate) fn in_folder(language: Language, folder: &Path, handler: &str) -> FunctionCode {
    FunctionCode { code: Code::Folder(folder.into()), handler: handler.to_owned(), ..function(language, "") }
}

async fn assert_answers(language: Language, files: &[(&str, &str)], expected: &[(&str, &str)]) {
    let folder = folder(files);
    for (handler, output) in expected {
        let outcome = run(&in_folder(language, folder.path(), handler), r#"{"n": 2}"#).await;
        assert_eq!(summary(&outcome), ("success", *output), "{handler}: {}", outcome.logs);
    }
}

#[tokio::test]
async fn python_modules_packages_and_what_lies_beside_them_are_found() {
    let files = [
        (
            "index.py",
            "import helper\nfrom vendored import six\ndef handler(e, c):\n  return helper.double(e['n']) + six.SIX",
        ),
        ("helper.py", "def double(n):\n  return 2 * n"),
        ("vendored/__init__.py", ""),
        ("vendored/six.py", "SIX = 6"),
        (
            "pkg/mod.py",
            "import os\nfrom .other import name\nasync def handler(e, c):\n  return [name, __name__, os.getcwd(), open('data.txt').read(), os.environ['LAMBDA_TASK_ROOT']]",
        ),
        ("pkg/other.py", "name = 'other'"),
        ("data.txt", "data"),
    ];
    let from_mod = r#"["other","pkg.mod","/var/task","data","/var/task"]"#;
    assert_answers(
        Language::Python,
        &files,
        &[("index.handler", "10"), ("handler", "10"), ("pkg/mod.handler", from_mod), ("pkg.mod.handler", from_mod)],
    )
    .await;
}

#[tokio::test]
async fn commonjs_and_ecmascript_modules_and_their_node_modules_are_found() {
    let files = [
        (
            "index.js",
            "const half = require('half'); exports.handler = async (e) => half(e.n) + require('./lib/one').one; exports.group = {inner: () => 'inner'};",
        ),
        ("lib/one.js", "exports.one = 1;"),
        ("node_modules/half/package.json", r#"{"name": "half", "main": "main.js"}"#),
        ("node_modules/half/main.js", "module.exports = (n) => n / 2;"),
        (
            "esm.mjs",
            "import half from 'half'; import {readFileSync} from 'node:fs'; await null; export const handler = (e) => half(e.n) + readFileSync('data.txt', 'utf8');",
        ),
        ("typed/package.json", r#"{"type": "module"}"#),
        (
            "typed/mod.js",
            "import {name} from './deep/other.js'; export function handler() { return [name, import.meta.url, process.argv[1]]; }",
        ),
        ("typed/deep/other.js", "export const name = 'other';"),
        ("common.cjs", "module.exports.handler = () => __filename;"),
        ("data.txt", "data"),
    ];
    assert_answers(
        Language::Node,
        &files,
        &[
            ("index.handler", "2"),
            ("handler", "2"),
            ("index.group.inner", r#""inner""#),
            ("esm.handler", r#""1data""#),
            ("typed/mod.handler", r#"["other","file:///var/task/typed/mod.js","/var/task/typed/mod.js"]"#),
            ("common.handler", r#""/var/task/common.cjs""#),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_imported_says_why() {
    let files = [
        ("index.py", "import nothing_such"),
        ("broken.py", "def handler(e, c)\n  pass"),
        ("empty.py", ""),
        ("index.js", "require('nothing-such')"),
        ("broken.mjs", "export const = 1"),
        ("empty.js", ""),
    ];
    let folder = folder(&files);
    for (language, handler, expected) in [
        (Language::Python, "index.handler", "ModuleNotFoundError: No module named 'nothing_such'"),
        (Language::Python, "absent.handler", "ModuleNotFoundError: No module named 'absent'"),
        (Language::Python, "broken.handler", "SyntaxError: expected ':' (broken.py, line 1)"),
        (Language::Python, "empty.handler", "the code has no function named handler"),
        (Language::Node, "index.handler", "Error: Cannot find module 'nothing-such'"),
        (Language::Node, "absent.handler", "the code has no file absent.js"),
        (Language::Node, "broken.handler", "SyntaxError: Unexpected token '='"),
        (Language::Node, "empty.handler", "the code has no function named handler"),
    ] {
        let outcome = run(&in_folder(language, folder.path(), handler), "{}").await;
        let (status, error) = summary(&outcome);
        assert_eq!((status, error.lines().next()), ("failed", Some(expected)), "{handler}");
    }
    assert_healthy().await;
}

#[tokio::test]
async fn a_function_can_change_nothing_in_its_folder() {
    let folder = folder(&[(
        "index.py",
        "def handler(e, c):\n  try:\n    open('/var/task/new', 'w')\n  except OSError as error:\n    return error.strerror",
    )]);
    let outcome = run(&in_folder(Language::Python, folder.path(), "index.handler"), "{}").await;
    assert_eq!(summary(&outcome), ("success", r#""Read-only file system""#));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
