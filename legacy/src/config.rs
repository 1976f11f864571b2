//! The monolith's settings: `legacy.toml` below `LEGACY__…` in the environment.

use layered_config::{Report, Validate};
use objects::ObjectsConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use service::{AdminConfig, HttpConfig, ServiceConfig};
use telemetry::TelemetryConfig;

use crate::{bus::BusConfig, executor::ExecutorConfig, scheduler::SchedulerConfig, store::DatabaseConfig};

/// Everything that can be set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and how to serve HTTP.
    pub http: HttpConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// The database `mini_lambda`.
    pub database: DatabaseConfig,
    /// The S3 bucket that holds the functions' code.
    pub objects: ObjectsConfig,
    /// The event bus.
    pub bus: BusConfig,
    /// What runs the functions.
    pub executor: ExecutorConfig,
    /// Cron triggers.
    pub scheduler: SchedulerConfig,
    /// The routes of operators.
    pub admin: AdminConfig,
}

impl Validate for Config {
    fn validate(&self, report: &mut Report) {
        report.nested("http", |report| self.http.validate(report));
        report.nested("telemetry", |report| self.telemetry.validate(report));
        report.nested("database", |report| self.database.validate(report));
        report.nested("objects", |report| self.objects.validate(report));
        report.nested("bus", |report| self.bus.validate(report));
        report.nested("executor", |report| self.executor.validate(report));
        report.nested("scheduler", |report| self.scheduler.validate(report));
        report.nested("admin", |report| self.admin.validate(report));
    }
}

impl ServiceConfig for Config {
    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}
