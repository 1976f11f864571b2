//! One connection that writes rows.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};
use tokio::sync::Mutex;

use super::{
    change::{Change, ChangeKind, Key, Net, NetRows, complete, key_of},
    flow::{Flow, TableFlow},
    statement,
};
use crate::{
    finding::Finding,
    identifier::Identifier,
    lsn::Lsn,
    pgoutput::{Tuple, Value},
    slice::session_settings,
    stream::StreamError,
};

/// What a group of changes consists of.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Change(Change),
    /// Tables that are emptied together, by their places in the flow.
    Truncate {
        tables: Vec<usize>,
        commit_lsn: Lsn,
    },
}

/// A connection whose changes carry the stream's origin.
pub(crate) struct Writer {
    pub(crate) connection: PgConnection,
}

impl Writer {
    /// Connects. No trigger of the database runs for what is written, where the role may say so:
    /// the rows are what the other database's triggers made of them already.
    pub(crate) async fn connect(
        options: &PgConnectOptions,
        schema: &Identifier,
        origin: &str,
    ) -> Result<Self, StreamError> {
        let connecting = || StreamError::database("reach the database that changes go to");
        let mut connection = options.connect().await.map_err(connecting())?;
        let settings = format!("{}; SET idle_in_transaction_session_timeout = 0", session_settings(schema));
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await.map_err(connecting())?;
        match sqlx::query("SET session_replication_role = replica").execute(&mut connection).await {
            Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("42501") => {}
            answer => {
                answer.map_err(connecting())?;
            }
        }
        match set_origin(&mut connection, origin).await {
            Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("42501") => {
                Err(StreamError::Unfit {
                    findings: vec![Finding::new(
                        "origin",
                        "the role may not say where its changes come from, so that they would go round in a circle",
                        "GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text), pg_replication_origin_create(text), \
                         pg_replication_origin_session_setup(text), pg_replication_origin_drop(text) TO this role, in the database that is written",
                    )],
                })
            }
            answer => {
                answer.map_err(StreamError::database("take the replication origin"))?;
                Ok(Self { connection })
            }
        }
    }

    pub(crate) async fn execute(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop)
    }

    /// Writes what changes come to. The caller has begun a transaction, and takes it back when this
    /// fails.
    pub(crate) async fn write<'a>(
        &mut self,
        flow: &Flow,
        items: impl Iterator<Item = &'a Item>,
        fetcher: &Fetcher,
    ) -> sqlx::Result<()> {
        let mut pending = Pending::default();
        for item in items {
            match item {
                Item::Change(change) if !flow.tables[change.table].key.is_empty() => {
                    pending.keyed.entry(change.table).or_default().add(&flow.tables[change.table], change);
                }
                Item::Change(change) => self.loose(&flow.tables[change.table], change, &mut pending).await?,
                Item::Truncate { tables, .. } => {
                    // What was written before is gone with the rest, but tables beside them stay.
                    self.flush(flow, std::mem::take(&mut pending), fetcher).await?;
                    self.truncate(flow, tables).await?;
                }
            }
        }
        self.flush(flow, pending, fetcher).await
    }

    /// Rows without a key: added together, changed and taken away one by one.
    async fn loose(&mut self, table: &TableFlow, change: &Change, pending: &mut Pending) -> sqlx::Result<()> {
        let (old, new) = match &change.kind {
            ChangeKind::Insert { new } => (None, Some(new)),
            ChangeKind::Update { old, new } => (old.as_ref(), Some(new)),
            ChangeKind::Delete { old } => (Some(old), None),
        };
        if let Some(old) = old {
            if let Some(added) = pending.loose.remove(&change.table) {
                self.insert(table, &added).await?;
            }
            self.run(&statement::delete_one(table), &statement::all_columns(table), &[old]).await?;
        }
        if let Some(new) = new {
            pending.loose.entry(change.table).or_default().push(new.clone());
        }
        Ok(())
    }

    async fn insert(&mut self, table: &TableFlow, rows: &[Tuple]) -> sqlx::Result<()> {
        let rows: Vec<&Tuple> = rows.iter().collect();
        self.run(&statement::upsert(table), &statement::all_columns(table), &rows).await.map(drop)
    }

    async fn flush(&mut self, flow: &Flow, pending: Pending, fetcher: &Fetcher) -> sqlx::Result<()> {
        let mut split: Vec<(usize, Split)> =
            pending.keyed.into_iter().map(|(table, rows)| (table, Split::of(rows))).collect();
        // Rows that refer to others go first and come last.
        for (table, split) in split.iter().rev().filter(|(_, split)| !split.gone.is_empty()) {
            let table = &flow.tables[*table];
            self.delete(table, &split.gone).await?;
        }
        for (table, split) in &mut split {
            let table = &flow.tables[*table];
            self.partial(table, split, fetcher).await?;
            self.whole(table, &split.whole).await?;
        }
        for (table, rows) in pending.loose {
            self.insert(&flow.tables[table], &rows).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, table: &TableFlow, keys: &[Key]) -> sqlx::Result<()> {
        let columns: Vec<Vec<Option<&str>>> =
            (0..table.key.len()).map(|part| keys.iter().map(|key| key[part].as_text()).collect()).collect();
        let mut query = sqlx::query(AssertSqlSafe(statement::delete(table)));
        for column in columns {
            query = query.bind(column);
        }
        query.execute(&mut self.connection).await.map(drop)
    }

    async fn whole(&mut self, table: &TableFlow, rows: &[Tuple]) -> sqlx::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let (columns, rows): (Vec<usize>, Vec<&Tuple>) = (statement::all_columns(table), rows.iter().collect());
        if let Some(delete) = statement::delete_filtered(table) {
            self.run(&delete, &columns, &rows).await?;
        }
        self.run(&statement::upsert(table), &columns, &rows).await.map(drop)
    }

    /// Rows of which some values did not come: what is known is written over, and rows that are not
    /// there are asked for.
    async fn partial(&mut self, table: &TableFlow, split: &mut Split, fetcher: &Fetcher) -> sqlx::Result<()> {
        let partial = std::mem::take(&mut split.partial);
        let mut asked_for = Vec::new();
        if table.needs_whole_rows() {
            asked_for = partial;
        } else {
            let mut alike: BTreeMap<Vec<usize>, Vec<Tuple>> = BTreeMap::new();
            for row in partial {
                let known = (0..row.len()).filter(|column| !row[*column].is_unchanged()).collect();
                alike.entry(known).or_default().push(row);
            }
            for (known, rows) in alike {
                let given: Vec<&Tuple> = rows.iter().collect();
                let found = self.run(&statement::update(table, &known), &known, &given).await?;
                let missing = (1_i64..).zip(&rows).filter(|(place, _)| !found.contains(place));
                asked_for.extend(missing.map(|(_, row)| row.clone()));
            }
        }
        split.whole.extend(fetcher.complete(table, asked_for).await?);
        Ok(())
    }

    /// Runs a statement over rows, and answers the numbers that it returns.
    async fn run(&mut self, sql: &str, columns: &[usize], rows: &[&Tuple]) -> sqlx::Result<Vec<i64>> {
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        for column in columns {
            let values: Vec<Option<&str>> = rows.iter().map(|row| row[*column].as_text()).collect();
            query = query.bind(values);
        }
        let answer = query.fetch_all(&mut self.connection).await?;
        answer.iter().map(|row| row.try_get(0)).collect()
    }

    async fn truncate(&mut self, flow: &Flow, tables: &[usize]) -> sqlx::Result<()> {
        let names: Vec<String> = tables.iter().map(|table| flow.tables[*table].to.quoted()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let sql = format!("TRUNCATE {}", names.join(", "));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.map(drop)
    }
}

/// Takes an origin, which is made where it is not there. Only one session may have it.
async fn set_origin(connection: &mut PgConnection, origin: &str) -> sqlx::Result<()> {
    sqlx::query("select pg_replication_origin_create($1) where pg_replication_origin_oid($1) is null")
        .bind(origin)
        .execute(&mut *connection)
        .await?;
    sqlx::query("select pg_replication_origin_session_setup($1)").bind(origin).execute(connection).await.map(drop)
}

/// What is to be written, until something must come after it.
#[derive(Default)]
struct Pending {
    keyed: BTreeMap<usize, NetRows>,
    loose: HashMap<usize, Vec<Tuple>>,
}

/// What the changes of one table come to, by what is done about it.
struct Split {
    gone: Vec<Key>,
    partial: Vec<Tuple>,
    whole: Vec<Tuple>,
}

impl Split {
    fn of(rows: NetRows) -> Self {
        let mut split = Self { gone: Vec::new(), partial: Vec::new(), whole: Vec::new() };
        for (key, net) in rows.into_rows() {
            match net {
                Net::Gone => split.gone.push(key),
                Net::Partial(row) => split.partial.push(row),
                Net::Whole(row) => split.whole.push(row),
            }
        }
        split
    }
}

/// Asks the database that changes come from for rows as they are now: for values that a change does
/// not carry. What changed since comes through the stream later, and is written over.
pub(crate) struct Fetcher {
    options: PgConnectOptions,
    schema: Identifier,
    connection: Mutex<Option<PgConnection>>,
}

impl Fetcher {
    pub(crate) fn new(options: PgConnectOptions, schema: Identifier) -> Self {
        Self { options, schema, connection: Mutex::new(None) }
    }

    /// Fills what rows lack. Rows that are not there any more are left out: what became of them is on
    /// its way.
    async fn complete(&self, table: &TableFlow, rows: Vec<Tuple>) -> sqlx::Result<Vec<Tuple>> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let keys: Vec<Key> = rows.iter().map(|row| key_of(table, row)).collect();
        let mut found = self.rows(table, &keys).await?;
        let mut whole = Vec::new();
        for (place, mut row) in rows.into_iter().enumerate() {
            if let Some(values) = found.remove(&place) {
                complete(&mut row, &values);
                // What is null there now, and did not come, is null.
                row.iter_mut().filter(|value| value.is_unchanged()).for_each(|value| *value = Value::Null);
                whole.push(row);
            }
        }
        Ok(whole)
    }

    /// The rows with these keys that are there, by the places of the keys.
    pub(crate) async fn rows(&self, table: &TableFlow, keys: &[Key]) -> sqlx::Result<HashMap<usize, Tuple>> {
        let mut held = self.connection.lock().await;
        if held.is_none() {
            let mut connection = self.options.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(session_settings(&self.schema))).execute(&mut connection).await?;
            *held = Some(connection);
        }
        let Some(connection) = held.as_mut() else { return Ok(HashMap::new()) };
        let mut query = sqlx::query_as::<_, (i64, Vec<Option<String>>)>(AssertSqlSafe(statement::fetch(table)));
        for part in 0..table.key.len() {
            let values: Vec<Option<&str>> = keys.iter().map(|key| key[part].as_text()).collect();
            query = query.bind(values);
        }
        let answer = query.fetch_all(connection).await;
        if answer.is_err() {
            *held = None;
        }
        let value = |text: Option<String>| text.map_or(Value::Null, |text| Value::Text(text.into()));
        let place = |place: i64| usize::try_from(place - 1).unwrap_or(usize::MAX);
        Ok(answer?
            .into_iter()
            .map(|(number, values)| (place(number), values.into_iter().map(value).collect()))
            .collect())
    }
}
