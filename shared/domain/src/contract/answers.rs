//! What the function routes answer with.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ExecutionId, ExecutionStatus, FunctionId};

/// 201 of `POST /api/v1/functions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCreated {
    /// Id of the new function.
    pub function_id: FunctionId,
    /// Its unique name.
    pub name: String,
    /// Its runtime's name.
    pub runtime: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// One line of the list of functions: the same fields as [`FunctionCreated`].
pub type FunctionSummary = FunctionCreated;

/// 200 of `GET /api/v1/functions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionList {
    /// Newest first, at most [`super::FUNCTION_LIST_LIMIT`].
    pub functions: Vec<FunctionSummary>,
    /// How many are listed here.
    pub count: usize,
}

/// 200 of `GET /api/v1/functions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionDetail {
    /// Id of the function.
    pub function_id: FunctionId,
    /// Its unique name.
    pub name: String,
    /// Its runtime's name.
    pub runtime: String,
    /// Name of the handler.
    pub handler: String,
    /// Timeout of a call, in seconds.
    pub timeout: i32,
    /// Memory of a call, in MB.
    pub memory: i64,
    /// Environment variables of a call.
    pub environment: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its row last changed.
    pub updated_at: DateTime<Utc>,
}

/// 200 of `POST /api/v1/functions/{id}/invoke`, whatever became of the function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InvokeResponse {
    /// Id of the execution.
    pub execution_id: ExecutionId,
    /// How it ended.
    pub status: ExecutionStatus,
    /// The JSON that the handler returned, byte for byte; left out when it returned nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// What the function printed; left out when it printed nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logs: String,
    /// Wall time of the call, in milliseconds.
    pub duration_ms: i64,
    /// Memory used, in bytes.
    pub memory_used_bytes: i64,
    /// Why it failed; left out when it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// One execution in `GET /api/v1/functions/{id}/executions`, with the keys the monolith always had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecutionItem {
    /// Id of the execution.
    #[serde(rename = "ID")]
    pub id: ExecutionId,
    /// Id of the function.
    #[serde(rename = "FunctionID")]
    pub function_id: FunctionId,
    /// How it ended.
    pub status: ExecutionStatus,
    /// Always `null`: events are not kept.
    pub input: Option<serde_json::Value>,
    /// Always `null`: results are not kept.
    pub output: Option<serde_json::Value>,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// Whether the call found something warm.
    pub is_warm_start: bool,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub completed_at: DateTime<Utc>,
    /// How long it took, in nanoseconds (the database keeps whole milliseconds).
    pub duration: i64,
    /// Memory used, in bytes.
    pub memory_used: i64,
}

/// 200 of `GET /api/v1/functions/{id}/executions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionList {
    /// Newest first, at most [`super::EXECUTION_LIST_LIMIT`].
    pub executions: Vec<ExecutionItem>,
    /// How many are listed here.
    pub count: usize,
}

impl ExecutionItem {
    /// An item from what the database keeps: the row is dated by the start, and the duration gives
    /// the end.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one per column of the row")]
    pub fn from_row(
        id: ExecutionId,
        function_id: FunctionId,
        status: ExecutionStatus,
        is_warm_start: bool,
        duration_ms: i64,
        memory_used_bytes: i64,
        error_message: Option<String>,
        created_at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            function_id,
            status,
            input: None,
            output: None,
            error: error_message.unwrap_or_default(),
            is_warm_start,
            started_at: created_at,
            completed_at: created_at
                .checked_add_signed(chrono::TimeDelta::milliseconds(duration_ms))
                .unwrap_or(created_at),
            duration: duration_ms.saturating_mul(1_000_000),
            memory_used: memory_used_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_of_an_invocation_are_left_out() {
        let answer = InvokeResponse {
            execution_id: "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f".parse().expect("an id"),
            status: ExecutionStatus::Success,
            output: None,
            logs: String::new(),
            duration_ms: 3,
            memory_used_bytes: 134_217_728,
            error: String::new(),
        };
        assert_eq!(
            serde_json::to_string(&answer).expect("plain data"),
            r#"{"execution_id":"018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f","status":"success","duration_ms":3,"memory_used_bytes":134217728}"#
        );
    }

    #[test]
    fn executions_keep_the_keys_clients_know() {
        let id = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";
        let item = ExecutionItem::from_row(
            id.parse().expect("an id"),
            id.parse().expect("an id"),
            ExecutionStatus::Failed,
            true,
            1_500,
            42,
            Some("ValueError: no".into()),
            DateTime::from_timestamp(1_700_000_000, 0).expect("in range"),
        );
        assert_eq!(
            serde_json::to_value(&item).expect("plain data"),
            serde_json::json!({
                "ID": id, "FunctionID": id, "Status": "failed", "Input": null, "Output": null,
                "Error": "ValueError: no", "IsWarmStart": true, "StartedAt": "2023-11-14T22:13:20Z",
                "CompletedAt": "2023-11-14T22:13:21.500Z", "Duration": 1_500_000_000_i64, "MemoryUsed": 42
            })
        );
    }
}
