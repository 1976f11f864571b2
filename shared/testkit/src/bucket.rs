use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use local_servers::{PortChoice, generate_credential};
use tokio::net::TcpStream;

use crate::process::Spawned;
use crate::servers::{SharedS3, TestFolder, shared_s3};
use crate::{background, eventually, unique_name};

const START_DEADLINE: Duration = Duration::from_secs(30);

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

impl TestBucket {
    /// The keys of all its objects, in order.
    ///
    /// # Panics
    /// The server's folder cannot be read.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the shared server's folder is there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    keys.push(path.strip_prefix(&self.folder).expect("it is inside").display().to_string());
                }
            }
        }
        // What the server notes beside objects, and parts of uploads that are not ended, are hidden files.
        keys.retain(|key| !key.rsplit('/').next().is_some_and(|name| name.starts_with('.')));
        keys.sort();
        keys
    }
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

/// An S3 server of a test's own, in a process of its own, to kill and start again on the same data and port.
#[derive(Debug)]
pub struct PrivateS3 {
    /// The server's base URL.
    pub endpoint: String,
    /// The name of its one bucket.
    pub bucket: String,
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    port: u16,
    server: Spawned,
    _folder: TestFolder,
}

impl PrivateS3 {
    /// Starts one with an empty bucket. Its program is `testkit-s3`, beside the programs under test.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start() -> Self {
        let test = std::env::current_exe().expect("a test has a path");
        // Tests are in PROFILE/deps, binaries in PROFILE.
        let program = test.ancestors().nth(2).expect("a test is in a folder").join("testkit-s3");
        assert!(program.is_file(), "{} is missing: cargo build --workspace --bins", program.display());
        let (folder, port) = (TestFolder::new(), PortChoice::Any.choose().expect("a free port"));
        let (bucket, access_key, secret_key) = ("test".to_owned(), "testkit".to_owned(), generate_credential());
        std::fs::create_dir_all(folder.path().join(&bucket)).expect("the folder is ours");
        let server = Spawned::of(program)
            .arg(folder.path())
            .arg(port.to_string())
            .arg(&access_key)
            .env("TESTKIT_S3_SECRET", &secret_key)
            .spawn()
            .await;
        let endpoint = format!("http://127.0.0.1:{port}");
        let s3 = Self { endpoint, bucket, access_key, secret_key, port, server, _folder: folder };
        s3.accepts().await;
        s3
    }

    /// SIGKILL, then waits for its end.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it again on the same data and port.
    pub async fn start_again(&mut self) {
        self.server.spawn_again().await;
        self.accepts().await;
    }

    async fn accepts(&self) {
        let address = (Ipv4Addr::LOCALHOST, self.port);
        eventually(START_DEADLINE, || async { TcpStream::connect(address).await.is_ok() }).await;
    }
}
