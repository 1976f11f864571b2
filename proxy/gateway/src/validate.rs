//! Checking the files without running anything.

use std::{fmt, path::Path};

use prometheus::Registry;

use crate::{
    auth::Authenticator,
    config::Config,
    control::StartError,
    rollout::RolloutDocument,
    run::{RunError, load_certificates},
    upstream::Upstreams,
};

/// What a valid configuration holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many routes there are.
    pub routes: usize,
    /// How many of them can move.
    pub split_routes: usize,
    /// How many upstreams there are.
    pub upstreams: usize,
    /// Whether the rollout document is there; without one everything is on legacy.
    pub has_rollout_document: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let document = if self.has_rollout_document { "valid" } else { "absent, so everything is on legacy" };
        let Self { routes, split_routes, upstreams, .. } = self;
        write!(f, "{routes} routes ({split_routes} can move), {upstreams} upstreams, rollout document {document}")
    }
}

/// Asks the gateway that runs with this configuration whether it is ready.
///
/// # Errors
/// When the configuration is wrong, or it is not ready.
pub fn probe(config_file: &Path) -> Result<(), RunError> {
    let config = Config::load(config_file)?;
    let only_tls = config.http.tls.as_ref().is_some_and(|tls| tls.bind.is_none());
    let asked = if only_tls { probe::accepts(config.http.bind) } else { probe::ready(config.http.bind) };
    Ok(asked?)
}

/// Checks the configuration and the rollout document it names.
///
/// # Errors
/// Every problem in the configuration; once that is valid, a file with certificates or keys that cannot be
/// used, or every problem in the rollout document.
pub fn validate(config_file: &Path) -> Result<Summary, RunError> {
    let config = Config::load(config_file)?;
    Upstreams::new(&config)?;
    load_certificates(&config)?;
    Authenticator::new(&config, &Registry::new())?;
    let table = config.route_table();
    let text = crate::control::read_document(&config.rollout.file).map_err(StartError::File)?;
    if let Some(text) = &text {
        RolloutDocument::parse(
            &config.rollout.file.display().to_string(),
            text,
            (&table, &config.limits.policies()),
            |_| None,
        )?;
    }
    Ok(Summary {
        routes: table.len(),
        split_routes: table.iter().filter(|(_, route)| route.sides.is_split()).count(),
        upstreams: config.upstreams.len(),
        has_rollout_document: text.is_some(),
    })
}
