//! Rows that the monolith could not hold, found before a cutover and named.

use migration::{
    cutover::{CutoverError, Unfit},
    slice::{SlicePlan, read_plan},
    stream::{self, Ask, Direction},
};

use crate::{
    database::{Database, mapping},
    flows::{Running, quick, settled},
    gateway::Gateway,
};

const TABLES: &str = "
    create type mood as enum ('calm', 'loud');
    create domain mail as text check (value like '%@%');
    create table parcel (
        id int primary key, code varchar(5), mood mood, mail mail, weight smallint not null, size numeric(4,1),
        label text, check (weight > 0), unique (label)
    );
    insert into parcel select n, 'c' || n, 'calm', 'a@b', n, 1.5, 'l' || n from generate_series(1, 20) n;
";

/// Wider in every column than the monolith's.
const WIDER: &str = "
    create schema shop;
    create table shop.parcel (
        id int primary key, code text, mood text, mail text, weight int, size numeric, label text
    );
";

fn parcels(policy: &str) -> String {
    format!(
        "[targets.shop]\nschema = \"shop\"\n[targets.shop.tables.parcel.columns]\ncode = {{ type = \"text\" }}\n\
         mood = {{ type = \"text\" }}\nmail = {{ type = \"text\" }}\nweight = {{ type = \"int\" }}\nsize = {{ type = \"numeric\" }}\n\
         [slices.parcels]\ntarget = \"shop\"\n{policy}"
    )
}

async fn plan(source: &Database, target: &Database, text: &str) -> SlicePlan {
    let (mut from, mut to) =
        (source.pool.acquire().await.expect("a session"), target.pool.acquire().await.expect("one"));
    read_plan(&mut from, &mut to, &mapping(text), "parcels").await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn each_is_named_with_its_reason_and_refused_or_listed_as_the_slice_says() {
    let (source, target) = (Database::with(TABLES).await, Database::with(WIDER).await);
    let refusing = parcels("");
    let forward =
        Running::start(&source.pool, &target.pool, &mapping(&refusing), "parcels", Direction::Forward, quick());
    settled(&source.pool, &target.pool, "parcels", Direction::Forward).await;
    let gateway = Gateway::of("parcels").await;
    let ends = (&source.pool, &target.pool);
    let slice = plan(&source, &target, &refusing).await;
    let good = gateway.plan(ends, &slice, Direction::Forward).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert!(good.obstacles.is_empty() && good.situation.unfit.rows.is_empty(), "{good:?}");

    // The rows are the monolith's, and one of them is changed so that it would not come back: it is planted on the
    // candidate's side, as a service does that writes too early.
    let planted = [
        ("code = 'longer'", "code: does not fit character varying(5) (22001)"),
        ("mood = 'sad'", "mood: does not fit mood (22P02)"),
        ("mail = 'nowhere'", "mail: does not fit mail (23514)"),
        ("weight = 40000", "weight: does not fit smallint (22003)"),
        ("weight = null", "weight: must not be null"),
        ("weight = -1", "violates check parcel_weight_check"),
        ("size = 12345", "size: does not fit numeric(4,1) (22003)"),
    ];
    for (change, reason) in planted {
        target.run(&format!("update shop.parcel set {change} where id = 7")).await;
        let found = gateway.plan(ends, &slice, Direction::Forward).await.unwrap_or_else(|error| panic!("{error:?}"));
        let expected = Unfit { table: "shop.parcel".to_owned(), key: "{7}".to_owned(), reason: reason.to_owned() };
        assert_eq!(found.situation.unfit.rows, [expected], "{change}");
        target
            .run("update shop.parcel set (code, mood, mail, weight, size) = ('c7', 'calm', 'a@b', 7, 1.5) where id = 7")
            .await;
    }
    target.run("alter table shop.parcel drop constraint if exists parcel_label_key; drop index if exists shop.parcel_label_key").await;
    target.run("update shop.parcel set label = 'l9' where id = 8").await;
    let found = gateway.plan(ends, &slice, Direction::Forward).await.unwrap_or_else(|error| panic!("{error:?}"));
    let twice: Vec<&str> = found.situation.unfit.rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!((twice, found.situation.unfit.untried), (vec!["{l9}"], Vec::new()));
    target.run("update shop.parcel set label = 'l8' where id = 8").await;

    gateway.pass(ends, &slice, Direction::Forward).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let reverse =
        Running::start(&source.pool, &target.pool, &mapping(&refusing), "parcels", Direction::Reverse, quick());
    target.run("insert into shop.parcel (id, code, weight) values (30, 'fits', 1), (31, 'much too long', 1)").await;
    settled(&source.pool, &target.pool, "parcels", Direction::Reverse).await;
    let refused = gateway.pass(ends, &slice, Direction::Reverse).await.expect_err("a row would be lost");
    let CutoverError::Obstacles(obstacles) = &refused else { panic!("{refused}: {refused:?}") };
    let named = obstacles.iter().find(|obstacle| obstacle.what.contains("{31}")).expect("it is named");
    assert!(named.what.contains("22001") && named.fix.contains("unfit_rows"), "{named}");
    assert_eq!(source.count("select count(*) from parcel where id >= 30").await, 1, "what fits is there");

    // Somebody has looked at it, and lets it be: then it is told, and does not stand against it.
    assert_eq!(stream::ask(&source.pool, "parcels", None, Ask::Skip).await.expect("it can be asked"), 1);
    testkit::eventually(std::time::Duration::from_secs(60), async || {
        stream::quarantined(&source.pool, "parcels", None, 10).await.is_ok_and(|held| held.is_empty())
    })
    .await;
    let listing = plan(&source, &target, &parcels("unfit_rows = \"list\"\n")).await;
    let listed = gateway.plan(ends, &listing, Direction::Reverse).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert!(listed.notes.iter().any(|note| note.contains("{31}")), "{:?}", listed.notes);
    assert!(listed.obstacles.iter().all(|obstacle| !obstacle.what.contains("{31}")), "{:?}", listed.obstacles);
    forward.stop().await.expect("it stops");
    reverse.stop().await.expect("it stops");
}
