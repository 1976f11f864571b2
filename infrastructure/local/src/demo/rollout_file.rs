//! Editing the rollout document as a person would: open it, change the numbers, save.

use std::{fs, path::Path};

use anyhow::Context as _;
use toml_edit::{DocumentMut, Item, Table, value};

/// Sets the percentage of these routes and leaves everything else, comments included, as it is.
/// Saved by renaming a new file over the old one, as most editors do.
pub(super) fn set_percent(file: &Path, routes: &[&str], percent: f64) -> anyhow::Result<()> {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    let mut document: DocumentMut = text.parse().with_context(|| format!("{shown} is not TOML"))?;
    let all = document.entry("routes").or_insert_with(implicit_table).as_table_mut().context("`routes` is no table")?;
    for route in routes {
        let route = all.entry(route).or_insert_with(|| Item::Table(Table::new()));
        // Whole numbers are written as a person writes them.
        route["percent"] = if percent.fract() == 0.0 { value(percent as i64) } else { value(percent) };
    }
    let edited = file.with_extension("toml.edited");
    fs::write(&edited, document.to_string()).with_context(|| format!("cannot write {}", edited.display()))?;
    fs::rename(&edited, file).with_context(|| format!("cannot save {shown}"))
}

fn implicit_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_numbers_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rollout.toml");
        fs::write(&file, "# ours\n[routes.invoke]\npercent = 0 # start\nepoch = 3\n").expect("written");
        set_percent(&file, &["invoke", "read"], 12.5).expect("edited");
        let text = fs::read_to_string(&file).expect("read");
        assert_eq!(text, "# ours\n[routes.invoke]\npercent = 12.5\nepoch = 3\n\n[routes.read]\npercent = 12.5\n");
    }
}
