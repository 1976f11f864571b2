//! The build service's binary against real servers.
#![allow(clippy::unwrap_used)]

#[path = "../../../shared/function-package/tests/bad_archives.rs"]
mod bad_archives;
mod bad_packages;
mod builds;
#[path = "../../../shared/function-package/tests/crafted.rs"]
mod crafted;
mod creations;
mod images;
mod kill;
mod load;
mod rabbitmq;
mod readiness;
mod submissions;
mod system;
mod traces;
mod webhooks;
