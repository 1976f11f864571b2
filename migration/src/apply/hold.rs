//! The quarantine: changes that the database refused, and those of the same rows that wait behind them.

use std::collections::{BTreeMap, HashSet};

use sqlx::{PgConnection, types::Json};

use super::{
    change::{Change, ChangeKind, Key, key_of},
    flow::{Flow, TableFlow},
};
use crate::{
    lsn::Lsn,
    pgoutput::{Tuple, Value},
    stream::Direction,
};

/// Whose quarantine it is.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) slice: String,
    pub(crate) direction: Direction,
    /// A row that is larger is not kept; a retry asks the database that it came from.
    pub(crate) image_bytes: usize,
}

/// Why a change was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) sqlstate: String,
    pub(crate) reason: String,
}

/// A change in quarantine.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: i64,
    pub(crate) asked: Option<String>,
    /// It is a table that was emptied.
    pub(crate) is_truncate: bool,
    /// The change; none when its row was too large to keep.
    pub(crate) change: Option<Change>,
    pub(crate) key: Key,
}

type Image = BTreeMap<String, Option<String>>;

/// Rows that are held, by table and key.
pub(crate) type HeldRows = HashSet<(usize, Key)>;

impl Hold {
    /// Puts a change into quarantine; without a refusal it waits behind another.
    pub(crate) async fn put(
        &self,
        connection: &mut PgConnection,
        flow: &Flow,
        change: &Change,
        refusal: Option<&Refusal>,
    ) -> sqlx::Result<()> {
        let table = &flow.tables[change.table];
        let (before, after) = change.keys(table);
        let other = match (&before, &after) {
            (Some(before), Some(after)) if before != after => Some(texts(after)),
            _ => None,
        };
        let key = before.as_ref().or(after.as_ref()).cloned().unwrap_or_default();
        let (kind, image) = match &change.kind {
            ChangeKind::Insert { new } => ("insert", Some(image(table, new))),
            ChangeKind::Update { new, .. } => ("update", Some(image(table, new))),
            ChangeKind::Delete { .. } => ("delete", Some(Image::new())),
        };
        let kept = image.filter(|_| table.key.is_empty() || change.size() <= self.image_bytes);
        sqlx::query(
            "insert into strangler.quarantine \
                 (slice, direction, table_name, row_key, lsn, kind, image, other_key, sqlstate, reason, attempts) \
             values ($1, $2, $3, $4, $5::pg_lsn, $6, $7, $8, $9, $10, case when $9 is null then 0 else 1 end)",
        )
        .bind(&self.slice)
        .bind(self.direction.as_str())
        .bind(table.to.quoted())
        .bind(texts(&key))
        .bind(change.commit_lsn.to_string())
        .bind(kind)
        .bind(kept.map(Json))
        .bind(other)
        .bind(refusal.map(|refusal| refusal.sqlstate.as_str()))
        .bind(refusal.map(|refusal| refusal.reason.as_str()))
        .execute(connection)
        .await
        .map(drop)
    }

    /// Puts the emptying of a table into quarantine, which an operator must want here as well.
    pub(crate) async fn put_truncate(
        &self,
        connection: &mut PgConnection,
        table: &TableFlow,
        commit_lsn: Lsn,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into strangler.quarantine \
                 (slice, direction, table_name, row_key, lsn, kind, image, sqlstate, reason, attempts) \
             values ($1, $2, $3, '{}', $4::pg_lsn, 'truncate', '{}', '0A000', $5, 1)",
        )
        .bind(&self.slice)
        .bind(self.direction.as_str())
        .bind(table.to.quoted())
        .bind(commit_lsn.to_string())
        .bind("the table was emptied over there, and this side has rows of its own: retry empties it here as well, skip keeps its rows")
        .execute(connection)
        .await
        .map(drop)
    }

    /// The rows that are held.
    pub(crate) async fn rows(&self, connection: &mut PgConnection, flow: &Flow) -> sqlx::Result<HeldRows> {
        let found: Vec<(String, Vec<Option<String>>)> = sqlx::query_as(
            "select table_name, row_key from strangler.quarantine where slice = $1 and direction = $2 union \
             select table_name, other_key from strangler.quarantine \
             where slice = $1 and direction = $2 and other_key is not null",
        )
        .bind(&self.slice)
        .bind(self.direction.as_str())
        .fetch_all(connection)
        .await?;
        let place = |name: &str| flow.tables.iter().position(|table| table.to.quoted() == name);
        Ok(found.into_iter().filter_map(|(table, key)| Some((place(&table)?, values(key)))).collect())
    }

    /// A change that somebody has asked about; its table's place comes with it.
    pub(crate) async fn asked(&self, connection: &mut PgConnection, flow: &Flow) -> sqlx::Result<Option<(usize, Key)>> {
        let found: Option<(String, Vec<Option<String>>)> = sqlx::query_as(
            "select table_name, row_key from strangler.quarantine \
             where slice = $1 and direction = $2 and asked is not null order by id limit 1",
        )
        .bind(&self.slice)
        .bind(self.direction.as_str())
        .fetch_optional(connection)
        .await?;
        Ok(found.and_then(|(name, key)| {
            Some((flow.tables.iter().position(|table| table.to.quoted() == name)?, values(key)))
        }))
    }

    /// Everything of one row, the oldest first.
    pub(crate) async fn of_row(
        &self,
        connection: &mut PgConnection,
        flow: &Flow,
        table: usize,
        key: &Key,
    ) -> sqlx::Result<Vec<Held>> {
        type Row = (i64, Option<String>, String, Vec<Option<String>>, Option<Json<Image>>, String);
        let flow_table = &flow.tables[table];
        let rows: Vec<Row> = sqlx::query_as(
            "select id, asked, kind, row_key, image, lsn::text from strangler.quarantine \
             where slice = $1 and direction = $2 and table_name = $3 and (row_key = $4 or other_key = $4) order by id",
        )
        .bind(&self.slice)
        .bind(self.direction.as_str())
        .bind(flow_table.to.quoted())
        .bind(texts(key))
        .fetch_all(connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, asked, kind, row_key, image, lsn)| {
                let key = values(row_key);
                let commit_lsn = lsn.parse().unwrap_or_default();
                let change = image.map(|Json(image)| rebuilt(table, flow_table, &kind, &key, &image, commit_lsn));
                Held { id, asked, is_truncate: kind == "truncate", change, key }
            })
            .collect())
    }

    /// Takes one out.
    pub(crate) async fn remove(&self, connection: &mut PgConnection, id: i64) -> sqlx::Result<()> {
        sqlx::query("delete from strangler.quarantine where id = $1").bind(id).execute(connection).await.map(drop)
    }

    /// Notes that it was refused again.
    pub(crate) async fn refused_again(
        &self,
        connection: &mut PgConnection,
        id: i64,
        refusal: &Refusal,
    ) -> sqlx::Result<()> {
        sqlx::query("update strangler.quarantine set sqlstate = $2, reason = $3, attempts = attempts + 1 where id = $1")
            .bind(id)
            .bind(&refusal.sqlstate)
            .bind(&refusal.reason)
            .execute(connection)
            .await
            .map(drop)
    }

    /// Notes that what was asked about a row has been tried.
    pub(crate) async fn answered(&self, connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<()> {
        sqlx::query("update strangler.quarantine set asked = null where id = any($1)")
            .bind(ids)
            .execute(connection)
            .await
            .map(drop)
    }
}

fn texts(key: &Key) -> Vec<Option<&str>> {
    key.iter().map(Value::as_text).collect()
}

fn values(key: Vec<Option<String>>) -> Key {
    key.into_iter().map(|text| text.map_or(Value::Null, |text| Value::Text(text.into()))).collect()
}

fn image(table: &TableFlow, tuple: &Tuple) -> Image {
    let columns = table.columns.iter().zip(tuple).filter(|(_, value)| !value.is_unchanged());
    columns.map(|(column, value)| (column.name.as_str().to_owned(), value.as_text().map(ToOwned::to_owned))).collect()
}

fn rebuilt(number: usize, table: &TableFlow, kind: &str, key: &Key, image: &Image, commit_lsn: Lsn) -> Change {
    let new: Tuple = table
        .columns
        .iter()
        .map(|column| match image.get(column.name.as_str()) {
            None => Value::Unchanged,
            Some(None) => Value::Null,
            Some(Some(text)) => Value::Text(text.clone().into()),
        })
        .collect();
    let mut old: Tuple = vec![Value::Null; table.columns.len()];
    if table.key.is_empty() {
        old.clone_from(key);
    }
    for (part, value) in table.key.iter().zip(key) {
        old[part.column] = value.clone();
    }
    let kind = match kind {
        "insert" => ChangeKind::Insert { new },
        "update" => ChangeKind::Update { old: Some(old), new },
        _ => ChangeKind::Delete { old },
    };
    Change { table: number, kind, commit_lsn }
}

/// The row as the database that it came from has it now, as a change; gone where it is not there.
pub(crate) fn as_it_is(number: usize, table: &TableFlow, key: &Key, found: Option<Tuple>, commit_lsn: Lsn) -> Change {
    let kind = match found {
        Some(new) => ChangeKind::Insert { new },
        None => {
            let mut old: Tuple = vec![Value::Null; table.columns.len()];
            for (part, value) in table.key.iter().zip(key) {
                old[part.column] = value.clone();
            }
            debug_assert_eq!(&key_of(table, &old), key);
            ChangeKind::Delete { old }
        }
    };
    Change { table: number, kind, commit_lsn }
}
