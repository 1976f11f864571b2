//! The interpreters of this machine: one for each language, and those that functions name by their paths.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::Language;

use crate::{
    SandboxConfig, SandboxError, StartError,
    interpreter::{self, Interpreter},
};

/// Interpreters that were seen to work in the sandbox.
#[derive(Debug)]
pub(crate) struct Interpreters {
    usual: BTreeMap<Language, Arc<Interpreter>>,
    /// Tried when they were first asked for.
    named: Mutex<HashMap<(Language, PathBuf), Arc<Interpreter>>>,
}

impl Interpreters {
    /// Finds one for each language. Blocks.
    ///
    /// # Errors
    /// When there is none for any.
    pub(crate) fn find(bwrap: &Path, config: &SandboxConfig, uid: Option<u32>) -> Result<Self, SandboxError> {
        let mut usual = BTreeMap::new();
        let mut first_problem = None;
        for (language, configured) in [(Language::Python, &config.python), (Language::Node, &config.node)] {
            match interpreter::find(language, bwrap, config, uid, configured.as_deref()) {
                Ok(found) => drop(usual.insert(language, Arc::new(found))),
                Err(problem) => {
                    tracing::warn!(%problem, "functions in this language cannot run");
                    first_problem.get_or_insert(problem);
                }
            }
        }
        match first_problem {
            Some(problem) if usual.is_empty() => Err(problem),
            _ => Ok(Self { usual, named: Mutex::default() }),
        }
    }

    /// The languages and versions, in words.
    pub(crate) fn describe(&self) -> String {
        let languages = self.usual.iter().map(|(language, found)| format!("{language:?} {}", found.version));
        languages.collect::<Vec<_>>().join(" and ")
    }

    /// The usual one for a language.
    pub(crate) fn usual(&self, language: Language) -> Result<Arc<Interpreter>, StartError> {
        self.usual.get(&language).cloned().ok_or_else(|| none_for(language))
    }

    /// One that was tried before.
    pub(crate) fn named(&self, language: Language, path: &Path) -> Option<Arc<Interpreter>> {
        self.lock().get(&(language, path.to_owned())).cloned()
    }

    /// Tries one. Blocks. What does not work now may work later: that is not remembered.
    pub(crate) fn try_named(
        &self,
        language: Language,
        path: &Path,
        bwrap: &Path,
        config: &SandboxConfig,
        uid: Option<u32>,
    ) -> Result<Arc<Interpreter>, SandboxError> {
        let found = Arc::new(interpreter::find(language, bwrap, config, uid, Some(path))?);
        self.lock().insert((language, path.to_owned()), Arc::clone(&found));
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Language, PathBuf), Arc<Interpreter>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn none_for(language: Language) -> StartError {
    let package = match language {
        Language::Go => {
            return StartError::Function {
                error: "code in Go cannot be run: it has no interpreter".to_owned(),
                logs: String::new(),
            };
        }
        Language::Provided => {
            return StartError::Function {
                error: "a function of its own program needs a package with `bootstrap`".to_owned(),
                logs: String::new(),
            };
        }
        Language::Python => "python3",
        Language::Node => "nodejs",
    };
    let reason = "none was found when the service started".to_owned();
    StartError::Sandbox(SandboxError::NoInterpreter { language, reason, package })
}
