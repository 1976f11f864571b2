//! `build_registrations`: which build a function is.

use database::{UNIQUE_VIOLATION, has_code};
use domain::{FunctionId, JobId};
use sqlx::{Postgres, postgres::PgArguments, query::Query, types::Json};

use super::{Store, StoreError};
use crate::function::Function;

/// Which build a function comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Counts the builds of the function.
    pub version: i64,
    /// The build.
    pub job_id: JobId,
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The function is this build now.
    Now,
    /// It was, or is a later one.
    Before,
}

impl Store {
    /// Makes a function what a build made of it, unless a later build was there first.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] when another function has the name, and the others.
    pub async fn register_function(
        &self,
        function: &Function,
        registration: Registration,
    ) -> Result<Registered, StoreError> {
        let failed = |error: sqlx::Error| {
            if has_code(&error, UNIQUE_VIOLATION) {
                StoreError::NameTaken(function.name.clone())
            } else {
                StoreError::from_sqlx(error)
            }
        };
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        // Its row's lock puts messages about one function in an order.
        let raised = sqlx::query(
            "INSERT INTO build_registrations AS r (function_id, version, job_id) VALUES ($1, $2, $3) \
             ON CONFLICT (function_id) DO UPDATE SET version = excluded.version, job_id = excluded.job_id, \
             registered_at = now() WHERE r.version < excluded.version",
        )
        .bind(function.id.as_uuid())
        .bind(registration.version)
        .bind(registration.job_id.as_uuid())
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::from_sqlx)?;
        if raised.rows_affected() == 0 {
            return Ok(Registered::Before);
        }
        // Not `ON CONFLICT`: a view knows none.
        let updated = bound(UPDATE, function).execute(&mut *transaction).await.map_err(failed)?;
        if updated.rows_affected() == 0 {
            let insert = bound(INSERT, function).bind(function.created_at);
            insert.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(Registered::Now)
    }

    /// Takes back what the first build of a function registered, or was to: it came to nothing. A message that says
    /// otherwise comes too late from now on. True: there was such a function.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn withdraw_function(&self, function: FunctionId, job: JobId) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::from_sqlx)?;
        let noted = sqlx::query(
            "INSERT INTO build_registrations AS r (function_id, version, job_id) VALUES ($1, 1, $2) \
             ON CONFLICT (function_id) DO UPDATE SET registered_at = now() \
             WHERE r.version = excluded.version AND r.job_id = excluded.job_id",
        )
        .bind(function.as_uuid())
        .bind(job.as_uuid())
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::from_sqlx)?;
        if noted.rows_affected() == 0 {
            return Ok(false);
        }
        let deleted = sqlx::query("DELETE FROM functions WHERE id = $1").bind(function.as_uuid());
        let deleted = deleted.execute(&mut *transaction).await.map_err(StoreError::from_sqlx)?;
        transaction.commit().await.map_err(StoreError::from_sqlx)?;
        Ok(deleted.rows_affected() > 0)
    }
}

const UPDATE: &str = "UPDATE functions SET name = $2, runtime = $3, handler = $4, code_key = $5, \
    timeout_seconds = $6, memory_mb = $7, environment = $8 WHERE id = $1";
const INSERT: &str = "INSERT INTO functions (id, name, runtime, handler, code_key, timeout_seconds, memory_mb, \
    environment, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)";

fn bound<'q>(statement: &'static str, function: &'q Function) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(function.id.as_uuid())
        .bind(&function.name)
        .bind(function.runtime.as_str())
        .bind(&function.handler)
        .bind(&function.code_key)
        .bind(function.timeout_s)
        .bind(function.memory_mb)
        .bind(Json(&function.environment))
}
