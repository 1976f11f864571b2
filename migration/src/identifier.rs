//! Names and literals of foreign schemas as SQL. No other module puts quotes around anything.

use std::fmt;

/// The longest name PostgreSQL keeps (`NAMEDATALEN - 1`); it cuts longer ones without an error,
/// and two that differ only behind the cut would then be one.
const MAX_BYTES: usize = 63;

/// A name of a schema, table, column, index, function or role, exactly as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(String);

/// Text that cannot be a name in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// There is no text.
    #[error("a name must not be empty")]
    Empty,
    /// PostgreSQL would cut it.
    #[error("a name has at most {MAX_BYTES} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It holds a NUL, which no text in PostgreSQL can.
    #[error("a name must not hold a NUL character")]
    Nul,
}

impl Identifier {
    /// Accepts whatever PostgreSQL accepts between double quotes.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidIdentifier> {
        let name = name.into();
        if name.is_empty() {
            Err(InvalidIdentifier::Empty)
        } else if name.contains('\0') {
            Err(InvalidIdentifier::Nul)
        } else if name.len() > MAX_BYTES {
            Err(InvalidIdentifier::TooLong { bytes: name.len() })
        } else {
            Ok(Self(name))
        }
    }

    /// A name made of `stem` and `suffix`. Where the limit forces a cut, the stem is cut and a
    /// digest of the whole takes its end, so that two long stems stay two names.
    pub(crate) fn derived(stem: &str, suffix: &str) -> Self {
        let whole = format!("{stem}{suffix}");
        if whole.len() <= MAX_BYTES {
            return Self(whole);
        }
        let digest = &blake3::hash(whole.as_bytes()).to_hex()[..8];
        let mut end = MAX_BYTES.saturating_sub(suffix.len() + digest.len() + 1).min(stem.len());
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        Self(format!("{}_{digest}{suffix}", &stem[..end]))
    }

    /// The name as the catalog holds it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as SQL. Always quoted: reserved words and capitals then need no thought.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name inside a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The schema.
    pub schema: Identifier,
    /// The name in it.
    pub name: Identifier,
}

impl QualifiedName {
    /// A name of something in a schema.
    #[must_use]
    pub fn new(schema: &Identifier, name: &Identifier) -> Self {
        Self { schema: schema.clone(), name: name.clone() }
    }

    /// The name as SQL.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", self.schema.quoted(), self.name.quoted())
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The path under which everything is read and made beside a schema: the system's names first, then
/// the schema's, and temporary ones last, so that none of them can stand in for another.
#[must_use]
pub fn search_path(schema: &Identifier) -> String {
    format!("pg_catalog, {}, pg_temp", schema.quoted())
}

/// Text as an SQL literal, whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A function's body between dollar quotes whose tag the body does not contain.
pub(crate) fn dollar_quoted(body: &str) -> String {
    let tag = (0..)
        .map(|n| if n == 0 { "$body$".to_owned() } else { format!("$body{n}$") })
        .find(|tag| !body.contains(tag.as_str()))
        .expect("a finite body cannot contain every tag");
    format!("{tag}{body}{tag}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quote_inside_a_name_is_doubled() {
        let name = Identifier::new("x\"; drop table functions; --").expect("a legal name");
        assert_eq!(name.quoted(), "\"x\"\"; drop table functions; --\"");
    }

    #[test]
    fn names_postgres_would_cut_or_refuse_are_refused() {
        assert_eq!(Identifier::new(""), Err(InvalidIdentifier::Empty));
        assert_eq!(Identifier::new("a\0b"), Err(InvalidIdentifier::Nul));
        assert_eq!(Identifier::new("é".repeat(32)), Err(InvalidIdentifier::TooLong { bytes: 64 }));
        assert!(Identifier::new("x".repeat(63)).is_ok());
    }

    #[test]
    fn a_backslash_cannot_end_a_literal() {
        assert_eq!(literal(r"a\' or 1=1"), r"E'a\\'' or 1=1'");
    }

    #[test]
    fn a_body_cannot_end_its_own_quotes() {
        assert_eq!(dollar_quoted("x $body$ y"), "$body1$x $body$ y$body1$");
    }

    proptest! {
        #[test]
        fn derived_names_fit_and_differ(stem in "\\PC{1,80}", other in "\\PC{1,80}") {
            let name = Identifier::derived(&stem, "_insert");
            prop_assert!(name.as_str().len() <= MAX_BYTES);
            prop_assert!(name.as_str().ends_with("_insert"));
            prop_assert_eq!(stem == other, name == Identifier::derived(&other, "_insert"));
        }
    }
}
