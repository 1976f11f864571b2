//! Printing results: tables for people, JSON for programs.

use std::{
    fmt,
    io::{IsTerminal as _, Write as _},
};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::arguments::Format;

/// What was asked makes no sense as it stands: exit status 2.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Where and how results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    color: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        // https://no-color.org: any value but the empty one.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, color: !no_color && std::io::stdout().is_terminal() }
    }

    pub(crate) const fn is_json(self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Whether escape sequences may be printed.
    pub(crate) const fn is_live(self) -> bool {
        self.color
    }

    /// Prints a result as one JSON document, or else as `text` says.
    pub(crate) fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let printed = if self.is_json() { serde_json::to_string(value)? } else { text() };
        line(&printed);
        Ok(())
    }

    /// A table in the style of all tables here; the columns named in `numbers` stand to the right.
    pub(crate) fn table(self, header: &[&str], numbers: std::ops::Range<usize>) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        if !self.color {
            table.force_no_tty();
        }
        table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for column in numbers {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// Prints an error to standard error, with its causes.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let text = if self.is_json() {
            serde_json::json!({"error": format!("{error:#}")}).to_string()
        } else {
            format!("strangler: {error:#}")
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Says to a person what is going on.
    pub(crate) fn progress(self, text: &str) {
        if !self.is_json() {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Prints a line. A reader that has gone (`| head`) is no failure of ours.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
}
