//! `strangler db inspect`: a first mapping from a live database.

use std::process::ExitCode;

use migration::{Identifier, inspect};
use serde_json::json;

use super::{MONOLITH, connect};
use crate::{
    arguments::inspection::InspectArguments,
    output::{Output, Refused},
};

pub(crate) async fn inspect(asked: InspectArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let schema = Identifier::new(asked.schema.clone())
        .map_err(|problem| Refused(format!("{:?} is no name of a schema: {problem}", asked.schema)))?;
    let database = connect(&MONOLITH, asked.database_url_file.as_deref()).await?;
    let mapping = inspect::draft(&database, &schema, asked.sample).await?;
    output.result(&json!({ "mapping": mapping }), || mapping.clone())?;
    Ok(ExitCode::SUCCESS)
}
