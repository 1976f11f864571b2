//! The servers that tests share: from the environment when `testkit-servers` started them for the whole
//! run, otherwise started by this process and stopped when its last test lets go of them.

mod environment;
mod folder;
mod rabbitmq;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use local_servers::{PortChoice, Postgres, PostgresOptions, S3Options, S3Server, generate_credential};
use tokio::sync::Mutex;

pub use environment::Environment;
pub(crate) use folder::TestFolder;
pub(crate) use rabbitmq::{RabbitControl, RabbitMq};

use crate::background;

const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// All servers of a test run.
#[derive(Debug)]
pub struct Servers {
    postgres: Postgres,
    s3: S3Server,
    rabbitmq: Option<RabbitMq>,
    folder: TestFolder,
}

/// Starts every server, in a private temporary folder. RabbitMQ is left out when this machine has none:
/// the tests that need it say so.
///
/// # Errors
/// One of them does not start.
pub async fn start_all() -> anyhow::Result<Servers> {
    let folder = TestFolder::new();
    let (postgres, s3, rabbitmq) =
        tokio::try_join!(start_postgres(&folder), start_s3(&folder), start_rabbitmq(&folder))?;
    Ok(Servers { postgres, s3, rabbitmq, folder })
}

impl Servers {
    /// What a test process needs to know of them.
    #[must_use]
    pub fn environment(&self) -> Environment {
        Environment {
            postgres_url: Some(self.postgres.url("postgres")),
            s3: Some(environment::S3Environment {
                endpoint: self.s3.endpoint(),
                access_key: self.s3.access_key().to_owned(),
                secret_key: self.s3.secret_key().to_owned(),
                folder: s3_folder(&self.folder),
            }),
            rabbitmq_folder: self.rabbitmq.as_ref().map(|broker| broker.folder().to_path_buf()),
        }
    }

    /// Stops them and removes what they stored.
    pub async fn stop(self) {
        let rabbitmq = async {
            if let Some(broker) = &self.rabbitmq {
                broker.stop(STOP_DEADLINE).await;
            }
        };
        tokio::join!(self.postgres.stop(STOP_DEADLINE), self.s3.stop(STOP_DEADLINE), rabbitmq);
    }
}

#[derive(Debug)]
pub(crate) struct SharedPostgres {
    admin_url: String,
    /// `None` when the server is not this process's.
    own: Option<(Postgres, TestFolder)>,
}

impl SharedPostgres {
    pub(crate) fn admin_url(&self) -> &str {
        &self.admin_url
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let (server, _) = self.admin_url.rsplit_once("/postgres").expect("the admin URL names database postgres");
        let query = self.admin_url.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
        format!("{server}/{database}{query}")
    }
}

impl Drop for SharedPostgres {
    fn drop(&mut self) {
        if let Some((server, folder)) = self.own.take() {
            background::run_blocking(async move { server.stop(STOP_DEADLINE).await });
            drop(folder);
        }
    }
}

pub(crate) async fn shared_postgres() -> Arc<SharedPostgres> {
    static SHARED: Mutex<Weak<SharedPostgres>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = match Environment::read().postgres_url {
        Some(admin_url) => SharedPostgres { admin_url, own: None },
        None => {
            let folder = TestFolder::new();
            let server = start_postgres(&folder).await.expect("PostgreSQL starts for the tests");
            SharedPostgres { admin_url: server.url("postgres"), own: Some((server, folder)) }
        }
    };
    let server = Arc::new(server);
    *shared = Arc::downgrade(&server);
    server
}

pub(crate) struct SharedS3 {
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) folder: PathBuf,
    /// `None` when the server is not this process's. Stopped by its drop.
    _own: Option<(S3Server, TestFolder)>,
}

pub(crate) async fn shared_s3() -> Arc<SharedS3> {
    static SHARED: Mutex<Weak<SharedS3>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = match Environment::read().s3 {
        Some(given) => SharedS3 {
            endpoint: given.endpoint,
            access_key: given.access_key,
            secret_key: given.secret_key,
            folder: given.folder,
            _own: None,
        },
        None => {
            let folder = TestFolder::new();
            let server = start_s3(&folder).await.expect("S3 starts for the tests");
            SharedS3 {
                endpoint: server.endpoint(),
                access_key: server.access_key().to_owned(),
                secret_key: server.secret_key().to_owned(),
                folder: s3_folder(&folder),
                _own: Some((server, folder)),
            }
        }
    };
    let server = Arc::new(server);
    *shared = Arc::downgrade(&server);
    server
}

#[derive(Debug)]
pub(crate) struct SharedRabbitMq {
    pub(crate) control: RabbitControl,
    /// `None` when the broker is not this process's.
    own: Option<(RabbitMq, TestFolder)>,
}

impl Drop for SharedRabbitMq {
    fn drop(&mut self) {
        if let Some((broker, folder)) = self.own.take() {
            background::run_blocking(async move { broker.stop(STOP_DEADLINE).await });
            drop(folder);
        }
    }
}

pub(crate) async fn shared_rabbitmq() -> Arc<SharedRabbitMq> {
    static SHARED: Mutex<Weak<SharedRabbitMq>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = match Environment::read().rabbitmq_folder {
        Some(folder) => {
            let control = RabbitControl::read(&folder).expect("testkit-servers described its broker");
            SharedRabbitMq { control, own: None }
        }
        None => {
            let folder = TestFolder::new();
            let broker = RabbitMq::start(&folder.path().join("rabbitmq")).await.expect("RabbitMQ starts for the tests");
            SharedRabbitMq { control: broker.control().clone(), own: Some((broker, folder)) }
        }
    };
    let server = Arc::new(server);
    *shared = Arc::downgrade(&server);
    server
}

async fn start_postgres(folder: &TestFolder) -> anyhow::Result<Postgres> {
    let options = PostgresOptions {
        durable: false,
        max_connections: 500,
        ..PostgresOptions::new(folder.path().join("postgres"))
    };
    Postgres::start(&options).await.context("cannot start PostgreSQL")
}

async fn start_s3(folder: &TestFolder) -> anyhow::Result<S3Server> {
    let options = S3Options {
        folder: s3_folder(folder),
        port: PortChoice::Any,
        access_key: "testkit".to_owned(),
        secret_key: generate_credential(),
    };
    S3Server::start(options).await.context("cannot start S3")
}

async fn start_rabbitmq(folder: &TestFolder) -> anyhow::Result<Option<RabbitMq>> {
    if RabbitMq::is_installed() { RabbitMq::start(&folder.path().join("rabbitmq")).await.map(Some) } else { Ok(None) }
}

fn s3_folder(folder: &TestFolder) -> PathBuf {
    folder.path().join("s3")
}
