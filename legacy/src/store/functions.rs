//! The table `functions`.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{
    FunctionId, Runtime,
    contract::{CreateFunction, FUNCTION_LIST_LIMIT, FunctionDetail, FunctionSummary},
};
use sqlx::types::Json;

use super::{Store, StoreError, failed, parsed, utc};

/// What the database keeps of a function.
#[derive(Debug, Clone)]
pub(crate) struct StoredFunction {
    pub(crate) id: FunctionId,
    pub(crate) name: String,
    pub(crate) runtime: Runtime,
    pub(crate) handler: String,
    pub(crate) code_key: String,
    pub(crate) timeout_s: i32,
    pub(crate) memory_mb: i64,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

type Row = (String, String, String, String, i32, i64, Json<BTreeMap<String, String>>, NaiveDateTime, NaiveDateTime);

impl Store {
    /// Adds a function whose code is stored under `code_key` already.
    pub(crate) async fn insert_function(
        &self,
        id: FunctionId,
        function: &CreateFunction,
        code_key: &str,
    ) -> Result<DateTime<Utc>, StoreError> {
        let (created_at,): (NaiveDateTime,) = sqlx::query_as(
            "insert into functions
                 (id, name, runtime, handler, code_key, timeout_seconds, memory_mb, environment)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             returning created_at",
        )
        .bind(id.to_string())
        .bind(&function.name)
        .bind(function.runtime.as_str())
        .bind(&function.handler)
        .bind(code_key)
        .bind(i32::try_from(function.timeout_s).expect("checked to be at most 900"))
        .bind(i64::from(function.memory_mb))
        .bind(Json(&function.environment))
        .fetch_one(&self.pool)
        .await
        .map_err(failed("adding a function"))?;
        Ok(utc(created_at))
    }

    /// The newest functions, at most [`FUNCTION_LIST_LIMIT`].
    pub(crate) async fn newest_functions(&self) -> Result<Vec<FunctionSummary>, StoreError> {
        const OPERATION: &str = "listing functions";
        let rows: Vec<(String, String, String, NaiveDateTime)> = sqlx::query_as(
            "select id, name, runtime, created_at from functions order by created_at desc, id desc limit $1",
        )
        .bind(FUNCTION_LIST_LIMIT)
        .fetch_all(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        rows.into_iter()
            .map(|(id, name, runtime, created_at)| {
                let function_id = parsed(OPERATION, "function id", &id)?;
                Ok(FunctionSummary { function_id, name, runtime, created_at: utc(created_at) })
            })
            .collect()
    }

    pub(crate) async fn function(&self, id: FunctionId) -> Result<Option<StoredFunction>, StoreError> {
        const OPERATION: &str = "reading a function";
        let row: Option<Row> = sqlx::query_as(
            "select name, runtime, handler, code_key, timeout_seconds, memory_mb, environment, created_at, updated_at
             from functions where id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        let Some((name, runtime, handler, code_key, timeout_s, memory_mb, environment, created_at, updated_at)) = row
        else {
            return Ok(None);
        };
        Ok(Some(StoredFunction {
            id,
            name,
            runtime: parsed(OPERATION, "runtime", &runtime)?,
            handler,
            code_key,
            timeout_s,
            memory_mb,
            environment: environment.0,
            created_at: utc(created_at),
            updated_at: utc(updated_at),
        }))
    }

    /// Deletes a function with everything that hangs on it; `false` when there is none.
    ///
    /// Its code stays: another function with the same source shares it.
    pub(crate) async fn delete_function(&self, id: FunctionId) -> Result<bool, StoreError> {
        let done = sqlx::query("delete from functions where id = $1")
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed("deleting a function"))?;
        Ok(done.rows_affected() > 0)
    }
}

impl From<StoredFunction> for FunctionDetail {
    fn from(function: StoredFunction) -> Self {
        Self {
            function_id: function.id,
            name: function.name,
            runtime: function.runtime.as_str().to_owned(),
            handler: function.handler,
            timeout: function.timeout_s,
            memory: function.memory_mb,
            environment: function.environment,
            created_at: function.created_at,
            updated_at: function.updated_at,
        }
    }
}
