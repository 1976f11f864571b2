//! The console in a real Chromium: worked by keyboard and mouse, in light and dark, and held to its own content policy.
//!
//! `walk.mjs` has the ways through it; here are the gateway behind it, traffic, and what must come of it.

mod packages;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use self::packages::{Browser, SCRIPTS};
use crate::harness::{Gateway, Load, Sample, Stub, TOKEN, blocking, config, eventually};

/// As long as it may take until no request goes to the candidate any more, from the click on.
const ROLLED_BACK_WITHIN: Duration = Duration::from_secs(1);

/// A gateway with a route that ramps, one whose shadow finds differences, and one of a slice; and a browser.
struct Site {
    browser: Browser,
    gateway: Gateway,
    _sides: [Stub; 2],
}

impl Site {
    /// None where there is no browser, which it says.
    async fn open() -> Option<Self> {
        let browser = testkit::or_skip(blocking(packages::find).await)?;
        let sides = [Stub::start("legacy"), Stub::start("candidate")];
        let routes = r#"
[routes.ramp]
steps = [
    { percent = 10, time = "10m", requests = 1000 },
    { percent = 100, time = "10m", requests = 1000, approval = true },
]
[[routes]]
name = "item"
methods = ["GET"]
path = "/items/{id}"
key = "path:id"
legacy = "legacy"
candidate = "candidate"
[routes.shadow]
[[routes]]
name = "order"
methods = ["GET", "POST"]
path = "/orders/{id}"
key = "path:id"
slice = "orders"
legacy = "legacy"
candidate = "candidate"
[slices.orders]
candidate = "candidate"
"#;
        let config = config(sides[0].address, sides[1].address, routes, "");
        let gateway = Gateway::start(&config, "[routes.item]\npercent = 0\nshadow = 100\n");
        let site = Self { browser, gateway, _sides: sides };
        site.report().await;
        site.differ().await;
        Some(site)
    }

    /// What the migration tool says of the slice; its own tests hold it to the same shape.
    async fn report(&self) {
        let reports: Value = serde_json::from_str(include_str!("reports.json")).unwrap();
        for (about, said) in reports.as_object().unwrap() {
            let path = format!("/api/v1/slices/orders/reports/{about}");
            let (status, answer) = self.gateway.admin(Method::PUT, &path, Some(said.clone())).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// Makes an answer that differs, and waits until it is known.
    async fn differ(&self) {
        let answer = self.gateway.client.get(self.gateway.url("/items/1")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        eventually("a difference is found", async || {
            let report = self.gateway.admin(Method::GET, "/api/v1/shadow", None).await.1;
            report["clusters"].as_array().is_some_and(|clusters| !clusters.is_empty())
        })
        .await;
    }

    /// Takes a way through the console; returns what it has seen.
    async fn walk(&self, way: &str) -> Value {
        let output = Command::new("node")
            .arg(format!("{SCRIPTS}/walk.mjs"))
            .args([way, &format!("http://{}", self.gateway.admin), TOKEN])
            .env("CHROMIUM", &self.browser.chromium)
            .env("CONSOLE_PACKAGES", &self.browser.packages)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{way}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn load_an_operator_works_by_keyboard_sees_what_others_do_and_rolls_back_in_two_actions() {
    let Some(site) = Site::open().await else { return };
    let gateway = &site.gateway;
    let load = Load::start(gateway, 2);
    let seen = site.walk("operate").await;
    let clicked = UNIX_EPOCH + Duration::from_millis(seen["rolled_back_ms"].as_u64().unwrap());
    let clicked = Instant::now() - SystemTime::now().duration_since(clicked).unwrap();
    let is_late = |sample: &Sample| sample.started > clicked + ROLLED_BACK_WITHIN;
    eventually("the time is over", async || load.snapshot().iter().any(is_late)).await;
    // More than enough to show a request that still goes to the candidate.
    load.more(200).await;
    let samples = load.stop().await;
    let failed = samples.iter().find(|sample| sample.outcome != Ok(200));
    assert!(failed.is_none(), "no request is lost: {failed:?}");
    let on_candidate: Vec<_> = samples.iter().filter(|sample| sample.served_by == "candidate").collect();
    assert!(!on_candidate.is_empty(), "60 % of keys were there");
    let late = on_candidate.iter().find(|&&sample| is_late(sample));
    assert!(late.is_none(), "on the candidate {:?} after the click", late.map(|late| late.started - clicked));

    let case = &seen["saved"];
    assert_eq!((&case["request"]["target"], &case["expected"]["status"]), (&json!("/items/1"), &json!(200)), "{case}");
    let rules: comparison::RulesConfig = serde_json::from_value(case["rules"].clone()).unwrap();
    comparison::Rules::compile(&rules).unwrap();

    let (_, history) = gateway.admin(Method::GET, "/api/v1/history", None).await;
    let reasons: Vec<&str> =
        history["entries"].as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons[..3], ["p99 is twice that of legacy", "from elsewhere", "by keyboard alone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_a_cutover_is_read_with_what_stands_against_it_and_so_is_the_retirement() {
    let Some(site) = Site::open().await else { return };
    let seen = site.walk("database").await;
    assert_eq!(seen["steps"].as_array().unwrap().len(), 6 + 1, "six steps and a note: {seen}");
    assert!(seen["obstacles"][0].as_str().unwrap().starts_with("Not yet: 1 changes"), "{seen}");
    let page = seen["seen"].as_str().unwrap();
    for words in [
        "1 250 000 rows",
        "256 KiB",
        "2.3 MiB",
        "23514",
        "1 of 1 249 999 rows differ",
        "the candidate does not have it",
        "strangler db cutover orders --mapping mapping.toml",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let retirement = seen["retirement"].as_str().unwrap();
    assert!(retirement.contains("reporting as nightly") && retirement.contains("public.orders"), "{retirement}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_in_light_and_dark() {
    let Some(site) = Site::open().await else { return };
    let seen = site.walk("accessible").await;
    assert_eq!(seen["violations"], json!({}), "{seen:#}");
    assert_eq!(seen["pages"], 2 * 11);
}
