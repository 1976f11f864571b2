//! The SQL that digests rows, alike on both sides. Pure.
//!
//! `hash_record_extended` is there from PostgreSQL 14 on. What it computes decides in which partition
//! of a hash-partitioned table a row is, so it stays as it is from one major version to the next; it
//! differs between processors of different byte order. Types that hash values by more than their
//! equality are hashed as they are, all others as text: `1.0` and `1.00` are equal, and not the same.

use crate::{
    identifier::Identifier,
    projection::BASE,
    slice::{CANDIDATE, KeyColumn, KeyPart, KeyRange, SlicePlan, TablePlan, TargetColumn},
};

/// Types of which two values are equal only if they are the same.
const EXACT: [&str; 10] = [
    "smallint",
    "integer",
    "bigint",
    "boolean",
    "uuid",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "bytea",
];

/// The seed of the digest that puts a row into a bucket: any, as long as it stays.
const BUCKET_SEED: i64 = 0x6275_636b_6574;

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The monolith's.
    Source,
    /// The candidate's.
    Target,
}

impl Side {
    pub(super) fn schema(self, plan: &SlicePlan) -> &Identifier {
        match self {
            Self::Source => &plan.source_schema,
            Self::Target => &plan.target_schema,
        }
    }

    const fn alias(self) -> &'static str {
        match self {
            Self::Source => BASE,
            Self::Target => CANDIDATE,
        }
    }
}

/// Pages of a table, the first one and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) first: i64,
    /// None for all that follow.
    pub(super) end: Option<i64>,
}

/// Which rows of one side are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) keys: KeyRange,
    pub(super) pages: Option<Pages>,
    /// One of several shares by the hash of the key, and how many there are: a power of two.
    pub(super) share: Option<(i64, i64)>,
}

/// How the rows of one table are digested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest<'a> {
    pub(crate) table: &'a TablePlan,
    /// Another one in each round, so that what one round takes for equal by chance the next does not.
    pub(crate) seed: i64,
}

impl Digest<'_> {
    /// Count and sum of digests of each bucket; `mask` is one less than the number of buckets.
    pub(super) fn of_buckets(&self, side: Side, scope: &Scope, mask: i64) -> String {
        format!(
            "SELECT {bucket}, count(*), sum(strangler_digest)::text FROM ({rows}) AS digested GROUP BY 1",
            bucket = self.bucket(mask),
            rows = self.rows(side, scope, ""),
        )
    }

    /// Key, the monolith's key and digest of every row in the buckets `$1`, at most `$2` rows.
    pub(super) fn of_rows(&self, side: Side, scope: &Scope, mask: i64) -> String {
        format!(
            "SELECT {key} AS row_key, {source_key} AS source_key, strangler_digest FROM ({rows}) AS {alias} \
             WHERE {bucket} = ANY ($1) LIMIT $2",
            key = texts(&self.key(side)),
            source_key = texts(&self.source_key(side)),
            rows = self.rows(side, scope, &format!(", {}.*", side.alias())),
            alias = side.alias(),
            bucket = self.bucket(mask),
        )
    }

    /// How often each digest is there in the buckets `$1`, at most `$2` digests: all that tells the
    /// rows of a table without a key apart.
    pub(super) fn of_kinds(&self, side: Side, mask: i64) -> String {
        format!(
            "SELECT strangler_digest, count(*) FROM ({rows}) AS digested WHERE {bucket} = ANY ($1) GROUP BY 1 ORDER BY 1 LIMIT $2",
            rows = self.rows(side, &Scope::default(), ""),
            bucket = self.bucket(mask),
        )
    }

    /// A row of this digest, as text that is cut to be shown.
    pub(super) fn shown(&self, side: Side) -> String {
        let values = self.table.compared().map(|column| format!("({})::text", value(side, column)));
        format!(
            "SELECT left(ROW({values})::text, 200) FROM {from} WHERE {digest} = $1 {filter} LIMIT 1",
            values = values.collect::<Vec<_>>().join(", "),
            from = self.from(side),
            digest = self.row(side),
            filter = self.filter(side),
        )
    }

    /// Key and the digest of each column, of the rows whose keys are the parameters: one array of
    /// text for each column of the key, the monolith's key for the monolith's side.
    pub(crate) fn of_columns(&self, side: Side) -> String {
        let parts = self.key_parts(side);
        let columns = |wrap: &dyn Fn(usize, &KeyPart) -> String| {
            parts.iter().enumerate().map(|(place, part)| wrap(place + 1, part)).collect::<Vec<_>>().join(", ")
        };
        let digests = self.table.compared().map(|column| record(&[typed(side, column)], self.seed));
        format!(
            "SELECT {key} AS row_key, ARRAY[{digests}]::bigint[] FROM {from} WHERE ({names}) IN \
             (SELECT {casts} FROM unnest({arrays}) AS asked ({asked})) {filter}",
            key = texts(&self.key(side)),
            digests = digests.collect::<Vec<_>>().join(", "),
            from = self.from(side),
            names = columns(&|_, part| format!("{}.{}", side.alias(), part.name.quoted())),
            casts = columns(&|place, part| format!("asked.k{place}::{}", part.data_type)),
            arrays = columns(&|place, _| format!("${place}::text[]")),
            asked = columns(&|place, _| format!("k{place}")),
            filter = self.filter(side),
        )
    }

    /// The number `place`, key, the monolith's key and the digest of each column, of those rows with the highest keys.
    pub(crate) fn of_newest(&self, side: Side, place: usize, rows: u32) -> String {
        let digests = self.table.compared().map(|column| record(&[typed(side, column)], self.seed));
        let order =
            self.key_parts(side).into_iter().map(|part| format!("{}.{} DESC", side.alias(), part.name.quoted()));
        format!(
            "SELECT {place}, {key}, {source_key}, ARRAY[{digests}]::bigint[] FROM {from} WHERE true {filter} \
             ORDER BY {order} LIMIT {rows}",
            key = texts(&self.key(side)),
            source_key = texts(&self.source_key(side)),
            digests = digests.collect::<Vec<_>>().join(", "),
            from = self.from(side),
            filter = self.filter(side),
            order = order.collect::<Vec<_>>().join(", "),
        )
    }

    /// The candidate's key as text from one of the monolith's, given as parameters.
    pub(super) fn border(&self) -> String {
        let parts = self.key_parts(Side::Source);
        let values: Vec<String> = parts
            .iter()
            .enumerate()
            .map(|(place, part)| format!("${}::text::{} AS {}", place + 1, part.data_type, part.name.quoted()))
            .collect();
        format!("SELECT {} FROM (SELECT {}) AS {BASE}", texts(&self.key(Side::Source)), values.join(", "))
    }

    /// The columns by which a side's table is divided and looked up.
    pub(super) fn key_parts(&self, side: Side) -> Vec<KeyPart> {
        let part = |key: &KeyColumn| match side {
            Side::Source => {
                let column = self.table.source_columns.iter().find(|column| column.name == key.source);
                key_part(&key.source, column.map(|column| &column.data_type))
            }
            Side::Target => {
                let column = self.table.column(&key.target);
                key_part(&key.target, column.map(|column| &column.data_type))
            }
        };
        self.table.identity.iter().map(part).collect()
    }

    /// Digests of rows, under names that no table has, and `more`.
    fn rows(&self, side: Side, scope: &Scope, more: &str) -> String {
        let key = if self.table.identity.is_empty() {
            String::new()
        } else {
            format!("{} AS strangler_key, ", self.key_digest(side))
        };
        // Without OFFSET the digest would be computed for each place that it is named in.
        format!(
            "SELECT {key}{row} AS strangler_digest{more} FROM {from} WHERE {condition} {filter} OFFSET 0",
            row = self.row(side),
            from = self.from(side),
            condition = self.condition(side, scope),
            filter = self.filter(side),
        )
    }

    fn condition(&self, side: Side, scope: &Scope) -> String {
        let alias = side.alias();
        let mut all = vec![scope.keys.predicate(alias, &self.key_parts(side))];
        if let Some(Pages { first, end }) = scope.pages {
            all.push(format!("{alias}.ctid >= '({first},0)'::tid"));
            all.extend(end.map(|end| format!("{alias}.ctid < '({end},0)'::tid")));
        }
        if let Some((share, shares)) = scope.share {
            // Other bits than those that a bucket is made of.
            all.push(format!("(({} >> 32) & {}) = {share}", self.key_digest(side), shares - 1));
        }
        all.join(" AND ")
    }

    fn bucket(&self, mask: i64) -> String {
        let over = if self.table.identity.is_empty() { "strangler_digest" } else { "strangler_key" };
        format!("({over} & {mask})::integer")
    }

    fn row(&self, side: Side) -> String {
        record(&self.table.compared().map(|column| typed(side, column)).collect::<Vec<_>>(), self.seed)
    }

    fn key_digest(&self, side: Side) -> String {
        let key: Vec<String> = self.key_columns().map(|column| typed(side, column)).collect();
        if key.is_empty() { self.row(side) } else { record(&key, BUCKET_SEED) }
    }

    fn key_columns(&self) -> impl Iterator<Item = &TargetColumn> {
        self.table.identity.iter().filter_map(|key| self.table.column(&key.target))
    }

    fn key(&self, side: Side) -> Vec<String> {
        self.key_columns().map(|column| value(side, column)).collect()
    }

    /// The monolith's key: its own, or what the candidate's goes back to.
    fn source_key(&self, side: Side) -> Vec<String> {
        let of = |key: &KeyColumn| match side {
            Side::Source => format!("{BASE}.{}", key.source.quoted()),
            Side::Target => {
                let plain = format!("{CANDIDATE}.{}", key.target.quoted());
                let wire = self.table.column(&key.target).and_then(|column| column.wire.as_deref());
                let back = self.table.backward.iter().find(|back| back.name == key.source);
                match (wire, back) {
                    // As text it is what the monolith reads; its type may be unknown here.
                    (None | Some("text" | "character varying" | "bpchar" | "uuid"), _) | (_, None) => plain,
                    (Some(_), Some(back)) => back.expression.clone(),
                }
            }
        };
        self.table.identity.iter().map(of).collect()
    }

    fn from(&self, side: Side) -> String {
        match side {
            Side::Source => format!("{} AS {BASE}", self.table.source.quoted()),
            Side::Target => format!("{} AS {CANDIDATE}", self.table.target.quoted()),
        }
    }

    fn filter(&self, side: Side) -> String {
        match (&self.table.filter, side) {
            (Some(filter), Side::Source) => format!("AND ({filter})"),
            _ => String::new(),
        }
    }
}

fn key_part(name: &Identifier, data_type: Option<&String>) -> KeyPart {
    KeyPart { name: name.clone(), data_type: data_type.cloned().unwrap_or_else(|| "text".to_owned()) }
}

/// A column's value as the candidate has it or should have it.
fn value(side: Side, column: &TargetColumn) -> String {
    match side {
        Side::Source => column.select.clone(),
        Side::Target => format!("{CANDIDATE}.{}", column.name.quoted()),
    }
}

/// A value in a type that both sides hash alike.
fn typed(side: Side, column: &TargetColumn) -> String {
    let value = value(side, column);
    match column.wire.as_deref() {
        Some(wire) if EXACT.contains(&wire) => format!("({value})::{wire}"),
        _ => format!("(({value})::text COLLATE \"C\")"),
    }
}

fn record(values: &[String], seed: i64) -> String {
    format!("hash_record_extended(ROW({}), {seed})", values.join(", "))
}

fn texts(values: &[String]) -> String {
    let texts: Vec<String> = values.iter().map(|value| format!("({value})::text")).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}
