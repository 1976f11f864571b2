//! What is kept of answers that differ: where, for how long, and what never is.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, PrivatePostgres, RecordedRequest, StubUpstream};

use crate::harness::{Gateway, TOKEN, eventually};

const SECRET: &str = "a-secret-that-nobody-may-store";

/// Two servers of the same API; the candidate's prices are wrong.
struct Shop {
    _sides: [StubUpstream; 2],
    gateway: Gateway,
}

impl Shop {
    /// With lines added to the whole settings.
    async fn open(settings: &str) -> Self {
        let side = async |price: u32| {
            let answer = move |request: &RecordedRequest| {
                let path = request.path.split('?').next().unwrap_or_default();
                let id = path.trim_start_matches("/items/").to_owned();
                let body = json!({"id": id, "lines": [{"price": price}], "session_token": SECRET});
                Answer::json(200, body.to_string()).header("set-cookie", SECRET)
            };
            StubUpstream::start(answer).await
        };
        let (legacy, candidate) = (side(5).await, side(6).await);
        let config = format!(
            r#"
[http]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
token = "{TOKEN}"
[rollout]
file = "live/rollout.toml"
poll_interval = "100ms"
[access_log]
destination = "off"
[upstreams.legacy]
address = "{}"
[upstreams.candidate]
address = "{}"
[[routes]]
name = "item"
methods = ["GET"]
path = "/items/{{id}}"
key = "path:id"
legacy = "legacy"
candidate = "candidate"
[routes.shadow]
{settings}
"#,
            legacy.address(),
            candidate.address()
        );
        let gateway = Gateway::start(&config, "[routes.item]\npercent = 0\nshadow = 100\n");
        Self { _sides: [legacy, candidate], gateway }
    }

    async fn buy(&self, ids: std::ops::Range<usize>) {
        for id in ids {
            let url = self.gateway.url(&format!("/items/{id}?colour=red&access_token={SECRET}"));
            let answer = self.gateway.client.get(url).header("authorization", SECRET).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.text().await.unwrap().contains(SECRET), "the client gets what it asked for");
        }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.gateway.admin(Method::GET, path, None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits until this many answers were found to differ, and returns the report.
    async fn differed(&self, times: usize) -> Value {
        let counted = |report: &Value| report["clusters"][0]["count"].as_u64().unwrap_or(0);
        eventually("the clusters are counted", async || {
            counted(&self.get("/api/v1/shadow").await) >= u64::try_from(times).unwrap()
        })
        .await;
        self.get("/api/v1/shadow").await
    }

    async fn listed(&self) -> Vec<Value> {
        self.get("/api/v1/shadow/mismatches?limit=500").await["mismatches"].as_array().unwrap().clone()
    }
}

fn outcome(report: &Value, outcome: &str) -> u64 {
    let counted = report["routes"][0]["outcomes"].as_array().unwrap().iter();
    counted.filter(|counted| counted["outcome"] == outcome).map(|counted| counted["requests"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn mismatches_are_clustered_and_shown_without_secrets_and_survive_a_kill() {
    let mut shop = Shop::open("").await;
    shop.buy(0..10).await;
    let report = shop.differed(10).await;
    assert_eq!(report["clusters"].as_array().unwrap().len(), 1, "{report}");
    let cluster = &report["clusters"][0];
    assert_eq!((&cluster["path"], &cluster["kind"]), (&json!("$.lines[*].price"), &json!("value")));
    assert_eq!((outcome(&report, "different"), &report["routes"][0]["mismatch_rate"]), (10, &json!(1.0)));

    let listed = shop.listed().await;
    assert_eq!(listed.len(), 10);
    let shown = shop.get(&format!("/api/v1/shadow/mismatches/{}", listed[0]["id"].as_str().unwrap())).await;
    let mismatch = &shown["mismatch"];
    assert_eq!(mismatch["shape"], "GET /items/{id}?access_token&colour");
    let difference = json!({"path": "$.lines[0].price", "kind": "value", "legacy": "5", "candidate": "6"});
    assert_eq!(mismatch["differences"], json!([difference]));
    assert_eq!(mismatch["trace_id"].as_str().unwrap().len(), 32);
    assert_ne!(mismatch["served_span_id"], mismatch["copied_span_id"]);
    let target = mismatch["request"]["target"].as_str().unwrap();
    assert!(target.ends_with("?colour=red&access_token=[redacted]"), "{target}");

    let folder = shop.gateway.folder.path().join("mismatches");
    let stored = || -> String {
        fs::read_dir(&folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    };
    for shown in [stored(), shown.to_string()] {
        assert!(shown.contains("[redacted]") && !shown.contains(SECRET), "{shown}");
    }

    shop.gateway.kill_and_restart();
    assert_eq!(shop.listed().await, listed);
    shop.buy(10..12).await;
    assert_eq!(shop.differed(12).await["clusters"][0]["count"], 12);
    assert_eq!(shop.listed().await.len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_is_in_the_change_log_and_survives_a_restart() {
    let mut shop = Shop::open("").await;
    shop.buy(0..1).await;
    shop.differed(1).await;
    let ignore = |path: &str| json!({"route": "item", "path": path, "actor": "ada", "reason": "another currency"});
    for (body, expected) in
        [(ignore("lines"), 400), (json!({"route": "x", "path": "$.a"}), 404), (ignore("$..price"), 200)]
    {
        let (status, answer) = shop.gateway.admin(Method::POST, "/api/v1/shadow/ignore", Some(body)).await;
        assert_eq!(status, expected, "{answer}");
    }
    for _ in 0..2 {
        shop.buy(0..1).await;
        eventually("it is ignored", async || outcome(&shop.get("/api/v1/shadow").await, "ignored") == 1).await;
        let report = shop.get("/api/v1/shadow").await;
        assert_eq!(report["routes"][0]["ignored"], json!(["$..price"]));
        shop.gateway.kill_and_restart();
    }
    let history = shop.get("/api/v1/history").await;
    let entry = &history["entries"][0];
    assert_eq!((&entry["kind"], &entry["actor"]), (&json!("ignore"), &json!("ada")), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_costs_no_answer_and_no_count() {
    let mut postgres = PrivatePostgres::start().await;
    let settings = format!(
        "[shadow.mismatches]\nstore = \"postgres\"\nqueue = 8\n[rollout.postgres]\nurl = \"{}\"\ntimeout = \"2s\"\nconnect_timeout = \"2s\"\n",
        postgres.url("postgres")
    );
    let shop = Shop::open(&settings).await;
    shop.buy(0..5).await;
    shop.differed(5).await;
    let listed = shop.listed().await;
    assert_eq!(listed.len(), 5);
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(shop.get(&format!("/api/v1/shadow/mismatches/{id}")).await["mismatch"]["id"], id);

    postgres.stop().await;
    shop.buy(0..40).await;
    eventually("the store says that it is away", async || {
        let (status, answer) = shop.gateway.admin(Method::GET, "/api/v1/shadow", None).await;
        status == 200 && answer["store_problem"].is_string() && outcome(&answer, "different") == 45
    })
    .await;
    postgres.start_again().await;
    // Not all of them are kept, but all are counted.
    let report = shop.differed(45).await;
    assert_eq!((&report["clusters"][0]["count"], &report["store_problem"]), (&json!(45), &Value::Null), "{report}");
    let kept = shop.listed().await.len();
    let metrics = shop.gateway.metrics().await;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("gateway_mismatches_dropped_total ")).unwrap();
    assert_eq!(kept + dropped.parse::<usize>().unwrap(), 45);
    assert!(kept > 5 && kept < 45, "{kept}");
}
