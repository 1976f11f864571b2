//! The life of an HTTP service, from settings to the last drained request.
//!
//! [`run`] is the whole of a service's `main`: it reads the settings, sets up telemetry, binds,
//! builds the application's router, serves it beside `/livez`, `/readyz`, `/health` and
//! `/metrics`, and on SIGTERM or SIGINT drains within a deadline:
//!
//! ```text
//! signal ─► not ready ─► Lifecycle::shutdown() cancelled ─► listener closed, requests finish
//!        ─► on_drain hooks, last registered first ─► owned tasks end ─► exit 0
//! ```
//!
//! [`Routes`] hold a service to its OpenAPI document, and [`Problem`] is how it refuses.
//!
//! Whatever is not done at the deadline is dropped and the exit status is 1; a second signal ends
//! the process at once. Services start in any order: the listener answers before any dependency is
//! there, and [`Lifecycle::readiness`] says what is still missing.

mod admin;
mod backoff;
mod config;
mod documented;
mod flush;
mod http;
mod lifecycle;
mod problem;
mod readiness;
mod run;

pub use admin::{Access, Admin, AdminConfig};
pub use backoff::{Backoff, retry};
pub use config::{HttpConfig, ServiceConfig};
pub use documented::{DocumentError, Routes};
pub use flush::{FLUSH_PATH, none_left};
pub use http::RequestId;
pub use lifecycle::Lifecycle;
pub use problem::Problem;
pub use readiness::ReadinessHandle;
pub use run::{About, run};
