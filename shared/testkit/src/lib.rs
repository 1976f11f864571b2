//! What tests stand on: real servers, a chaotic network, recorded upstreams, and processes to kill.
//!
//! - [`postgres`], [`s3`], [`rabbitmq`]: a database, bucket or virtual host of the test's own on a server
//!   that all tests share. `testkit-servers -- COMMAND` starts those servers once for a whole test run and
//!   hands them on through [`servers::Environment`]; without it each test process starts what it needs.
//! - [`PrivatePostgres`], [`PrivateRabbitMq`], [`PrivateRedis`], [`PrivateS3`]: a server of the test's own, to stop, kill, pause and restart.
//! - [`ChaosProxy`]: TCP that refuses, stalls, crawls or breaks on demand.
//! - [`StubUpstream`]: an HTTP server that answers by script and records what it was asked.
//! - [`TraceReceiver`]: a collector of traces, over OTLP.
//! - [`process::Spawned`]: a service's binary, with its readiness, signals and exit status.
//! - [`TestDocker`]: a Docker daemon of the test's own, where there can be one.
//! - [`ApiDocument`]: an OpenAPI document to which answers are held.
//! - [`eventually`]: waits for a condition with a deadline, which is what tests do instead of sleeping.
//! - [`or_skip`]: says why a test cannot be run here.
//! - [`machine`]: what a benchmark's figures were measured on.
//!
//! A start that fails panics with the reason: a test has nothing better to do with it.

mod api_document;
mod background;
mod book;
mod bucket;
mod chaos_proxy;
mod database;
mod docker;
mod eventually;
mod json_schema;
mod machine;
pub mod process;
mod redis;
pub mod servers;
mod skip;
mod stub_upstream;
mod trace_receiver;
mod vhost;

pub use api_document::ApiDocument;
pub use book::{BookBlock, book_blocks, pages as book_pages};
pub use bucket::{PrivateS3, TestBucket, s3};
pub use chaos_proxy::{ChaosProxy, Network};
pub use database::{PrivatePostgres, TestDatabase, postgres, postgres_versions};
pub use docker::TestDocker;
pub use eventually::eventually;
pub use json_schema::JsonSchema;
pub use local_servers::Signal;
pub use machine::machine;
pub use redis::PrivateRedis;
pub use skip::or_skip;
pub use stub_upstream::{Answer, RecordedRequest, StubUpstream};
pub use trace_receiver::{ReceivedSpan, TraceReceiver, ancestry};
pub use vhost::{PrivateRabbitMq, TestVhost, rabbitmq};

/// A name that no other test, process or run has: lower case letters, digits and `_` after `prefix`.
#[must_use]
pub fn unique_name(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}
