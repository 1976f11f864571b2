//! What a worker is started with, whichever executor starts it.

use std::sync::Arc;

use runtimes::{Protocol, RuntimeSpec, RuntimesConfig};
use sandbox::{Code, FunctionCode, Launch};

use super::StartError;
use crate::{
    code::{CodeStore, PackageLease, StoredCode},
    function::Function,
};

/// Where functions' code and runtimes are looked up.
#[derive(Clone)]
pub struct Assembly {
    code: Arc<CodeStore>,
    runtimes: RuntimesConfig,
}

/// A function with all that its worker needs.
pub(super) struct Assembled {
    pub(super) code: FunctionCode,
    pub(super) image: Option<String>,
    pub(super) package: Option<PackageLease>,
}

impl Assembly {
    /// From these.
    #[must_use]
    pub fn new(code: Arc<CodeStore>, runtimes: RuntimesConfig) -> Self {
        Self { code, runtimes }
    }

    /// Looks up what the function's row names.
    pub(super) async fn of(&self, function: &Function) -> Result<Assembled, StartError> {
        let runtime = self.runtimes.find(&function.runtime);
        let runtime = runtime.map_err(|error| at_fault(error.to_string()))?;
        let (code, image, package) = match self.code.get(&function.code_key).await? {
            StoredCode::Source(_) if runtime.protocol != Protocol::BuiltIn => {
                return Err(at_fault(format!("functions of the runtime {} come as packages", function.runtime)));
            }
            StoredCode::Source(source) => (Code::Source(source), None, None),
            StoredCode::Package(package) => (Code::Folder(package.folder()), None, Some(package)),
            StoredCode::Image(image) => (Code::InPlace, Some(image), None),
        };
        let image = image.or_else(|| runtime.image.clone());
        Ok(Assembled { code: code_of(function, runtime, code), image, package })
    }
}

fn code_of(function: &Function, runtime: RuntimeSpec, code: Code) -> FunctionCode {
    FunctionCode {
        function_id: function.id.to_string(),
        function_name: function.name.clone(),
        language: runtime.language,
        launch: launch(runtime),
        code,
        handler: function.handler.clone(),
        environment: function.environment.clone(),
        memory_bytes: function.memory_bytes(),
    }
}

/// The function cannot run, whatever the machine.
pub(super) fn at_fault(error: String) -> StartError {
    StartError::Function { error, logs: String::new() }
}

fn launch(runtime: RuntimeSpec) -> Launch {
    Launch {
        interpreter: runtime.interpreter.map(Into::into),
        protocol: match runtime.protocol {
            Protocol::BuiltIn => sandbox::Protocol::Frames,
            Protocol::RuntimeApi { command } => sandbox::Protocol::RuntimeApi { command: command.into() },
        },
    }
}
