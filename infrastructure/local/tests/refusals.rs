use local_stack::StackError;

use crate::stand_in::Site;

/// Starts a stack that cannot start, and returns what is shown for it.
async fn refusal(document: &str) -> StackError {
    Site::with_document(document).start().await.expect_err("it cannot start")
}

#[tokio::test]
async fn a_broken_document_shows_its_line() {
    let error = refusal("name = \"x\"\n[[process]]\nname = \"a\"\nprogram = \"sh\"\ndepend = []\n").await;
    let shown = error.to_string();
    assert!(shown.contains("stack.toml:5") && shown.contains("depend"), "{shown}");
}

#[tokio::test]
async fn a_missing_program_names_the_places() {
    let error = refusal("name = \"x\"\n[[process]]\nname = \"a\"\nprogram = \"no-such-program\"\n").await;
    let shown = error.to_string();
    assert!(shown.contains("`no-such-program`") && shown.contains("/usr/bin"), "{shown}");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let error = refusal("name = \"x\"\nfiles = [\"absent.toml\"]\n").await;
    assert!(error.to_string().contains("`absent.toml`"), "{error}");
}

#[tokio::test]
async fn a_part_that_ends_before_it_is_ready_fails_the_start_with_its_log() {
    let document = r#"
        name = "x"
        [[process]]
        name = "a"
        program = "sh"
        args = ["-c", "echo no configuration >&2; exit 2"]
        ready = "http://127.0.0.1:{port:a}/"
    "#;
    let shown = refusal(document).await.to_string();
    assert!(shown.contains("`a` failed") && shown.contains("no configuration"), "{shown}");
}

#[tokio::test]
async fn a_part_that_never_becomes_ready_fails_the_start() {
    let document = r#"
        name = "x"
        [[process]]
        name = "a"
        program = "sleep"
        args = ["600"]
        ready = "http://127.0.0.1:{port:a}/"
        ready_deadline = "300ms"
    "#;
    let shown = refusal(document).await.to_string();
    assert!(shown.contains("did not become ready"), "{shown}");
}
