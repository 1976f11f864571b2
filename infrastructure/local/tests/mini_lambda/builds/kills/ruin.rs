//! Everything that runs, and dies.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use testkit::{PrivatePostgres, PrivateRabbitMq, PrivateRedis, PrivateS3, process::Spawn, process::Spawned};

use super::{SECRET, programs};

/// Who may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Victim {
    Master,
    Worker,
    LambdaService,
    RabbitMq,
    Redis,
    Postgres,
    S3,
}

pub(super) const VICTIMS: [Victim; 7] = [
    Victim::Worker,
    Victim::Master,
    Victim::S3,
    Victim::LambdaService,
    Victim::Postgres,
    Victim::RabbitMq,
    Victim::Redis,
];

/// The servers that the services stand on.
struct Servers {
    postgres: PrivatePostgres,
    rabbitmq: PrivateRabbitMq,
    redis: PrivateRedis,
    s3: PrivateS3,
    folder: TempDir,
}

/// Everything that runs.
pub(super) struct Ruin {
    servers: Servers,
    pub(super) master: Spawned,
    pub(super) workers: [Spawned; 2],
    pub(super) lambda_service: Spawned,
}

impl Ruin {
    pub(super) async fn start() -> Self {
        let servers = Servers::start().await;
        let lambda_service = servers.lambda_service().start().await;
        let build = |role| servers.build_service(role, &lambda_service);
        let master = build("master").start().await;
        let workers = [build("worker").start().await, build("worker").start().await];
        Self { servers, master, workers, lambda_service }
    }

    /// Kills a part and starts it again; the services are not waited for.
    pub(super) async fn kill(&mut self, victim: Victim, worker: usize) {
        let servers = &mut self.servers;
        match victim {
            Victim::RabbitMq => {
                servers.rabbitmq.kill().await;
                servers.rabbitmq.start_again().await;
            }
            Victim::Redis => {
                servers.redis.kill().await;
                servers.redis.start_again().await;
            }
            Victim::Postgres => {
                servers.postgres.kill().await;
                servers.postgres.start_again().await;
            }
            Victim::S3 => {
                servers.s3.kill().await;
                servers.s3.start_again().await;
            }
            Victim::Master | Victim::Worker | Victim::LambdaService => {
                let process = match victim {
                    Victim::Master => &mut self.master,
                    Victim::Worker => &mut self.workers[worker],
                    _ => &mut self.lambda_service,
                };
                process.kill().await;
                process.spawn_again().await;
            }
        }
    }

    /// A connection to one of the databases, made when it is needed and again when it was lost.
    pub(super) fn pool(&self, database: &str) -> PgPool {
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(2));
        options.connect_lazy(&self.servers.postgres.url(database)).expect("it is a URL")
    }
}

impl Servers {
    async fn start() -> Self {
        let (postgres, rabbitmq, redis, s3) = tokio::join!(
            PrivatePostgres::start_durable(),
            PrivateRabbitMq::start(),
            PrivateRedis::start(),
            PrivateS3::start()
        );
        for database in ["build", "lambda"] {
            let mut admin = PgConnection::connect(&postgres.url("postgres")).await.expect("it runs");
            let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
            sqlx::raw_sql(statement).execute(&mut admin).await.expect("a new database");
        }
        Self { postgres, rabbitmq, redis, s3, folder: super::super::passable_folder() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("its name is text").to_owned()
    }

    fn program(&self, name: &str, prefix: &str, database: &str) -> Spawn {
        let setting = |key: &str| format!("{prefix}__{key}");
        Spawned::of(programs().join(name))
            .listen(setting("HTTP__BIND"))
            .env(setting("DATABASE__URL"), self.postgres.url(database))
            .env(setting("DATABASE__PROBE_INTERVAL"), "200ms")
            .env(setting("OBJECTS__ENDPOINT"), &self.s3.endpoint)
            .env(setting("OBJECTS__BUCKET"), &self.s3.bucket)
            .env(setting("OBJECTS__ACCESS_KEY"), &self.s3.access_key)
            .env(setting("OBJECTS__SECRET_KEY"), &self.s3.secret_key)
            .env(setting("SANDBOX__CONTROL_GROUP_NAME"), testkit::unique_name(name))
    }

    /// Functions are in Redis for so long that all calls but the first of each find them there, as long as it lives.
    fn lambda_service(&self) -> Spawn {
        self.program("lambda-service", "LAMBDA_SERVICE", "lambda")
            .env("LAMBDA_SERVICE__BUILDS__SECRET", SECRET)
            .env("LAMBDA_SERVICE__CODE__PACKAGES__FOLDER", self.path("packages"))
            .env("LAMBDA_SERVICE__RECORDER__JOURNAL", self.path("journal"))
            .env("LAMBDA_SERVICE__CACHE__KIND", "redis")
            .env("LAMBDA_SERVICE__CACHE__REDIS__URL", self.redis.url())
            .env("LAMBDA_SERVICE__CACHE__TTL", "1h")
            .env("LAMBDA_SERVICE__EVENTS__QUEUE", "rabbitmq")
            .env("LAMBDA_SERVICE__EVENTS__RABBITMQ__URL", self.rabbitmq.url())
            .env("LAMBDA_SERVICE__EVENTS__RABBITMQ__PUBLISH_TIMEOUT", "2s")
            .env("LAMBDA_SERVICE__EVENTS__RETRY_FIRST", "10ms")
            .env("LAMBDA_SERVICE__EVENTS__RETRY_MOST", "40ms")
            .env("LAMBDA_SERVICE__EVENTS__POLL_INTERVAL", "50ms")
            .env("LAMBDA_SERVICE__EVENTS__LEASE", "2s")
            .env("LAMBDA_SERVICE__EVENTS__ANNOUNCE_AGAIN", "2s")
            .env("LAMBDA_SERVICE__EVENTS__MAX_DELIVERIES", "1000")
    }

    fn build_service(&self, role: &str, lambda_service: &Spawned) -> Spawn {
        let receiver = |key: &str| format!("BUILD_SERVICE__WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__{key}");
        self.program("build-service", "BUILD_SERVICE", "build")
            .env("BUILD_SERVICE__ROLE", role)
            .env("BUILD_SERVICE__WORK_FOLDER", self.path("work"))
            .env("BUILD_SERVICE__QUEUE__KIND", "rabbitmq")
            .env("BUILD_SERVICE__QUEUE__RABBITMQ__URL", self.rabbitmq.url())
            .env("BUILD_SERVICE__QUEUE__RABBITMQ__PUBLISH_TIMEOUT", "2s")
            .env("BUILD_SERVICE__QUEUE__ANNOUNCE_AGAIN", "10s")
            .env("BUILD_SERVICE__WORKER__LEASE", "2s")
            .env("BUILD_SERVICE__WORKER__MAX_ATTEMPTS", "1000")
            .env("BUILD_SERVICE__WORKER__POLL_INTERVAL", "500ms")
            .env("BUILD_SERVICE__WEBHOOKS__ALLOW", "[\"127.0.0.1\"]")
            .env("BUILD_SERVICE__WEBHOOKS__RETRY_FIRST", "100ms")
            .env("BUILD_SERVICE__WEBHOOKS__RETRY_MOST", "1s")
            .env("BUILD_SERVICE__WEBHOOKS__MAX_ATTEMPTS", "100000")
            .env(receiver("URL"), lambda_service.url("/webhooks/build-status/{job_id}"))
            .env(receiver("SECRET"), SECRET)
            .env(receiver("REGISTERS"), "true")
    }
}
