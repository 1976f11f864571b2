//! What a name means.

use std::path::PathBuf;

use domain::{Language, RuntimeName};

use crate::{ProtocolName, RuntimeConfig, RuntimesConfig};

/// One runtime, as a name and the settings make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeSpec {
    /// What its code is written in.
    pub language: Language,
    /// The interpreter; unless set, the one that the executor has for the language.
    pub interpreter: Option<PathBuf>,
    /// The Docker image; without one the runtime has no place in Docker.
    pub image: Option<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
}

/// How a function's process is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The worker protocol, by the program that this project brings for the language.
    BuiltIn,
    /// AWS's Runtime API (2018-06-01), by a program that the package or the runtime brings.
    RuntimeApi {
        /// The command to start, in which `{interpreter}` and `{handler}` stand for the function's.
        command: Vec<String>,
    },
}

/// A name that no entry fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("runtime `{name}` is not supported; use one of {known}")]
pub struct UnknownRuntime {
    name: String,
    known: String,
}

impl RuntimesConfig {
    /// The runtime of this name.
    ///
    /// # Errors
    /// When no entry fits.
    pub fn find(&self, name: &RuntimeName) -> Result<RuntimeSpec, UnknownRuntime> {
        let fits = |entry: &RuntimeConfig| entry.name.matched(name.as_str()).map(|open| entry.spec(open));
        self.0.iter().find_map(fits).ok_or_else(|| self.unknown(name.as_str()))
    }

    /// A name that was asked for.
    ///
    /// # Errors
    /// When it is no name or no entry fits.
    pub fn check(&self, name: &str) -> Result<RuntimeName, UnknownRuntime> {
        let name = name.parse().map_err(|_| self.unknown(name))?;
        self.find(&name).map(|_| name)
    }

    fn unknown(&self, name: &str) -> UnknownRuntime {
        let known: Vec<String> = self.0.iter().map(|entry| entry.name.to_string()).collect();
        UnknownRuntime { name: name.chars().take(RuntimeName::MAX_CHARS).collect(), known: known.join(", ") }
    }
}

impl RuntimeConfig {
    fn spec(&self, open: &str) -> RuntimeSpec {
        let filled = |text: &str| text.replace('*', open);
        RuntimeSpec {
            language: self.kind,
            interpreter: self.interpreter.as_ref().map(|path| filled(&path.to_string_lossy()).into()),
            image: self.image.as_deref().map(filled),
            protocol: match self.protocol() {
                ProtocolName::BuiltIn => Protocol::BuiltIn,
                ProtocolName::RuntimeApi => Protocol::RuntimeApi { command: self.bootstrap() },
            },
        }
    }
}
