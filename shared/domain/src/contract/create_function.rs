//! `POST /api/v1/functions`: what a client may ask for, and every reason to refuse it.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::ContractError;
use crate::{Runtime, RuntimeName};

/// Handler name when the request names none.
pub const DEFAULT_HANDLER: &str = "handler";
/// Timeout when the request names none, in seconds.
pub const DEFAULT_TIMEOUT_S: u32 = 30;
/// The longest timeout, in seconds: 15 minutes.
pub const MAX_TIMEOUT_S: i64 = 900;
/// Memory when the request names none, in MB.
pub const DEFAULT_MEMORY_MB: u32 = 128;
/// The most memory, in MB.
pub const MAX_MEMORY_MB: i64 = 10_240;
/// The longest name and handler, in characters: what `varchar(255)` holds.
pub const MAX_NAME_CHARS: usize = 255;

/// A request to create a function that passed every check of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateFunction {
    /// Unique name, 1 to [`MAX_NAME_CHARS`] characters.
    pub name: String,
    /// Runtime, one of the contract's.
    pub runtime: Runtime,
    /// Handler name; [`DEFAULT_HANDLER`] when the request named none.
    pub handler: String,
    /// The source text itself (not base64: a quirk of the contract).
    pub code: String,
    /// Timeout of a call, in seconds, 1 to [`MAX_TIMEOUT_S`].
    pub timeout_s: u32,
    /// Memory of a call, in MB, 1 to [`MAX_MEMORY_MB`].
    pub memory_mb: u32,
    /// Environment variables of a call.
    pub environment: BTreeMap<String, String>,
}

/// The body as sent. An empty string or `null` counts as missing, and unknown fields are ignored,
/// as they always were.
#[derive(Deserialize)]
struct Body {
    name: Option<String>,
    runtime: Option<String>,
    handler: Option<String>,
    code: Option<String>,
    timeout: Option<i64>,
    memory: Option<i64>,
    environment: Option<BTreeMap<String, String>>,
}

impl CreateFunction {
    /// Reads and checks the body of a request.
    ///
    /// # Errors
    /// [`ContractError::InvalidRequest`] when it is not such a JSON object or lacks `name`,
    /// `runtime` or `code`; [`ContractError::ValidationFailed`] when a field is out of range;
    /// [`ContractError::InvalidRuntime`] when the runtime is none of the contract's. Checked in
    /// that order, as the monolith does.
    pub fn from_json(body: &[u8]) -> Result<Self, ContractError> {
        let body: Body = serde_json::from_slice(body)
            .map_err(|error| ContractError::InvalidRequest(format!("the body is not a function as JSON: {error}")))?;
        let name = required("name", body.name)?;
        let runtime = required("runtime", body.runtime)?;
        let code = required("code", body.code)?;
        let handler = body.handler.filter(|text| !text.is_empty()).unwrap_or_else(|| DEFAULT_HANDLER.to_owned());
        let environment = body.environment.unwrap_or_default();
        let runtime = runtime.parse::<Runtime>();
        let checked = FunctionSettings::check(name, runtime, handler, body.timeout, body.memory, environment)?;
        let FunctionSettings { name, runtime, handler, timeout_s, memory_mb, environment } = checked;
        Ok(Self { name, runtime, handler, code, timeout_s, memory_mb, environment })
    }
}

/// All of a function but its code, checked. `R` is its runtime: one of the contract's, or a name that a service's
/// settings know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSettings<R = RuntimeName> {
    /// Unique name, 1 to [`MAX_NAME_CHARS`] characters.
    pub name: String,
    /// Runtime.
    pub runtime: R,
    /// The handler to call.
    pub handler: String,
    /// Timeout of a call, in seconds, 1 to [`MAX_TIMEOUT_S`].
    pub timeout_s: u32,
    /// Memory of a call, in MB, 1 to [`MAX_MEMORY_MB`].
    pub memory_mb: u32,
    /// Environment variables of a call.
    pub environment: BTreeMap<String, String>,
}

impl<R> FunctionSettings<R> {
    /// Checks what was asked for; `timeout` (seconds) and `memory` (MB) have the contract's defaults. The runtime was
    /// looked up already, and is judged last.
    ///
    /// # Errors
    /// [`ContractError::ValidationFailed`] when a field is out of range,
    /// [`ContractError::InvalidRuntime`] when there is no such runtime.
    pub fn check<E: fmt::Display>(
        name: String,
        runtime: Result<R, E>,
        handler: String,
        timeout: Option<i64>,
        memory: Option<i64>,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, ContractError> {
        check_text("name", &name, MAX_NAME_CHARS)?;
        check_text("handler", &handler, MAX_NAME_CHARS)?;
        check_environment(&environment)?;
        let timeout_s = in_range("timeout", timeout, DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, "seconds")?;
        let memory_mb = in_range("memory", memory, DEFAULT_MEMORY_MB, MAX_MEMORY_MB, "MB")?;
        let runtime = runtime.map_err(|error| ContractError::InvalidRuntime(error.to_string()))?;
        Ok(Self { name, runtime, handler, timeout_s, memory_mb, environment })
    }
}

fn required(field: &str, value: Option<String>) -> Result<String, ContractError> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| {
        ContractError::InvalidRequest(format!("`{field}` is required; name, runtime and code must be set"))
    })
}

fn check_text(field: &str, text: &str, max_chars: usize) -> Result<(), ContractError> {
    if text.chars().count() > max_chars {
        return Err(ContractError::ValidationFailed(format!("`{field}` is longer than {max_chars} characters")));
    }
    // PostgreSQL's text cannot hold NUL, so it could never be stored.
    if text.contains('\0') {
        return Err(ContractError::ValidationFailed(format!("`{field}` holds a NUL character")));
    }
    Ok(())
}

fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), ContractError> {
    for (name, value) in environment {
        // Neither can stand in a process environment.
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(ContractError::ValidationFailed(format!(
                "`environment` has a variable that cannot be set: `{}`",
                name.escape_debug()
            )));
        }
    }
    Ok(())
}

fn in_range(field: &str, value: Option<i64>, default: u32, max: i64, unit: &str) -> Result<u32, ContractError> {
    let Some(value) = value else { return Ok(default) };
    u32::try_from(value)
        .ok()
        .filter(|in_range| (1..=max).contains(&i64::from(*in_range)))
        .ok_or_else(|| ContractError::ValidationFailed(format!("`{field}` must be 1 to {max} {unit}, not {value}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &serde_json::Value) -> Result<CreateFunction, ContractError> {
        CreateFunction::from_json(body.to_string().as_bytes())
    }

    #[test]
    fn defaults_are_the_contracts() {
        let function = parse(&json!({"name": "f", "runtime": "python3.9", "code": "x"})).expect("valid");
        assert_eq!(
            function,
            CreateFunction {
                name: "f".into(),
                runtime: Runtime::Python39,
                handler: "handler".into(),
                code: "x".into(),
                timeout_s: 30,
                memory_mb: 128,
                environment: BTreeMap::new(),
            }
        );
    }

    #[test]
    fn each_refusal_has_its_code() {
        let base = json!({"name": "f", "runtime": "python3.9", "code": "x"});
        let with = |field: &str, value: serde_json::Value| {
            let mut body = base.clone();
            body[field] = value;
            parse(&body).map_or_else(|error| error.code(), |_| "created")
        };
        let cases = [
            ("name", json!(""), "invalid_request"),
            ("name", json!(null), "invalid_request"),
            ("name", json!(7), "invalid_request"),
            ("runtime", json!(""), "invalid_request"),
            ("code", json!(""), "invalid_request"),
            ("name", json!("n".repeat(255)), "created"),
            ("name", json!("n".repeat(256)), "validation_failed"),
            ("name", json!("a\u{0}b"), "validation_failed"),
            ("timeout", json!(900), "created"),
            ("timeout", json!(901), "validation_failed"),
            ("timeout", json!(0), "validation_failed"),
            ("timeout", json!("30"), "invalid_request"),
            ("memory", json!(10_240), "created"),
            ("memory", json!(10_241), "validation_failed"),
            ("memory", json!(0), "validation_failed"),
            ("memory", json!(-1), "validation_failed"),
            ("memory", json!(4_294_967_297_u64), "validation_failed"),
            ("runtime", json!("cobol"), "invalid_runtime"),
            ("environment", json!({"A=B": "c"}), "validation_failed"),
            ("environment", json!({"A": "c"}), "created"),
            ("environment", json!([]), "invalid_request"),
            ("unknown", json!(1), "created"),
        ];
        for (field, value, expected) in cases {
            assert_eq!(with(field, value.clone()), expected, "{field} = {value}");
        }
        assert_eq!(CreateFunction::from_json(b"{").expect_err("not JSON").status(), 400);
    }
}
