use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{RawClient, Setup, TOKEN, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_what_is_in_flight_and_nothing_new() {
    let mut setup = Setup::start();
    let request = setup.gateway.client.post(setup.gateway.url("/f/slow/invoke")).header("x-test-hold", "1").body("{}");
    let slow = tokio::spawn(request.send());
    eventually("the request is in flight", async || setup.legacy.seen().len() == 1).await;
    setup.gateway.signal(Signal::SIGTERM);
    let http = setup.gateway.http;
    eventually("nothing new is accepted", async || TcpStream::connect(http).await.is_err()).await;
    setup.legacy.release_held();
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
    assert_eq!(setup.gateway.access_log().len(), 1, "the log is complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_the_admin_api_answer_what_it_has_begun() {
    let mut setup = Setup::start();
    let body = json!({ "percent": 10, "reason": "a test" }).to_string();
    let mut operator = RawClient::connect(setup.gateway.admin);
    operator.send(format!(
        "PUT /api/v1/routes/invoke/weight HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    ));
    assert_eq!(operator.header().unwrap().status, 100, "the request is being served");
    setup.gateway.signal(Signal::SIGTERM);
    let (http, admin) = (setup.gateway.http, setup.gateway.admin);
    eventually("nothing new is accepted", async || {
        TcpStream::connect(http).await.is_err() && TcpStream::connect(admin).await.is_err()
    })
    .await;
    operator.send(body);
    assert_eq!(operator.header().unwrap().status, 200);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_ends_at_once_also_with_idle_connections() {
    let mut setup = Setup::start();
    setup.gateway.side_of("k").await;
    let asked = Instant::now();
    setup.gateway.signal(Signal::SIGINT);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "the drain deadline is a limit, not a wait");
    assert_eq!(setup.gateway.access_log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_keep_it() {
    let mut setup = Setup::with("", "", "");
    let config = setup.gateway.folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("drain_deadline = \"10s\"", "drain_deadline = \"1s\"");
    std::fs::write(&config, text).unwrap();
    setup.gateway.kill_and_restart();
    let request = setup.gateway.client.post(setup.gateway.url("/f/slow/invoke")).header("x-test-hold", "1").body("{}");
    let slow = tokio::spawn(request.send());
    eventually("the request is in flight", async || setup.legacy.seen().len() == 1).await;
    setup.gateway.signal(Signal::SIGTERM);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_still_follows_the_rollout() {
    let mut setup = Setup::with("fallback = true", "", "[routes.invoke]\npercent = 100\n");
    let request = setup.gateway.client.post(setup.gateway.url("/f/slow/invoke")).header("x-test-hold", "1").body("{}");
    let slow = tokio::spawn(request.send());
    eventually("the request is in flight", async || setup.candidate.seen().len() == 1).await;
    setup.gateway.signal(Signal::SIGTERM);
    let http = setup.gateway.http;
    eventually("nothing new is accepted", async || TcpStream::connect(http).await.is_err()).await;
    let before = setup.gateway.log().matches("rollout document in force").count();
    setup.gateway.edit_rollout("[routes.invoke]\npercent = 0\n");
    eventually("the edit is in force", async || {
        setup.gateway.log().matches("rollout document in force").count() > before
    })
    .await;
    setup.candidate.release_held();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
}
