//! The book's chapter about a system of one's own, walked: a bookshop in Python on PostgreSQL, of which the toolkit
//! knows what four TOML files say.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use local_stack::{RunningStack, Stack, StackOptions, StackSource};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, process::Spawned};
use tokio::process::Command;

use crate::mini_lambda::site::{PATIENCE, Side, answer, client, programs};

const BOOKS: std::ops::RangeInclusive<u32> = 1..=40;

struct Shop {
    stack: RunningStack,
    client: Client,
    folder: TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // PostgreSQL's account has to pass.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        let site = folder.path().join("bookshop");
        fs::create_dir(&site).expect("our own folder");
        for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("bookshop")).expect("it is there") {
            let file = file.expect("it is there").path();
            if file.is_file() {
                fs::copy(&file, site.join(file.file_name().expect("a file"))).expect("room for a copy");
            }
        }
        // Percentages stay where they are put, however busy this machine is; the guard has tests of its own.
        let gateway = fs::read_to_string(site.join("gateway.toml")).expect("our own copy");
        fs::write(site.join("gateway.toml"), gateway.replace("[routes.guard]\n", "")).expect("our own copy");
        let options = StackOptions {
            data_folder: Some(folder.path().join("data")),
            programs: vec![programs()],
            ..StackOptions::new(StackSource::read(&site.join("stack.toml")).expect("the documents are valid"))
        };
        let stack = Stack::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        fs::write(folder.path().join("token"), stack.secret("admin").expect("it is generated"))
            .expect("our own folder");
        Self { stack, client: client(), folder }
    }

    fn url(&self, part: &str, path: &str) -> String {
        format!("{}{path}", self.stack.urls()[part])
    }

    /// The JSON of a command.
    async fn strangler(&self, words: &[&str]) -> Value {
        let output = Command::new(programs().join("strangler"))
            .args(["--output", "json", "--admin", &self.url("admin", ""), "--token-file"])
            .arg(self.folder.path().join("token"))
            .args(words)
            .env("STRANGLER_DATABASE_URL", &self.stack.urls()["database"])
            .env("STRANGLER_TARGET_URL", &self.stack.urls()["target"])
            .output()
            .await
            .expect("`cargo build --workspace --bins` has built it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    async fn slice(&self, words: &[&str]) -> Value {
        let mapping = self.stack.file("mapping.toml").display().to_string();
        self.strangler(&[&["db"][..], words, &["--mapping", mapping.as_str()][..]].concat()).await
    }

    /// Reads every book's reviews, and says which side served each.
    async fn read(&self) -> Vec<Side> {
        let mut sides = Vec::new();
        for book in BOOKS {
            let url = self.url("gateway", &format!("/books/{book}/reviews"));
            let answered = self.client.get(url).send().await.expect("an answer");
            assert_eq!(answered.status(), 200);
            sides.push(Side::of(&answered).expect("a side served it"));
        }
        sides
    }

    async fn write(&self, part: &str, book: u32, text: &str) -> (u16, Value) {
        let review = json!({"stars": 5, "text": text, "by": "a reader"});
        answer(self.client.post(self.url(part, &format!("/books/{book}/reviews"))).json(&review)).await
    }

    /// Whether the shop, asked behind the gateway, has a review.
    async fn shop_has(&self, book: u32, text: &str) -> bool {
        let (_, listed) = answer(self.client.get(self.url("shop", &format!("/books/{book}/reviews")))).await;
        listed["reviews"].as_array().expect("a list").iter().any(|review| review["text"] == text)
    }

    /// How many copies were answered alike and differently, once it is known of so many what became of them.
    async fn compared(&self, copies: u64) -> (u64, u64) {
        let report = async || self.strangler(&["shadow", "report", "--route", "reviews"]).await;
        eventually(PATIENCE, async || counted(&report().await, |_| true) >= copies).await;
        let report = report().await;
        (counted(&report, |outcome| outcome == "equal"), counted(&report, |outcome| outcome == "different"))
    }
}

fn counted(report: &Value, wanted: impl Fn(&str) -> bool) -> u64 {
    let outcomes = report["report"]["routes"][0]["outcomes"].as_array().expect("outcomes");
    let wanted = outcomes.iter().filter(|counted| wanted(counted["outcome"].as_str().expect("a name")));
    wanted.map(|counted| counted["requests"].as_u64().expect("a count")).sum()
}

#[tokio::test]
async fn a_shop_that_the_toolkit_does_not_know_is_strangled_by_configuration_alone() {
    let shop = Shop::open().await;
    let books = BOOKS.count();

    // The shadow finds what the service does differently, before anybody has seen it.
    shop.strangler(&["shadow", "set", "reviews", "100", "--reason", "before any traffic"]).await;
    assert!(shop.read().await.iter().all(|side| *side == Side::Legacy));
    let (equal, different) = shop.compared(books as u64).await;
    let report = shop.strangler(&["shadow", "report"]).await;
    let clusters = report["report"]["clusters"].as_array().expect("clusters");
    let paths: Vec<&Value> = clusters.iter().map(|cluster| &cluster["path"]).collect();
    assert!(different > 0 && paths == [&json!("$.average")], "{report}");
    // The service reads its settings anew for each request.
    fs::write(shop.stack.file("reviews.json"), "{\"average\": \"rounded\"}").expect("our own folder");
    shop.read().await;
    let (equal_now, different_now) = shop.compared(2 * books as u64).await;
    assert!(equal_now > equal && different_now == different, "repaired, so nothing more differs");

    // A percentage is a share of the books, each with all it has.
    for route in ["reviews", "review"] {
        shop.strangler(&["weight", route, "50", "--reason", "half of the books"]).await;
    }
    let sides = shop.read().await;
    let moved = sides.iter().filter(|side| **side == Side::Candidate).count();
    assert!((8..=32).contains(&moved), "{moved} of {books} books have moved");
    assert_eq!(shop.read().await, sides, "a book stays on its side");
    for book in BOOKS.step_by(7) {
        assert_eq!(shop.write("gateway", book, "through the gateway").await.0, 201);
        assert!(shop.shop_has(book, "through the gateway").await, "both sides share the rows");
    }
    shop.strangler(&["rollback", "--all", "--reason", "drill"]).await;
    assert!(shop.read().await.iter().all(|side| *side == Side::Legacy));

    split(&shop).await;
    shop.stack.stop().await;
}

/// The rows get a database of their own, and come back.
async fn split(shop: &Shop) {
    let mapping = shop.stack.file("mapping.toml");
    let sync = Spawned::of(programs().join("strangler"))
        .arg("db")
        .arg("sync")
        .arg("reviews")
        .arg("--mapping")
        .arg(mapping)
        .env("STRANGLER_DATABASE_URL", &shop.stack.urls()["database"])
        .env("STRANGLER_TARGET_URL", &shop.stack.urls()["target"])
        .spawn()
        .await;
    eventually(PATIENCE, async || shop.slice(&["status", "reviews"]).await[0]["stage"] == "streaming").await;
    assert_eq!(shop.write("gateway", 1, "while it is copied").await.0, 201);
    let verified = shop.slice(&["verify", "reviews"]).await;
    assert!(verified["rows"].as_u64() > Some(200) && verified["differences"] == json!([]), "{verified}");

    shop.slice(&["cutover", "reviews"]).await;
    assert!(shop.read().await.iter().all(|side| *side == Side::Candidate), "its owner serves all of it");
    assert_eq!(shop.write("gateway", 1, "after the cutover").await.0, 201);
    assert_eq!(shop.write("shop", 1, "behind the gateway").await.0, 400, "the old owner's table refuses writes");

    shop.slice(&["rollback", "reviews"]).await;
    assert!(shop.read().await.iter().all(|side| *side == Side::Legacy));
    assert!(shop.shop_has(1, "after the cutover").await, "nothing was lost on the way back");
    assert_eq!(shop.write("shop", 1, "behind the gateway").await.0, 201, "and the shop writes again");
    assert!(sync.terminate(PATIENCE).await.success(), "{}", sync.log());
}
