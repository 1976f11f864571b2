//! Putting the parts together, and taking them down again.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use layered_config::Problems;
use pingora::{
    proxy::http_proxy,
    server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf},
    services::background::background_service,
};
use telemetry::FinishedSpans;
use tokio::{signal::unix::SignalKind, sync::Notify};

use crate::{
    access_log::{AccessLog, Writer},
    admin::{Admin, AdminState, Streams, Tokens},
    auth::{AuthError, Authenticator, KeyWatch},
    client_address::TrustedProxies,
    config::{Config, StoreKind, TlsConfig},
    control::{Control, StartError, Watcher},
    gateway::Gateway,
    limit::{Limiter, LinkKeeper},
    listener::{self, Bound, ConnectionMetrics, Drain, Draining, Endpoint, PublicListeners},
    log_rotation::LogRotation,
    metrics::Metrics,
    only_candidate::{OnlyCandidate, OnlyCandidateWatch},
    ramp::{Conductor, Judge, Ramps},
    request_context::InFlightCount,
    shadow::Shadow,
    signals::Signals,
    slices::{self, Fleet, Reports, Slices},
    sticky_writes::StickyWrites,
    tls::{self, CertificateError, Certificates, TlsMetrics},
    trace::Tracing,
    upgrade::{Held, Predecessor, Program, Readiness, Role, Sockets, Upgrader, remove_pid},
    upstream::{HealthProbe, UpstreamError, Upstreams},
};

/// pingora ends the runtimes this long after the drain deadline, should the process still be there.
const RUNTIME_SHUTDOWN_S: u64 = 1;

/// Why the gateway did not start or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration or the rollout document has problems.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The gateway that runs with this configuration is not ready.
    #[error(transparent)]
    NotReady(#[from] probe::NotReady),
    /// The rollout document cannot be read.
    #[error(transparent)]
    Rollout(StartError),
    /// A listener cannot be opened.
    #[error("cannot listen on {address}; is another program using it?")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A certificate of the public listener cannot be used.
    #[error("http.tls: {0}")]
    Certificate(#[from] CertificateError),
    /// A certificate of the admin listener cannot be used.
    #[error("admin.tls: {0}")]
    AdminCertificate(#[source] CertificateError),
    /// The access log cannot be opened.
    #[error("cannot open the access log {}", .path.display())]
    AccessLog {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Keys that prove who asks cannot be used.
    #[error("auth: {0}")]
    Auth(#[from] AuthError),
    /// The TLS files of an upstream cannot be used.
    #[error(transparent)]
    UpstreamTls(#[from] UpstreamError),
    /// Telemetry cannot be set up.
    #[error("cannot set up telemetry")]
    Telemetry(#[from] telemetry::InitError),
    /// The metrics cannot be registered.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The process that started this one did not hand over its listeners.
    #[error("the listeners of the predecessor did not arrive")]
    Predecessor(#[source] io::Error),
    /// A thread or signal could not be had from the system.
    #[error("the system refused a thread or a signal")]
    System(#[from] io::Error),
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::BrokenDocument(problems) => Self::Problems(problems),
            StartError::File(_) | StartError::System(_) => Self::Rollout(error),
        }
    }
}

/// Runs the gateway until SIGTERM or SIGINT, and drains it.
///
/// # Errors
/// When it cannot start.
pub fn run(config_file: &Path) -> Result<(), RunError> {
    tls::install_provider();
    let program = Program::of_this_process()?;
    let sockets = Sockets::new(Predecessor::find().map_err(RunError::Predecessor)?);
    let config = Config::load(config_file)?;
    let telemetry = telemetry::init("gateway", &config.telemetry)?;
    let parts = Parts::new(&config, telemetry.finished_spans("gateway"), program, sockets)?;
    let deadline = config.http.drain_deadline.get();
    let writer = parts.serve(&config)?;
    writer.close();
    if let Some(path) = &config.upgrade.pid_file {
        remove_pid(path);
    }
    tracing::info!(drain_deadline_s = deadline.as_secs(), "stopped");
    Ok(())
}

/// Everything that is made before anything runs.
struct Parts {
    auth: Arc<Authenticator>,
    control: Arc<Control>,
    ramps: Arc<Ramps>,
    limiter: Limiter,
    link_keeper: Option<LinkKeeper>,
    metrics: Arc<Metrics>,
    upstreams: Arc<Upstreams>,
    shadow: Option<Arc<Shadow>>,
    sticky_writes: StickyWrites,
    slices: Arc<Slices>,
    only_candidate: Arc<OnlyCandidate>,
    access_log: AccessLog,
    writer: Writer,
    certificates: Option<Arc<Certificates>>,
    admin_certificates: Option<Arc<Certificates>>,
    public: Vec<Endpoint>,
    admin: Bound,
    tracing: Tracing,
    program: Program,
    sockets: Sockets,
}

impl Parts {
    fn new(
        config: &Config,
        spans: Option<FinishedSpans>,
        program: Program,
        mut sockets: Sockets,
    ) -> Result<Self, RunError> {
        let table = Arc::new(config.route_table());
        let tracing = Tracing::new(spans, &table);
        let metrics = Arc::new(Metrics::new(
            prometheus::default_registry(),
            &table,
            &config.upstream_names(),
            config.request_metrics.enabled,
        )?);
        let upstreams = Arc::new(Upstreams::new(config)?);
        upstreams.register(prometheus::default_registry())?;
        let sticky_writes = StickyWrites::new(config.sticky_writes, &table);
        sticky_writes.register(prometheus::default_registry())?;
        let slices = Arc::new(Slices::new(config, &table, prometheus::default_registry())?);
        let only_candidate = Arc::new(OnlyCandidate::new(&table));
        only_candidate.register(prometheus::default_registry())?;
        let policies = Arc::new(config.limits.policies());
        let (limiter, link_keeper) = Limiter::new(config, policies.clone(), prometheus::default_registry())?;
        let ramps = Arc::new(Ramps::new(config, &table, prometheus::default_registry())?);
        let control = Control::start(&config.rollout, table, policies, metrics.clone())?;
        control.recall().register(prometheus::default_registry())?;
        let control = Arc::new(control);
        let judge = Judge::new(ramps.clone(), control.clone());
        let shadow =
            Shadow::start(config, &control, &upstreams, judge, tracing.clone(), prometheus::default_registry())?;
        let open = AccessLog::open(&config.access_log, metrics.clone());
        let (access_log, writer) =
            open.map_err(|source| RunError::AccessLog { path: config.access_log.file.clone(), source })?;
        let [certificates, admin_certificates] = load_certificates(config)?;
        let mut open = |role, address| sockets.open(role, address).map_err(|source| RunError::Bind { address, source });
        Ok(Self {
            public: listener::endpoints(&config.http, certificates.as_ref(), &mut open)?,
            auth: Arc::new(Authenticator::new(config, prometheus::default_registry())?),
            upstreams,
            shadow,
            sticky_writes,
            slices,
            only_candidate,
            certificates,
            admin_certificates,
            admin: open(Role::Admin, config.admin.bind)?,
            control,
            ramps,
            limiter,
            link_keeper,
            metrics,
            access_log,
            writer,
            tracing,
            program,
            sockets,
        })
    }

    /// Serves until the last request after a signal has been answered, or its deadline is over.
    fn serve(self, config: &Config) -> Result<Writer, RunError> {
        let mut server = Server::new_with_opt_and_conf(None, server_conf(config));
        let (in_flight, draining) = (InFlightCount::default(), Draining::default());
        let gateway = Gateway {
            config: config.http.clone(),
            trusted_proxies: TrustedProxies::new(&config.http.trusted_proxies),
            auth: self.auth.clone(),
            control: self.control.clone(),
            ramps: self.ramps.clone(),
            limiter: self.limiter,
            upstreams: self.upstreams.clone(),
            sticky_writes: self.sticky_writes,
            slices: self.slices.clone(),
            metrics: self.metrics.clone(),
            access_log: self.access_log.clone(),
            tracing: self.tracing,
            shadow: self.shadow.clone(),
            in_flight: in_flight.clone(),
            draining: draining.clone(),
        };
        let Sockets { predecessor, opened } = self.sockets;
        let listeners = Held::new(opened);
        let upgraded = Arc::new(Notify::new());
        let deadline = config.upgrade.deadline.get();
        let (upgrader, upgrades) = Upgrader::new(self.program, deadline, listeners.clone(), upgraded.clone());
        let shares_fences = config.rollout.store == StoreKind::Postgres && self.slices.len() > 0;
        let fleet =
            shares_fences.then(|| Fleet::new(self.slices.clone(), self.control.clone(), &config.rollout.postgres));
        let (fleet, follower) = fleet.unzip();
        slices::watch(self.slices.clone(), follower)?;
        let admin = AdminState {
            config: config.admin.clone(),
            tokens: Tokens::new(&config.admin),
            control: self.control.clone(),
            metrics: self.metrics.clone(),
            upstreams: self.upstreams.clone(),
            only_candidate: self.only_candidate.clone(),
            ramps: self.ramps.clone(),
            slices: self.slices.clone(),
            fleet,
            reports: Reports::default(),
            shadow: self.shadow.clone(),
            started_at: Utc::now(),
            started: Instant::now(),
            upgrades,
            streams: Streams::default(),
        };
        let (drained, ended) = mpsc::channel();
        let proxy = http_proxy(&server.configuration, gateway);
        let admin_api = InFlightCount::default();
        let serving = admin_api.enter();
        let drain = Drain {
            listeners,
            in_flight,
            shadow: self.shadow.clone(),
            admin: admin_api,
            draining,
            drained: drained.clone(),
        };
        let connections = ConnectionMetrics::register(prometheus::default_registry())?;
        let readiness = Readiness { predecessor, pid_file: config.upgrade.pid_file.clone() };
        let proxy =
            PublicListeners::new(self.public, proxy, &config.http, connections, self.admin.address, readiness, drain);
        let proxy = server.add_service(proxy);
        proxy.add_dependency(server.add_service(background_service("upgrade", upgrader)));
        let tls_metrics = TlsMetrics::register(prometheus::default_registry())?;
        if let Some((tls, certificates)) = config.http.tls.as_ref().zip(self.certificates) {
            let reload = tls::Reload::new(certificates, tls_metrics.of("http"), tls.poll_interval.get());
            server.add_service(background_service("certificates", reload));
        }
        if let Some((tls, certificates)) = config.admin.tls.as_ref().zip(self.admin_certificates.clone()) {
            let reload = tls::Reload::new(certificates, tls_metrics.of("admin"), tls.poll_interval.get());
            server.add_service(background_service("admin certificates", reload));
        }
        let admin = Admin::new(admin, self.admin.into_listener(), self.admin_certificates, serving);
        server.add_service(background_service("admin", admin));
        if let Some(keeper) = self.link_keeper {
            server.add_service(background_service("limits", keeper));
        }
        let keys = KeyWatch::new(self.auth, config.auth.poll_interval.get());
        proxy.add_dependency(server.add_service(background_service("keys", keys)));
        server.add_service(background_service("ramps", Conductor::new(self.ramps, self.control.clone())));
        let watcher = Watcher::new(self.control, &config.rollout);
        proxy.add_dependency(server.add_service(background_service("rollout", watcher)));
        proxy.add_dependency(server.add_service(background_service("access log", LogRotation(self.access_log))));
        server.add_service(background_service("only candidate", OnlyCandidateWatch(self.only_candidate)));
        server.add_service(background_service("health", HealthProbe::new(self.upstreams, self.metrics)));
        thread::Builder::new().name("pingora".to_owned()).spawn(move || {
            server.run(RunArgs { shutdown_signal: Box::new(Termination { upgraded }) });
            let _ = drained.send(());
        })?;
        // pingora sleeps through its whole grace period; whoever is done before that ends the wait.
        let _ = ended.recv();
        if let Some(shadow) = self.shadow {
            shadow.stop();
        }
        Ok(self.writer)
    }
}

/// The certificates of the public listener and of the admin listener.
pub(crate) fn load_certificates(config: &Config) -> Result<[Option<Arc<Certificates>>; 2], RunError> {
    let load = |tls: &TlsConfig| Certificates::load(&tls.certificates).map(Arc::new);
    let public = config.http.tls.as_ref().map(load).transpose()?;
    let admin = config.admin.tls.as_ref().map(load).transpose().map_err(RunError::AdminCertificate)?;
    Ok([public, admin])
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.http.threads,
        work_stealing: config.http.work_stealing,
        upstream_keepalive_pool_size: config.http.upstream_pool_size,
        max_retries: config.http.max_attempts,
        grace_period_seconds: Some(seconds_rounded_up(config.http.drain_deadline.get())),
        graceful_shutdown_timeout_seconds: Some(RUNTIME_SHUTDOWN_S),
        ..ServerConf::default()
    }
}

fn seconds_rounded_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// SIGTERM and SIGINT both drain, and so does a successor that has taken over. pingora's own choice
/// gives SIGINT no drain and makes SIGQUIT hand over listeners that this gateway keeps elsewhere.
struct Termination {
    upgraded: Arc<Notify>,
}

#[async_trait]
impl ShutdownSignalWatch for Termination {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = Signals::listen(SignalKind::terminate());
        let mut interrupt = Signals::listen(SignalKind::interrupt());
        tokio::select! {
            () = terminate.next() => tracing::info!(signal = "SIGTERM", "draining"),
            () = interrupt.next() => tracing::info!(signal = "SIGINT", "draining"),
            () = self.upgraded.notified() => {}
        }
        ShutdownSignal::GracefulTerminate
    }
}
