//! What sets two rollout documents apart, value by value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, TableLike, Value};

/// One value that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its key as TOML writes it, such as `routes.invoke.percent`.
    pub key: String,
    /// The value before, as TOML writes it.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
}

/// A document and each route's epoch, which the document may leave out.
pub(super) type State<'a> = (&'a str, &'a BTreeMap<String, u64>);

impl Difference {
    /// What changes from one state to the other, in the order of keys. Comments, order and ways to
    /// write the same number do not count; a route that the document does not name has 0 percent.
    pub(super) fn between(before: State<'_>, after: State<'_>) -> Vec<Self> {
        let routes: BTreeSet<&String> = before.1.keys().chain(after.1.keys()).collect();
        let (before, after) = (values(before, &routes), values(after, &routes));
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        keys.into_iter()
            .filter(|key| before.get(*key) != after.get(*key))
            .map(|key| Self { key: key.clone(), before: before.get(key).cloned(), after: after.get(key).cloned() })
            .collect()
    }

    /// All of them on one line.
    pub(super) fn list(differences: &[Self]) -> String {
        let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
        texts.join(", ")
    }

    /// The route it is about, if it is about one.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.key.strip_prefix("routes.")?.split('.').next()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {} -> {}", self.key, value(&self.before), value(&self.after))
    }
}

/// Every value by its key. A route that was never named has no share, in its first epoch.
fn values((document, epochs): State<'_>, routes: &BTreeSet<&String>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    // Only documents that were accepted are compared, and those are TOML.
    let document: DocumentMut = document.parse().unwrap_or_default();
    flatten(document.as_table(), "", &mut values);
    for route in routes {
        let key = quoted(route);
        let epoch = epochs.get(*route).copied().unwrap_or(1);
        values.insert(format!("routes.{key}.epoch"), epoch.to_string());
        values.entry(format!("routes.{key}.percent")).or_insert_with(|| "0".to_owned());
    }
    values
}

fn flatten(table: &dyn TableLike, prefix: &str, values: &mut BTreeMap<String, String>) {
    for (key, item) in table.iter() {
        let key = quoted(key);
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match (item.as_table_like(), item.as_value()) {
            (Some(table), _) => flatten(table, &path, values),
            (None, Some(value)) => {
                values.insert(path, text(value));
            }
            (None, None) => {}
        }
    }
}

/// A value without comments and spaces around it; 10.0 is 10.
fn text(value: &Value) -> String {
    if let Value::Float(float) = value {
        return float.value().to_string();
    }
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let epochs = BTreeMap::from([("invoke".to_owned(), 1)]);
        let found = Difference::between((before, &epochs), (after, &epochs));
        found.into_iter().map(|one| (one.key, one.before, one.after)).collect()
    }

    #[test]
    fn only_what_counts_is_a_difference() {
        let table = "# a comment\n[routes.invoke]\npercent = 10 # since Monday\n";
        for same in ["routes.invoke.percent = 10.0", "[routes]\ninvoke = { percent = 10 }", &format!("{table}\n\n")] {
            assert_eq!(between(table, same), [], "{same}");
        }
        assert_eq!(between("", "[routes.invoke]\npercent = 0\n"), [], "nobody is on the candidate either way");
        let percent = "routes.invoke.percent".to_owned();
        assert_eq!(between(table, ""), [(percent.clone(), Some("10".to_owned()), Some("0".to_owned()))]);
        assert_eq!(
            between(table, "[routes.invoke]\npercent = 12.5\npins = { \"fn 1\" = \"candidate\" }\n"),
            [
                (percent, Some("10".to_owned()), Some("12.5".to_owned())),
                (r#"routes.invoke.pins."fn 1""#.to_owned(), None, Some("\"candidate\"".to_owned())),
            ]
        );
    }

    #[test]
    fn a_difference_names_its_route() {
        let of = |key: &str| Difference { key: key.to_owned(), before: None, after: None };
        assert_eq!(of("routes.invoke.percent").route(), Some("invoke"));
        assert_eq!(of("limits.per-function.rate").route(), None);
    }
}
