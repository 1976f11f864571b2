//! `strangler db retire`: whether the monolith's tables of a slice are still used. It drops nothing.

use std::process::ExitCode;

use anyhow::Context as _;
use migration::{
    retire::{self, ColumnUse, Report, RouteTraffic, RouteUse, TableUse},
    slice::read_plan,
};
use serde_json::json;

use super::{open_both, report::Reporter};
use crate::{
    admin::{Admin, RouteStatus},
    arguments::inspection::RetireArguments,
    connection::Connection,
    output::Output,
};

pub(crate) async fn retire(
    asked: RetireArguments,
    gateway: Option<&Connection>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let (source, candidate, mapping) = open_both(&asked.target).await?;
    let plan =
        read_plan(&mut *source.acquire().await?, &mut *candidate.acquire().await?, &mapping, &asked.target.slice)
            .await?;
    let routes = match gateway {
        Some(connection) => traffic(connection).await?,
        None => Vec::new(),
    };
    let report = retire::look(&source, &candidate, &plan, &routes, asked.quiet_days).await?;
    let mut said = json!(report);
    said["quiet"] = json!(report.is_quiet());
    Reporter::new(gateway, &plan.name, output)?.say("retire", said).await;
    output.result(&report, || if asked.sql { report.plan.to_string() } else { shown(&report) })?;
    Ok(if report.is_quiet() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn traffic(connection: &Connection) -> anyhow::Result<Vec<RouteTraffic>> {
    let status = Admin::new(connection)?.status().await?;
    let of = |route: RouteStatus| {
        let sides = route.sides.context(
            "the gateway does not count requests, so it cannot say whether legacy is still asked: set [request_metrics] \
             enabled = true in gateway.toml, or look without --gateway",
        )?;
        Ok(RouteTraffic { requests: sides.legacy.requests, route: route.name })
    };
    status.routes.into_iter().map(of).collect()
}

fn shown(report: &Report) -> String {
    let mut lines: Vec<String> = report.tables.iter().flat_map(table).collect();
    lines.extend(report.routes.iter().map(route));
    if !report.statements_counted {
        lines.push(
            "pg_stat_statements is not there: who used a table, and which columns, is known only of the moment"
                .to_owned(),
        );
    }
    lines.push(if report.is_quiet() {
        format!("quiet for {} days: --sql prints what would archive and drop the tables", report.quiet_days)
    } else {
        format!("not quiet for {} days yet; look again every day, each look is remembered", report.quiet_days)
    });
    lines.join("\n")
}

fn table(table: &TableUse) -> Vec<String> {
    let touched = match (&table.read_at, &table.written_at) {
        (None, None) => format!("untouched since it was first looked at, {}", table.first_look),
        (read, written) => {
            let never = || "not seen".to_owned();
            format!("read: {}, written: {}", read.clone().unwrap_or_else(never), written.clone().unwrap_or_else(never))
        }
    };
    let state = if table.is_quiet { "quiet" } else { "IN USE" };
    let mut lines = vec![format!(
        "{}: {state} for {} days; {touched}; about {} rows, {} MiB",
        table.table,
        table.quiet_days,
        table.rows,
        table.bytes >> 20
    )];
    lines.extend(table.users.iter().map(|user| {
        let from = if user.application.is_empty() && user.address.is_empty() {
            "by its statements".to_owned()
        } else {
            format!("{} from {}", user.application, user.address)
        };
        format!("    seen: {}, {from}, at {}", user.role, user.seen_at)
    }));
    let names = |wanted: &dyn Fn(&&ColumnUse) -> bool| {
        table.columns.iter().filter(wanted).map(|column| column.column.as_str()).collect::<Vec<_>>().join(", ")
    };
    let lost = names(&|column| !column.carried);
    if !lost.is_empty() {
        lines.push(format!("    only the monolith has: {lost}"));
    }
    let unnamed = names(&|column| column.named == Some(false));
    if !unnamed.is_empty() {
        lines.push(format!("    named by no counted statement: {unnamed}"));
    }
    lines
}

fn route(RouteUse { route, first_look, seen_at, quiet_days, is_quiet }: &RouteUse) -> String {
    let state = if *is_quiet { "quiet" } else { "IN USE" };
    match seen_at {
        Some(seen_at) => format!("route {route}: {state} for {quiet_days} days; legacy answered until {seen_at}"),
        None => {
            format!("route {route}: {state} for {quiet_days} days; nothing since it was first looked at, {first_look}")
        }
    }
}
