//! Streams of changes between two databases.

use std::time::Duration;

use migration::{
    copy,
    stream::{self, Direction, Stage, StreamError},
};

use crate::database::{Database, mapping};

const SHOP: &str = "
    [targets.shop]
    schema = \"shop\"
    [targets.shop.tables.note]
    [slices.shop]
    target = \"shop\"
";

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_stream_begins_once_and_its_slot_is_never_forgotten() {
    let source =
        Database::with("create table note (id int primary key, text text); insert into note values (1, 'a')").await;
    let target = Database::with("").await;
    let plan = copy::prepare(&source.pool, &target.pool, &mapping(SHOP), "shop").await.expect("it fits");
    let begin = async || stream::begin(&source.pool, &target.pool, &plan, Direction::Forward, PATIENCE).await;
    let begun = begin().await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(begun.stream.stage, Stage::Copying);
    let snapshot = begun.snapshot.expect("the slot is new");
    assert_eq!(begun.stream.start_lsn, snapshot.snapshot().lsn.parse().ok());

    let again = begin().await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert!(again.snapshot.is_none());
    assert_eq!(again.stream.slot, begun.stream.slot);
    let slot = stream::slot_state(&source.pool, &again.stream).await.expect("it can be read").expect("it is there");
    assert_eq!((slot.wal_status.as_str(), slot.confirmed_lsn), ("reserved", begun.stream.start_lsn));

    // As if it had been killed before the slot's point was written down.
    target
        .run("delete from strangler.stream_lane; update strangler.stream set stage = 'creating', start_lsn = null")
        .await;
    let resumed = begin().await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert!(resumed.snapshot.is_none());
    assert_eq!(resumed.stream.start_lsn, begun.stream.start_lsn);

    let mark = stream::mark(&source.pool, "shop").await.expect("a mark");
    assert!(Some(mark) > resumed.stream.start_lsn);
    let behind =
        stream::wait_until_applied(&target.pool, "shop", Direction::Forward, mark, Duration::from_millis(5)).await;
    assert!(matches!(behind, Err(StreamError::Behind { .. })), "{behind:?}");

    // A position never goes back, whoever writes it.
    let back = "update strangler.stream_lane set applied_lsn = '0/1'";
    assert_eq!(target.sqlstate(back).await, "23000");
    assert_eq!(target.sqlstate(&format!("set session_replication_role = replica; {back}")).await, "23000");

    source.run(&format!("select pg_drop_replication_slot('{}')", begun.stream.slot)).await;
    assert!(matches!(begin().await, Err(StreamError::Lost { .. })));
    assert!(matches!(begin().await, Err(StreamError::Lost { .. })));
    stream::end(&source.pool, &target.pool, "shop", Direction::Forward).await.expect("it ends");
    assert_eq!(source.count("select count(*) from pg_publication").await, 0);
    assert_eq!(stream::find(&target.pool, "shop", Direction::Forward).await.expect("it can be read"), None);
}

#[tokio::test]
async fn a_table_that_would_refuse_the_services_writes_is_not_published() {
    let source = Database::with("create table note (id int not null unique, text text)").await;
    let target = Database::with("").await;
    let text = SHOP.replace("tables.note]", "tables.note]\nidentity = [\"id\"]");
    let plan = copy::prepare(&source.pool, &target.pool, &mapping(&text), "shop").await.expect("it fits");
    let begin = async || stream::begin(&source.pool, &target.pool, &plan, Direction::Forward, PATIENCE).await;
    let error = begin().await.err().expect("it is refused").to_string();
    assert!(error.contains("ALTER TABLE public.note REPLICA IDENTITY FULL"), "{error}");
    assert_eq!(source.count("select count(*) from pg_publication").await, 0);
    source.run("alter table note replica identity full").await;
    begin().await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    stream::end(&source.pool, &target.pool, "shop", Direction::Forward).await.expect("it ends");
}
