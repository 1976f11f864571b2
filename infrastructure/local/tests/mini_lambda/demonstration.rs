//! The walk that `strangler demo` shows, with less traffic.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use local_stack::{
    Stack, StackOptions, StackSource,
    demo::{self, Pace, Screen, Target},
};

use super::site::programs;

#[tokio::test]
async fn load_the_demonstration_goes_as_told() {
    let source = StackSource::demonstration().expect("the documents are valid");
    let folder = tempfile::tempdir().expect("a temporary folder");
    // PostgreSQL's own account has to pass through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let options = StackOptions {
        programs: vec![programs()],
        data_folder: Some(folder.path().join("data")),
        ..StackOptions::new(source)
    };
    let stack = Stack::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    let target = Target::of(&stack, programs().join("strangler")).expect("it is the demonstration's");
    let pace = Pace {
        step: Duration::from_secs(2),
        keys: 200,
        reads_per_s: 60,
        calls_at_a_time: 4,
        reads_at_a_time: 4,
        ..Pace::default()
    };
    let screen = Screen::stdout();
    let summary = demo::run(&target, pace, &screen).await.unwrap_or_else(|error| panic!("{error:#}"));
    screen.summary(&summary);
    assert!(summary.problems.is_empty(), "{:#?}", summary.problems);
    stack.stop().await;
}
