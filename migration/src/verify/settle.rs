//! Looks at rows again, by their keys, until it is known whether they differ.
//!
//! A row of a slice that is written to may be on its way from one side to the other. It is read on
//! the side that is written, then on the other one when the stream has passed what was read, then on
//! the first again:
//!
//! | what is seen | what it means |
//! |---|---|
//! | the other side has one of the two values | the same |
//! | it has neither, and the first side has not changed in between | differs, when it is seen again |
//! | it has neither, and the first side has changed in between | nothing: it is looked at again |
//!
//! Without a stream to wait for, a row must stay as it is for all looks.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::time::sleep;

use super::{
    Difference, Following, Kind, Settings,
    digest::{Digest, Side},
    scan::Pair,
};
use crate::stream::{Direction, StreamError, mark, wait_until_applied};

/// Rows that are looked up at once.
const AT_ONCE: usize = 500;

/// A row that may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    /// The candidate's key.
    pub(super) key: Vec<String>,
    /// The monolith's.
    pub(super) source_key: Vec<String>,
}

/// The digests of a row's columns; none when it is not there.
type Row = Option<Vec<i64>>;

type Rows = BTreeMap<Vec<String>, Vec<i64>>;

#[derive(Debug)]
struct Open {
    suspect: Suspect,
    /// What was seen last, and how often in a row.
    seen: (Row, Row),
    times: u32,
}

/// The databases that a stream runs between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between<'a> {
    pub(super) source: &'a PgPool,
    pub(super) target: &'a PgPool,
    pub(super) slice: &'a str,
}

/// Those of the rows that differ, or do not come to rest.
pub(super) async fn settle(
    between: Between<'_>,
    pair: &mut Pair,
    digest: &Digest<'_>,
    settings: &Settings,
    suspects: Vec<Suspect>,
) -> sqlx::Result<Vec<Difference>> {
    let mut found = Vec::new();
    for group in suspects.chunks(AT_ONCE) {
        let (strays, others): (Vec<_>, Vec<_>) = settle_group(between, pair, digest, settings, group)
            .await?
            .into_iter()
            .partition(|(_, difference)| difference.kind == Kind::Extra);
        found.extend(others.into_iter().map(|(_, difference)| difference));
        let (strays, known) = spelled_otherwise(&mut pair.source, digest, strays).await?;
        found.extend(strays);
        let again = settle_group(between, pair, digest, settings, &known).await?;
        found.extend(again.into_iter().map(|(_, difference)| difference));
        if found.len() > settings.max_differences {
            break;
        }
    }
    Ok(found)
}

/// Of rows that seem to be the candidate's only, those that are, and those that the monolith has under another spelling of
/// their key, with it. In capitals a UUID has another place in the order of texts than in that of UUIDs, so that it may be
/// in another part, and its row's key alone does not find it.
async fn spelled_otherwise(
    source: &mut PgConnection,
    digest: &Digest<'_>,
    strays: Vec<(Suspect, Difference)>,
) -> sqlx::Result<(Vec<Difference>, Vec<Suspect>)> {
    let sql = digest.of_spellings().filter(|_| !strays.is_empty());
    let Some(sql) = sql else {
        return Ok((strays.into_iter().map(|(_, difference)| difference).collect(), Vec::new()));
    };
    let mut query = sqlx::query_as::<_, (Vec<String>, Vec<String>)>(AssertSqlSafe(sql));
    for place in 0..digest.table.identity.len() {
        let column = strays.iter().filter_map(|(suspect, _)| suspect.key.get(place).cloned());
        query = query.bind(column.collect::<Vec<String>>());
    }
    let mut spelled: BTreeMap<Vec<String>, Vec<String>> = query.fetch_all(source).await?.into_iter().collect();
    let (mut only_here, mut known) = (Vec::new(), Vec::new());
    for (Suspect { key, source_key }, difference) in strays {
        match spelled.remove(&key).filter(|spelled| *spelled != source_key) {
            Some(source_key) => known.push(Suspect { key, source_key }),
            None => only_here.push(difference),
        }
    }
    Ok((only_here, known))
}

async fn settle_group(
    between: Between<'_>,
    pair: &mut Pair,
    digest: &Digest<'_>,
    settings: &Settings,
    suspects: &[Suspect],
) -> sqlx::Result<Vec<(Suspect, Difference)>> {
    let direction = settings.following.as_ref().map_or(Direction::Forward, |following| following.direction);
    let (written, other) = direction.ends(Side::Source, Side::Target);
    let mut needed = settings.looks.max(1);
    let mut open: Vec<Open> =
        suspects.iter().map(|suspect| Open { suspect: suspect.clone(), seen: (None, None), times: 0 }).collect();
    let mut found = Vec::new();
    if open.is_empty() {
        return Ok(found);
    }
    // Rows that rest are known after `needed` looks; others get as many again.
    for look in 0..needed.saturating_mul(2).max(4) {
        if look > 0 {
            sleep(settings.pause).await;
        }
        let first = rows(pair.side(written), digest, written, &open).await?;
        let passed = match &settings.following {
            Some(following) => following.passed(between).await?,
            None => Passed::Unknown,
        };
        if passed == Passed::Yes {
            needed = 2;
        }
        let second = rows(pair.side(other), digest, other, &open).await?;
        let again = rows(pair.side(written), digest, written, &open).await?;
        let mut left = Vec::new();
        for mut row in open {
            let key = &row.suspect.key;
            let (before, value, after) = (first.get(key), second.get(key), again.get(key));
            if value == before || value == after {
                continue;
            }
            let seen = (before.cloned(), value.cloned());
            let rests = passed != Passed::NotYet && before == after;
            row.times = if rests && row.seen == seen { row.times + 1 } else { u32::from(rests) };
            row.seen = seen;
            if row.times >= needed {
                found.push((row.suspect.clone(), difference(digest, written, row)));
            } else {
                left.push(row);
            }
        }
        open = left;
        if open.is_empty() {
            break;
        }
    }
    let table = || digest.table.target.to_string();
    let restless = |Open { suspect, .. }| {
        let difference = Difference { table: table(), key: shown(&suspect.key), kind: Kind::Unsettled };
        (suspect, difference)
    };
    found.extend(open.into_iter().map(restless));
    Ok(found)
}

fn difference(digest: &Digest<'_>, written: Side, row: Open) -> Difference {
    let (there, here) = if written == Side::Source { row.seen } else { (row.seen.1, row.seen.0) };
    let kind = match (there, here) {
        (_, None) => Kind::Missing,
        (None, Some(_)) => Kind::Extra,
        (Some(there), Some(here)) => {
            let columns = digest.table.compared().zip(there.iter().zip(&here));
            let differ = columns.filter(|(_, (there, here))| there != here);
            Kind::Columns(differ.map(|(column, _)| column.name.to_string()).collect())
        }
    };
    Difference { table: digest.table.target.to_string(), key: shown(&row.suspect.key), kind }
}

/// A key as PostgreSQL prints an array.
pub(crate) fn shown(key: &[String]) -> String {
    let part = |value: &String| {
        let plain = !value.is_empty()
            && !value.eq_ignore_ascii_case("null")
            && !value.chars().any(|c| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\'));
        if plain { value.clone() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
    };
    format!("{{{}}}", key.iter().map(part).collect::<Vec<_>>().join(","))
}

async fn rows(connection: &mut PgConnection, digest: &Digest<'_>, side: Side, open: &[Open]) -> sqlx::Result<Rows> {
    let sql = digest.of_columns(side);
    let mut query = sqlx::query_as::<_, (Vec<String>, Vec<i64>)>(AssertSqlSafe(sql));
    for place in 0..digest.table.identity.len() {
        let column: Vec<&String> = open
            .iter()
            .filter_map(|row| {
                if side == Side::Source { row.suspect.source_key.get(place) } else { row.suspect.key.get(place) }
            })
            .collect();
        query = query.bind(column.into_iter().cloned().collect::<Vec<String>>());
    }
    Ok(query.fetch_all(connection).await?.into_iter().collect())
}

/// Whether a stream has applied what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Yes,
    NotYet,
    /// There is no stream, or it stands still: nothing is on its way.
    Unknown,
}

impl Following {
    /// Waits until the stream has applied everything that can be seen now.
    async fn passed(&self, between: Between<'_>) -> sqlx::Result<Passed> {
        let (from, to) = self.direction.ends(between.source, between.target);
        let waited = async {
            let seen = mark(from, between.slice).await?;
            wait_until_applied(to, between.slice, self.direction, seen, self.patience).await
        };
        match waited.await {
            Ok(_) => Ok(Passed::Yes),
            Err(StreamError::Behind { .. }) => Ok(Passed::NotYet),
            Err(StreamError::Database { source, .. }) => Err(source),
            Err(_) => Ok(Passed::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_key_is_shown_as_postgres_shows_an_array() {
        let shown = |key: &[&str]| shown(&key.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(&["5", "2024-01-01"]), "{5,2024-01-01}");
        assert_eq!(shown(&["é'\\", "a b", "", "NULL"]), r#"{"é'\\","a b","","NULL"}"#);
    }
}
