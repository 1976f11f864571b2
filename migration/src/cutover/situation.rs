//! Finding out what a plan is made from.

use super::{
    CutoverError, Settings,
    gateway::GatewayClient,
    plan::{Compared, Situation, StreamSituation},
    unfit::{self, UnfitRows},
};
use crate::{
    slice::{SlicePlan, TablePlan},
    stream::{self, Direction, Stage, Stream},
    verify,
};
use sqlx::PgPool;

/// Looks; changes nothing.
pub(super) async fn look(
    monolith: &PgPool,
    candidate: &PgPool,
    plan: &SlicePlan,
    gateway: &GatewayClient,
    direction: Direction,
    settings: &Settings,
) -> Result<Situation, CutoverError> {
    let slice = gateway.slice(&plan.name).await?;
    let (from, to) = direction.ends(monolith, candidate);
    let stream = find(to, &plan.name, direction).await?;
    let stream_back = find(from, &plan.name, direction.opposite()).await?;
    let flows = stream.as_ref().is_some_and(|stream| stream.flows);
    let compared = if settings.verify && flows {
        let outcome = verify::run(monolith, candidate, plan, &verify::Settings::default()).await?;
        Some(Compared { rows: outcome.rows, differ: outcome.differences.len() as u64 })
    } else {
        None
    };
    let unfit = if flows {
        let found = Box::pin(unfit::find(monolith, candidate, plan)).await;
        found.map_err(CutoverError::database("try the candidate's rows against the monolith's tables"))?
    } else {
        UnfitRows::default()
    };
    Ok(Situation {
        slice: plan.name.clone(),
        direction,
        owner_policy: plan.owner,
        unfit_policy: plan.unfit_rows,
        unfit,
        stage: slice.as_ref().map(|slice| slice.stage),
        fenced: slice.as_ref().is_some_and(|slice| slice.fence.is_some()),
        routes: slice.map(|slice| slice.routes).unwrap_or_default(),
        stream,
        stream_back,
        compared,
        keyless: plan.tables.iter().filter(|table| table.identity.is_empty()).map(|it| it.target.to_string()).collect(),
        narrower: plan.tables.iter().flat_map(narrower).collect(),
    })
}

async fn find(to: &PgPool, slice: &str, direction: Direction) -> Result<Option<StreamSituation>, CutoverError> {
    let found = stream::find(to, slice, direction).await?;
    Ok(found.map(|Stream { stage, idle_ms, quarantined, reason, .. }| StreamSituation {
        flows: stage == Stage::Streaming,
        stage: stage.as_str().to_owned(),
        idle_ms,
        quarantined,
        reason,
    }))
}

/// Columns in which the candidate may write what the monolith cannot hold. Such a row waits in quarantine on
/// its way back, and a rollback waits with it.
fn narrower(table: &TablePlan) -> Vec<String> {
    let columns = table.columns.iter().filter_map(|column| {
        let source = table.source_columns.iter().find(|source| Some(&source.name) == column.source.as_ref())?;
        let is = (column.declared_type.as_str(), source.declared_type.as_str());
        holds_less(is.0, is.1).then(|| {
            format!(
                "{}.{} is {} and the monolith's {}: a value that does not fit would wait in quarantine and stand against a \
                 rollback",
                table.target, column.name, is.0, is.1
            )
        })
    });
    columns.collect()
}

/// Whether the second type cannot hold every value of the first.
fn holds_less(candidate: &str, monolith: &str) -> bool {
    let length = |name: &str| name.split_once('(').and_then(|(_, rest)| rest.trim_end_matches(')').parse::<u32>().ok());
    let is_text = |name: &str| name == "text" || name.starts_with("character varying") || name.starts_with("varchar");
    let width = |name: &str| match name {
        "smallint" => Some(2),
        "integer" => Some(4),
        "bigint" => Some(8),
        _ => None,
    };
    if is_text(candidate) && is_text(monolith) {
        return match (length(candidate), length(monolith)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wide), Some(narrow)) => wide > narrow,
        };
    }
    width(candidate).zip(width(monolith)).is_some_and(|(wide, narrow)| wide > narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_type_of_the_monolith_is_noticed() {
        for (candidate, monolith) in
            [("text", "character varying(255)"), ("character varying(300)", "varchar(255)"), ("bigint", "integer")]
        {
            assert!(holds_less(candidate, monolith), "{candidate} into {monolith}");
        }
        for (candidate, monolith) in [
            ("uuid", "character varying(255)"),
            ("text", "text"),
            ("varchar(10)", "varchar(20)"),
            ("integer", "bigint"),
        ] {
            assert!(!holds_less(candidate, monolith), "{candidate} into {monolith}");
        }
    }
}
