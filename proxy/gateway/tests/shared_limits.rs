//! Limits that several gateways share through a real Redis, and what happens without it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, Response};
use serde_json::Value;
use testkit::PrivateRedis;
use tokio::task::JoinSet;

use crate::harness::{Gateway, RawClient, Stub, blocking, config, eventually};

const LIMITED: &str = "limits = [\"per-function\"]";

struct Site {
    redis: PrivateRedis,
    gateways: Vec<Gateway>,
    stub: Stub,
}

impl Site {
    /// So many gateways, with these lines in `[limits.redis]` and this policy.
    async fn start(gateways: usize, redis_lines: &str, policy: &str) -> Self {
        Self::with(PrivateRedis::start().await, gateways, redis_lines, policy)
    }

    fn with(redis: PrivateRedis, gateways: usize, redis_lines: &str, policy: &str) -> Self {
        let stub = Stub::start("legacy");
        let tables = format!(
            "[limits]\nstore = \"redis\"\n[limits.redis]\nurl = \"{}\"\n{redis_lines}\n\
             [limits.policies.per-function]\ncounts = \"key\"\n{policy}\n",
            redis.url()
        );
        let config = config(stub.address, stub.address, LIMITED, &tables);
        let gateways = (0..gateways).map(|_| Gateway::start(&config, "")).collect();
        Self { redis, gateways, stub }
    }

    async fn up(&self) {
        for gateway in &self.gateways {
            eventually("Redis decides", async || metric(gateway, "gateway_limit_store_up").await == 1).await;
        }
    }
}

/// The sum of a metric over those of its labels that contain this text.
async fn metric(gateway: &Gateway, start: &str) -> u64 {
    let text = gateway.metrics().await;
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

async fn invoke(client: &Client, gateway: &Gateway, key: &str) -> Response {
    client.post(gateway.url(&format!("/f/{key}/invoke"))).body("{}").send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_share_one_budget_for_a_key() {
    let site = Site::start(2, "timeout = \"5s\"", "rate = \"5/h\"\nburst = 5").await;
    site.up().await;
    let long = "k".repeat(5_000);
    for key in ["fn-1", "caf%C3%A9", "%7Bx%7D", "a%20b%C2%A0c", &long] {
        let mut statuses = Vec::new();
        for turn in 0..8 {
            statuses.push(site.gateways[turn % 2].invoke(key).await.status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429], "{key:.20}");
    }
    assert_eq!(site.stub.seen().len(), 25);
    let refused = site.gateways[0].invoke("fn-1").await;
    assert_eq!(refused.headers()["retry-after"], refused.headers()["ratelimit"].to_str().unwrap()[21..]);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["policy"], "per-function");
    // A quota that changes is asked for anew, although the refusal is remembered.
    for gateway in &site.gateways {
        gateway.edit_rollout("[limits.per-function.overrides]\nfn-1 = { rate = \"7/h\", burst = 7 }\n");
    }
    let mut more = 0;
    eventually("two more", async || {
        more += usize::from(site.gateways[more % 2].invoke("fn-1").await.status() == 200);
        more == 2
    })
    .await;
    assert_eq!(site.gateways[0].invoke("fn-1").await.status(), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_requests_stays_off_redis() {
    let site = Site::start(1, "timeout = \"5s\"", "rate = \"1/h\"\nburst = 1").await;
    site.up().await;
    let gateway = &site.gateways[0];
    assert_eq!(gateway.invoke("k").await.status(), 200);
    let before = metric(gateway, "gateway_limit_store_duration_seconds_count").await;
    let started = Instant::now();
    for _ in 0..300 {
        assert_eq!(gateway.invoke("k").await.status(), 429);
    }
    let asked = metric(gateway, "gateway_limit_store_duration_seconds_count").await - before;
    // Once, and once more for each second, because a Redis that starts empty must be noticed.
    assert!(asked <= 1 + started.elapsed().as_secs(), "{asked} round trips");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_redis_forgot_is_loaded_again() {
    let site = Site::start(1, "timeout = \"5s\"", "rate = \"100/s\"").await;
    site.up().await;
    let client = redis::Client::open(site.redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for round in 0..5 {
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
        assert_eq!(site.gateways[0].invoke(&format!("k{round}")).await.status(), 200);
    }
    assert_eq!(metric(&site.gateways[0], "gateway_limit_fallbacks_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_without_redis_and_takes_it_when_it_comes() {
    let redis = PrivateRedis::start().await;
    redis.stop().await;
    let mut site = Site::with(redis, 2, "timeout = \"5s\"", "rate = \"2/h\"\nburst = 2");
    for gateway in &site.gateways {
        let statuses = [gateway.invoke("k").await, gateway.invoke("k").await, gateway.invoke("k").await];
        assert_eq!(statuses.map(|answer| answer.status().as_u16()), [200, 200, 429], "each has its own");
    }
    assert_eq!(metric(&site.gateways[0], "gateway_limit_store_up").await, 0);
    assert!(metric(&site.gateways[0], "gateway_limit_fallbacks_total{why=\"down\"}").await >= 3);
    site.redis.start_again().await;
    site.up().await;
    let first = site.gateways[0].invoke("other").await;
    let second = site.gateways[1].invoke("other").await;
    let third = site.gateways[0].invoke("other").await;
    assert_eq!([first, second, third].map(|answer| answer.status().as_u16()), [200, 200, 429], "and now they share");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_on_two_gateways_overshoots_their_one_limit_by_at_most_a_hundredth() {
    const CLIENTS: u32 = 8;
    const OFFERED: u32 = 2_000;
    const REQUESTS: u32 = 5 * OFFERED / CLIENTS;
    // A timeout this long never strikes, even where the machine is busy: what is measured is the limit.
    let site = Site::start(2, "timeout = \"10s\"", "rate = \"100/s\"\nburst = 20").await;
    site.up().await;
    let started = Instant::now();
    // Threads with plain sockets leave the processors to the gateways.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let address = site.gateways[number as usize % 2].http;
            thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let admitted = (0..REQUESTS).filter(|turn| {
                    // Each in its turn, and at once when that is past.
                    let due = Duration::from_secs(1) * (turn * CLIENTS + number) / OFFERED;
                    thread::sleep(due.saturating_sub(started.elapsed()));
                    client.send("POST /f/shared/invoke HTTP/1.1\r\nHost: site\r\nContent-Length: 0\r\n\r\n");
                    let status = client.answer(false).expect("an answer").status;
                    assert!(status == 200 || status == 429, "{status}");
                    status == 200
                });
                admitted.count()
            })
        })
        .collect();
    let counts = blocking(move || clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>());
    let admitted = counts.await as f64;
    // All decisions lie between the first request and the last answer.
    let seconds = started.elapsed().as_secs_f64();
    let answered = f64::from(REQUESTS * CLIENTS);
    let allowed = 100.0 * seconds + 20.0;
    println!(
        "{:.0} requests/s for {seconds:.2} s: {admitted} admitted, {allowed:.0} allowed ({:+.2} %)",
        answered / seconds,
        (admitted / allowed - 1.0) * 100.0
    );
    assert!(admitted <= allowed * 1.01, "{admitted} of {allowed} allowed");
    // A machine that stands still for a while loses what drained meanwhile, but not half of it.
    assert!(admitted >= allowed * 0.5, "{admitted} of {allowed} allowed: it limits more than it should");
    for gateway in &site.gateways {
        assert_eq!(metric(gateway, "gateway_limit_fallbacks_total").await, 0);
    }
}

/// One answer and how long it took.
#[derive(Debug, Clone, Copy)]
struct Sample {
    status: u16,
    took: Duration,
}

/// Clients that each send one request after the other, all with keys that nothing limits.
struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Load {
    fn start(site: &Site) -> Self {
        let (stop, samples) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut clients = JoinSet::new();
        for number in 0..8 {
            let url = site.gateways[number % site.gateways.len()].url(&format!("/f/load-{number}/invoke"));
            let (stop, samples, client) = (stop.clone(), samples.clone(), Client::new());
            clients.spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let sent = Instant::now();
                    let status = client.post(&url).body("{}").send().await.unwrap().status().as_u16();
                    samples.lock().unwrap().push(Sample { status, took: sent.elapsed() });
                }
            });
        }
        Self { stop, clients, samples }
    }

    /// The answers that come next.
    async fn next(&self, count: usize) -> Vec<Sample> {
        let from = self.samples.lock().unwrap().len();
        eventually("the load goes on", async || self.samples.lock().unwrap().len() >= from + count).await;
        self.samples.lock().unwrap()[from..].to_vec()
    }

    async fn stop(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Release);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.samples.lock().unwrap())
    }
}

/// Redis is paused, killed, stopped and started again under load. `without` is what each answer may be
/// while it is away.
async fn outages(mode: &str, without: &[u16]) {
    let lines = format!("timeout = \"100ms\"\nwhen_unavailable = \"{mode}\"\ngateways = 2");
    let mut site = Site::start(2, &lines, "rate = \"100000/s\"").await;
    site.up().await;
    let load = Load::start(&site);
    load.next(200).await;
    for outage in ["paused", "killed", "stopped"] {
        match outage {
            "paused" => site.redis.pause(),
            "killed" => site.redis.kill().await,
            _ => site.redis.stop().await,
        }
        for gateway in &site.gateways {
            eventually("it is noticed", async || metric(gateway, "gateway_limit_store_up").await == 0).await;
        }
        let timeouts = metric(&site.gateways[0], "gateway_limit_fallbacks_total{why=\"timeout\"}").await;
        let known = metric(&site.gateways[0], "gateway_limit_fallbacks_total{why=\"down\"}").await;
        let during = load.next(400).await;
        assert!(during.iter().all(|sample| without.contains(&sample.status)), "{mode}, {outage}: {during:?}");
        let more = metric(&site.gateways[0], "gateway_limit_fallbacks_total{why=\"timeout\"}").await - timeouts;
        assert!(more <= 8, "{mode}, {outage}: once it is known, nobody waits: {more} did");
        assert!(metric(&site.gateways[0], "gateway_limit_fallbacks_total{why=\"down\"}").await > known);
        match outage {
            "paused" => site.redis.resume(),
            _ => site.redis.start_again().await,
        }
        // Not at once: a machine that is busy with other things may let a request time out again.
        eventually("Redis decides and everything is served", async || {
            site.up().await;
            load.next(50).await.iter().all(|sample| sample.status == 200)
        })
        .await;
    }
    let samples = load.stop().await;
    let mut allowed = without.to_vec();
    allowed.push(200);
    let failed: Vec<_> = samples.iter().filter(|sample| !allowed.contains(&sample.status)).collect();
    assert!(failed.is_empty(), "{mode}: {} of {}: {:?}", failed.len(), samples.len(), failed.first());
    let mut waits: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    eprintln!(
        "{mode}: {} requests, p50 {:?}, p99 {p99:?}, worst {:?}",
        waits.len(),
        waits[waits.len() / 2],
        waits.last()
    );
    assert!(p99 < Duration::from_millis(100 + 500), "{mode}: p99 {p99:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_without_redis_each_gateway_keeps_to_its_own_budget() {
    outages("local", &[200]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_without_redis_everything_passes_where_that_was_chosen() {
    outages("allow", &[200]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_without_redis_nothing_passes_where_that_was_chosen() {
    outages("deny", &[503]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_that_holds_without_redis_is_the_one_that_was_chosen() {
    for (mode, expected) in [("local", [200, 200, 429]), ("allow", [200, 200, 200]), ("deny", [503, 503, 503])] {
        let lines = format!("when_unavailable = \"{mode}\"\ngateways = 2");
        let site = Site::start(1, &lines, "rate = \"4/h\"\nburst = 4").await;
        site.up().await;
        site.redis.stop().await;
        let gateway = &site.gateways[0];
        eventually("it is noticed", async || metric(gateway, "gateway_limit_store_up").await == 0).await;
        let client = Client::new();
        for expected in expected {
            let answer = invoke(&client, gateway, "k").await;
            assert_eq!(answer.status(), expected, "{mode}");
            assert_eq!(answer.headers().contains_key("ratelimit"), mode == "local", "{mode}");
            if expected == 503 {
                assert_eq!(answer.headers()["retry-after"], "1");
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["error"], "limit_unavailable");
            }
        }
    }
}
