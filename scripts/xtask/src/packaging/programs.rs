//! The built programs, which know best what they take.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::workspace::Workspace;

/// Settings for one program, as a file gives them.
#[derive(Debug)]
pub struct Settings<'a> {
    pub program: &'a str,
    pub variables: BTreeMap<String, String>,
}

/// The programs in Cargo's folder of results.
pub struct Programs {
    folder: PathBuf,
    root: PathBuf,
    /// Variables that the command line reads, as its source names them.
    read_by_the_cli: BTreeSet<String>,
    asked: Cell<usize>,
}

/// The programs that have settings.
pub const SERVICES: [&str; 4] = ["gateway", "legacy", "lambda-service", "build-service"];

impl Programs {
    pub fn find(workspace: &Workspace) -> anyhow::Result<Self> {
        let folder = workspace.target_directory.join("debug");
        for program in SERVICES.into_iter().chain(["strangler"]) {
            if !folder.join(program).exists() {
                bail!("{} is not built; run: cargo xtask ci --from build", folder.join(program).display());
            }
        }
        let mut read_by_the_cli = BTreeSet::new();
        for part in ["proxy/strangler/src", "migration/src"] {
            variables_of_sources(&workspace.root.join(part), &mut read_by_the_cli)?;
        }
        Ok(Self { folder, root: workspace.root.clone(), read_by_the_cli, asked: Cell::new(0) })
    }

    /// How often one was asked.
    pub fn asked(&self) -> usize {
        self.asked.get()
    }

    /// The prefix of a program's variables.
    pub fn prefix(program: &str) -> String {
        format!("{}__", program.to_uppercase().replace('-', "_"))
    }

    /// What the program says against these settings; nothing when it takes them.
    pub fn refusal(&self, settings: &Settings<'_>) -> anyhow::Result<Option<String>> {
        if settings.program == "strangler" {
            let unknown = settings.variables.keys().find(|name| !self.read_by_the_cli.contains(*name));
            return Ok(unknown.map(|name| format!("strangler reads no variable {name}")));
        }
        self.refusal_of(settings, self.settings_file(settings.program).as_deref())
    }

    /// As `refusal`, with this file of settings below the variables.
    pub fn refusal_of(&self, settings: &Settings<'_>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
        let program = settings.program;
        let prefix = Self::prefix(program);
        // The gateway's own command line is in its image, and is operated by variables there.
        let known = |name: &String| name.starts_with(&prefix) || self.read_by_the_cli.contains(name);
        if let Some(name) = settings.variables.keys().find(|name| !known(name)) {
            return Ok(Some(format!("{program} reads no variable {name}")));
        }
        let mut arguments = vec!["--check".to_owned()];
        if let Some(file) = file {
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        let output = self.ask(program, &arguments, &settings.variables)?;
        Ok(output.map(|said| one_line(&said)))
    }

    /// What `strangler` says against these words; nothing when it takes them.
    pub fn refusal_of_words(&self, words: &[String]) -> anyhow::Result<Option<String>> {
        let mut words = words.to_vec();
        // Read last, and ends it before it does anything.
        words.push("--help".to_owned());
        Ok(self.ask("strangler", &words, &BTreeMap::new())?.map(|said| one_line(&said)))
    }

    /// Whether the program has such a setting, whatever its value.
    pub fn knows(&self, program: &str, variable: &str) -> anyhow::Result<bool> {
        if program == "strangler" {
            return Ok(self.read_by_the_cli.contains(variable));
        }
        let settings = Settings { program, variables: BTreeMap::from([(variable.to_owned(), "x".to_owned())]) };
        Ok(!self.refusal(&settings)?.is_some_and(|said| names_unknown_setting(&said)))
    }

    /// The file that the settings of a program stand on where a manifest gives only the rest of them.
    fn settings_file(&self, program: &str) -> Option<PathBuf> {
        (program == "gateway").then(|| self.root.join("infrastructure/local/mini-lambda/gateway.toml"))
    }

    fn ask(
        &self,
        program: &str,
        arguments: &[String],
        variables: &BTreeMap<String, String>,
    ) -> anyhow::Result<Option<String>> {
        self.asked.set(self.asked.get() + 1);
        let output = Command::new(self.folder.join(program))
            .args(arguments)
            .env_clear()
            .envs(variables)
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// Errors are laid out for a terminal.
fn one_line(said: &str) -> String {
    said.split(|letter: char| letter.is_whitespace() || "│╭╰─╮╯".contains(letter))
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn names_unknown_setting(said: &str) -> bool {
    said.contains("there is no such setting") || said.contains("a part of this key is no table")
}

/// Words such as `STRANGLER_DATABASE_URL` in quotes.
fn variables_of_sources(folder: &Path, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            variables_of_sources(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.extend(variables_of_source(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn variables_of_source(text: &str) -> impl Iterator<Item = String> {
    let is_variable = |word: &&str| {
        word.strip_prefix("STRANGLER_")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    };
    text.split('"').filter(is_variable).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_not_there_is_told_from_a_value_that_is_wrong() {
        let unknown =
            "  × environment variable LEGACY__HTTP__BINDD: `http.bindd`: there is no such\n  │ setting\n  help: …";
        assert!(names_unknown_setting(&one_line(unknown)));
        assert!(names_unknown_setting("environment variable A: `a.b`: a part of this key is no table"));
        assert!(!names_unknown_setting("`http.bind`: invalid socket address syntax"));
    }

    #[test]
    fn variables_are_those_in_quotes() {
        let source = r#"#[arg(env = "STRANGLER_DATA")] // STRANGLER_NOT
            std::env::var("STRANGLER_TOKEN"); "STRANGLER_" "STRANGLER_x""#;
        assert_eq!(variables_of_source(source).collect::<Vec<_>>(), ["STRANGLER_DATA", "STRANGLER_TOKEN"]);
    }

    #[test]
    fn prefixes_are_the_programs_names() {
        assert_eq!(Programs::prefix("lambda-service"), "LAMBDA_SERVICE__");
    }
}
