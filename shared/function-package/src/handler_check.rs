//! Has the runtime's own interpreter read the file that a handler names, inside the sandbox, without running it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use domain::Language;
use sandbox::{Code, FunctionCode, FunctionResult, Invocation, Launch, Sandbox, SandboxError, TASK_ROOT};
use serde::Deserialize;

use crate::{EntryPoint, Problem, Refusal, RuntimeFamily, error::shown};

/// For the parser alone; a file that needs more is refused.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why a handler could not be said to be good.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The package is at fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The machine is.
    #[error("the handler could not be checked")]
    Sandbox(#[from] SandboxError),
}

/// What the checkers answer.
#[derive(Debug, Deserialize)]
struct Finding {
    /// Why the file cannot be parsed.
    syntax: Option<String>,
    /// False only when the name cannot be there.
    defined: bool,
}

/// Checks that the file of the entry point can be parsed, and that it defines the function, as far as that can be
/// seen without running it. `folder` is the unpacked package; the users that workers run as must be able to read it.
/// It is parsed by `interpreter`, or else by the one that the sandbox has for the language.
///
/// - **Python**: `ast.parse`. The name is defined when the module's own level binds it anywhere, also in branches:
///   by `def`, `class`, an assignment or an import. After `from … import *`, or where a name could come by
///   `globals()`, `setattr`, `exec` or a module's `__getattr__`, it may be.
/// - **Node**: `node --check`, as CommonJS or as an ECMAScript module as its ending and `package.json` say. JavaScript
///   can export a name in too many ways to tell them all, so only a file in which the name does not occur at all,
///   and which passes nothing on from elsewhere, is refused.
/// - **provided**: nothing more than that `bootstrap` is there and executable, which
///   [`find_entry_point`](crate::find_entry_point) has seen.
///
/// What is not checked: whether imports are there, whether the name is a function, and anything it does.
///
/// # Errors
/// See [`CheckError`].
pub async fn check_entry_point(
    sandbox: &Sandbox,
    folder: &Path,
    family: RuntimeFamily,
    interpreter: Option<&Path>,
    entry: &EntryPoint,
) -> Result<(), CheckError> {
    let (language, source) = match family {
        RuntimeFamily::Python => (Language::Python, include_str!("checkers/check.py")),
        RuntimeFamily::Node => (Language::Node, include_str!("checkers/check.js")),
        RuntimeFamily::Provided => return Ok(()),
    };
    let Some(function) = &entry.function else { return Ok(()) };
    let refuse = |problem| CheckError::from(Refusal::of_entry(entry.file.as_bytes(), problem));
    match run(sandbox, checker(language, source, interpreter, folder), &entry.file, function).await? {
        Err(error) => Err(refuse(Problem::HandlerUnreadable { error: shown(error.as_bytes()) })),
        Ok(Finding { syntax: Some(error), .. }) => {
            Err(refuse(Problem::HandlerSyntax { error: shown(error.as_bytes()) }))
        }
        Ok(Finding { defined: false, .. }) => Err(refuse(Problem::HandlerUndefined { name: function.clone() })),
        Ok(Finding { defined: true, .. }) => Ok(()),
    }
}

/// The checker's own code, with the package beside it.
fn checker(language: Language, source: &'static str, interpreter: Option<&Path>, folder: &Path) -> FunctionCode {
    FunctionCode {
        function_id: "handler-check".to_owned(),
        function_name: "handler-check".to_owned(),
        language,
        launch: Launch { interpreter: interpreter.map(Into::into), ..Launch::default() },
        code: Code::Inspector { source, folder: folder.into() },
        handler: "handler".to_owned(),
        environment: BTreeMap::new(),
        memory_bytes: MEMORY_BYTES,
    }
}

/// The checker's finding, or how the interpreter failed over the file.
async fn run(
    sandbox: &Sandbox,
    checker: FunctionCode,
    file: &str,
    function: &str,
) -> Result<Result<Finding, String>, SandboxError> {
    let event = serde_json::json!({ "file": format!("{TASK_ROOT}/{file}"), "name": function });
    let call =
        Invocation { execution_id: "handler-check".to_owned(), event: event.to_string().into(), timeout: TIMEOUT };
    let outcome = sandbox.call_once(&checker, &call).await?;
    Ok(match outcome.result {
        FunctionResult::Success { output } => serde_json::from_str(output.get()).map_err(|error| error.to_string()),
        FunctionResult::Failed { error } | FunctionResult::TimedOut { error } => Err(error),
    })
}
