//! The operator's console: its files need no token and hold nothing; what it shows does.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Setup, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_anybodys_and_brings_nothing_from_elsewhere() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    let page = gateway.client.get(format!("http://{}/", gateway.admin)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    let sources = html.split("=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut files = 0;
    for file in sources.filter(|value| value.starts_with("/console/")) {
        let answer = gateway.client.get(format!("http://{}{file}", gateway.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        files += 1;
    }
    assert!(files >= 3, "an icon, a sheet and a script: {html}");
    let foreign = gateway.client.get(format!("http://{}/", gateway.admin)).header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 421, "no page by a name that an attacker chose");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_need_a_token_and_end_with_the_gateway() {
    let mut setup = Setup::start();
    let gateway = &mut setup.gateway;
    let url = format!("http://{}/api/v1/events", gateway.admin);
    assert_eq!(gateway.client.get(&url).send().await.unwrap().status(), 401);
    let mut stream = gateway.client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains("\n\n") {
        text += std::str::from_utf8(&stream.chunk().await.unwrap().expect("an event comes each second")).unwrap();
    }
    let event: Value = serde_json::from_str(text.trim().strip_prefix("data: ").expect("one event")).unwrap();
    assert_eq!(event["status"]["routes"][0]["name"], "invoke", "{event}");
    assert!(event["ramps"].is_array() && event["shadow"].is_array(), "{event}");
    // A drain waits for the last answer; this one has no end of its own.
    gateway.signal(Signal::SIGTERM);
    while stream.chunk().await.unwrap_or_default().is_some() {}
    assert_eq!(gateway.exit_code().await, Some(0));
}
