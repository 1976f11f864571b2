//! An S3 server inside this process, on a folder: one sub-folder per bucket.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::port::PortChoice;

/// An accept that fails (no file descriptors left) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How to run an [`S3Server`].
#[derive(Clone)]
pub struct S3Options {
    /// The folder that holds the buckets, made when missing.
    pub folder: PathBuf,
    /// Which port on loopback.
    pub port: PortChoice,
    /// The one access key that is known.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

impl std::fmt::Debug for S3Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Options").field("folder", &self.folder).field("port", &self.port).finish_non_exhaustive()
    }
}

/// The S3 server could not be run.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// Its folder cannot be used.
    #[error("S3 cannot use {}: {reason}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its port cannot be bound.
    #[error("S3 cannot listen on loopback")]
    Listen(#[source] io::Error),
    /// A name that is no bucket name.
    #[error(
        "`{name}` is not a bucket name: 3 to 63 characters of a-z, 0-9, `-` and `.`, no `..`, with a letter or digit at both ends"
    )]
    BucketName {
        /// The name.
        name: String,
    },
}

/// A running S3 server. Only requests signed with its access key are answered. Dropping it stops it
/// without waiting for open requests.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    options: S3Options,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server on its folder.
    ///
    /// # Errors
    /// The folder cannot be used or the port not be bound.
    pub async fn start(options: S3Options) -> Result<Self, S3Error> {
        let unusable = |reason: String| S3Error::Folder { folder: options.folder.clone(), reason };
        std::fs::create_dir_all(&options.folder).map_err(|error| unusable(error.to_string()))?;
        let files = s3s_fs::FileSystem::new(&options.folder).map_err(|error| unusable(format!("{error:?}")))?;
        let service = {
            let mut builder = S3ServiceBuilder::new(files);
            builder.set_auth(SimpleAuth::from_single(options.access_key.clone(), options.secret_key.clone()));
            builder.build()
        };
        let listener = options.port.listen().map_err(S3Error::Listen)?;
        listener.set_nonblocking(true).map_err(S3Error::Listen)?;
        let listener = TcpListener::from_std(listener).map_err(S3Error::Listen)?;
        let address = listener.local_addr().map_err(S3Error::Listen)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, service, stop.clone()).instrument(tracing::info_span!("s3")));
        Ok(Self { address, options, stop, task: Some(task) })
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The access key it knows.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.options.access_key
    }

    /// That key's secret.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.options.secret_key
    }

    /// Creates `bucket` unless it is there.
    ///
    /// # Errors
    /// The name is no bucket name, or the folder cannot be made.
    pub fn ensure_bucket(&self, bucket: &str) -> Result<(), S3Error> {
        if !is_bucket_name(bucket) {
            return Err(S3Error::BucketName { name: bucket.to_owned() });
        }
        let folder = self.options.folder.join(bucket);
        std::fs::create_dir_all(&folder).map_err(|error| S3Error::Folder { folder, reason: error.to_string() })
    }

    /// Stops accepting, and waits up to `deadline` for open requests.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(_elapsed) = tokio::time::timeout(deadline, task).await
        {
            tracing::warn!("open S3 requests were cut off");
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let open = GracefulShutdown::new();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Finished connections are taken out as they end, so the set holds only open ones.
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, _)) => {
                // Answers go out in several pieces; Nagle's algorithm would hold the later ones back
                // until the client's delayed acknowledgement, 40 ms later.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps Nagle's algorithm");
                }
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(socket), service.clone());
                connections.spawn(open.watch(connection));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    open.shutdown().await;
}

fn is_bucket_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| inner(byte) || byte == b'-' || byte == b'.')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_no_bucket_names() {
        for bad in ["", "ab", "..", "a/../b", "/etc", "Upper", "a..b", "-ab", "ab-", ".ab"] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
        assert!(is_bucket_name("mini-lambda"));
    }

    #[tokio::test]
    async fn an_unsigned_request_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = S3Server::start(S3Options {
            folder: folder.path().join("s3"),
            port: PortChoice::Any,
            access_key: "key".to_owned(),
            secret_key: "secret".to_owned(),
        })
        .await
        .expect("the server starts");
        server.ensure_bucket("things").expect("a bucket");
        let answer = reqwest::get(format!("{}/things/some", server.endpoint())).await.expect("an answer");
        assert_eq!(answer.status(), reqwest::StatusCode::FORBIDDEN);
        server.stop(Duration::from_secs(5)).await;
    }
}
