//! Where `strangler db` works when no address is named: on the databases of the stack in `--data`.

use std::path::{Path, PathBuf};

use super::{DbCommand, DbTarget, SliceTarget, sync::QuarantineCommand};

/// What Mini-Lambda's stack.toml generates, and what it copies.
const DATABASE: &str = "database-url";
const TARGET: &str = "target-url";
const HOOKS: &str = "hooks.toml";
const MAPPING: &str = "mapping.toml";

/// Instead of the options of the same meaning.
const VARIABLES: [&str; 2] = ["STRANGLER_DATABASE_URL", "STRANGLER_TARGET_URL"];

impl DbCommand {
    /// Names the files of the stack in a data folder for whoever names no address. One address that is named keeps the
    /// stack out altogether: half of one system and half of another must not meet.
    pub(crate) fn at_stack(&mut self, data: &Path) {
        let is_named = VARIABLES.iter().any(|variable| std::env::var_os(variable).is_some());
        if is_named || !data.join(DATABASE).exists() {
            return;
        }
        match self {
            Self::Plan(target) | Self::Apply(target) | Self::Remove { target, .. } => {
                target.at_stack(data);
            }
            Self::Inspect(asked) => {
                asked.database_url_file.get_or_insert(data.join(DATABASE));
            }
            Self::Copy(asked) => {
                asked.target.at_stack(data);
            }
            Self::Cutover(asked) | Self::Rollback(asked) => {
                if asked.target.at_stack(data) && asked.hooks.is_none() {
                    asked.hooks = existing(data, HOOKS);
                }
            }
            Self::Complete(asked) => {
                asked.target.at_stack(data);
            }
            Self::Sync(asked) => {
                asked.target.at_stack(data);
            }
            Self::Status(asked) => {
                asked.target.at_stack(data);
            }
            Self::Quarantine(QuarantineCommand::List { target, .. }) => {
                target.at_stack(data);
            }
            Self::Quarantine(QuarantineCommand::Retry(asked) | QuarantineCommand::Skip(asked)) => {
                asked.target.at_stack(data);
            }
            Self::Validate(asked) => {
                asked.target.at_stack(data);
            }
            Self::Retire(asked) => {
                asked.target.at_stack(data);
            }
            Self::Verify(asked) => {
                asked.target.at_stack(data);
            }
        }
    }
}

impl SliceTarget {
    /// Whether it is the stack's now.
    fn at_stack(&mut self, data: &Path) -> bool {
        if self.target_url_file.is_some() || !self.source.at_stack(data) {
            return false;
        }
        self.target_url_file = existing(data, TARGET);
        true
    }
}

impl DbTarget {
    fn at_stack(&mut self, data: &Path) -> bool {
        if self.database_url_file.is_some() {
            return false;
        }
        self.database_url_file = existing(data, DATABASE);
        self.mapping = self.mapping.take().or_else(|| existing(data, MAPPING));
        true
    }
}

fn existing(data: &Path, name: &str) -> Option<PathBuf> {
    Some(data.join(name)).filter(|file| file.exists())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use crate::arguments::{Arguments, Command, DbCommand};

    fn cutover(words: &[&str], data: &std::path::Path) -> [Option<String>; 4] {
        let words = ["strangler", "db", "cutover", "functions"].iter().chain(words);
        let Command::Db(mut command) = Arguments::try_parse_from(words).expect("it parses").command else {
            panic!("a command of `db`")
        };
        command.at_stack(data);
        let DbCommand::Cutover(asked) = command else { panic!("the same command") };
        let name = |file: Option<std::path::PathBuf>| file.map(|file| file.display().to_string());
        let source = asked.target.source;
        [source.database_url_file, asked.target.target_url_file, source.mapping, asked.hooks].map(name)
    }

    #[test]
    fn a_stack_is_taken_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        assert_eq!(cutover(&[], data), [const { None }; 4], "there is no stack");
        for file in [super::DATABASE, super::TARGET, super::HOOKS, super::MAPPING] {
            fs::write(data.join(file), "").expect("our own folder");
        }
        let of_stack = |name: &str| Some(data.join(name).display().to_string());
        let all = [super::DATABASE, super::TARGET, super::MAPPING, super::HOOKS].map(of_stack);
        assert_eq!(cutover(&[], data), all);
        let [database, target, _, hooks] = all;
        assert_eq!(cutover(&["--mapping", "mine"], data), [database, target, Some("mine".to_owned()), hooks]);
        let alone = cutover(&["--database-url-file", "mine"], data);
        assert_eq!(alone, [Some("mine".to_owned()), None, None, None]);
        assert_eq!(cutover(&["--target-url-file", "mine"], data), [None, Some("mine".to_owned()), None, None]);
    }
}
