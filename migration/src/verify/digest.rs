//! The SQL that digests rows, alike on both sides. Pure.
//!
//! `hash_record_extended` is there from PostgreSQL 14 on. What it computes decides in which partition
//! of a hash-partitioned table a row is, so it stays as it is from one major version to the next; it
//! differs between processors of different byte order. Types that hash values by more than their
//! equality are hashed as they are, all others as text: `1.0` and `1.00` are equal, and not the same.

use crate::{
    identifier::Identifier,
    projection::BASE,
    slice::{CANDIDATE, KeyColumn, KeyPart, KeyRange, SlicePlan, TablePlan, TargetColumn, Unconverted},
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

/// The seed of the digest that puts a row into a share: any, as long as it stays.
const SHARE_SEED: i64 = 0x73_6861_7265;

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

/// As what text that becomes a `uuid` is digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uuids {
    /// As the UUID.
    AsTheyAre,
    /// As the text that the monolith has, and on the other side as the usual one. Equal texts are equal UUIDs, and take a
    /// third of the time; one in capitals differs here from the same UUID and has to be looked at again.
    AsSpelled,
}

/// How the rows of one table are digested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest<'a> {
    pub(crate) table: &'a TablePlan,
    /// Another one in each round, so that what one round takes for equal by chance the next does not.
    pub(crate) seed: i64,
    /// In sums and in what rows are found by. The digests of single columns are those of UUIDs.
    pub(crate) uuids: Uuids,
}

impl<'a> Digest<'a> {
    pub(crate) const fn new(table: &'a TablePlan, seed: i64) -> Self {
        Self { table, seed, uuids: Uuids::AsTheyAre }
    }

    /// The same by texts, where that makes a difference and a row can be looked at again.
    pub(super) fn as_spelled(self) -> Option<Self> {
        let spelled = self.table.compared().any(|column| column.unconverted == Some(Unconverted::UuidAsText));
        (spelled && !self.table.identity.is_empty()).then_some(Self { uuids: Uuids::AsSpelled, ..self })
    }

    /// Count and sum of digests of all rows.
    pub(super) fn of_all(&self, side: Side, scope: &Scope) -> String {
        let values = self.others().map(|column| self.typed(side, column));
        format!(
            "SELECT count(*), sum({digest})::text FROM {from} WHERE {condition} {filter}",
            digest = self.digest(self.key_digest(side), values),
            from = self.from(side),
            condition = self.condition(side, scope),
            filter = self.filter(side),
        )
    }

    /// Count and sum of digests of each bucket; `mask` is one less than the number of buckets.
    pub(super) fn of_buckets(&self, side: Side, scope: &Scope, mask: i64) -> String {
        format!(
            "SELECT {bucket}, count(*), sum({digest})::text FROM ({rows}) AS read GROUP BY 1",
            bucket = bucket(mask),
            digest = self.digest_of_rows(),
            rows = self.rows(side, scope, ""),
        )
    }

    /// Key, the monolith's key and digest of every row in the buckets `$1`, at most `$2` rows.
    pub(super) fn of_rows(&self, side: Side, scope: &Scope, mask: i64) -> String {
        format!(
            "SELECT {key} AS row_key, {source_key} AS source_key, {digest} FROM ({rows}) AS {alias} \
             WHERE {bucket} = ANY ($1) LIMIT $2",
            digest = self.digest_of_rows(),
            key = texts(&self.key(side)),
            source_key = texts(&self.source_key(side)),
            rows = self.rows(side, scope, &format!(", {}.*", side.alias())),
            alias = side.alias(),
            bucket = bucket(mask),
        )
    }

    /// How often each digest is there in the buckets `$1`, at most `$2` digests: all that tells the
    /// rows of a table without a key apart.
    pub(super) fn of_kinds(&self, side: Side, mask: i64) -> String {
        format!(
            "SELECT {digest}, count(*) FROM ({rows}) AS read WHERE {bucket} = ANY ($1) GROUP BY 1 ORDER BY 1 LIMIT $2",
            digest = self.digest_of_rows(),
            rows = self.rows(side, &Scope::default(), ""),
            bucket = bucket(mask),
        )
    }

    /// A row of this digest, as text that is cut to be shown.
    pub(super) fn shown(&self, side: Side) -> String {
        let values = self.table.compared().map(|column| format!("({})::text", value(side, column)));
        format!(
            "SELECT left(ROW({values})::text, 200) FROM {from} WHERE {digest} = $1 {filter} LIMIT 1",
            values = values.collect::<Vec<_>>().join(", "),
            from = self.from(side),
            digest = self.key_digest(side),
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
        let digests = self.table.compared().map(|column| record([element(column, &exact(side, column))], self.seed));
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

    /// Key and the monolith's key of the rows whose candidate's keys are the parameters, one array of text for each column,
    /// however the monolith spells them: all of its table is read. None where they have one spelling.
    pub(super) fn of_spellings(&self) -> Option<String> {
        let side = Side::Source;
        self.key_columns().find(|column| column.unconverted == Some(Unconverted::UuidAsText))?;
        let parts = self.key_parts(Side::Target);
        let casts = parts.iter().enumerate().map(|(place, part)| format!("asked.k{place}::{}", part.data_type));
        let places = || 0..parts.len();
        Some(format!(
            "SELECT {key}, {source_key} FROM {from} WHERE ({names}) IN \
             (SELECT {casts} FROM unnest({arrays}) AS asked ({asked})) {filter}",
            key = texts(&self.key(side)),
            source_key = texts(&self.source_key(side)),
            from = self.from(side),
            names = self.key(side).join(", "),
            casts = casts.collect::<Vec<_>>().join(", "),
            arrays = places().map(|place| format!("${}::text[]", place + 1)).collect::<Vec<_>>().join(", "),
            asked = places().map(|place| format!("k{place}")).collect::<Vec<_>>().join(", "),
            filter = self.filter(side),
        ))
    }

    /// The number `place`, key, the monolith's key and the digest of each column, of those rows with the highest keys.
    pub(crate) fn of_newest(&self, side: Side, place: usize, rows: u32) -> String {
        let digests = self.table.compared().map(|column| record([element(column, &exact(side, column))], self.seed));
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

    /// The digest of each row's key, all other values that are compared, under names that no table has, and `more`. What
    /// [`Self::digest_of_rows`] makes of it is the row's digest. A row without a key is all key.
    fn rows(&self, side: Side, scope: &Scope, more: &str) -> String {
        let others = self.others().enumerate();
        let others = others.map(|(place, column)| format!(", {} AS strangler_{place}", self.typed(side, column)));
        // Without OFFSET what is computed here would be for each place that it is named in.
        format!(
            "SELECT {key} AS strangler_key{others}{more} FROM {from} WHERE {condition} {filter} OFFSET 0",
            key = self.key_digest(side),
            others = others.collect::<String>(),
            from = self.from(side),
            condition = self.condition(side, scope),
            filter = self.filter(side),
        )
    }

    /// A row's digest over what [`Self::rows`] gives.
    fn digest_of_rows(&self) -> String {
        self.digest(
            "strangler_key".to_owned(),
            self.others().enumerate().map(|(place, _)| format!("strangler_{place}")),
        )
    }

    /// A row's digest over its key's and the values of all others: those that may be NULL, and times, each hashed under a
    /// seed of its own and mixed by exclusive-or; then those of which each hash is the seed of the next, so that values
    /// which change places between rows do not add up to the same; and what has no function that hashes it alone in a record.
    fn digest(&self, key: String, values: impl Iterator<Item = String>) -> String {
        if self.table.identity.is_empty() {
            return key;
        }
        let (mut mixed, mut chained, mut last, mut all_may_be_null) = (key, Vec::new(), Vec::new(), true);
        let mut own_seed = self.seed;
        for (column, value) in self.others().zip(values) {
            let never_null = self.is_never_null(column);
            match self.hash_function(column) {
                Some(function) if never_null && function.names_seed_once() => chained.push((function, value)),
                Some(function) => {
                    own_seed = own_seed.wrapping_add(1);
                    let hash = function.of(&value, &own_seed.to_string());
                    mixed = format!("{mixed} # coalesce({hash}, {own_seed})");
                }
                None => {
                    last.push(element(column, &value));
                    all_may_be_null &= !never_null;
                }
            }
        }
        if chained.is_empty() && last.is_empty() {
            // What is mixed adds up to the same when two rows exchange it.
            chained.push((HashFunction::Of("hashint4extended"), "0".to_owned()));
        }
        let seed = chained.into_iter().fold(format!("({mixed})"), |seed, (function, value)| function.of(&value, &seed));
        if last.is_empty() {
            return format!("coalesce({seed}, 0)");
        }
        // A record of nothing is hashed to 0 under any seed.
        last.extend(all_may_be_null.then(|| "1".to_owned()));
        // Where only the candidate has NULL the seed is.
        format!("coalesce(hash_record_extended(ROW({}), {seed}), 0)", last.join(", "))
    }

    /// Whether the monolith never has NULL there.
    fn is_never_null(&self, column: &TargetColumn) -> bool {
        self.table.source_columns.iter().any(|there| Some(&there.name) == column.source.as_ref() && there.not_null)
    }

    fn condition(&self, side: Side, scope: &Scope) -> String {
        let alias = side.alias();
        let mut all = vec![scope.keys.predicate(alias, &self.key_parts(side))];
        if let Some(Pages { first, end }) = scope.pages {
            all.push(format!("{alias}.ctid >= '({first},0)'::tid"));
            all.extend(end.map(|end| format!("{alias}.ctid < '({end},0)'::tid")));
        }
        if let Some((share, shares)) = scope.share {
            // By the UUID: the shares of one round may be read in different ways.
            let keys = self.key_columns().map(|column| exact(side, column));
            all.push(format!("({} & {}) = {share}", record(keys, SHARE_SEED), shares - 1));
        }
        all.join(" AND ")
    }

    fn key_digest(&self, side: Side) -> String {
        let mut key: Vec<&TargetColumn> = self.key_columns().collect();
        if let [only] = key[..]
            && let Some(function) = self.hash_function(only)
        {
            return format!("coalesce({}, 0)", function.of(&self.typed(side, only), &self.seed.to_string()));
        }
        if key.is_empty() {
            key = self.table.compared().collect();
        }
        record(key.into_iter().map(|column| element(column, &self.typed(side, column))), self.seed)
    }

    /// What a record would hash the column by: alone it costs less than in one.
    fn hash_function(&self, column: &TargetColumn) -> Option<HashFunction> {
        let wire = column.wire.as_deref().filter(|wire| EXACT.contains(wire));
        let name = match wire {
            // Digested as text.
            None => "hashtextextended",
            Some("uuid") if self.spells(column) => "hashtextextended",
            Some("uuid") => "uuid_hash_extended",
            Some("bigint") => return Some(HashFunction::Bigint),
            Some("integer") => "hashint4extended",
            Some("smallint") => "hashint2extended",
            Some("boolean") => return Some(HashFunction::Boolean),
            Some("timestamp without time zone" | "timestamp with time zone") => {
                // It is named more than once, so it must not be something to be computed.
                let as_it_is =
                    column.unconverted == Some(Unconverted::TimeInUtc) || column.plain() == Some(column.select.clone());
                return as_it_is.then_some(HashFunction::Time);
            }
            Some(_) => return None,
        };
        Some(HashFunction::Of(name))
    }

    /// The columns that are compared beside the key.
    fn others(&self) -> impl Iterator<Item = &TargetColumn> {
        let is_key = |column: &TargetColumn| self.table.identity.iter().any(|key| key.target == column.name);
        self.table.compared().filter(move |column| !self.table.identity.is_empty() && !is_key(column))
    }

    fn spells(&self, column: &TargetColumn) -> bool {
        self.uuids == Uuids::AsSpelled && column.unconverted == Some(Unconverted::UuidAsText)
    }

    /// A value in a type that both sides hash alike.
    fn typed(&self, side: Side, column: &TargetColumn) -> String {
        match column.plain() {
            Some(plain) if self.spells(column) => {
                let value = if side == Side::Source { plain } else { value(side, column) };
                as_text(&value)
            }
            _ => exact(side, column),
        }
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

/// How one value is hashed under a seed.
enum HashFunction {
    /// By a function of PostgreSQL's.
    Of(&'static str),
    Boolean,
    /// PostgreSQL hashes the exclusive-or of the two halves, so that numbers fit whatever their type. The whole number is
    /// part of the seed too: where an id is made of two, they may have changed places.
    Bigint,
    /// Not all versions have a function for times with a zone, none for both kinds. The time since a certain one is hashed
    /// as the eight bytes of the time itself would be; there is none before the beginning or after the end of all times.
    Time,
}

impl HashFunction {
    /// Whether the seed is not computed twice when it is an expression.
    const fn names_seed_once(&self) -> bool {
        !matches!(self, Self::Time)
    }

    fn of(&self, value: &str, seed: &str) -> String {
        match self {
            Self::Of(name) => format!("{name}({value}, {seed})"),
            Self::Boolean => format!("hashint4extended({value}::integer, {seed})"),
            Self::Bigint => format!("hashint8extended({value}, {seed} # {value})"),
            Self::Time => format!(
                "CASE WHEN isfinite({value}) THEN interval_hash_extended({value} - '2000-01-01 00:00:00+00', {seed}) \
                 ELSE hashtextextended(({value})::text COLLATE \"C\", {seed}) END"
            ),
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

/// A value in a type that both sides hash alike, and that differs if the values do.
fn exact(side: Side, column: &TargetColumn) -> String {
    let value = value(side, column);
    match (column.wire.as_deref(), column.unconverted, column.plain()) {
        // Hashed by the eight bytes that it is on both sides.
        (_, Some(Unconverted::TimeInUtc), Some(plain)) if side == Side::Source => plain,
        (Some(wire), ..) if EXACT.contains(&wire) => format!("({value})::{wire}"),
        _ => as_text(&value),
    }
}

fn as_text(value: &str) -> String {
    format!("(({value})::text COLLATE \"C\")")
}

fn bucket(mask: i64) -> String {
    format!("(strangler_key & {mask})::integer")
}

/// A value as an element of a record: see [`HashFunction::Bigint`].
fn element(column: &TargetColumn, value: &str) -> String {
    if column.wire.as_deref() == Some("bigint") { format!("int8send({value})") } else { value.to_owned() }
}

fn record(values: impl IntoIterator<Item = String>, seed: i64) -> String {
    format!("hash_record_extended(ROW({}), {seed})", values.into_iter().collect::<Vec<_>>().join(", "))
}

fn texts(values: &[String]) -> String {
    let texts: Vec<String> = values.iter().map(|value| format!("({value})::text")).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}
