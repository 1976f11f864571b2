//! How the stage knows its own: a comment on every object it makes. What carries none is somebody
//! else's and is never changed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What every marker begins with.
pub(crate) const PREFIX: &str = "migration, shared stage: ";

/// Replaced by the digest of the live view at the moment the marker is written. It is longer than
/// any name in PostgreSQL, so that no column in the marker can be mistaken for it.
pub(crate) const LIVE_PLACEHOLDER: &str = "the digest of the live definition: the database puts it in at this place";

/// What the marker of a view says; those of other objects have the target only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Marker {
    pub(crate) target: String,
    /// The digest of the statements it was made by.
    #[serde(default)]
    pub(crate) definition: String,
    /// The digest of what PostgreSQL made of them.
    #[serde(default)]
    pub(crate) live: String,
    /// The monolith's columns at that time, with their types.
    #[serde(default)]
    pub(crate) base: BTreeMap<String, String>,
}

impl Marker {
    /// Reads a comment; `None` when it is none of ours.
    pub(crate) fn parse(comment: Option<&str>) -> Option<Self> {
        serde_json::from_str(comment?.strip_prefix(PREFIX)?).ok()
    }
}

/// The comment that says it.
pub(crate) fn text(content: &serde_json::Value) -> String {
    format!("{PREFIX}{content}")
}

/// A digest of statements.
pub(crate) fn digest(statements: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for statement in statements {
        hasher.update(&(statement.len() as u64).to_le_bytes());
        hasher.update(statement.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// SQL for a digest of a view as it is: its query, defaults, triggers and their functions. It
/// changes when somebody replaces any of them, or renames a column of the monolith below them.
pub(crate) fn live_digest(view_oid: &str) -> String {
    format!(
        "SELECT md5(pg_get_viewdef({view_oid}) \
         || coalesce((SELECT string_agg(a.attname || '=' || pg_get_expr(d.adbin, d.adrelid), ';' ORDER BY d.adnum) \
            FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
            WHERE d.adrelid = {view_oid}), '') \
         || coalesce((SELECT string_agg(pg_get_triggerdef(t.oid) || pg_get_functiondef(t.tgfoid), ';' ORDER BY t.tgname) \
            FROM pg_trigger t WHERE t.tgrelid = {view_oid} AND NOT t.tgisinternal), ''))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_comments_are_markers() {
        let ours = text(&serde_json::json!({ "target": "shop" }));
        assert_eq!(Marker::parse(Some(&ours)).map(|marker| marker.target), Some("shop".to_owned()));
        for other in [None, Some("the orders"), Some("migration, shared stage: no json")] {
            assert_eq!(Marker::parse(other), None);
        }
    }
}
