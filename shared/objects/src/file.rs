//! Objects that are too large to be held in memory: they go to and from files.

use std::{io, path::Path};

use aws_sdk_s3::{
    operation::get_object::GetObjectError,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
};

use crate::{Objects, ObjectsError, bucket::is_missing_object};

/// Bytes of one part, which is all of a file that is held in memory: above the 5 MiB that S3 demands, and
/// with its 10,000 parts enough for 78 GiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

impl Objects {
    /// Writes an object from a file, over an older one of the same key. At most 8 MiB of it are in
    /// memory. The object is there as a whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be read, or the server does not confirm a part in time.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), ObjectsError> {
        let mut file = File::open(path).await.map_err(|error| self.failed("read the file for", key, &error))?;
        let first = self.part(&mut file, key).await?;
        if first.len() < PART_BYTES {
            return self.put(key, first.into()).await;
        }
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let upload = request.send().await.map_err(|error| self.failed("begin", key, &error))?;
        let id = upload.upload_id().unwrap_or_default();
        let sent = match self.put_parts(key, id, first, &mut file).await {
            Ok(parts) => self.complete(key, id, parts).await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(id);
            if let Err(error) = abort.send().await {
                let error = self.failed("give up", key, &error);
                tracing::warn!(%error, "parts of an upload stay until the bucket's own rule removes them");
            }
        }
        sent
    }

    /// Reads an object into a file that is not there yet; false when there is none of this key. Of an
    /// object that is larger than `limit_bytes` no more is read.
    ///
    /// # Errors
    /// When the server does not answer in time or refuses, the object is too large, or the file cannot
    /// be written.
    pub async fn get_file(&self, key: &str, path: &Path, limit_bytes: u64) -> Result<bool, ObjectsError> {
        let mut object = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(false),
            Err(error) => return Err(self.failed("read", key, &error)),
        };
        let write = |error: io::Error| self.failed("write the file of", key, &error);
        let mut file = File::create_new(path).await.map_err(write)?;
        let mut left = limit_bytes;
        while let Some(bytes) = object.body.try_next().await.map_err(|error| self.failed("read", key, &error))? {
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| self.failed("read", key, &io::Error::other("it is larger than it may be")))?;
            file.write_all(&bytes).await.map_err(write)?;
        }
        file.flush().await.map_err(write)?;
        Ok(true)
    }

    /// Whether there is an object of this key.
    ///
    /// # Errors
    /// When the server does not answer in time or refuses.
    pub async fn has(&self, key: &str) -> Result<bool, ObjectsError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) if is_missing_object(&error) => Ok(false),
            Err(error) => Err(self.failed("find", key, &error)),
        }
    }

    /// Up to a part's bytes, fewer only at the end of the file.
    async fn part(&self, file: &mut File, key: &str) -> Result<Vec<u8>, ObjectsError> {
        let mut part = Vec::new();
        let read = file.take(PART_BYTES as u64).read_to_end(&mut part).await;
        read.map(|_| part).map_err(|error| self.failed("read the file for", key, &error))
    }

    async fn put_parts(
        &self,
        key: &str,
        upload: &str,
        first: Vec<u8>,
        file: &mut File,
    ) -> Result<Vec<CompletedPart>, ObjectsError> {
        let (mut part, mut parts) = (first, Vec::new());
        for number in 1.. {
            let is_last = part.len() < PART_BYTES;
            let request = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload).part_number(number);
            let sent = request.body(ByteStream::from(part)).send().await;
            let sent = sent.map_err(|error| self.failed("write a part of", key, &error))?;
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
            part = if is_last { Vec::new() } else { self.part(file, key).await? };
            if part.is_empty() {
                break;
            }
        }
        Ok(parts)
    }

    async fn complete(&self, key: &str, upload: &str, parts: Vec<CompletedPart>) -> Result<(), ObjectsError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        let sent = request.multipart_upload(parts).send().await;
        sent.map(drop).map_err(|error| self.failed("complete", key, &error))
    }
}
