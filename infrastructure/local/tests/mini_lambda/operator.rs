//! `strangler` against a running gateway: what it prints for programs, and its exit status.

use std::{fs, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    rollout::{MOVING, route_of},
    site::{Side, Site, System, programs},
};

/// An operator at the command line.
pub struct Operator {
    admin: String,
    token_file: PathBuf,
    data: PathBuf,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Operator {
    pub fn of(system: &System) -> Self {
        let token_file = system.stack.data_folder().join("operator-token");
        fs::write(&token_file, format!("{}\n", system.token())).expect("our own folder");
        Self { admin: system.url("admin", ""), token_file, data: system.stack.data_folder().to_owned() }
    }

    /// What stands before the words of each command.
    pub fn words(&self) -> Vec<String> {
        let [token_file, data] = [&self.token_file, &self.data].map(|path| path.display().to_string());
        let words = ["--output", "json", "--admin", &self.admin, "--token-file", &token_file, "--data", &data];
        words.map(str::to_owned).to_vec()
    }

    async fn run(&self, words: &[&str]) -> Done {
        let output = Command::new(programs().join("strangler"))
            .args(self.words())
            .args(words)
            .stdin(Stdio::null())
            .env("STRANGLER_ACTOR", "somebody")
            .output()
            .await
            .expect("`cargo build --workspace --bins` has built it");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Done { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The JSON of a command that succeeds, and keeps its errors' stream clean.
    pub async fn json(&self, words: &[&str]) -> Value {
        let done = self.run(words).await;
        assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{words:?}: {done:?}");
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {done:?}"))
    }

    /// The JSON of a command, or the message of one that fails.
    pub async fn attempt(&self, words: &[&str]) -> Result<Value, String> {
        let done = self.run(words).await;
        if done.status != Some(0) {
            return Err(done.stderr);
        }
        Ok(serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {done:?}")))
    }

    /// The message of a command that fails, and prints no result.
    async fn refusal(&self, words: &[&str]) -> (Option<i32>, String) {
        let done = self.run(words).await;
        assert_eq!(done.stdout, "", "{words:?}: {done:?}");
        (done.status, done.stderr)
    }
}

#[tokio::test]
async fn weights_are_set_and_taken_back_from_the_command_line() {
    let system = Site::new().start().await;
    let operator = Operator::of(&system);
    let function = system.echoes(1).await.remove(0);

    let routes = operator.json(&["routes"]).await;
    let moving: Vec<&str> =
        routes["routes"].as_array().expect("routes").iter().filter(has_both_sides).map(name).collect();
    assert_eq!(moving, MOVING);

    let changed = operator.json(&["weight", "function", "100", "--reason", "test"]).await;
    assert_eq!(
        (&changed["route"], &changed["from_percent"], &changed["to_percent"]),
        (&json!("function"), &json!(0.0), &json!(100.0)),
        "{changed}"
    );
    assert_eq!(system.side_of(&function).await, Side::Candidate);
    assert_eq!(operator.json(&["weight", "invoke", "12.5"]).await["to_percent"], 12.5);

    let status = operator.json(&["status"]).await;
    assert_eq!(route_of(&status, "function")["percent"], 100.0);
    assert_eq!(route_of(&status, "invoke")["percent"], 12.5);
    assert!(route_of(&status, "function")["sides"]["candidate"]["requests"].as_u64() >= Some(1), "{status}");

    let back = operator.json(&["rollback", "function"]).await;
    assert_eq!((&back["persisted"], back["routes"].as_array().map(Vec::len)), (&json!(true), Some(1)), "{back}");
    assert_eq!(system.side_of(&function).await, Side::Legacy);
    assert_eq!(route_of(&operator.json(&["status"]).await, "invoke")["percent"], 12.5, "the others stay");
    operator.json(&["rollback", "--all"]).await;
    let status = operator.json(&["status"]).await;
    for route in MOVING {
        assert_eq!(route_of(&status, route)["percent"], 0.0, "{route}");
    }
    let file = fs::read_to_string(system.stack.file("rollout.toml")).expect("there");
    assert!(file.contains("[routes.invoke]\npercent = 0\n"), "the file says so too: {file}");
    assert!(file.starts_with("# How much of each route"), "and keeps its comments: {file}");
    system.stack.stop().await;
}

fn has_both_sides(route: &&Value) -> bool {
    route["legacy"].is_string() && route["candidate"].is_string()
}

fn name(route: &Value) -> &str {
    route["name"].as_str().expect("a name")
}

#[tokio::test]
async fn what_cannot_be_done_has_its_exit_status() {
    let system = Site::new().start().await;
    let operator = Operator::of(&system);
    let senseless: [&[&str]; 7] = [
        &["weight", "nonsense", "10"],
        &["weight", "monolith", "10"],
        &["weight", "invoke", "101"],
        &["weight", "invoke", "0.001"],
        &["weight", "invoke"],
        &["rollback"],
        &["conquer"],
    ];
    for words in senseless {
        let (status, said) = operator.refusal(words).await;
        assert!(status == Some(2) && !said.is_empty(), "{words:?}: {status:?}: {said}");
    }
    let (_, said) = operator.refusal(&["weight", "nonsense", "10"]).await;
    assert!(said.contains("there is no route `nonsense`"), "{said}");

    fs::write(&operator.token_file, "not-the-token-of-this-gateway").expect("our own file");
    let (status, said) = operator.refusal(&["status"]).await;
    assert!(status == Some(1) && said.contains("token"), "{status:?}: {said}");
    assert!(!said.contains("not-the-token"), "a secret is never shown: {said}");

    let away = Operator { admin: "http://127.0.0.1:1".to_owned(), ..operator };
    let (status, said) = away.refusal(&["rollback", "--all"]).await;
    assert!(status == Some(1) && said.contains("127.0.0.1:1"), "{status:?}: {said}");
    system.stack.stop().await;
}
