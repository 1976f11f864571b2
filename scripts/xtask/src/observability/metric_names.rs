//! Which metrics the code has, and which an expression asks for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Metrics that our code does not name: Prometheus' own, and those that its client library has of every
/// process.
const FOREIGN: [&str; 8] = [
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

/// Words of PromQL before which no operator and after which no bracket need stand.
const WORDS: [&str; 14] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
    "nan",
    "atan2",
];

/// The words that labels follow in brackets.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The value of every string constant in a file that holds metrics' names: those called `metrics.rs`, or in a
/// folder of that name.
pub(super) fn of_the_code(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> = FOREIGN.map(str::to_owned).into();
    let mut folders: Vec<PathBuf> =
        ["legacy", "migration", "proxy", "services", "shared"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("metrics.rs") || path.parent().is_some_and(|folder| folder.ends_with("metrics")) {
                names.extend(constants(&fs::read_to_string(path)?).map(str::to_owned));
            }
        }
    }
    Ok(names)
}

/// Lines of the form `pub const NAME: &str = "value";`.
fn constants(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let (declared, value) = line.trim().split_once(": &str = \"")?;
        (declared.starts_with("pub const ") || declared.starts_with("pub(crate) const ")).then_some(())?;
        value.strip_suffix("\";")
    })
}

/// Whether it is one of them, or a series of one that is a histogram.
pub(super) fn is_known(known: &BTreeSet<String>, metric: &str) -> bool {
    let series = ["_bucket", "_count", "_sum"].iter().filter_map(|end| metric.strip_suffix(end));
    known.contains(metric) || series.into_iter().any(|metric| known.contains(metric))
}

/// The names in a PromQL expression that are neither words of the language, functions nor labels. Also of
/// Grafana's `label_values(metric, label)`.
pub(super) fn of_expression(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = expression;
    let mut labels_follow = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' | '`' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            '{' => closing(rest, '{', '}'),
            '[' => closing(rest, '[', ']'),
            '(' if labels_follow => closing(rest, '(', ')'),
            _ if is_part_of_name(first) => rest.find(|c| !is_part_of_name(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        if first.is_ascii_alphabetic() || first == '_' {
            labels_follow = BEFORE_LABELS.contains(&token);
            // An aggregation may have its labels before its brackets.
            let next = after.trim_start();
            let is_function = ["(", "by ", "by(", "without ", "without("].iter().any(|start| next.starts_with(start));
            if token == "label_values" {
                let inside = after.trim_start().trim_start_matches('(');
                return of_expression(inside.rsplit_once(',').map_or(inside, |(metric, _)| metric));
            }
            if !is_function && !WORDS.contains(&token.to_ascii_lowercase().as_str()) {
                names.insert(token.to_owned());
            }
        } else if !first.is_whitespace() {
            labels_follow = false;
        }
    }
    names
}

/// Also digits and `$`, so that `5m`, `1e3` and `$__rate_interval` are one token each, which begins with
/// no letter.
fn is_part_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$' | '.')
}

/// Up to where the bracket that `text` begins with is closed; strings may hold brackets.
fn closing(text: &str, open: char, close: char) -> usize {
    let (mut depth, mut quoted) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if !quoted && c == open => depth += 1,
            c if !quoted && c == close => {
                depth -= 1;
                if depth == 0 {
                    return at + c.len_utf8();
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_words_labels_and_functions() {
        for (expression, wanted) in [
            (
                "sum by (route, side) (rate(a_total{route=~\"x}|y\"}[5m])) / on (route) b:c:d > 14.4 * 0.001",
                "a_total b:c:d",
            ),
            ("histogram_quantile(0.9, sum(rate(d_bucket[$__rate_interval])) by (le)) and up == 1e3", "d_bucket up"),
            ("label_values(gateway_requests_total, route)", "gateway_requests_total"),
            ("time() - start offset 5m unless ignoring(x) other", "other start"),
        ] {
            let found = of_expression(expression).into_iter().collect::<Vec<_>>().join(" ");
            assert_eq!(found, wanted, "{expression}");
        }
    }

    #[test]
    fn constants_of_the_code_are_names() {
        let source = "    pub const A: &str = \"a_total\";\nconst B: &str = \"b\";\n pub(crate) const C: &str = \"c\";";
        assert_eq!(constants(source).collect::<Vec<_>>(), ["a_total", "c"]);
    }

    #[test]
    fn series_of_histograms_are_known_by_their_metric() {
        let known: BTreeSet<String> = ["a_seconds".to_owned()].into();
        assert!(is_known(&known, "a_seconds_bucket") && is_known(&known, "a_seconds"));
        assert!(!is_known(&known, "a_second") && !is_known(&known, "b_count"));
    }
}
