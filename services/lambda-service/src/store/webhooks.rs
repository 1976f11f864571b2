//! `webhooks`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{FunctionId, WebhookId, contract::WebhookItem};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Store, StoreError, again};

/// A webhook to be added.
#[derive(Debug)]
pub struct NewWebhook {
    /// The function it calls.
    pub function_id: FunctionId,
    /// A name for people.
    pub name: String,
    /// Where it is received, below `/webhooks/`.
    pub path: String,
    /// The key of its signatures.
    pub secret: String,
    /// The header that has the signature.
    pub signature_header: String,
    /// Metadata that each of its events gets.
    pub headers: BTreeMap<String, String>,
}

type Row =
    (Uuid, Uuid, String, String, String, String, bool, Json<BTreeMap<String, String>>, DateTime<Utc>, DateTime<Utc>);

impl Store {
    /// Adds a webhook.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFunction`], [`StoreError::Taken`] when another has its path, and the others.
    pub async fn insert_webhook(&self, webhook: NewWebhook) -> Result<WebhookItem, StoreError> {
        let id = WebhookId::generate();
        let (enabled, created_at, updated_at): (bool, DateTime<Utc>, DateTime<Utc>) = sqlx::query_as(
            "INSERT INTO webhooks (id, function_id, name, path, secret, signature_header, headers) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING enabled, created_at, updated_at",
        )
        .bind(id.as_uuid())
        .bind(webhook.function_id.as_uuid())
        .bind(&webhook.name)
        .bind(&webhook.path)
        .bind(&webhook.secret)
        .bind(&webhook.signature_header)
        .bind(Json(&webhook.headers))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::of_insert)?;
        Ok(WebhookItem {
            id,
            function_id: webhook.function_id,
            name: webhook.name,
            path: webhook.path,
            secret: webhook.secret,
            signature_header: webhook.signature_header,
            enabled,
            headers: webhook.headers,
            created_at,
            updated_at,
        })
    }

    /// The enabled webhook at `path` (without a leading slash); it may have been created with one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn webhook_at(&self, path: &str) -> Result<Option<WebhookItem>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, function_id, name, path, secret, signature_header, enabled, headers, created_at, updated_at \
             FROM webhooks WHERE enabled AND path IN ($1, '/' || $1) ORDER BY path LIMIT 1",
        )
        .bind(path)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::from_sqlx)?;
        let item = |row: Row| {
            let (id, function_id, name, path, secret, signature_header, enabled, headers, created_at, updated_at) = row;
            WebhookItem {
                id: id.into(),
                function_id: function_id.into(),
                name,
                path,
                secret,
                signature_header,
                enabled,
                headers: headers.0,
                created_at,
                updated_at,
            }
        };
        Ok(row.map(item))
    }

    /// Deletes a webhook; false when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        let delete =
            || async { sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id.as_uuid()).execute(&self.pool).await };
        again(delete).await.map(|done| done.rows_affected() > 0).map_err(StoreError::from_sqlx)
    }
}
