//! What a worker is asked to run.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::Language;

/// Where a worker sees the folder of its code, if it has one. AWS Lambda has it there too.
pub const TASK_ROOT: &str = "/var/task";

/// What a worker is given to load.
#[derive(Clone)]
pub enum Code {
    /// The source text of one file.
    Source(Arc<str>),
    /// A folder of files, seen read-only at [`TASK_ROOT`], which is where the code is run. The handler's name is that
    /// of a file in it without its ending, a dot, and the name of a function: `index.handler`, `pkg/mod.handler`, in
    /// Python also `pkg.mod.handler`. Modules are looked for in the folder, in Node in its `node_modules` too. The
    /// user that workers run as must be able to read it, and must not change until the worker has ended.
    Folder(Arc<Path>),
    /// A folder that is at [`TASK_ROOT`] already where the worker runs: that of an image.
    InPlace,
    /// Source text of the platform's own, which is run, and a stranger's folder at [`TASK_ROOT`], which is not: it
    /// is there to be looked at.
    Inspector {
        /// The source text.
        source: &'static str,
        /// The folder.
        folder: Arc<Path>,
    },
}

/// A function's code and the settings that its worker starts with.
#[derive(Clone)]
pub struct FunctionCode {
    /// The function's id, for its context.
    pub function_id: String,
    /// The function's name, for its context.
    pub function_name: String,
    /// What the source is written in.
    pub language: Language,
    /// What runs it.
    pub launch: Launch,
    /// The code.
    pub code: Code,
    /// The handler's name; of a dotted name the last part is the function.
    pub handler: String,
    /// Environment variables that the code sees, and no others but `PATH`, `HOME`, `TMPDIR` and `LANG`.
    pub environment: BTreeMap<String, String>,
    /// How much memory the function may use; what its interpreter needs comes on top.
    pub memory_bytes: u64,
}

/// What runs a function's code. The default is what the sandbox has for the language.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The interpreter, an absolute path; it is tried in the sandbox when it is first asked for.
    pub interpreter: Option<Arc<Path>>,
    /// How its process is spoken to.
    pub protocol: Protocol,
}

/// How a function's process is spoken to.
#[derive(Debug, Clone, Default)]
pub enum Protocol {
    /// In frames, by the program that this crate brings for the language.
    #[default]
    Frames,
    /// Over AWS's Runtime API, by a program that the package or the runtime brings. Only a service that runs as root
    /// can open the API inside a sandbox.
    RuntimeApi {
        /// What to start: `{interpreter}` and `{handler}` stand for the function's.
        command: Arc<[String]>,
    },
}

/// One call.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The execution's id, which the worker's answer must echo.
    pub execution_id: String,
    /// The event: one JSON value, passed on as it is.
    pub event: Bytes,
    /// How long the function may take, after which its worker is killed.
    pub timeout: Duration,
}

impl FunctionCode {
    /// The memory limit in whole MB (of 1,048,576 bytes), as contexts and error texts name it.
    #[must_use]
    pub fn memory_mb(&self) -> u64 {
        self.memory_bytes.div_ceil(1024 * 1024)
    }
}

impl Code {
    /// The source text, where there is one.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Source(source) => Some(source),
            Self::Inspector { source, .. } => Some(source),
            Self::Folder(_) | Self::InPlace => None,
        }
    }

    /// The folder of the host that the worker sees.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Source(_) | Self::InPlace => None,
            Self::Folder(folder) | Self::Inspector { folder, .. } => Some(folder),
        }
    }
}

/// The length of a source and the path of a folder.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => write!(f, "Source({} bytes)", source.len()),
            Self::Folder(folder) => write!(f, "Folder({})", folder.display()),
            Self::InPlace => f.write_str("InPlace"),
            Self::Inspector { folder, .. } => write!(f, "Inspector({})", folder.display()),
        }
    }
}

/// Neither the source nor the environment's values belong in a log.
impl fmt::Debug for FunctionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCode")
            .field("function_id", &self.function_id)
            .field("function_name", &self.function_name)
            .field("language", &self.language)
            .field("launch", &self.launch)
            .field("code", &self.code)
            .field("handler", &self.handler)
            .field("environment", &self.environment.keys())
            .field("memory_bytes", &self.memory_bytes)
            .finish()
    }
}
