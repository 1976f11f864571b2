//! Replacing the process while it serves.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nix::{sys::signal::Signal, unistd::Pid};
use reqwest::Method;
use tokio::task::JoinSet;

use crate::harness::{Gateway, Patient, Setup, eventually};

/// Clients on kept connections and on fresh ones, until stopped. None of them tries anything twice.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Traffic {
    fn start(gateway: &Gateway, clients: usize, keeps: impl Fn(usize) -> bool) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut running = JoinSet::new();
        for number in 0..clients {
            let mut client = Patient::new(gateway.http, keeps(number));
            let (stop, answered) = (stop.clone(), answered.clone());
            running.spawn(async move {
                let mut failures = Vec::new();
                for count in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    match client.post(&format!("/f/{number}-{count}/invoke")).await {
                        Ok(status) if status == 200 => _ = answered.fetch_add(1, Ordering::AcqRel),
                        other => failures.push(format!("{other:?}")),
                    }
                }
                failures
            });
        }
        Self { stop, answered, clients: running }
    }

    async fn more(&self, requests: usize) {
        let target = self.answered.load(Ordering::Acquire) + requests;
        eventually("the traffic goes on", async || self.answered.load(Ordering::Acquire) >= target).await;
    }

    /// Everything that failed.
    async fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        let mut failures = Vec::new();
        while let Some(failed) = self.clients.join_next().await {
            failures.extend(failed.unwrap());
        }
        failures
    }
}

async fn upgrade(gateway: &Gateway) -> Pid {
    let old = gateway.pid();
    gateway.signal(Signal::SIGUSR2);
    eventually("a successor serves", async || gateway.pid() != old).await;
    old
}

/// Whether the process has ended, although its parent may not have asked for its exit code.
fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn load_ten_upgrades_in_a_row_lose_no_request() {
    let mut setup = Setup::start();
    let traffic = Traffic::start(&setup.gateway, 8, |number| number % 2 == 0);
    let mut old = Vec::new();
    for _ in 0..10 {
        traffic.more(100).await;
        old.push(upgrade(&setup.gateway).await);
    }
    traffic.more(100).await;
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{} failed, such as {}", failures.len(), failures[0]);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
    for pid in old {
        eventually("the old processes end", async || has_ended(pid)).await;
    }
    assert!(!has_ended(setup.gateway.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_nothing_on_kept_connections() {
    let mut setup = Setup::start();
    let traffic = Traffic::start(&setup.gateway, 8, |_| true);
    traffic.more(200).await;
    setup.gateway.signal(Signal::SIGTERM);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
    let failures = traffic.stop().await;
    // Nobody listens any more, which is what every client must run into, and nothing else.
    let others: Vec<_> =
        failures.iter().filter(|failure| !failure.contains("connecting: Connection refused")).collect();
    assert!(others.is_empty(), "{} requests were lost, such as {}", others.len(), others[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_cannot_start_changes_nothing() {
    let setup = Setup::start();
    let traffic = Traffic::start(&setup.gateway, 4, |_| true);
    traffic.more(50).await;
    let serving = setup.gateway.pid();
    setup.gateway.edit_config(|text| text.replace("[upstreams.legacy]", "[upstreams.renamed]"));
    setup.gateway.signal(Signal::SIGUSR2);
    eventually("the log says why", async || setup.gateway.log().contains("there is no upstream `legacy`")).await;
    eventually("it gives up", async || setup.gateway.log().contains("not upgraded")).await;
    traffic.more(50).await;
    assert_eq!(setup.gateway.pid(), serving);

    let (status, answer) = setup.gateway.admin(Method::POST, "/api/v1/upgrade", None).await;
    assert_eq!((status, answer["error"].as_str()), (409, Some("not_upgraded")), "{answer}");

    setup.gateway.edit_config(|text| text.replace("[upstreams.renamed]", "[upstreams.legacy]"));
    upgrade(&setup.gateway).await;
    traffic.more(50).await;
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_brings_new_routes_and_keeps_the_live_state() {
    let setup = Setup::start();
    setup.gateway.set_weight(100.0).await;
    assert_eq!(setup.gateway.client.get(setup.gateway.url("/new")).send().await.unwrap().status(), 404);
    setup.gateway.edit_config(|text| text + "[[routes]]\nname = \"new\"\npath = \"/new\"\nlegacy = \"legacy\"\n");
    let (status, answer) = setup.gateway.admin(Method::POST, "/api/v1/upgrade", None).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["successor_pid"], setup.gateway.pid().as_raw());
    eventually("the new route is there", async || {
        setup.gateway.client.get(setup.gateway.url("/new")).send().await.unwrap().status() == 200
    })
    .await;
    assert_eq!(setup.gateway.side_of("any").await, "candidate");
}
