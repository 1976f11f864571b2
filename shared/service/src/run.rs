//! The whole of a service's `main`.

use std::{
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{Router, serve::ListenerExt as _};
use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser};
use clap_complete::Shell;
use layered_config::Sources;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{HttpConfig, Lifecycle, ServiceConfig, http};

/// How long a port that is taken is waited for, and the pause between two tries.
const PORT_WAIT: Duration = Duration::from_secs(3);
const PORT_PAUSE: Duration = Duration::from_millis(50);

/// What a service is called.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name in logs, traces and `--help`.
    pub name: &'static str,
    /// Version, as of `CARGO_PKG_VERSION`.
    pub version: &'static str,
    /// Prefix of its environment variables, such as `LEGACY` in `LEGACY__HTTP__BIND`.
    pub env_prefix: &'static str,
}

#[derive(Parser)]
struct Arguments {
    /// Settings in TOML; the environment wins over them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings and exit: 0 when they are good, 2 with every problem when not
    #[arg(long)]
    check: bool,
    /// Print the JSON Schema of the settings, for editors, and exit
    #[arg(long)]
    schema: bool,
    /// Print the manual page, in roff, and exit
    #[arg(long)]
    man: bool,
    /// Print a completion script and exit
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
    /// Ask the service that runs with these settings whether it is ready, and exit: 0 when it is, 1 with the reason
    /// when not
    #[arg(long, conflicts_with = "check")]
    probe: bool,
}

/// Runs a service until it is told to end. Exit status: 0 after a clean drain, 1 when it failed or
/// did not drain in time, 2 when the settings are wrong.
///
/// `build` makes the application's routes; it should return soon and leave the waiting for
/// dependencies to tasks of the [`Lifecycle`], because nothing is answered until it does.
pub fn run<C, B, F>(about: About, build: B) -> ExitCode
where
    C: ServiceConfig,
    B: FnOnce(C, Lifecycle) -> F + Send + 'static,
    F: Future<Output = anyhow::Result<Router>> + Send,
{
    let arguments = Arguments::from_arg_matches(&command(about).get_matches()).unwrap_or_else(|error| error.exit());
    if let Some(text) = description::<C>(&arguments, about) {
        let written = text.and_then(|text| io::stdout().write_all(&text));
        return written.map_or_else(|error| report(&error.to_string(), 1), |()| ExitCode::SUCCESS);
    }
    let mut sources = Sources::new(about.env_prefix);
    if let Some(file) = &arguments.config {
        sources = sources.file(file);
    }
    let config: C = match layered_config::load(&sources) {
        Ok(config) => config,
        Err(problems) => return report(&problems.to_string(), 2),
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    if arguments.probe {
        return match probe::ready(config.http().bind) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => report(&why.to_string(), 1),
        };
    }
    // Before the runtime, because the guard's drop waits for the last export.
    let _telemetry = match telemetry::init(about.name, config.telemetry()) {
        Ok(guard) => guard,
        Err(error) => return report(&format!("{:#}", anyhow::Error::new(error)), 1),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&format!("cannot start the runtime: {error}"), 1),
    };
    let outcome = runtime.block_on(live(about, config, build));
    // Blocking calls that are stuck must not hold the process past its deadline.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended with a failure");
            ExitCode::FAILURE
        }
    }
}

fn command(about: About) -> Command {
    Arguments::command().name(about.name).version(about.version)
}

/// What was asked about the program itself, if anything was.
fn description<C: ServiceConfig>(arguments: &Arguments, about: About) -> Option<io::Result<Vec<u8>>> {
    let mut text = Vec::new();
    if arguments.schema {
        text = layered_config::schema::<C>(&format!("settings of {}", about.name)).into_bytes();
    } else if arguments.man {
        if let Err(error) = clap_mangen::Man::new(command(about)).render(&mut text) {
            return Some(Err(error));
        }
    } else {
        clap_complete::generate(arguments.completions?, &mut command(about), about.name, &mut text);
    }
    Some(Ok(text))
}

/// Settings are wrong before there is a log to write to.
fn report(text: &str, status: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(status)
}

async fn live<C, B, F>(about: About, config: C, build: B) -> anyhow::Result<()>
where
    C: ServiceConfig,
    B: FnOnce(C, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Router>>,
{
    telemetry::metrics::watch_runtime();
    let http_config = config.http().clone();
    let listener = bind(http_config.bind).await.with_context(|| format!("cannot listen on {}", http_config.bind))?;
    let addr = listener.local_addr()?;
    let life = Lifecycle::default();
    let router = http::router(build(config, life.clone()).await?, &http_config, &life);
    tracing::info!(service = about.name, version = about.version, %addr, "listening");
    serve(listener, router, &http_config, &life).await
}

/// Binds, and waits a moment for a predecessor's port: the listener of a process that was killed lives
/// on for as long as a child that it was just starting takes from `fork` to `exec`.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(PORT_PAUSE).await;
            }
            bound => return bound,
        }
    }
}

async fn serve(listener: TcpListener, router: Router, config: &HttpConfig, life: &Lifecycle) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = life.shutdown();
    let listener = listener.tap_io(|connection| {
        // Answers are written in one piece; waiting to fill a packet would only delay them.
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let mut serving = tokio::spawn(async move { serving.await });

    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        () = shutdown.cancelled() => tracing::info!("draining"),
        ended = &mut serving => ended.context("the server panicked")?.context("the server failed")?,
    }
    life.readiness("drain").not_ready("the service is ending");
    shutdown.cancel();

    let drain = async {
        if !serving.is_finished() {
            serving.await.context("the server panicked")?.context("the server failed")?;
        }
        life.run_hooks().await;
        life.join_tasks().await;
        anyhow::Ok(())
    };
    tokio::select! {
        drained = tokio::time::timeout(config.drain_deadline.get(), drain) => match drained {
            Ok(drained) => drained?,
            Err(_) => anyhow::bail!("not drained within {}", config.drain_deadline),
        },
        _ = terminate.recv() => anyhow::bail!("a second signal ended the drain"),
        _ = interrupt.recv() => anyhow::bail!("a second signal ended the drain"),
    }
    anyhow::ensure!(!life.has_failed(), "a task of the service panicked");
    tracing::info!("drained");
    Ok(())
}
