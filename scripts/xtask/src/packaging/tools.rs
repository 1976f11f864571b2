//! Other people's checks. Those of PyPI are in a folder of their own, which `scripts/install` makes of
//! `scripts/packaging-tools.txt`; others are used where they are.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::Packaging;

/// Kubernetes' API that the manifests are written for.
const KUBERNETES: &str = "1.33";

/// Long lines are for reading, not for wrapping; braces stand as in the rest of the files.
const YAML: &str = "{extends: default, rules: {line-length: {max: 180}, document-start: disable, \
    braces: {max-spaces-inside: 1}, brackets: {max-spaces-inside: 1}, truthy: {check-keys: false}, \
    comments: {min-spaces-from-content: 1}, indentation: {indent-sequences: consistent}}}";

/// Where they are.
pub struct Tools {
    folder: Option<PathBuf>,
}

impl Tools {
    pub fn find() -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        let folder = cache.map(|cache| cache.join("strangler/packaging-tools/bin")).filter(|folder| folder.exists());
        if folder.is_none() {
            eprintln!(
                "packaging: skipped: linters and schemas of PyPI; they are not here; scripts/install brings them"
            );
        }
        Self { folder }
    }

    /// A tool of PyPI, if it is here.
    pub fn path(&self, tool: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(tool)).filter(|path| path.exists())
    }

    /// Whether there is such a program on `PATH`.
    pub fn has(&self, program: &str) -> bool {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
    }

    /// What a tool says against these files; nothing where it is not here.
    fn says<A: AsRef<OsStr>>(&self, tool: &str, arguments: &[A], folder: &Path) -> anyhow::Result<Option<String>> {
        let program = self.path(tool);
        let Some(program) = program.or_else(|| self.has(tool).then(|| PathBuf::from(tool))) else { return Ok(None) };
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .output()
            .with_context(|| format!("cannot start {tool}"))?;
        if output.status.success() {
            return Ok(None);
        }
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok(Some(format!("{}\n{}", said.trim(), complained.trim())))
    }

    /// What Kubernetes' schemas say against a file of resources.
    pub fn kubernetes(&self, file: &Path) -> anyhow::Result<Option<String>> {
        let file = file.display().to_string();
        self.says("kubernetes-validate", &["--strict", "--quiet", "-k", KUBERNETES, file.as_str()], Path::new("/"))
    }
}

pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    let root = packaging.root;
    let mut run = |tool: &str, arguments: &[&str]| -> anyhow::Result<()> {
        let said = packaging.tools.says(tool, arguments, root)?;
        packaging.note(tool, said);
        Ok(())
    };
    run("yamllint", &["--strict", "-d", YAML, "infrastructure", ".github"])?;
    run("hadolint", &["infrastructure/docker/Dockerfile"])?;
    let scripts = ["install", "demo", "test", "bench", "fuzz"].map(|name| format!("scripts/{name}"));
    let mut scripts: Vec<&str> = scripts.iter().map(String::as_str).collect();
    scripts.extend([".ci/run", "infrastructure/docker/prepare", "infrastructure/docker/databases.sh"]);
    run("shellcheck", &scripts)?;
    let compose = ["compose.yaml", "compose.development.yaml", "compose.production.yaml"];
    let compose = compose.map(|name| format!("infrastructure/docker/{name}"));
    let mut arguments = vec!["--builtin-schema", "vendor.compose-spec"];
    arguments.extend(compose.iter().map(String::as_str));
    run("check-jsonschema", &arguments)?;
    let workflows = workflows(root)?;
    let mut arguments = vec!["--builtin-schema", "vendor.github-workflows"];
    arguments.extend(workflows.iter().map(String::as_str));
    run("check-jsonschema", &arguments)?;
    let terraform = root.join("infrastructure/terraform");
    for file in files(&terraform, "tf")? {
        let said = packaging.tools.says("hcl2tojson", &[&file], root)?;
        packaging
            .note(&file.display().to_string(), said.map(|said| said.lines().last().unwrap_or_default().to_owned()));
    }
    let said = packaging.tools.says("terraform", &["fmt", "-check", "-diff", "-no-color"], &terraform)?;
    packaging.note("terraform fmt", said);
    Ok(())
}

fn workflows(root: &Path) -> anyhow::Result<Vec<String>> {
    let found = files(&root.join(".github/workflows"), "yml")?;
    Ok(found.iter().map(|path| path.display().to_string()).collect())
}

fn files(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    Ok(files)
}
