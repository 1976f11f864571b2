//! Which types carry which, and how a value is cast on its way between two databases. Pure.

use crate::base::BaseColumn;

/// Types whose explicit cast cuts what is too long, without an error. They are cast to without
/// their length, which the target then checks.
const CUTTING: [&str; 4] = ["character varying", "bpchar", "character", "bit"];

/// Each holds every value of the ones before it.
const WIDENING: [&[&str]; 2] = [&["smallint", "integer", "bigint", "numeric"], &["real", "double precision"]];

/// A type without its length or precision, as the catalog prints it.
pub(super) fn bare(declared: &str) -> String {
    match (declared.find('('), declared.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &declared[..open], &declared[close + 1..]),
        _ => declared.to_owned(),
    }
}

/// The type to cast to: `declared` with its precision where that is safe, otherwise without.
pub(super) fn cast_type(declared: &str) -> String {
    let bare = bare(declared);
    if CUTTING.iter().any(|cutting| bare.starts_with(cutting)) { bare } else { declared.to_owned() }
}

/// Whether a column may be carried over into another without a word in the mapping: no value
/// changes by it, and one that does not fit makes the copy fail.
pub(super) fn carries_over(source: &BaseColumn, target: &BaseColumn) -> bool {
    if rounds(source, target) {
        return false;
    }
    let family = |column: &BaseColumn| match column.wire.as_deref() {
        Some("character varying" | "bpchar") => Some("text".to_owned()),
        other => other.map(ToOwned::to_owned),
    };
    match (family(source), family(target)) {
        (Some(from), Some(to)) => from == to || widens(&from, &to),
        // Arrays of enums, composites and the like travel as text, and are known by their name.
        _ => source.bare_type == target.bare_type,
    }
}

fn widens(from: &str, to: &str) -> bool {
    WIDENING.iter().any(|chain| {
        let place = |name: &str| chain.iter().position(|member| *member == name);
        matches!((place(from), place(to)), (Some(from), Some(to)) if from < to)
    })
}

/// Whether the target keeps fewer digits, which it would round to in silence.
fn rounds(source: &BaseColumn, target: &BaseColumn) -> bool {
    let precise = |column: &BaseColumn| column.wire.as_deref().is_some_and(|wire| !CUTTING.contains(&wire));
    precise(target)
        && target.declared_type != target.bare_type
        && source.declared_type != target.declared_type
        && !widens(&source.bare_type, &target.bare_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str, wire: Option<&str>) -> BaseColumn {
        BaseColumn {
            declared_type: declared.to_owned(),
            bare_type: bare(declared),
            wire: wire.map(ToOwned::to_owned),
            ..BaseColumn::default()
        }
    }

    fn plain(declared: &str) -> BaseColumn {
        column(declared, Some(&bare(declared)))
    }

    #[test]
    fn what_loses_nothing_is_carried_over() {
        for (from, to) in [
            ("text", "text"),
            ("character varying(255)", "text"),
            ("text", "character varying(10)"),
            ("integer", "bigint"),
            ("smallint", "numeric"),
            ("numeric(10,2)", "numeric"),
        ] {
            assert!(carries_over(&plain(from), &plain(to)), "{from} to {to}");
        }
        for (from, to) in [
            ("bigint", "integer"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("text", "uuid"),
            ("json", "jsonb"),
            ("numeric", "numeric(10,2)"),
            ("timestamp without time zone", "timestamp(3) without time zone"),
        ] {
            assert!(!carries_over(&plain(from), &plain(to)), "{from} to {to}");
        }
    }

    #[test]
    fn types_of_the_databases_own_are_known_by_their_name_or_wire() {
        assert!(carries_over(&column("mood", Some("text")), &plain("text")));
        assert!(carries_over(&column("cents", Some("bigint")), &plain("bigint")));
        assert!(carries_over(&column("mood[]", None), &column("mood[]", None)));
        assert!(!carries_over(&column("mood[]", None), &column("temper[]", None)));
    }

    #[test]
    fn a_cast_never_cuts() {
        assert_eq!(cast_type("character varying(10)"), "character varying");
        assert_eq!(cast_type("numeric(10,2)"), "numeric(10,2)");
        assert_eq!(cast_type("timestamp(3) with time zone"), "timestamp(3) with time zone");
        assert_eq!(bare("timestamp(3) with time zone"), "timestamp with time zone");
    }
}
