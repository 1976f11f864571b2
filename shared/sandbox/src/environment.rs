//! The environment variables that AWS Lambda sets for a runtime.

use std::collections::BTreeMap;

use crate::{FunctionCode, TASK_ROOT, runtime_api::ADDRESS};

/// Where AWS keeps its own runtimes. There is nothing here, which programs that look for it can tell.
const RUNTIME_DIR: &str = "/var/runtime";

/// The function's own variables and those of the platform, which win.
#[must_use]
pub fn of_runtime_api(function: &FunctionCode) -> BTreeMap<String, String> {
    let mut variables = function.environment.clone();
    let name = &function.function_name;
    for (key, value) in [
        ("AWS_LAMBDA_RUNTIME_API", ADDRESS.to_string()),
        ("_HANDLER", function.handler.clone()),
        ("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned()),
        ("LAMBDA_RUNTIME_DIR", RUNTIME_DIR.to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb().to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", format!("[$LATEST]{}", function.function_id)),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ] {
        variables.insert(key.to_owned(), value);
    }
    variables
}
