//! `strangler status [--watch]`

use std::process::ExitCode;

use crate::{
    admin::{Admin, RolloutStatus, RouteStatus, Side, Status, UpstreamStatus},
    arguments::StatusArguments,
    connection::Connection,
    output::{Output, line},
};

/// Clears the terminal and goes to its top left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) async fn run(
    connection: &Connection,
    options: StatusArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(connection)?;
    let mut previous: Option<Status> = None;
    let mut left = if options.watch { options.count.unwrap_or(u64::MAX) } else { 1 };
    let mut ticks = tokio::time::interval(options.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while left > 0 {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        let status = admin.status().await?;
        // A restarted gateway counts from zero again.
        let before = previous.take().filter(|before| before.started_at == status.started_at);
        let seconds = before.as_ref().map(|before| status.uptime_seconds - before.uptime_seconds);
        output.result(&status, || {
            let screen = if options.watch && output.is_live() { CLEAR } else { "" };
            format!("{screen}{}", text(&status, before.as_ref(), seconds, *output))
        })?;
        previous = Some(status);
        left -= 1;
    }
    if options.watch && output.is_live() {
        line("");
    }
    Ok(ExitCode::SUCCESS)
}

/// One look: since the gateway's start, or since the previous look.
fn text(status: &Status, previous: Option<&Status>, seconds: Option<f64>, output: Output) -> String {
    let header = [
        "route",
        "stage",
        "asked",
        "observed",
        "side",
        "requests",
        "/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "errors",
        "fallbacks",
    ];
    let mut table = output.table(&header, 2..4);
    for column in 5..12 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for route in &status.routes {
        let before = previous.and_then(|status| status.routes.iter().find(|before| before.name == route.name));
        for row in rows(route, before, seconds) {
            table.add_row(row);
        }
    }
    let since = if seconds.is_some() { "since the last look" } else { "since the gateway started" };
    let upstreams: Vec<String> = status.upstreams.iter().map(upstream).collect();
    let mut text = format!("{table}\n{since}; revision {}; {}", status.revision, upstreams.join(", "));
    if let Some(error) = &status.reload_error {
        text.push_str(&format!("\nthe rollout file was refused, the state above stays in force: {error}"));
    }
    if status.routes.iter().any(|route| route.sides.is_none()) {
        text.push_str("\nthis gateway does not count requests: [request_metrics] in gateway.toml");
    }
    for trouble in status.rollout.iter().flat_map(store_troubles) {
        text.push_str(&format!("\n{trouble}"));
    }
    text
}

/// An upstream, and what of it does not serve.
fn upstream(upstream: &UpstreamStatus) -> String {
    let state = if upstream.healthy { "up" } else { "DOWN" };
    let mut text = format!("{} {} {state}", upstream.name, upstream.address);
    match (upstream.breaker.as_deref(), upstream.breaker_open_ms) {
        (Some("open"), Some(left)) => text.push_str(&format!(" (circuit OPEN for {:.1} s)", left as f64 / 1_000.0)),
        (None | Some("closed"), _) => {}
        (Some(other), _) => text.push_str(&format!(" (circuit in {other})")),
    }
    for address in &upstream.addresses {
        if let Some(left) = address.ejected_ms {
            text.push_str(&format!(" ({} left out for {:.1} s)", address.address, left as f64 / 1_000.0));
        }
    }
    text
}

/// What is wrong with where the rollout is kept.
fn store_troubles(rollout: &RolloutStatus) -> Vec<String> {
    let mut troubles = Vec::new();
    if !rollout.store_up {
        let since = rollout.store_age_seconds;
        let since = since.map_or_else(|| "yet".to_owned(), |seconds| format!("for {seconds:.0} s"));
        let store = &rollout.store;
        troubles.push(format!("the {store} store has not answered {since}; the last good copy is in force"));
    }
    if !rollout.pending_rollbacks.is_empty() {
        let routes = rollout.pending_rollbacks.join(", ");
        troubles.push(format!("rolled back here and not yet in the store: {routes}"));
    }
    troubles
}

/// A row for each side that has a share of the route, or has served a request of it since the gateway started; one where
/// requests are not counted.
fn rows(route: &RouteStatus, before: Option<&RouteStatus>, seconds: Option<f64>) -> Vec<Vec<String>> {
    let fallbacks = route.fallbacks - before.map_or(0, |before| before.fallbacks.min(route.fallbacks));
    let Some(sides) = &route.sides else {
        let mut row = vec![route.name.clone(), route.stage.clone(), super::percent(route.percent)];
        row.resize(11, "-".to_owned());
        row.push(fallbacks.to_string());
        return vec![row];
    };
    let before = before.and_then(|before| before.sides.as_ref());
    let legacy = Window::between(&sides.legacy, before.map(|before| &before.legacy));
    let candidate = Window::between(&sides.candidate, before.map(|before| &before.candidate));
    let total = legacy.requests + candidate.requests;
    let observed = match total {
        0 => "-".to_owned(),
        total => format!("{:.1} %", candidate.requests as f64 * 100.0 / total as f64),
    };
    let mut rows = Vec::new();
    let both = [
        ("legacy", &sides.legacy, legacy, 100.0 - route.percent),
        ("candidate", &sides.candidate, candidate, route.percent),
    ];
    for (side, since_start, window, share) in both {
        if share <= 0.0 && since_start.requests == 0 {
            continue;
        }
        let first = rows.is_empty();
        let once = |text: String| if first { text } else { String::new() };
        rows.push(vec![
            once(route.name.clone()),
            once(route.stage.clone()),
            once(super::percent(route.percent)),
            once(observed.clone()),
            side.to_owned(),
            window.requests.to_string(),
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.0}", window.requests as f64 / seconds)),
            window.quantile_ms(0.50),
            window.quantile_ms(0.95),
            window.quantile_ms(0.99),
            window.errors.to_string(),
            once(fallbacks.to_string()),
        ]);
    }
    rows
}

/// What one side did between two looks.
struct Window {
    requests: u64,
    errors: u64,
    le_seconds: Vec<f64>,
    /// How many answers were at most as slow as the bound of the same index.
    counts: Vec<u64>,
}

impl Window {
    fn between(now: &Side, before: Option<&Side>) -> Self {
        let since = |now: u64, before: Option<u64>| now.saturating_sub(before.unwrap_or(0));
        let counts = now.latency.counts.iter().enumerate();
        Self {
            requests: since(now.requests, before.map(|side| side.requests)),
            errors: since(now.errors, before.map(|side| side.errors)),
            le_seconds: now.latency.le_seconds.clone(),
            counts: counts
                .map(|(i, count)| since(*count, before.and_then(|side| side.latency.counts.get(i).copied())))
                .collect(),
        }
    }

    /// A quantile, linear within its bucket as Prometheus's `histogram_quantile` has it; `>` the
    /// last bound when it lies above.
    fn quantile_ms(&self, quantile: f64) -> String {
        if self.requests == 0 {
            return "-".to_owned();
        }
        let rank = quantile * self.requests as f64;
        let mut below = (0.0, 0.0);
        for (bound, count) in self.le_seconds.iter().zip(&self.counts) {
            let count = *count as f64;
            if count >= rank {
                let (from, passed) = below;
                let share = if count > passed { (rank - passed) / (count - passed) } else { 1.0 };
                return format!("{:.1}", (from + (bound - from) * share) * 1_000.0);
            }
            below = (*bound, count);
        }
        self.le_seconds.last().map_or_else(|| "-".to_owned(), |last| format!(">{:.0}", last * 1_000.0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::{Histogram, Sides};

    fn side(requests: u64, counts: &[u64]) -> Side {
        let latency = Histogram { le_seconds: vec![0.001, 0.01, 0.1], counts: counts.to_vec(), sum_seconds: 0.0 };
        Side { requests, errors: 0, in_flight: 0, latency }
    }

    #[test]
    fn what_does_not_serve_is_said() {
        let up = json!({
            "name": "lambda", "address": "a:1, b:1", "healthy": true, "breaker": "open", "breaker_open_ms": 1500,
            "addresses": [
                {"address": "a:1", "healthy": true, "ejected_ms": 2000, "problem": null},
                {"address": "b:1", "healthy": true, "ejected_ms": null, "problem": null},
            ],
        });
        let said = upstream(&serde_json::from_value(up).unwrap());
        assert_eq!(said, "lambda a:1, b:1 up (circuit OPEN for 1.5 s) (a:1 left out for 2.0 s)");
        let gone =
            json!({"store": "postgres", "store_up": false, "store_age_seconds": 12.3, "pending_rollbacks": ["f"]});
        let said = store_troubles(&serde_json::from_value(gone).unwrap());
        assert_eq!(
            said,
            [
                "the postgres store has not answered for 12 s; the last good copy is in force",
                "rolled back here and not yet in the store: f"
            ]
        );
        let well = json!({"store": "file", "store_up": true, "store_age_seconds": 0.1, "pending_rollbacks": []});
        assert!(store_troubles(&serde_json::from_value(well).unwrap()).is_empty());
    }

    #[test]
    fn a_route_whose_requests_are_not_counted_has_a_row() {
        let route = json!({
            "name": "invoke", "stage": "ramp", "percent": 10.0, "epoch": 1, "fallbacks": 3, "sides": null
        });
        let rows = rows(&serde_json::from_value(route).unwrap(), None, Some(1.0));
        assert_eq!(rows, [["invoke", "ramp", "10 %", "-", "-", "-", "-", "-", "-", "-", "-", "3"]]);
    }

    #[test]
    fn a_side_that_has_no_share_and_served_nothing_has_no_row() {
        let rows_at = |percent: f64, legacy: u64, candidate: u64| -> Vec<(String, String)> {
            let route = RouteStatus {
                name: "invoke".to_owned(),
                stage: "some".to_owned(),
                percent,
                epoch: 1,
                sides: Some(Sides { legacy: side(legacy, &[0, 0, 0]), candidate: side(candidate, &[0, 0, 0]) }),
                fallbacks: 0,
            };
            rows(&route, None, None).into_iter().map(|row| (row[0].clone(), row[4].clone())).collect()
        };
        let named = |side: &str| ("invoke".to_owned(), side.to_owned());
        let unnamed = |side: &str| (String::new(), side.to_owned());
        assert_eq!(rows_at(0.0, 0, 0), [named("legacy")]);
        assert_eq!(rows_at(0.0, 9, 1), [named("legacy"), unnamed("candidate")], "it had a share before");
        assert_eq!(rows_at(50.0, 0, 0), [named("legacy"), unnamed("candidate")]);
        assert_eq!(rows_at(100.0, 0, 4), [named("candidate")]);
    }

    #[test]
    fn a_window_is_what_happened_since_the_last_look() {
        let window = Window::between(&side(30, &[10, 20, 25]), Some(&side(10, &[10, 10, 10])));
        assert_eq!((window.requests, window.counts.as_slice()), (20, [0, 10, 15].as_slice()));
        assert_eq!(window.quantile_ms(0.25), "5.5");
        assert_eq!(window.quantile_ms(0.99), ">100");
    }
}
