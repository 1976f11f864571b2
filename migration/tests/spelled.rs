//! UUIDs that the monolith keeps as text: copied and compared without its server reading each of them.

use std::time::Duration;

use migration::{
    copy::CopyError,
    slice::{SlicePlan, Unconverted},
    verify::{self, Kind, Outcome, Settings},
};

use crate::{
    copies::{digest, finish, prepare, run},
    database::{Database, mapping},
};

const MAPPING: &str = "
    [targets.shop]
    schema = \"shop\"
    [targets.shop.tables.item.columns]
    id = { type = \"uuid\" }
    other = { type = \"uuid\" }
    made = { type = \"timestamptz\" }
    local = { type = \"timestamp\" }
    vienna = { type = \"timestamptz\", time_zone = \"Europe/Vienna\" }
    short = { type = \"timestamptz(0)\" }
    [slices.shop]
    target = \"shop\"
";

/// What the server makes of the rows.
const CONVERTED: &str = "(select id::uuid, other::uuid, made at time zone 'UTC' as made, local at time zone 'UTC' as local, \
                         vienna at time zone 'Europe/Vienna' as vienna, (short at time zone 'UTC')::timestamptz(0) as short, n, note from item)";

/// 20,000 rows whose keys lie in the order of the disk or not.
async fn items(ordered: bool) -> Database {
    let id = if ordered { "lpad(to_hex(n), 32, '0')::uuid" } else { "md5(n::text)::uuid" };
    Database::with(&format!(
        "create table item (id varchar(255) primary key, other text, made timestamp, local timestamptz, vienna timestamp,
             short timestamp, n int, note text);
         insert into item select {id}::text, case when n % 7 > 0 then md5('o' || n)::uuid::text end,
             case n % 5 when 0 then 'infinity' when 1 then null else '1900-01-01'::timestamp + n * interval '1 day 1 us' end,
             case n % 5 when 0 then '-infinity' else '2024-01-01'::timestamptz + n * interval '1 min' end,
             '2024-03-31'::timestamp + n * interval '1 min', '2024-01-01'::timestamp + n * interval '700 ms', n,
             repeat('x', n % 200)
         from generate_series(1, 20000) n;
         analyze item"
    ))
    .await
}

async fn copied(source: &Database) -> (Database, SlicePlan) {
    let target = Database::with("").await;
    let plan = prepare(source, &target, &mapping(MAPPING), "shop").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    finish(source, &target, &plan).await;
    (target, plan)
}

async fn assert_same(source: &Database, target: &Database) {
    assert_eq!(digest(source, CONVERTED).await, digest(target, "shop.item").await);
}

async fn compare(source: &Database, target: &Database, plan: &SlicePlan) -> Outcome {
    let settings =
        Settings { part_bytes: 256 << 10, bucket_rows: 10, pause: Duration::from_millis(2), ..Settings::default() };
    verify::run(&source.pool, &target.pool, plan, &settings).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

#[tokio::test]
async fn what_is_made_here_is_what_the_server_would_have_made() {
    let source = items(true).await;
    let (target, plan) = copied(&source).await;
    let made_here: Vec<(&str, Option<Unconverted>)> =
        plan.tables[0].columns.iter().map(|column| (column.name.as_str(), column.unconverted)).collect();
    let (uuid, time) = (Some(Unconverted::UuidAsText), Some(Unconverted::TimeInUtc));
    let expected = [("id", uuid), ("other", uuid), ("made", time), ("local", time), ("vienna", None), ("short", None)];
    assert_eq!(made_here[..6], expected, "a precision rounds, and another zone is not the same instant");
    assert_same(&source, &target).await;
}

#[tokio::test]
async fn uuids_in_forms_that_only_the_server_reads_arrive_too() {
    let source = items(true).await;
    source
        .run(
            "update item set id = upper(id) where n % 100 = 3;
             update item set other = replace(other, '-', '') where n = 7001;
             update item set other = '{' || other || '}' where n = 12345",
        )
        .await;
    let (target, plan) = copied(&source).await;
    assert_same(&source, &target).await;
    let outcome = compare(&source, &target, &plan).await;
    assert_eq!((outcome.is_clean(), outcome.rows), (true, 20_000), "{outcome:?}");
}

#[tokio::test]
async fn text_that_is_no_uuid_fails_with_the_servers_word() {
    let source = items(false).await;
    source.run("update item set other = 'b0b' where n = 19000").await;
    let target = Database::with("").await;
    let plan = prepare(&source, &target, &mapping(MAPPING), "shop").await;
    let error = run(&source.pool, &target.pool, &plan).await.expect_err("it is no UUID");
    let CopyError::Chunk { table, source: cause, .. } = &error else { panic!("{error}") };
    assert_eq!(table, "shop.item");
    assert!(cause.to_string().contains("invalid input syntax for type uuid: \"b0b\""), "{cause}");
    source.run("update item set other = null where n = 19000").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_same(&source, &target).await;
}

#[tokio::test]
async fn a_comparison_by_texts_names_what_differs_and_nothing_else() {
    // How many are in capitals: none, few, most.
    for capitals in ["false", "n % 100 = 3", "n % 10 < 9"] {
        for ordered in [true, false] {
            let source = items(ordered).await;
            source
                .run(&format!("update item set id = upper(id), other = upper(other) where {capitals}; analyze item"))
                .await;
            let (target, plan) = copied(&source).await;
            let same = compare(&source, &target, &plan).await;
            // In capitals keys have another order, so that parts of the two sides may overlap.
            assert!(same.is_clean() && same.rows >= 20_000, "{capitals} {ordered}: {same:?}");
            target
                .run(
                    "update shop.item set other = md5('else')::uuid where n in (4003, 4004);
                     update shop.item set made = made + interval '1 us' where n = 12347;
                     update shop.item set n = case n when 8 then 9 else 8 end where n in (8, 9);
                     delete from shop.item where n = 15000",
                )
                .await;
            let found = compare(&source, &target, &plan).await;
            let key =
                async |n: u32| source.text(&format!("select array[id::uuid]::text from item where n = {n}")).await;
            let columns = |name: &str| Kind::Columns(vec![name.to_owned()]);
            let mut expected = vec![
                (key(4003).await, columns("other")),
                (key(4004).await, columns("other")),
                (key(12347).await, columns("made")),
                (key(8).await, columns("n")),
                (key(9).await, columns("n")),
                (key(15000).await, Kind::Missing),
            ];
            let mut named: Vec<(String, Kind)> =
                found.differences.into_iter().map(|difference| (difference.key, difference.kind)).collect();
            for list in [&mut expected, &mut named] {
                list.sort_by(|one, other| one.0.cmp(&other.0));
            }
            assert_eq!(named, expected, "{capitals} {ordered}");
        }
    }
}
