//! Comparing a slice's rows on both sides.

use std::time::Duration;

use migration::{
    slice::{SlicePlan, read_plan},
    stream::{self, Direction},
    verify::{self, Difference, Kind, Outcome, Progress, Settings, VerifyError},
};
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::{
    copies::{AWKWARD, SHOP, prepare, run},
    database::{Database, mapping},
};

/// Many small parts and buckets, and no patience.
fn fine() -> Settings {
    Settings { part_bytes: 64 << 10, bucket_rows: 10, pause: Duration::from_millis(2), ..Settings::default() }
}

async fn compare(source: &Database, target: &Database, plan: &SlicePlan, settings: &Settings) -> Outcome {
    verify::run(&source.pool, &target.pool, plan, settings).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

fn shown(found: &[Difference]) -> Vec<(&str, &str, &Kind)> {
    found.iter().map(|Difference { table, key, kind }| (table.as_str(), key.as_str(), kind)).collect()
}

async fn both(tables: &str, mapping_text: &str) -> (Database, Database, SlicePlan) {
    let (source, target) = (Database::with(tables).await, Database::with("").await);
    let plan = prepare(&source, &target, &mapping(mapping_text), "shop").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    (source, target, plan)
}

const ONE_TABLE: &str =
    "[targets.shop]\nschema = \"shop\"\n[targets.shop.tables.item]\n[slices.shop]\ntarget = \"shop\"\n";

#[tokio::test]
async fn each_row_that_differs_is_named_with_its_columns() {
    let (source, target, plan) = both(AWKWARD, SHOP).await;
    let same = compare(&source, &target, &plan, &fine()).await;
    assert_eq!((same.rows, same.is_clean()), (9003, true), "{same:?}");

    target
        .run(
            "update shop.track set sound = set_bit(sound, 777, 1 - get_bit(sound, 777)) where id = 5;
             update shop.album set price = price + 1, moods = '{loud}' where no = 8;
             delete from shop.album where no = 7;
             insert into shop.play values (-1, '2020-01-01');
             update shop.note set text = 'once' where ctid = (select min(ctid) from shop.note)",
        )
        .await;
    let found = compare(&source, &target, &plan, &fine()).await;
    let key = |no| format!("select array[region, no::text]::text from album where no = {no}");
    let (gone, dearer) = (source.text(&key(7)).await, source.text(&key(8)).await);
    let differ = |columns: &[&str]| Kind::Columns(columns.iter().map(|name| (*name).to_owned()).collect());
    let expected = [
        ("shop.track", "{5}", &differ(&["sound"])),
        ("shop.album", gone.as_str(), &Kind::Missing),
        ("shop.album", dearer.as_str(), &differ(&["price", "moods"])),
        ("shop.play", "{-1,2020-01-01}", &Kind::Extra),
        ("shop.note", "(,twice) (1 of 2)", &Kind::Missing),
        ("shop.note", "(,once) (0 of 1)", &Kind::Extra),
    ];
    let found_rows = shown(&found.differences);
    for row in &expected {
        assert!(found_rows.contains(row), "{row:?} in {found_rows:?}");
    }
    assert_eq!((found_rows.len(), found.truncated), (expected.len(), false), "{found_rows:?}");

    target.run("update shop.album set price = price + 1").await;
    let bounded = compare(&source, &target, &plan, &Settings { max_differences: 3, ..fine() }).await;
    assert_eq!((bounded.differences.len(), bounded.truncated), (3, true));
}

#[tokio::test]
async fn one_bit_is_found_whatever_the_order_of_the_keys_on_the_disk() {
    for (key, one) in [("n", "{3777}"), ("md5(n::text)::uuid", ""), ("'k' || md5(n::text)", "")] {
        let (source, target, plan) = both(
            &format!(
                "create table item as select {key} as id, n as place, repeat(md5(n::text), 3)::text as text,
                 decode(md5(n::text), 'hex') as bits from generate_series(1, 5000) n;
                 alter table item add primary key (id); analyze item"
            ),
            ONE_TABLE,
        )
        .await;
        let (progress, watched) = watch::channel(Progress::default());
        let same = verify::run_watched(&source.pool, &target.pool, &plan, &fine(), &progress)
            .await
            .unwrap_or_else(|error| panic!("{error}: {error:?}"));
        assert!(same.is_clean() && same.rows == 5_000, "{key}: {same:?}");
        let parts = watched.borrow().parts;
        assert_eq!(parts > 5, key == "n", "{key}: {parts} parts; scattered keys are read page after page");
        target.run("update shop.item set bits = set_bit(bits, 77, 1 - get_bit(bits, 77)) where place = 3777").await;
        let found = compare(&source, &target, &plan, &fine()).await;
        let row = if one.is_empty() {
            source.text("select array[id]::text from item where place = 3777").await
        } else {
            one.to_owned()
        };
        assert_eq!(shown(&found.differences), [("shop.item", row.as_str(), &Kind::Columns(vec!["bits".to_owned()]))]);
        // Shares of what is read page after page leave no row out.
        let shared = Settings { whole_bytes: 1 << 19, ..fine() };
        assert_eq!(compare(&source, &target, &plan, &shared).await, found, "{key}");
    }
}

#[tokio::test]
async fn two_halves_of_a_number_that_change_places_are_found() {
    let (source, target, plan) = both(
        "create table item (id bigint primary key, always bigint not null, maybe bigint);
         insert into item select n, (n << 32) + 7, (n << 32) + 9 from generate_series(1, 100) n",
        ONE_TABLE,
    )
    .await;
    assert!(compare(&source, &target, &plan, &fine()).await.is_clean());
    target
        .run(
            "update shop.item set always = (7::bigint << 32) + 3 where id = 3;
             update shop.item set maybe = (9::bigint << 32) + 4 where id = 4",
        )
        .await;
    let found = compare(&source, &target, &plan, &fine()).await;
    let columns = |name: &str| Kind::Columns(vec![name.to_owned()]);
    let expected = [("shop.item", "{3}", &columns("always")), ("shop.item", "{4}", &columns("maybe"))];
    let mut named = shown(&found.differences);
    named.sort_by_key(|(_, key, _)| *key);
    assert_eq!(named, expected);
}

#[tokio::test]
async fn what_two_rows_exchange_is_found_in_columns_that_may_be_null_and_in_times() {
    let (source, target, plan) = both(
        "create table item (id int primary key, n int, b bigint, t text, local timestamp, at timestamptz);
         insert into item select n, n, n, 'text ' || n, '2024-01-01'::timestamp + n * interval '1 s',
             '2024-01-01'::timestamptz + n * interval '1 s' from generate_series(1, 100) n;
         update item set local = 'infinity', at = '-infinity' where id = 50;
         update item set local = '4713-01-01 BC', at = '294276-12-31' where id = 51;
         update item set n = null, b = null, t = null, local = null, at = null where id = 52",
        &format!("{ONE_TABLE}[targets.shop.tables.item.columns]\nlocal = {{ type = \"timestamptz\" }}\n"),
    )
    .await;
    let same = compare(&source, &target, &plan, &fine()).await;
    assert!(same.is_clean() && same.rows == 100, "{same:?}");
    let exchanged = [("n", 1), ("b", 3), ("t", 5), ("local", 7), ("at", 9)];
    for (column, id) in exchanged {
        let exchange = format!(
            "update shop.item as one set {column} = other.{column} from shop.item as other
             where one.id in ({id}, {id} + 1) and other.id = 2 * {id} + 1 - one.id"
        );
        target.run(&exchange).await;
    }
    target
        .run(
            "update shop.item set local = '-infinity' where id = 50;
             update shop.item set at = '294276-12-30' where id = 51;
             update shop.item set n = 0, b = 0, t = '', local = 'infinity' where id = 52",
        )
        .await;
    let found = compare(&source, &target, &plan, &fine()).await;
    let columns = |names: &[&str]| Kind::Columns(names.iter().map(|name| (*name).to_owned()).collect());
    let mut expected: Vec<(String, Kind)> = exchanged
        .iter()
        .flat_map(|(name, id)| [*id, id + 1].map(|id| (format!("{{{id}}}"), columns(&[name]))))
        .collect();
    expected.push(("{50}".to_owned(), columns(&["local"])));
    expected.push(("{51}".to_owned(), columns(&["at"])));
    expected.push(("{52}".to_owned(), columns(&["n", "b", "t", "local"])));
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    let mut named: Vec<(String, Kind)> = found.differences.into_iter().map(|found| (found.key, found.kind)).collect();
    named.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(named, expected);
}

#[tokio::test]
async fn values_that_are_equal_and_not_the_same_are_found() {
    let (source, target, plan) = both(
        "create table item (
             id int primary key, n numeric, f float8, j jsonb, i interval, c char(5), a text[], r int4range, t text, o json
         );
         insert into item values
             (1, 1.0, 0, '{\"a\": 1.0}', '1 day', 'a', '{a,NULL}', '[1,3)', 'e', '{}'),
             (2, 1.0, 0, '{\"a\": 1.0}', '1 day', 'a', '{a,NULL}', '[1,3)', 'e', '{}')",
        ONE_TABLE,
    )
    .await;
    assert!(compare(&source, &target, &plan, &fine()).await.is_clean());
    target
        .run(
            "update shop.item set n = 1.00, f = '-0', j = '{\"a\": 1.00}', i = '24 hours', c = 'A', a = '{a,\"NULL\"}',
                 r = '[1,4)', t = null, o = '{ }' where id = 2",
        )
        .await;
    let found = compare(&source, &target, &plan, &fine()).await;
    let columns = ["n", "f", "j", "i", "c", "a", "r", "t", "o"].map(str::to_owned).to_vec();
    assert_eq!(shown(&found.differences), [("shop.item", "{2}", &Kind::Columns(columns))]);
}

#[tokio::test]
async fn columns_with_any_name_and_an_empty_table_are_compared() {
    let (source, target, plan) = both(
        "create table item (\"base\" int, \"order \"\" by\" text, strangler text, primary key (\"order \"\" by\", base))",
        ONE_TABLE,
    )
    .await;
    assert_eq!(compare(&source, &target, &plan, &fine()).await, Outcome::default());
    target.run("insert into shop.item values (1, 'a ''\\ b', 'x')").await;
    let found = compare(&source, &target, &plan, &fine()).await;
    assert_eq!(shown(&found.differences), [("shop.item", "{\"a '\\\\ b\",1}", &Kind::Extra)]);
}

#[tokio::test]
async fn a_round_that_was_stopped_goes_on_where_it_was() {
    let (source, target, plan) = both(AWKWARD, SHOP).await;
    target.run("delete from shop.album where no = 7").await;
    let slow = Settings { remember: true, readers: 1, rows_per_second: Some(4_000), ..fine() };
    let (progress, mut watched) = watch::channel(Progress::default());
    {
        let round = verify::run_watched(&source.pool, &target.pool, &plan, &slow, &progress);
        let begun = watched.wait_for(|progress| progress.parts_done >= 3 && progress.differences == 1);
        tokio::select! {
            ended = round => panic!("it is slowed down, and ended: {ended:?}"),
            _ = begun => {}
        }
    }
    let done = target.count("select count(*) from strangler.verify_part where done_at is not null").await;
    assert!(done >= 3, "{done}");
    let remembered = Settings { remember: true, ..fine() };
    // The server may not have noticed yet that the first one is gone.
    let (progress, watched) = watch::channel(Progress::default());
    let ended = loop {
        match verify::run_watched(&source.pool, &target.pool, &plan, &remembered, &progress).await {
            Err(VerifyError::Busy) => tokio::task::yield_now().await,
            ended => break ended.unwrap_or_else(|error| panic!("{error}: {error:?}")),
        }
    };
    assert_eq!(ended.rows, 9002, "what was done counts");
    assert_eq!((ended.differences.len(), &ended.differences[0].kind), (1, &Kind::Missing), "so does what was found");
    let Progress { parts, parts_done, .. } = *watched.borrow();
    assert_eq!(parts, parts_done);
    assert_eq!(target.count("select count(*) from strangler.verify_part").await, 0, "the next round begins anew");
}

#[tokio::test]
async fn one_comparison_at_a_time_is_remembered() {
    let (source, target, plan) = both(AWKWARD, SHOP).await;
    let slow = Settings { remember: true, readers: 1, rows_per_second: Some(1_000), ..fine() };
    let (progress, mut watched) = watch::channel(Progress::default());
    let first = verify::run_watched(&source.pool, &target.pool, &plan, &slow, &progress);
    let second = async {
        let _ = watched.wait_for(|progress| progress.parts_done >= 1).await;
        let refused = verify::run(&source.pool, &target.pool, &plan, &Settings { remember: true, ..fine() }).await;
        assert!(matches!(refused, Err(VerifyError::Busy)), "{refused:?}");
        let free = verify::run(&source.pool, &target.pool, &plan, &fine()).await.expect("nothing is remembered of it");
        assert!(free.is_clean(), "{free:?}");
    };
    tokio::select! {
        ended = first => panic!("it is slowed down, and ended: {ended:?}"),
        () = second => {}
    }
}

/// Writes each change to one side and then to the other, as a stream does.
async fn writes(source: &Database, target: &Database, begin: u64, stop: &watch::Receiver<bool>) {
    let mut random = begin;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(random >> 40).unwrap_or(0)
    };
    let mut place = 0_i64;
    while !*stop.borrow() {
        place += 1;
        // Each writer has rows of its own, and one of them is written again and again.
        let id = if place % 3 == 0 { 1 } else { next() % 2_000 } * 4 + i64::try_from(begin).unwrap_or(0);
        let sql = match next() % 10 {
            0 => format!("delete from item where id = {id}"),
            1..=3 => {
                format!("insert into item values ({id}, {place}, 'new') on conflict (id) do update set n = {place}")
            }
            _ => format!("update item set n = {place} where id = {id}"),
        };
        source.run(&sql).await;
        target.run(&sql.replace("item", "shop.item")).await;
    }
}

#[tokio::test]
async fn load_of_a_live_slice_gives_no_false_alarm_and_hides_nothing() {
    let (source, target, plan) = both(
        "create table item (id bigint primary key, n bigint, text text);
         insert into item select n, n, repeat('x', 200) from generate_series(1, 20000) n; analyze item",
        ONE_TABLE,
    )
    .await;
    let (stop, stopped) = watch::channel(false);
    let settings = Settings { looks: 20, pause: Duration::from_millis(30), ..fine() };
    let rounds = async {
        for _ in 0..3 {
            let found = compare(&source, &target, &plan, &settings).await;
            assert!(found.differences.is_empty() && !found.truncated, "{found:?}");
            // Rows that are written again and again may not come to rest, and nothing else.
            assert!(found.unsettled.len() <= 4, "{found:?}");
        }
        target.run("update shop.item set n = n # 1 where id = 15000").await;
        let found = compare(&source, &target, &plan, &settings).await;
        stop.send_replace(true);
        found
    };
    let (found, ..) = tokio::join!(
        rounds,
        writes(&source, &target, 1, &stopped),
        writes(&source, &target, 2, &stopped),
        writes(&source, &target, 3, &stopped)
    );
    assert_eq!(shown(&found.differences), [("shop.item", "{15000}", &Kind::Columns(vec!["n".to_owned()]))]);
}

#[tokio::test]
async fn what_a_stream_has_not_applied_yet_is_no_difference() {
    let (source, target, plan) = both(
        "create table item (id bigint primary key, n bigint); insert into item select n, n from generate_series(1, 100) n",
        ONE_TABLE,
    )
    .await;
    let following = verify::Following { direction: Direction::Forward, patience: Duration::from_millis(1) };
    let settings = Settings { following: Some(following), looks: 1, ..fine() };
    // A stream that was begun, and applies nothing.
    let begun = stream::begin(&source.pool, &target.pool, &plan, Direction::Forward, Duration::from_secs(30)).await;
    drop(begun.unwrap_or_else(|error| panic!("{error}: {error:?}")));
    target
        .run(
            "insert into strangler.stream_lane (slice, direction, lane, applied_lsn) \
             select 'shop', 'forward', 0, start_lsn from strangler.stream on conflict do nothing",
        )
        .await;
    assert!(compare(&source, &target, &plan, &settings).await.is_clean(), "what is equal needs no stream");
    target.run("delete from shop.item where id = 5").await;
    let found = compare(&source, &target, &plan, &settings).await;
    assert_eq!(shown(&found.unsettled), [("shop.item", "{5}", &Kind::Unsettled)], "it may be on its way");
    assert!(!found.is_clean());

    stream::end(&source.pool, &target.pool, "shop", Direction::Forward).await.unwrap_or_else(|error| panic!("{error}"));
    let found = compare(&source, &target, &plan, &settings).await;
    assert_eq!(shown(&found.differences), [("shop.item", "{5}", &Kind::Missing)], "nothing can be on its way");
}

/// Another schema than the copy's, so that the mapping has something to convert on both sides.
#[tokio::test]
async fn conversions_filters_and_computed_columns_are_compared_through_the_mapping() {
    let source = Database::with(
        "create type mood as enum ('calm', 'loud');
         create table item (id varchar(40) primary key, at timestamp, mood mood, name text, n int);
         insert into item select md5(n::text)::uuid::text, '2024-03-31 02:30'::timestamp + n * interval '7 min',
             'calm', 'x' || n, n from generate_series(1, 500) n",
    )
    .await;
    let target = Database::with("").await;
    let text = r#"
[targets.shop]
schema = "shop"
[targets.shop.tables.thing]
from = "item"
drop = ["n"]
[targets.shop.tables.thing.columns]
id = { type = "uuid" }
at = { type = "timestamptz", time_zone = "Europe/Berlin" }
mood = { type = "text" }
label = { read = "upper(name) || n", type = "text" }
[slices.shop]
target = "shop"
filters = { thing = "n % 5 <> 0" }
"#;
    let mapping = mapping(text);
    let plan = prepare(&source, &target, &mapping, "shop").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let same = compare(&source, &target, &plan, &fine()).await;
    assert_eq!((same.rows, same.is_clean()), (400, true), "{same:?}");
    source.run("update item set n = n + 5 where n = 1; update item set n = 10 where n = 2").await;
    target.run("update shop.thing set at = at + interval '1 microsecond' where label = 'X33'").await;
    let plan = read_plan(
        &mut source.pool.acquire().await.expect("a connection"),
        &mut target.pool.acquire().await.expect("a connection"),
        &mapping,
        "shop",
    )
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    let found = compare(&source, &target, &plan, &fine()).await;
    let columns: Vec<String> = found
        .differences
        .iter()
        .map(|difference| match &difference.kind {
            Kind::Columns(columns) => columns.join(","),
            kind => format!("{kind:?}"),
        })
        .collect();
    assert_eq!(columns.len(), 3, "{found:?}");
    for expected in ["label", "Extra", "at"] {
        assert!(columns.iter().any(|column| column == expected), "{expected} in {columns:?}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_converted_stops_the_comparison_with_its_table() {
    let source = Database::with("create table item (id varchar(40) primary key)").await;
    let target = Database::with("create schema shop; create table shop.item (id uuid primary key)").await;
    let text = format!("{ONE_TABLE}[targets.shop.tables.item.columns]\nid = {{ type = \"uuid\" }}\n");
    let plan = prepare(&source, &target, &mapping(&text), "shop").await;
    source.run("insert into item values ('nonsense')").await;
    let error = verify::run(&source.pool, &target.pool, &plan, &fine()).await.expect_err("it is no UUID");
    assert_eq!(error.to_string(), "cannot compare `shop.item`");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("invalid input syntax for type uuid"), "{cause}");
}

#[tokio::test]
async fn an_attacker_s_names_stay_names() {
    let evil = "x\"); drop table item; --";
    let quoted = evil.replace('"', "\"\"");
    let (source, target, plan) = both(
        &format!(
            "create table item (\"{quoted}\" text primary key); insert into item values ($q$'); drop table item; --$q$)"
        ),
        ONE_TABLE,
    )
    .await;
    assert!(compare(&source, &target, &plan, &fine()).await.is_clean());
    target.run("delete from shop.item").await;
    let found = compare(&source, &target, &plan, &fine()).await;
    assert_eq!(found.differences.len(), 1);
    let there: i64 = sqlx::query_scalar(AssertSqlSafe("select count(*) from item".to_owned()))
        .fetch_one(&source.pool)
        .await
        .expect("the table is still there");
    assert_eq!(there, 1);
}
