use std::path::PathBuf;
use std::sync::Arc;

use crate::servers::{SharedS3, shared_s3};
use crate::{background, unique_name};

/// A bucket of a test's own, removed with this value.
pub struct TestBucket {
    /// The server's base URL.
    pub endpoint: String,
    /// The bucket's name.
    pub bucket: String,
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    folder: PathBuf,
    /// Keeps a server of this process alive.
    _server: Arc<SharedS3>,
}

/// An empty bucket of the test's own on the shared server.
pub async fn s3() -> TestBucket {
    background::run(async {
        let server = shared_s3().await;
        let bucket = unique_name("test").replace('_', "-");
        // The server keeps a bucket as a folder, so it needs no signed request to make one.
        let folder = server.folder.join(&bucket);
        std::fs::create_dir(&folder).expect("the shared server's folder is there");
        TestBucket {
            endpoint: server.endpoint.clone(),
            bucket,
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
            folder,
            _server: server,
        }
    })
    .await
}

impl std::fmt::Debug for TestBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestBucket")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl Drop for TestBucket {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
