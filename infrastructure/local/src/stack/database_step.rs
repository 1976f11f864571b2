//! The shared data stage as a step of the stack's start.

use std::path::Path;
use std::time::Duration;

use migration::{Mapping, shared};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::Instant;

use super::StackError;

const PAUSE: Duration = Duration::from_millis(250);

/// Creates the candidate's views, as often as it takes: the monolith may still be making its tables.
/// A second run on the same database finds nothing to change.
pub(super) async fn run(name: &str, url: &str, mapping: &Path, deadline: Duration) -> Result<(), StackError> {
    let text = std::fs::read_to_string(mapping).map_err(|source| StackError::Io {
        action: "read",
        path: mapping.to_path_buf(),
        source,
    })?;
    let mapping = Mapping::from_toml(&mapping.display().to_string(), &text)?;
    let failed = |reason| StackError::StepFailed { step: name.to_owned(), reason };
    let pool = PgPoolOptions::new().max_connections(2).connect(url).await.map_err(|error| failed(error.to_string()))?;
    let until = Instant::now() + deadline;
    let result = loop {
        match attempt(&pool, &mapping).await {
            Ok(()) => break Ok(()),
            Err(error) if Instant::now() >= until => break Err(failed(format!("{error:#}"))),
            Err(error) => tracing::debug!(step = name, error = format!("{error:#}"), "trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    pool.close().await;
    result
}

async fn attempt(pool: &PgPool, mapping: &Mapping) -> anyhow::Result<()> {
    let plan = shared::plan(pool, mapping).await?;
    if !plan.is_empty() {
        let changes = shared::apply(pool, &plan, shared::Patience::default()).await?;
        tracing::info!(changes = changes.len(), "the candidate's views are up to date");
    }
    Ok(())
}
