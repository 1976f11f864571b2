//! The whole system: Mini-Lambda on its own PostgreSQL and S3, with the real binaries.
//!
//! Each test starts a stack of its own. The binaries are those beside the test's own, so
//! `cargo build --workspace --bins` comes first.
//!
//! - [`conversation`]: the same requests to the monolith, to the candidate and through the gateway, from
//!   a table of cases that is meant to grow;
//! - [`visibility`]: what one side writes, the other sees at once;
//! - [`operator`]: the command line against a running gateway;
//! - [`demonstration`]: the walk of `strangler demo`, with its planted defect;
//! - [`shadow`]: copies to the candidate, and what of its answers is reported;
//! - [`traces`]: from a mismatch to the spans and the log lines of both sides;
//! - [`dashboards`]: every panel's query, answered by a real Prometheus;
//! - [`upgrade`]: the gateway replaced while the stack runs;
//! - [`load`]: weights, rollback and shutdown under traffic;
//! - [`kill`]: SIGKILL of each part under traffic;
//! - [`builds`]: a package from the build service to its first call;
//! - [`bundles`]: the same with real dependencies, through the gateway and RabbitMQ;
//! - [`cutover`]: the functions' rows go to their own database and back.

mod builds;
mod bundles;
mod conversation;
mod cutover;
mod dashboards;
mod demonstration;
mod kill;
mod load;
mod operator;
mod rollout;
mod shadow;
pub mod site;
mod traces;
mod traffic;
mod upgrade;
mod visibility;
