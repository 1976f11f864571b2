//! Changes flow between two databases.

use std::time::Duration;

use migration::{
    Lsn, Mapping,
    copy::{self, Progress},
    stream::{self, Ask, Direction, Settings, StreamError, Sync},
    verify,
};
use sqlx::PgPool;
use testkit::eventually;
use tokio::{sync::watch, task::JoinHandle};

use crate::database::{Database, NOTES, mapping};

pub const SHOP: &str = "
    [targets.shop]
    schema = \"shop\"
    [targets.shop.tables.album]
    [targets.shop.tables.album.columns]
    at = { type = \"timestamptz\", time_zone = \"Europe/Berlin\" }
    loud = { read = \"mood = 'loud'\", type = \"boolean\" }
    [targets.shop.tables.track]
    [targets.shop.tables.kept]
    [targets.shop.tables.note]
    [targets.shop.tables.play]
    [slices.shop]
    target = \"shop\"
    filters = { kept = \"state <> 'draft'\" }
";

/// Everything that is awkward to carry, in a monolith's database.
pub const AWKWARD: &str = "
    create type mood as enum ('calm', 'loud');
    create domain cents as bigint check (value >= 0);
    create table album (
        region text, no int, title varchar(100) not null, price cents not null default 5, mood mood, moods mood[],
        length int generated always as (length(title)) stored, tags text[], at timestamp, extra jsonb, raw bytea,
        span interval, ratio float8, amount numeric, ranged int4range, flag bool, who uuid, primary key (region, no)
    );
    create table track (id bigint generated always as identity primary key, region text, album int, sound text,
                        foreign key (region, album) references album on update cascade on delete cascade);
    create table kept (id int primary key, state text not null, body text);
    alter table kept alter body set storage external;
    alter table track alter sound set storage external;
    create table note (at timestamptz, text text);
    alter table note replica identity full;
    create table play (id int, day date, primary key (id, day)) partition by range (day);
    create table play_old partition of play for values from (minvalue) to ('2024-01-01');
    create table play_new partition of play for values from ('2024-01-01') to (maxvalue);
    insert into album (region, no, title, price, mood, moods, tags, at, extra, raw, span, ratio, amount, ranged, flag, who)
        select 'r' || n % 3, n, 'title ' || n, n, case when n % 2 = 0 then 'loud'::mood end, array['calm', null]::mood[],
               array['x', null, '{,}'], '2024-03-31 01:30'::timestamp + n * interval '1 s', jsonb_build_object('n', n),
               decode(md5(n::text), 'hex'), n * interval '1 mon 1 s', n / 3.0::float8, n / 7.0, int4range(n, n + 5), n % 2 = 0,
               md5(n::text)::uuid
        from generate_series(1, 300) n;
    insert into track (region, album, sound) select region, no, repeat('s', 5000) from album;
    insert into kept select n, case n % 3 when 0 then 'draft' else 'done' end, repeat('b', 4000) from generate_series(1, 90) n;
    insert into note select now(), 'n' || n % 5 from generate_series(1, 20) n;
    insert into play select n, '2023-12-01'::date + n from generate_series(1, 90) n;
";

/// One of each kind of change.
pub const CHANGES: [&str; 10] = [
    // A large value that is not touched, alone and with a new key.
    "update track set album = album where id <= 20; update track set region = null, album = null where id = 7",
    "update album set no = no + 10000 where no between 10 and 20",
    "update album set mood = 'loud', at = '2024-10-27 02:30', tags = '{}' where no < 100; delete from album where no > 290 and no < 1000",
    // Into the filter with a large value that did not change, out of it, and both at once.
    "update kept set state = 'done' where id in (3, 6); update kept set state = 'draft' where id = 1",
    "begin; update kept set id = id + 1000 where id < 10; update kept set state = 'draft' where id = 1002; \
     update kept set state = 'done' where id = 1009; delete from kept where id = 1004; insert into kept values (1004, 'done', null); commit",
    // Without a key: one of several equal rows.
    "delete from note where ctid = (select min(ctid) from note); update note set text = 'x' where ctid = (select min(ctid) from note)",
    // From one partition to another.
    "update play set day = '2024-06-01' where id <= 3",
    "begin; insert into kept values (5000, 'done', 'a'); savepoint a; insert into kept values (5001, 'done', 'b'); \
     rollback to a; delete from kept where id = 5000; insert into kept values (5000, 'done', 'c'); commit",
    "begin; truncate note, play; insert into note values (null, null); insert into play values (1, '2020-01-01'); commit",
    "truncate album cascade; insert into album (region, no, title) values ('ü', 1, E'\\\\ ''\"')",
];

/// A stream that runs until it is stopped.
pub struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), StreamError>>,
}

pub fn quick() -> Settings {
    Settings {
        watch: Duration::from_millis(200),
        heartbeat: Some(Duration::from_millis(100)),
        confirm: Duration::from_millis(100),
        longest_pause: Duration::from_millis(200),
        lane_changes: 4,
        ..Settings::default()
    }
}

impl Running {
    pub fn start(
        source: &PgPool,
        target: &PgPool,
        mapping: &Mapping,
        slice: &'static str,
        direction: Direction,
        settings: Settings,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (source, target, mapping) = (source.clone(), target.clone(), mapping.clone());
        let task = tokio::spawn(async move {
            let (progress, _) = watch::channel(Progress::default());
            let sync = Sync {
                source: &source,
                target: &target,
                mapping: &mapping,
                slice,
                direction,
                settings: &settings,
                progress: &progress,
            };
            sync.run(stopped).await
        });
        Self { stop, task }
    }

    pub async fn stop(self) -> Result<(), StreamError> {
        self.stop.send_replace(true);
        self.task.await.expect("it does not panic")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for as long as the process lives.
    pub async fn forever(self) {
        let Self { stop: _running, task } = self;
        task.await.expect("it does not panic").expect("it runs until it is killed");
    }

    /// Waits for it to end by itself.
    pub async fn ended(self) -> Result<(), StreamError> {
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("it ends").expect("it does not panic")
    }
}

/// Waits until everything that is committed now is on the other side.
pub async fn settled(source: &PgPool, target: &PgPool, slice: &str, direction: Direction) {
    let (from, to) = direction.ends(source, target);
    eventually(Duration::from_secs(60), async || {
        stream::find(to, slice, direction).await.is_ok_and(|found| {
            found.is_some_and(|found| found.stage == stream::Stage::Streaming && found.reason.is_none())
        })
    })
    .await;
    let mark = stream::mark(from, slice).await.expect("a mark");
    stream::wait_until_applied(to, slice, direction, mark, Duration::from_secs(60))
        .await
        .unwrap_or_else(|error| panic!("{error}: {error:?}"));
}

pub async fn assert_verified(source: &Database, target: &Database, mapping: &Mapping, slice: &str) {
    assert_same_rows(&source.pool, &target.pool, mapping, slice).await;
}

pub async fn assert_same_rows(source: &PgPool, target: &PgPool, mapping: &Mapping, slice: &str) {
    let plan = copy::prepare(source, target, mapping, slice).await.expect("it fits");
    let settings = verify::Settings { pause: Duration::from_millis(1), ..verify::Settings::default() };
    let found = verify::run(source, target, &plan, &settings).await.expect("it can be compared");
    assert!(found.differences.is_empty(), "{:?}", found.differences);
}

#[tokio::test]
async fn every_kind_of_change_arrives() {
    let (source, target) = (Database::with(AWKWARD).await, Database::with("").await);
    let mapping = mapping(SHOP);
    let running = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, quick());
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    assert_verified(&source, &target, &mapping, "shop").await;
    for change in CHANGES {
        source.run(change).await;
        settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
        assert_verified(&source, &target, &mapping, "shop").await;
    }
    let stream =
        stream::find(&target.pool, "shop", Direction::Forward).await.expect("it can be read").expect("it is there");
    assert_eq!((stream.quarantined, stream.reason), (0, None));
    running.stop().await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    // What happens while nobody listens waits.
    source.run("insert into kept select n, 'done', 'later' from generate_series(6000, 7000) n").await;
    let running = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, quick());
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    assert_verified(&source, &target, &mapping, "shop").await;
    running.stop().await.expect("it stops");
    assert_eq!(target.count("select count(*) from shop.kept where body = 'later'").await, 1001);
}

#[tokio::test]
async fn a_transaction_larger_than_memory_is_streamed_and_written_in_pieces() {
    let source = Database::with("create table note (id int primary key, text text)").await;
    let target = Database::with("").await;
    let mapping = mapping(NOTES);
    let settings = Settings { group_changes: 500, spool_bytes: 64 << 10, ..quick() };
    let running = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, settings);
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    source
        .run(
            "set logical_decoding_work_mem = '64kB'; begin; \
             insert into note select n, repeat('x', 100) from generate_series(1, 20000) n; savepoint a; \
             update note set text = 'taken back'; rollback to a; \
             update note set text = 'y' where id % 2 = 0; delete from note where id % 10 = 0; commit; \
             begin; insert into note select n, 'never' from generate_series(30000, 40000) n; rollback",
        )
        .await;
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    assert_eq!(target.count("select count(*) from shop.note").await, 18_000);
    assert_eq!(target.count("select count(*) from shop.note where text = 'y'").await, 8_000);
    assert_verified(&source, &target, &mapping, "shop").await;
    running.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_comes_back_from_the_opposite_direction_does_not_make_a_stream_seem_late() {
    let source = Database::with("create table note (id int primary key)").await;
    let target = Database::with("").await;
    let mapping = mapping(NOTES);
    let without_heartbeat = Settings { heartbeat: None, ..quick() };
    let forward = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, without_heartbeat);
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    let reverse = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Reverse, quick());
    settled(&source.pool, &target.pool, "shop", Direction::Reverse).await;
    let of_forward =
        async || stream::find(&target.pool, "shop", Direction::Forward).await.expect("it can be read").expect("there");
    // A session's transactions carry the time of its first one, which is a second ago at the next.
    let lag_ms = of_forward().await.lag_ms;
    for (id, pause) in [(1, 0), (2, 1)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        target.run(&format!("insert into shop.note values ({id})")).await;
        settled(&source.pool, &target.pool, "shop", Direction::Reverse).await;
        assert_eq!(source.count("select count(*) from note").await, id);
        let written: Lsn = source.text("select pg_current_wal_flush_lsn()::text").await.parse().expect("a position");
        eventually(Duration::from_secs(30), async || of_forward().await.applied_lsn >= Some(written)).await;
    }
    let stream = of_forward().await;
    assert_eq!((stream.lag_ms, stream.changes), (lag_ms, 0));
    forward.stop().await.expect("it stops");
    reverse.stop().await.expect("it stops");
}

#[tokio::test]
async fn both_directions_at_once_do_not_go_round_in_a_circle() {
    let source = Database::with(
        "create table note (id int primary key, text varchar(5), at timestamp default '2024-01-01', touched int not null default 0); \
         create function touch() returns trigger language plpgsql as $$ begin new.touched := old.touched + 1; return new; end $$; \
         create trigger touch before update on note for each row execute function touch(); \
         insert into note select n, 'old' from generate_series(1, 10) n",
    )
    .await;
    let target = Database::with("").await;
    let mapping = mapping(
        "[targets.shop]\nschema = \"shop\"\n[targets.shop.tables.note.columns]\ntext = { type = \"text\" }\nat = { type = \"timestamptz\" }\n[slices.shop]\ntarget = \"shop\"\n",
    );
    let forward = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, quick());
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    let reverse = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Reverse, quick());
    settled(&source.pool, &target.pool, "shop", Direction::Reverse).await;
    source.run("insert into note values (11, 'monol'); update note set text = 'm' where id = 1").await;
    target.run("insert into shop.note values (12, 'cand', '2024-05-05 12:00+02', 0); update shop.note set text = 'c' where id = 2; delete from shop.note where id = 3").await;
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    settled(&source.pool, &target.pool, "shop", Direction::Reverse).await;
    assert_verified(&source, &target, &mapping, "shop").await;
    assert_eq!(source.text("select string_agg(id::text, ',' order by id) from note").await, "1,2,4,5,6,7,8,9,10,11,12");
    assert_eq!(source.text("select at::text from note where id = 12").await, "2024-05-05 10:00:00");
    assert_eq!(source.text("select touched::text from note where id = 2").await, "0", "no trigger ran for it");
    let changes = async |to: &Database, direction| {
        stream::find(&to.pool, "shop", direction).await.expect("read").expect("there").changes
    };
    assert_eq!(changes(&target, Direction::Forward).await, 2);
    assert_eq!(changes(&source, Direction::Reverse).await, 3);

    // What the monolith cannot hold waits, and what comes after it of the same row as well.
    target.run("update shop.note set text = 'much too long' where id = 4; update shop.note set at = null where id = 4; update shop.note set text = 'ok' where id = 5").await;
    settled(&source.pool, &target.pool, "shop", Direction::Reverse).await;
    let held = stream::quarantined(&source.pool, "shop", None, 10).await.expect("it can be read");
    assert_eq!(held.iter().map(|held| held.sqlstate.as_deref()).collect::<Vec<_>>(), [Some("22001"), None]);
    assert_eq!(source.text("select text from note where id = 5").await, "ok");
    let cleared = async || {
        eventually(Duration::from_secs(30), async || {
            stream::quarantined(&source.pool, "shop", None, 10).await.is_ok_and(|held| held.is_empty())
        })
        .await;
    };
    source.run("alter table note alter text type varchar(20)").await;
    reverse.stop().await.expect("it stops");
    let error = forward.ended().await.expect_err("the shape changed").to_string();
    assert!(error.contains("--accept-ddl") && error.contains("note"), "{error}");
    let reverse = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Reverse, quick());
    assert_eq!(stream::ask(&source.pool, "shop", None, Ask::Retry).await.expect("it can be asked"), 1);
    cleared().await;
    assert_eq!(
        source.text("select text || coalesce(at::text, ' gone') from note where id = 4").await,
        "much too long gone"
    );
    for (change, held) in [("repeat('x', 30)", 1), ("'short'", 2)] {
        target.run(&format!("update shop.note set text = {change} where id = 4")).await;
        eventually(Duration::from_secs(30), async || {
            stream::quarantined(&source.pool, "shop", None, 10).await.is_ok_and(|found| found.len() == held)
        })
        .await;
    }
    let first =
        stream::quarantined(&source.pool, "shop", Some(Direction::Reverse), 10).await.expect("it can be read")[0].id;
    stream::ask(&source.pool, "shop", Some(first), Ask::Skip).await.expect("it can be asked");
    cleared().await;
    assert_eq!(source.text("select text from note where id = 4").await, "short");
    let forward = Running::start(
        &source.pool,
        &target.pool,
        &mapping,
        "shop",
        Direction::Forward,
        Settings { accept_ddl: true, ..quick() },
    );
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    source.run("update note set text = 'twenty characters ..' where id = 6").await;
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    assert_verified(&source, &target, &mapping, "shop").await;
    forward.stop().await.expect("it stops");
    reverse.stop().await.expect("it stops");
}

#[tokio::test]
async fn where_both_sides_have_rows_of_their_own_a_table_is_emptied_only_when_somebody_says_so() {
    let source = Database::with("create table note (id int primary key)").await;
    let target = Database::with("").await;
    let mapping = mapping(&format!("{NOTES}owner = \"append\"\n"));
    let running = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, quick());
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    target.run("insert into shop.note values (1)").await;
    source.run("insert into note values (2)").await;
    source.run("truncate note").await;
    source.run("insert into note values (3)").await;
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    let ids = "select string_agg(id::text, ',' order by id) from shop.note";
    assert_eq!(target.text(ids).await, "1,2,3");
    let held = stream::quarantined(&target.pool, "shop", Some(Direction::Forward), 10).await.expect("it can be read");
    assert_eq!(held.iter().map(|held| held.kind.as_str()).collect::<Vec<_>>(), ["truncate"]);
    stream::ask(&target.pool, "shop", Some(held[0].id), Ask::Retry).await.expect("it can be asked");
    eventually(Duration::from_secs(30), async || {
        stream::quarantined(&target.pool, "shop", None, 10).await.is_ok_and(|held| held.is_empty())
    })
    .await;
    assert_eq!(target.text(ids).await, "null");
    running.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_slot_is_given_up_before_the_disk_is_full_and_replaced_only_when_asked() {
    let source =
        Database::with("create table note (id int primary key, text text); insert into note values (1, 'a')").await;
    let target = Database::with("").await;
    let mapping = mapping(NOTES);
    let start = |settings| Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, settings);
    let running = start(quick());
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    running.stop().await.expect("it stops");
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    let error = start(Settings { wal_stop: Some(1), ..quick() }).ended().await.expect_err("it holds more than a byte");
    assert!(matches!(error, StreamError::Lost { .. }) && error.to_string().contains("wal_stop"), "{error}");
    assert_eq!(source.count(slots).await, 0);
    source.run("update note set text = 'missed'").await;
    let error = start(quick()).ended().await.expect_err("it is lost").to_string();
    assert!(error.contains("--restart-lost"), "{error}");
    let running = start(Settings { restart_lost: true, ..quick() });
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    assert_eq!(target.text("select text from shop.note").await, "missed");
    running.stop().await.expect("it stops");
}
