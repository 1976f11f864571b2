//! `functions`.

use std::collections::BTreeMap;

use database::{UNIQUE_VIOLATION, has_code};
use domain::{FunctionId, Runtime, RuntimeName, contract::FUNCTION_LIST_LIMIT};
use function_package::Digest;
use sqlx::{Row, postgres::PgRow, types::Json};

use super::{Store, StoreError, again};
use crate::function::Function;

impl Store {
    /// Inserts a function.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] and the others.
    pub async fn insert_function(&self, function: &Function) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO functions (id, name, runtime, handler, code_key, timeout_seconds, memory_mb, environment, \
             created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(function.id.as_uuid())
        .bind(&function.name)
        .bind(function.runtime.as_str())
        .bind(&function.handler)
        .bind(&function.code_key)
        .bind(function.timeout_s)
        .bind(function.memory_mb)
        .bind(Json(&function.environment))
        .bind(function.created_at)
        .bind(function.updated_at)
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(|error| {
            if has_code(&error, UNIQUE_VIOLATION) {
                StoreError::NameTaken(function.name.clone())
            } else {
                StoreError::from_sqlx(error)
            }
        })
    }

    /// The newest functions, at most [`FUNCTION_LIST_LIMIT`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list_functions(&self) -> Result<Vec<Function>, StoreError> {
        sqlx::query(
            "SELECT id, name, runtime, handler, code_key, timeout_seconds, memory_mb, environment, created_at, \
             updated_at FROM functions ORDER BY created_at DESC, id DESC LIMIT $1",
        )
        .bind(FUNCTION_LIST_LIMIT)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?
        .iter()
        .map(read)
        .collect()
    }

    /// The newest functions whose runtime is none of these or whose code is a package or an image, at most so many, and how many
    /// there are in all.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn functions_only_here(
        &self,
        runtimes: &[Runtime],
        limit: i64,
    ) -> Result<(Vec<FunctionId>, i64), StoreError> {
        let known: Vec<&str> = runtimes.iter().map(|runtime| runtime.as_str()).collect();
        let rows = sqlx::query(
            "SELECT id, count(*) OVER () FROM functions WHERE runtime <> ALL ($1) OR starts_with(code_key, $3) OR starts_with(code_key, 'images/') \
             ORDER BY created_at DESC, id DESC LIMIT $2",
        )
        .bind(known)
        .bind(limit)
        .bind(Digest::OBJECT_KEY_PREFIX)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get(1)).map_err(StoreError::from_sqlx)?;
        let ids = rows.iter().map(|row| row.try_get::<uuid::Uuid, _>(0).map(FunctionId::from));
        Ok((ids.collect::<Result<_, _>>().map_err(StoreError::from_sqlx)?, count))
    }

    /// One function, as it is now: another service may have changed it a moment ago.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn function(&self, id: FunctionId) -> Result<Option<Function>, StoreError> {
        sqlx::query(
            "SELECT id, name, runtime, handler, code_key, timeout_seconds, memory_mb, environment, created_at, \
             updated_at FROM functions WHERE id = $1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?
        .map(|row| read(&row))
        .transpose()
    }

    /// The function of this name, as it is now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn function_named(&self, name: &str) -> Result<Option<Function>, StoreError> {
        sqlx::query(
            "SELECT id, name, runtime, handler, code_key, timeout_seconds, memory_mb, environment, created_at, \
             updated_at FROM functions WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?
        .map(|row| read(&row))
        .transpose()
    }

    /// Deletes a function and, by the foreign key, its history. False: there was none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_function(&self, id: FunctionId) -> Result<bool, StoreError> {
        let delete = || async {
            sqlx::query("DELETE FROM functions WHERE id = $1").bind(id.as_uuid()).execute(&self.pool).await
        };
        again(delete).await.map(|done| done.rows_affected() > 0).map_err(StoreError::from_sqlx)
    }
}

fn read(row: &PgRow) -> Result<Function, StoreError> {
    fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::Unreadable(Box::new(error))
    }
    let runtime: RuntimeName = row.try_get::<&str, _>("runtime").map_err(unreadable)?.parse().map_err(unreadable)?;
    // The monolith's column may be null.
    let environment: Option<Json<BTreeMap<String, String>>> = row.try_get("environment").map_err(unreadable)?;
    Ok(Function {
        id: FunctionId::from(row.try_get::<uuid::Uuid, _>("id").map_err(unreadable)?),
        name: row.try_get("name").map_err(unreadable)?,
        runtime,
        handler: row.try_get("handler").map_err(unreadable)?,
        code_key: row.try_get("code_key").map_err(unreadable)?,
        timeout_s: row.try_get("timeout_seconds").map_err(unreadable)?,
        memory_mb: row.try_get("memory_mb").map_err(unreadable)?,
        environment: environment.map(|Json(environment)| environment).unwrap_or_default(),
        created_at: row.try_get("created_at").map_err(unreadable)?,
        updated_at: row.try_get("updated_at").map_err(unreadable)?,
    })
}
