//! The live table and the summary, as plain lines that read well in a terminal and in a log.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{
    scenario::Summary,
    tally::{SideTally, Tally},
};

/// Where the demonstration is shown.
#[derive(Debug)]
pub struct Screen {
    bold: bool,
}

impl Screen {
    /// Standard output, with emphasis where it is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn stdout() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { bold: !no_color && std::io::stdout().is_terminal() }
    }

    /// A sentence.
    pub fn say(&self, text: &str) {
        // A reader that has gone (`| head`) is no reason to break the traffic off.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    pub(super) fn step(&self, name: &str, asked_percent: f64, rolled_back: bool) {
        let did = if rolled_back {
            "POST /api/v1/rollback: all routes".to_owned()
        } else {
            format!("rollout.toml saved: percent = {asked_percent}")
        };
        let (on, off) = if self.bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.say(&format!(
            "\n{on}{name}{off}: {did}\n{:>12} {:>14} │ {:^41} │ {:^41}\n{:>12} {:>6} {:>7} │ {} │ {}",
            "",
            "keys on cand.",
            "legacy",
            "candidate",
            "step",
            "asked",
            "seen",
            columns(),
            columns()
        ));
    }

    pub(super) fn second(&self, name: &str, asked_percent: f64, tally: &Tally, window: Duration) {
        let seen = tally.observed_percent().map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1} %"));
        let failed = match tally.failures.first() {
            None => String::new(),
            Some(first) => format!("  {} FAILED: {first}", tally.failures.len()),
        };
        self.say(&format!(
            "{name:>12} {:>6} {seen:>7} │ {} │ {}{failed}",
            format!("{asked_percent} %"),
            side(&tally.legacy, window),
            side(&tally.candidate, window)
        ));
    }

    /// What was shown, as a table and in sentences.
    pub fn summary(&self, summary: &Summary) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        table.force_no_tty();
        table.set_header([
            "step",
            "asked",
            "keys seen",
            "on cand.",
            "requests",
            "failed",
            "legacy calls",
            "p50 ms",
            "p99 ms",
            "cand. calls",
            "p50 ms",
            "p99 ms",
        ]);
        for column in 1..12 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for step in &summary.steps {
            let tally = &step.tally;
            let mut row = vec![
                step.name.to_owned(),
                format!("{} %", step.asked_percent),
                tally.keys().0.to_string(),
                tally.observed_percent().map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1} %")),
                tally.requests().to_string(),
                tally.failures.len().to_string(),
            ];
            for side in [&tally.legacy, &tally.candidate] {
                row.extend([side.calls().to_string(), ms(side.call_ms(0.5)), ms(side.call_ms(0.99))]);
            }
            table.add_row(row);
        }
        let requests: u64 = summary.steps.iter().map(|step| step.tally.requests()).sum();
        let failed: usize = summary.steps.iter().map(|step| step.tally.failures.len()).sum();
        let seconds: f64 = summary.steps.iter().map(|step| step.took.as_secs_f64()).sum();
        self.say(&format!("\n{table}"));
        self.say(&format!("{requests} requests in {seconds:.0} s, {failed} failed"));
        self.say(&format!("{} keys were on the candidate at 10 %; {} of them at 50 %", summary.kept.0, summary.kept.1));
        self.say(&format!(
            "{} requests went to the candidate after the rollback had returned",
            summary.candidate_after_rollback
        ));
        let found = &summary.found;
        self.say(&format!(
            "the defective candidate: {} of {} answers differed in the shadow, before a client saw one",
            found.different, found.compared
        ));
        if let Some(after) = found.taken_off_after {
            let ((by, why), ms) = (&found.by, after.as_millis());
            self.say(&format!(
                "on traffic it was taken off after {ms} ms and {} failed requests, by {by}: {why}",
                found.failed
            ));
        }
        for problem in &summary.problems {
            self.say(&format!("NOT AS IT SHOULD BE: {problem}"));
        }
    }
}

fn columns() -> String {
    format!("{:>6} {:>8} {:>9} {:>9} {:>5}", "req/s", "p50 ms", "p95 ms", "p99 ms", "err")
}

/// A side's columns. Latencies are of calls; the rate is of all requests.
fn side(tally: &SideTally, window: Duration) -> String {
    let rate = tally.requests as f64 / window.as_secs_f64().max(0.001);
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| ms(tally.call_ms(quantile)));
    format!("{rate:>6.0} {p50:>8} {p95:>9} {p99:>9} {:>5}", tally.errors)
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
}
