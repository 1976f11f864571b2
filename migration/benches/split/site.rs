//! A monolith and a service that took its orders over, with a gateway in front, and whoever writes orders through it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use migration::cutover::GatewayClient;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use testkit::process::Spawned;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A gateway between two sides, each of which writes to its own database.
pub struct Site {
    gateway: Spawned,
    http: SocketAddr,
    _folder: TempDir,
}

impl Site {
    pub async fn start(monolith: &PgPool, candidate: &PgPool) -> anyhow::Result<Self> {
        let legacy =
            side(monolith, "insert into orders (no, customer, note) values ($1, md5($2)::uuid::text, $2)").await?;
        let own =
            side(candidate, "insert into shop.orders (no, customer, note) values ($1, md5($2)::uuid, $2)").await?;
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("rollout.toml"), "")?;
        let text = format!(
            "[http]\nbind = \"{http}\"\n[admin]\ntoken = \"{TOKEN}\"\n[rollout]\nfile = \"rollout.toml\"\n\
             [access_log]\ndestination = \"off\"\n[slices.orders]\ncandidate = \"own\"\n\
             [upstreams.legacy]\naddress = \"{legacy}\"\n[upstreams.shared]\naddress = \"{legacy}\"\n\
             [upstreams.own]\naddress = \"{own}\"\n[[routes]]\nname = \"order\"\npath = \"/orders/{{no}}\"\nkey = \"path:no\"\n\
             slice = \"orders\"\nlegacy = \"legacy\"\ncandidate = \"shared\"\n"
        );
        let config = folder.path().join("gateway.toml");
        fs::write(&config, text)?;
        let gateway = Spawned::of(program()?).arg("--config").arg(config).listen("GATEWAY__ADMIN__BIND").start().await;
        Ok(Self { gateway, http, _folder: folder })
    }

    /// Of its admin API.
    pub fn client(&self) -> anyhow::Result<GatewayClient> {
        Ok(GatewayClient::new(&self.gateway.url(""), TOKEN, None, ("bench", "to measure"))?)
    }
}

/// The gateway that was built beside this program.
fn program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let program = this.ancestors().nth(2).context("benchmarks are in PROFILE/deps")?.join("gateway");
    anyhow::ensure!(program.exists(), "{} is not built: cargo build --release --package gateway", program.display());
    Ok(program)
}

/// A service that writes an order for each request.
async fn side(pool: &PgPool, insert: &'static str) -> anyhow::Result<SocketAddr> {
    let written = async move |State(pool): State<PgPool>, Path(no): Path<i64>| {
        let query = sqlx::query(AssertSqlSafe(insert)).bind(no).bind(format!("the order of number {no}"));
        match query.execute(&pool).await {
            Ok(_) => (StatusCode::CREATED, String::new()),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    };
    let service = Router::new().route("/orders/{no}", post(written)).fallback(async || "").with_state(pool.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

/// Writes as many orders a second as it is told to, however long each takes.
pub struct Writers {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Written>>,
}

/// An order that somebody asked to be written.
pub struct Written {
    pub no: i64,
    pub took: Duration,
    /// What went wrong.
    pub failed: Option<String>,
}

impl Writers {
    pub fn start(site: &Site, rate: u64, first: i64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let http = site.http;
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().expect("it needs nothing of the system's");
            #[allow(clippy::cast_precision_loss, reason = "a rate is small")]
            let mut ticks = interval(Duration::from_secs_f64(1.0 / rate as f64));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut asked = JoinSet::new();
            for no in first.. {
                ticks.tick().await;
                if *stopped.borrow() {
                    break;
                }
                let request = client.post(format!("http://{http}/orders/{no}"));
                asked.spawn(async move {
                    let began = Instant::now();
                    let failed = match request.send().await {
                        Ok(answer) if answer.status() == 201 => None,
                        Ok(answer) => Some(format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default())),
                        Err(error) => Some(error.to_string()),
                    };
                    Written { no, took: began.elapsed(), failed }
                });
            }
            asked.join_all().await
        });
        Self { stop, task }
    }

    pub async fn stop(self) -> anyhow::Result<Vec<Written>> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}
