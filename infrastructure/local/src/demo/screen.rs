//! The live table and the summary, as plain lines that read well in a terminal and in a log.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{
    Summary,
    databases::{Counts, Owner},
    operator::{Compared, Difference},
    packaging::Packaged,
    ramping::TakenBack,
    shadowing::{SHADOWED_ROUTES, Shadowed},
    splitting::{self, Moved, Passed, Synced},
    stage::StepResult,
    tally::{SideTally, Tally},
};

/// More ways in which answers differ are counted only.
const SHOWN_DIFFERENCES: usize = 6;

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

    /// The head of a chapter, and what was done for it.
    pub(super) fn chapter(&self, name: &str, did: &str) {
        let (on, off) = if self.bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.say(&format!("\n{on}{name}{off}: {did}"));
    }

    /// The head of what [`Screen::second`] shows.
    pub(super) fn columns(&self) {
        self.say(&format!(
            "{:>12} {:>14} │ {:^41} │ {:^41}\n{:>12} {:>6} {:>7} │ {} │ {}",
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
            Some(first) => format!("  {} FAILED: {}", tally.failures.len(), first.why),
        };
        self.say(&format!(
            "{name:>12} {:>6} {seen:>7} │ {} │ {}{failed}",
            format!("{asked_percent} %"),
            side(&tally.legacy, window),
            side(&tally.candidate, window)
        ));
    }

    /// What the shadow has found so far in a chapter, and whether callers noticed.
    pub(super) fn shadow_second(&self, compared: &[Compared; SHADOWED_ROUTES.len()], callers: &Tally) {
        let routes = SHADOWED_ROUTES.iter().zip(compared).map(|(route, compared)| {
            let (compared, different, dropped) = (compared.in_all(), compared.different, compared.dropped());
            let dropped = if dropped > 0 { format!(", {dropped} dropped") } else { String::new() };
            format!("{route:>9}: {compared:>5} compared, {different:>3} differ{dropped}")
        });
        let routes: Vec<String> = routes.collect();
        let (requests, failed) = (callers.requests(), callers.failures.len());
        self.say(&format!("{} │ callers: {requests} requests, {failed} failed", routes.join(" │ ")));
    }

    /// What the shadow found in a chapter.
    pub(super) fn shadowed(&self, shadowed: &Shadowed) {
        let compared: u64 = shadowed.compared.iter().map(Compared::in_all).sum();
        for (route, compared) in SHADOWED_ROUTES.iter().zip(&shadowed.compared).filter(|(_, found)| found.dropped() > 0)
        {
            let reasons: Vec<String> = compared.dropped.iter().map(|(why, count)| format!("{count} {why}")).collect();
            self.say(&format!("{route:>9}: not compared, within the budget of copies: {}", reasons.join(", ")));
        }
        if shadowed.differences.is_empty() {
            return self.say(&format!("{compared} answers compared: nothing differs"));
        }
        self.say(&format!("{compared} answers compared; found before any caller saw it (strangler shadow report):"));
        for difference in shadowed.differences.iter().take(SHOWN_DIFFERENCES) {
            let Difference { route, path, kind, count } = difference;
            let of = SHADOWED_ROUTES.iter().position(|known| known == route);
            let of = of.map_or(0, |index| shadowed.compared[index].in_all());
            self.say(&format!("{route:>9}: {path:<16} {count:>4} of {of} answers ({kind})"));
        }
        let more = shadowed.differences.len().saturating_sub(SHOWN_DIFFERENCES);
        if more > 0 {
            self.say(&format!("{:>9}  and {more} more paths", ""));
        }
    }

    /// How a ramp that must not go well stands.
    pub(super) fn ramp_second(&self, percent: f64, tally: &Tally) {
        let candidate = &tally.candidate;
        let (calls, bad) = (candidate.requests + candidate.errors, candidate.errors);
        self.say(&format!("{percent:>5} % on the candidate: {calls:>4} calls answered by it, {bad:>3} of them badly"));
    }

    /// How it ended.
    pub(super) fn taken_back(&self, taken_back: &TakenBack) {
        let TakenBack { calls, bad_answers, after_start, after_first, change, .. } = taken_back;
        let ms = |duration: &Duration| duration.as_millis();
        let first = after_first
            .as_ref()
            .map_or_else(String::new, |first| format!(", {} ms after the first bad answer", ms(first)));
        self.say(&format!("the gateway took it back by itself, {} ms after the start{first}", ms(after_start)));
        self.say(&format!("{calls} calls were answered by the candidate; {bad_answers} callers saw a bad answer"));
        self.say(&format!("why, from its history: {}", change.reason));
    }

    /// A copy that changes follow.
    pub(super) fn synced(&self, synced: &Synced) {
        let Synced { rows, bytes, took, lag_ms } = synced;
        let (kib, seconds) = (bytes >> 10, took.as_secs_f64());
        self.say(&format!(
            "{rows} rows ({kib} KiB) are there after {seconds:.1} s; changes follow, {lag_ms} ms behind"
        ));
    }

    /// A comparison of all rows.
    pub(super) fn verified(&self, name: &str, compared: &splitting::Compared) {
        self.say(&format!("{name}: {} rows compared by value, {} differ", compared.rows, compared.differ()));
    }

    /// Rows that have got another owner.
    pub(super) fn passed(&self, owner: Owner, passed: &Passed) {
        let Passed { held_ms, waited, found_in_flight } = passed;
        let held = held_ms.map_or_else(|| "?".to_owned(), |held| format!("{held:.0}"));
        self.say(&format!(
            "{} owns the rows: writes were held for {held} ms, {found_in_flight} in flight were waited for, {waited} waited",
            owner.database()
        ));
    }

    /// Rows against what callers were told.
    pub(super) fn counted(&self, owner: Owner, counts: &Counts) {
        let Counts { functions, executions } = counts;
        let (database, missing) = (owner.database(), functions.missing + executions.missing);
        let twice = functions.twice + executions.twice;
        self.say(&format!(
            "count: callers were told of {} functions and {} executions; in {database} {missing} are missing, {twice} twice",
            functions.told, executions.told
        ));
    }

    /// The end of the way back.
    pub(super) fn completed(&self) {
        self.chapter("complete", "strangler db complete functions --confirm: the streams are gone, and the way back");
    }

    /// How a package became a function.
    pub(super) fn packaged(&self, packaged: &Packaged) {
        let Packaged { name, bytes, accepted, answered, second_call } = packaged;
        let ms = |duration: &Duration| duration.as_secs_f64() * 1_000.0;
        self.say(&format!(
            "{name:>12}  {bytes} bytes accepted after {:.1} ms; built, and its first call answered after {:.1} ms; the \
             second call took {:.1} ms",
            ms(accepted),
            ms(answered),
            ms(second_call)
        ));
    }

    /// What was shown, as a table and in sentences.
    pub fn summary(&self, summary: &Summary) {
        let shown = &summary.shown;
        self.say(&format!("\n{}", table(&shown.steps)));
        let taken_back = &shown.taken_back;
        let compared = |shadowed: &Shadowed| -> u64 { shadowed.compared.iter().map(Compared::in_all).sum() };
        let different =
            |shadowed: &Shadowed| -> u64 { shadowed.compared.iter().map(|compared| compared.different).sum() };
        for (candidate, shadowed) in [("planted defect", &shown.flawed), ("repaired", &shown.repaired)] {
            let (different, compared) = (different(shadowed), compared(shadowed));
            let (requests, failed) = (shadowed.requests, shadowed.failures.len());
            self.say(&format!(
                "shadow, {candidate}: {different} of {compared} answers differ; callers: {requests} requests, {failed} failed"
            ));
        }
        self.say(&format!(
            "ramp, planted defect: taken back by the guard after {} calls and {} ms; {} callers saw a bad answer",
            taken_back.calls,
            taken_back.after_start.as_millis(),
            taken_back.bad_answers
        ));
        self.say(&format!(
            "ramp, repaired: {} requests went back to legacy while the percentage rose",
            shown.went_back
        ));
        self.say(&format!(
            "{} requests went to the candidate after everything was back on legacy",
            shown.candidate_after_rollback
        ));
        self.moved(&shown.moved, &shown.counts);
        self.say(&format!(
            "{} requests in {:.0} s; {} failed, {} of them by the planted defect",
            shown.requests,
            shown.took.as_secs_f64(),
            shown.failed,
            taken_back.bad_answers
        ));
        for problem in &summary.problems {
            self.say(&format!("NOT AS IT SHOULD BE: {problem}"));
        }
    }

    /// What came of the data, in sentences.
    fn moved(&self, moved: &Moved, counts: &Counts) {
        let held: Vec<String> =
            moved.changes.iter().map(|change| format!("{:.0}", change.passed.held_ms.unwrap_or_default())).collect();
        let differ: usize = moved.changes.iter().map(|change| change.compared.differ()).sum();
        let end = if moved.completed { "complete" } else { "rolled back" };
        self.say(&format!(
            "split: {} rows copied; the owner changed {} times, writes held for {} ms; {} rows differed; {end}",
            moved.synced.rows,
            moved.changes.len(),
            held.join(", "),
            differ + moved.compared.differ()
        ));
        self.say(&format!(
            "split: {} requests meanwhile, {} of them created functions; {} failed",
            moved.requests, moved.created, moved.failed
        ));
        let Counts { functions, executions } = counts;
        self.say(&format!(
            "count: of {} functions and {} executions that callers were told of, {} are in {}, each once",
            functions.told,
            executions.told,
            if counts.is_complete() { "all" } else { "NOT ALL" },
            moved.owner.database()
        ));
    }
}

fn table(steps: &[StepResult]) -> Table {
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
    for step in steps {
        let tally = &step.tally;
        let mut row = vec![
            step.name.clone(),
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
    table
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
