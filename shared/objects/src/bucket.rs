//! The few operations both sides need.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{DisplayErrorContext, SdkError},
    operation::{
        create_bucket::CreateBucketError, get_object::GetObjectError, head_bucket::HeadBucketError,
        head_object::HeadObjectError,
    },
    primitives::ByteStream,
};
use bytes::Bytes;

use crate::ObjectsConfig;

/// An operation on the bucket that failed for good, after its retries.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {bucket}/{key}: {cause}")]
pub struct ObjectsError {
    /// What was tried, such as `read`.
    pub operation: &'static str,
    /// The bucket.
    pub bucket: String,
    /// The object; empty when it was about the bucket itself.
    pub key: String,
    /// What the server or the network said.
    pub cause: String,
}

/// A bucket; cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    pub(crate) client: Client,
    pub(crate) bucket: String,
}

impl Objects {
    /// A client for the bucket. Nothing is sent until the first operation, so it can be made
    /// before the server is there.
    #[must_use]
    pub fn connect(config: &ObjectsConfig) -> Self {
        let credentials = Credentials::new(&config.access_key, config.secret_key.expose(), None, None, "configuration");
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(config.attempt_timeout.get())
            .operation_timeout(config.operation_timeout.get())
            .build();
        let mut settings = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(config.path_style)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(config.attempts));
        if !config.endpoint.is_empty() {
            settings = settings.endpoint_url(&config.endpoint);
        }
        Self { client: Client::from_conf(settings.build()), bucket: config.bucket.clone() }
    }

    /// Writes an object, over an older one of the same key.
    ///
    /// # Errors
    /// When the server does not confirm it in time.
    pub async fn put(&self, key: &str, content: Bytes) -> Result<(), ObjectsError> {
        let body = ByteStream::from(content);
        let sent = self.client.put_object().bucket(&self.bucket).key(key).body(body).send().await;
        sent.map(drop).map_err(|error| self.failed("write", key, &error))
    }

    /// Reads an object; `None` when there is none of this key.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses for another reason.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectsError> {
        let object = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => object,
            Err(SdkError::ServiceError(error)) if matches!(error.err(), GetObjectError::NoSuchKey(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(self.failed("read", key, &error)),
        };
        let content = object.body.collect().await.map_err(|error| self.failed("read", key, &error))?;
        Ok(Some(content.into_bytes()))
    }

    /// Deletes an object. It is no error when there is none.
    ///
    /// # Errors
    /// When the server does not confirm it in time.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        let sent = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        sent.map(drop).map_err(|error| self.failed("delete", key, &error))
    }

    /// Makes the bucket where there is none yet. Two services may call it at once.
    ///
    /// # Errors
    /// When the server does not answer in time or refuses.
    pub async fn ensure_bucket(&self) -> Result<(), ObjectsError> {
        match self.client.head_bucket().bucket(&self.bucket).send().await {
            Ok(_) => return Ok(()),
            Err(SdkError::ServiceError(error)) if is_missing(error.err(), error.raw().status().as_u16()) => {}
            Err(error) => return Err(self.failed("find", "", &error)),
        }
        match self.client.create_bucket().bucket(&self.bucket).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error))
                if matches!(
                    error.err(),
                    CreateBucketError::BucketAlreadyOwnedByYou(_) | CreateBucketError::BucketAlreadyExists(_)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(self.failed("make", "", &error)),
        }
    }

    pub(crate) fn failed<E: std::error::Error>(&self, operation: &'static str, key: &str, error: &E) -> ObjectsError {
        ObjectsError {
            operation,
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            // The plain text of an SDK error says "service error" and no more.
            cause: DisplayErrorContext(error).to_string(),
        }
    }
}

/// Servers answer a HEAD without a body, so the code may be missing where the status says it.
fn is_missing(error: &HeadBucketError, status: u16) -> bool {
    matches!(error, HeadBucketError::NotFound(_)) || status == 404
}

pub(crate) fn is_missing_object(error: &SdkError<HeadObjectError>) -> bool {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    error.as_service_error().is_some_and(HeadObjectError::is_not_found) || status == Some(404)
}
