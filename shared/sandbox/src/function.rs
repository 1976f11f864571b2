//! What a worker is asked to run.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::Language;

/// A function's code and the settings that its worker starts with.
#[derive(Clone)]
pub struct FunctionCode {
    /// The function's id, for its context.
    pub function_id: String,
    /// The function's name, for its context.
    pub function_name: String,
    /// What the source is written in.
    pub language: Language,
    /// The source text.
    pub source: Arc<str>,
    /// The handler's name; of a dotted name the last part is the function.
    pub handler: String,
    /// Environment variables that the code sees, and no others but `PATH`, `HOME`, `TMPDIR` and `LANG`.
    pub environment: BTreeMap<String, String>,
    /// How much memory the function may use; what its interpreter needs comes on top.
    pub memory_bytes: u64,
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

/// Neither the source nor the environment's values belong in a log.
impl fmt::Debug for FunctionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCode")
            .field("function_id", &self.function_id)
            .field("function_name", &self.function_name)
            .field("language", &self.language)
            .field("source_bytes", &self.source.len())
            .field("handler", &self.handler)
            .field("environment", &self.environment.keys())
            .field("memory_bytes", &self.memory_bytes)
            .finish()
    }
}
