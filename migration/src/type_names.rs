//! What the types that a mapping names are to a database.

use std::collections::BTreeSet;

use sqlx::{Connection, PgConnection};

use crate::{mapping::Table, projection::TypeNames};

/// The canonical name of every type that the tables name, as the connection's `search_path` finds it.
pub(crate) async fn read_types(
    connection: &mut PgConnection,
    tables: impl Iterator<Item = &Table>,
) -> sqlx::Result<TypeNames> {
    canonical(
        connection,
        tables.flat_map(|table| table.columns.values()).filter_map(|column| column.data_type.as_ref()).collect(),
    )
    .await
}

/// The canonical name of each of these, as the connection's `search_path` finds it.
pub(crate) async fn canonical(connection: &mut PgConnection, names: BTreeSet<&String>) -> sqlx::Result<TypeNames> {
    let mut types = TypeNames::new();
    for name in names {
        // Before PostgreSQL 16, to_regtype raises an error where it later answers null.
        let mut attempt = connection.begin().await?;
        let canonical: Result<Option<String>, _> =
            sqlx::query_scalar("select format_type(to_regtype($1), -1)").bind(name).fetch_one(&mut *attempt).await;
        attempt.rollback().await?;
        let canonical = match canonical {
            Ok(canonical) => canonical,
            Err(sqlx::Error::Database(_)) => None,
            Err(other) => return Err(other),
        };
        types.insert(name.clone(), canonical.map(|canonical| with_modifier(&canonical, name)));
    }
    Ok(types)
}

/// The canonical name with the length or precision that the mapping gave, which the catalog's
/// lookup leaves out.
fn with_modifier(canonical: &str, written: &str) -> String {
    match (written.find('('), written.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let modifier = &written[open..=close];
            match canonical.split_once(' ') {
                // "timestamp with time zone" has its precision after the first word.
                Some((first, rest)) if first.starts_with("time") => format!("{first}{modifier} {rest}"),
                _ => format!("{canonical}{modifier}"),
            }
        }
        _ => canonical.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::with_modifier;

    #[test]
    fn a_precision_goes_where_postgres_wants_it() {
        assert_eq!(with_modifier("timestamp with time zone", "timestamptz(3)"), "timestamp(3) with time zone");
        assert_eq!(with_modifier("numeric", "numeric(10,2)"), "numeric(10,2)");
        assert_eq!(with_modifier("uuid", "uuid"), "uuid");
    }
}
