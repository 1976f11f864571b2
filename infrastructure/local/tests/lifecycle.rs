use std::time::Duration;

use local_stack::{Ended, Event, RunningStack, Signal, Stack, StackError, StackOptions};
use sqlx::{Connection, PgConnection};
use testkit::eventually;
use tokio::sync::mpsc;

use crate::stand_in::Site;

const PATIENCE: Duration = Duration::from_secs(60);

async fn answers(url: &str) -> bool {
    reqwest::get(url).await.is_ok()
}

async fn database(stack: &RunningStack) -> PgConnection {
    PgConnection::connect(&stack.urls()["database"]).await.expect("the database is up")
}

#[tokio::test]
async fn a_stopped_stack_continues_on_its_data() {
    let site = Site::new();
    let (events, mut seen) = mpsc::unbounded_channel();
    let options = StackOptions { events: Some(events), ..site.options().expect("a valid document") };
    let stack = Stack::start(options).await.expect("it starts");
    for url in ["front", "back", "s3"] {
        assert!(answers(&stack.urls()[url]).await, "{url}");
    }
    let table = "CREATE TABLE kept (id int)";
    sqlx::raw_sql(table).execute(&mut database(&stack).await).await.expect("a table");
    std::fs::write(
        stack.file("service.py"),
        std::fs::read_to_string(stack.file("service.py")).expect("there") + "# mine",
    )
    .expect("our own file");
    let (urls, token) = (stack.urls().clone(), stack.secret("token").expect("it is in the document").to_owned());
    stack.stop().await;

    let mut order = Vec::new();
    while let Some(event) = seen.recv().await {
        match event {
            Event::Ready { part, .. } => order.push(format!("{part} is ready")),
            Event::Stopped { part, killed: false } => order.push(format!("{part} has stopped")),
            _ => {}
        }
    }
    // PostgreSQL and S3 start side by side.
    order[..2].sort();
    let expected = [
        "postgres is ready",
        "s3 is ready",
        "back is ready",
        "front is ready",
        "front has stopped",
        "back has stopped",
        "s3 has stopped",
        "postgres has stopped",
    ];
    assert_eq!(order, expected);
    assert_eq!(
        std::fs::read_to_string(site.data().join("stopped")).expect("noted"),
        "front\nback\n",
        "SIGTERM, not a kill"
    );
    for url in ["front", "back", "s3"] {
        assert!(!answers(&urls[url]).await, "{url}");
    }

    let stack = site.start().await.expect("it starts again");
    assert_eq!((stack.urls(), stack.secret("token")), (&urls, Some(token.as_str())), "addresses and secrets stay");
    sqlx::raw_sql("SELECT FROM kept").execute(&mut database(&stack).await).await.expect("the table is there");
    assert!(std::fs::read_to_string(stack.file("service.py")).expect("there").ends_with("# mine"), "an edit stays");
    stack.stop().await;
}

#[tokio::test]
async fn each_killed_part_comes_back_at_its_address() {
    let site = Site::new();
    let stack = site.start().await.expect("it starts");
    for name in ["back", "front", "postgres"] {
        let process = stack.process(name).expect("a part of the document");
        let pid = process.pid().expect("it runs");
        process.kill(Signal::SIGKILL).expect("our own child");
        eventually(PATIENCE, || async { process.pid().is_some_and(|now| now != pid) && process.is_ready() }).await;
    }
    for url in ["front", "back"] {
        assert!(answers(&stack.urls()[url]).await, "{url}");
    }
    database(&stack).await.ping().await.expect("the same address answers");
    stack.stop().await;
}

#[tokio::test]
async fn a_part_that_keeps_ending_brings_the_stack_down_with_its_log() {
    let site = Site::with_document(
        r#"
        name = "unstable"
        [[process]]
        name = "crasher"
        program = "sh"
        args = ["-c", "echo the last words; sleep 0.05; exit 3"]
        [restart]
        first_delay = "1ms"
        longest_delay = "1ms"
        give_up_after = 3
        "#,
    );
    let stack = site.start().await.expect("without `ready` it counts as ready once it runs");
    let ended = tokio::time::timeout(PATIENCE, stack.wait()).await.expect("in time");
    let Ended::Failed(failure) = ended else { panic!("{ended:?}") };
    assert!(
        matches!(&failure, StackError::PartFailed { part, ends: 3, log_tail, .. } if part == "crasher" && log_tail.contains("the last words")),
        "{failure}"
    );
    stack.stop().await;
}

#[tokio::test]
async fn two_stacks_live_side_by_side_but_not_on_one_folder() {
    let (one, two) = (Site::new(), Site::new());
    let (first, second) = tokio::join!(one.start(), two.start());
    let (first, second) = (first.expect("the first starts"), second.expect("the second starts"));
    for url in ["front", "back", "database"] {
        assert_ne!(first.urls()[url], second.urls()[url]);
    }
    assert!(matches!(one.start().await, Err(StackError::InUse { .. })));
    first.stop().await;
    assert!(answers(&second.urls()["front"]).await);
    second.stop().await;
}
