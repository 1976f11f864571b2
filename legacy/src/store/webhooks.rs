//! The table `webhooks`.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use domain::{FunctionId, WebhookId, contract::WebhookItem};
use sqlx::types::Json;

use super::{Store, StoreError, failed, parsed, utc};

/// A webhook to be added.
#[derive(Debug)]
pub(crate) struct NewWebhook {
    pub(crate) function_id: FunctionId,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) secret: String,
    pub(crate) signature_header: String,
    pub(crate) headers: BTreeMap<String, String>,
}

type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    bool,
    Json<BTreeMap<String, String>>,
    NaiveDateTime,
    NaiveDateTime,
);

impl Store {
    pub(crate) async fn insert_webhook(&self, webhook: NewWebhook) -> Result<WebhookItem, StoreError> {
        let id = WebhookId::generate();
        let (enabled, created_at, updated_at): (bool, NaiveDateTime, NaiveDateTime) = sqlx::query_as(
            "insert into webhooks (id, function_id, name, path, secret, signature_header, headers)
             values ($1, $2, $3, $4, $5, $6, $7)
             returning enabled, created_at, updated_at",
        )
        .bind(id.to_string())
        .bind(webhook.function_id.to_string())
        .bind(&webhook.name)
        .bind(&webhook.path)
        .bind(&webhook.secret)
        .bind(&webhook.signature_header)
        .bind(Json(&webhook.headers))
        .fetch_one(&self.pool)
        .await
        .map_err(failed("adding a webhook"))?;
        Ok(WebhookItem {
            id,
            function_id: webhook.function_id,
            name: webhook.name,
            path: webhook.path,
            secret: webhook.secret,
            signature_header: webhook.signature_header,
            enabled,
            headers: webhook.headers,
            created_at: utc(created_at),
            updated_at: utc(updated_at),
        })
    }

    /// The enabled webhook at `path` (without a leading slash); it may have been created with one.
    pub(crate) async fn webhook_at(&self, path: &str) -> Result<Option<WebhookItem>, StoreError> {
        const OPERATION: &str = "finding a webhook";
        let row: Option<Row> = sqlx::query_as(
            "select id, function_id, name, path, secret, signature_header, enabled, headers, created_at, updated_at
             from webhooks where enabled and path in ($1, '/' || $1)
             order by path limit 1",
        )
        .bind(path)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed(OPERATION))?;
        row.map(|(id, function_id, name, path, secret, signature_header, enabled, headers, created_at, updated_at)| {
            Ok(WebhookItem {
                id: parsed(OPERATION, "webhook id", &id)?,
                function_id: parsed(OPERATION, "function id", &function_id)?,
                name,
                path,
                secret,
                signature_header,
                enabled,
                headers: headers.0,
                created_at: utc(created_at),
                updated_at: utc(updated_at),
            })
        })
        .transpose()
    }

    /// `false` when there is no such webhook.
    pub(crate) async fn delete_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        let done = sqlx::query("delete from webhooks where id = $1")
            .bind(id.to_string())
            .execute(&self.pool)
            .await
            .map_err(failed("deleting a webhook"))?;
        Ok(done.rows_affected() > 0)
    }
}
