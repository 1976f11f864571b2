//! A new process in a pooled container for each call.
//!
//! Containers are generic (an image for each runtime, no function's code in them) and belong to one
//! call at a time, so that killing the container kills whatever that call has started, and nothing
//! else. A call that ended in order gives its container back; it is used again once nothing but its
//! first process is left in it. After a timeout, a crash or a dropped call it is removed.

mod config;
mod container;
mod pool;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bollard::{Docker, container::LogOutput, exec::StartExecResults, models::ExecConfig};
use domain::Language;
use futures::{Stream, StreamExt as _};
use sandbox::{FunctionResult, Outcome, WorkerStreams, call_once_over, launch_command};
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::{Executor, ExecutorConfig, ExecutorError, Job, Run};
pub use config::{DockerConfig, DockerImage};
use container::ContainerApi;
use pool::Pool;

/// How much of a stream is held between Docker and the conversation with the worker.
const STREAM_BUFFER_BYTES: usize = 64 * 1024;
/// How long a process may take to end after its call has, before its container is removed with it.
const ENDING_DEADLINE: Duration = Duration::from_secs(2);
/// How long Docker may take to answer one request of its API, in seconds.
const API_TIMEOUT_S: u64 = 30;

#[derive(Debug)]
pub(super) struct DockerExecutor {
    pool: Arc<Pool>,
    config: DockerConfig,
}

impl DockerExecutor {
    /// Connects with the first request, so that the daemon may be away now.
    pub(super) fn new(config: &ExecutorConfig) -> Result<Self, ExecutorError> {
        let docker = Docker::connect_with_unix(&config.docker.socket, API_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
            .map_err(docker_failed("find its socket"))?;
        let api = ContainerApi::new(docker, config.docker.clone(), config.memory);
        Ok(Self { pool: Arc::new(Pool::new(api)), config: config.docker.clone() })
    }
}

#[async_trait]
impl Executor for DockerExecutor {
    async fn run(&self, job: &Job) -> Result<Run, ExecutorError> {
        let image = match job.code.language {
            // No image could help: the language has no interpreter.
            Language::Go | Language::Provided => return Ok(Run { outcome: not_runnable(), is_warm_start: false }),
            Language::Python | Language::Node => self.config.images.get(&job.runtime),
        }
        .ok_or(ExecutorError::NoImage(job.runtime))?;
        let command = launch_command(job.code.language, &image.interpreter, job.code.memory_bytes)
            .expect("Python and Node have an interpreter");
        let mut lease = self.pool.take(job.runtime).await?;
        let (exec_id, output, input) = start(self.pool.api(), lease.container(), command).await?;
        lease.started(exec_id.clone());

        let (answers, answers_end) = duplex(STREAM_BUFFER_BYTES);
        let (logs, logs_end) = duplex(STREAM_BUFFER_BYTES);
        let streams = WorkerStreams { requests: input, answers, logs };
        let call = call_once_over(
            streams,
            self.pool.api().exit_code(&exec_id),
            &job.code,
            &job.call,
            &self.config.limits,
            self.config.start_timeout.get(),
        );
        let outcome = tokio::select! {
            outcome = call => outcome,
            () = separate(output, answers_end, logs_end) => unreachable!("it stays pending after the end of the output"),
        };
        let is_warm_start = lease.is_warm();
        lease.end(ended_in_order(&outcome));
        Ok(Run { outcome, is_warm_start })
    }

    async fn check(&self) -> Result<(), ExecutorError> {
        self.pool.api().ping().await?;
        self.pool.prepare().await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

type ExecOutput = std::pin::Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type ExecInput = std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

async fn start(
    api: &ContainerApi,
    container: &str,
    command: Vec<String>,
) -> Result<(String, ExecOutput, ExecInput), ExecutorError> {
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command),
        ..ExecConfig::default()
    };
    let exec_id = api.docker().create_exec(container, config).await.map_err(docker_failed("prepare a process"))?.id;
    match api.docker().start_exec(&exec_id, None).await.map_err(docker_failed("start a process"))? {
        StartExecResults::Attached { output, input } => Ok((exec_id, output, input)),
        StartExecResults::Detached => unreachable!("it was started attached"),
    }
}

/// Takes Docker's one stream apart into the worker's two, ends them with it, and never returns: the
/// conversation says when the call is over.
async fn separate(mut output: ExecOutput, mut answers: DuplexStream, mut logs: DuplexStream) {
    while let Some(Ok(part)) = output.next().await {
        let written = match part {
            LogOutput::StdOut { message } => answers.write_all(&message).await,
            LogOutput::StdErr { message } | LogOutput::Console { message } => logs.write_all(&message).await,
            LogOutput::StdIn { .. } => Ok(()),
        };
        if written.is_err() {
            break;
        }
    }
    drop((answers, logs));
    std::future::pending::<()>().await;
}

/// Whether the worker's process has ended or ends by itself. The pool looks before it uses the
/// container again, so that a failure that left processes behind is no exception.
const fn ended_in_order(outcome: &Outcome) -> bool {
    !matches!(outcome.result, FunctionResult::TimedOut { .. })
}

/// The same answer as the sandbox's.
fn not_runnable() -> Outcome {
    Outcome {
        result: FunctionResult::Failed { error: "code in Go cannot be run: it has no interpreter".to_owned() },
        logs: String::new(),
        duration: Duration::ZERO,
        memory_used_bytes: 0,
        cpu_time: None,
        worker_reusable: false,
    }
}

fn docker_failed(operation: &'static str) -> impl Fn(bollard::errors::Error) -> ExecutorError {
    move |source| ExecutorError::Docker { operation, source }
}
