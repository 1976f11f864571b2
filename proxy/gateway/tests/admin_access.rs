//! Whose token opens what of the admin API, over what wire.

use std::{fs, net::SocketAddr};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Gateway, Setup, Stub, TOKEN, config, eventually};

const VIEW: &str = "view-0123456789abcdef";
const ADA: &str = "ada-0123456789abcdef0";

/// The settings with these in place of those of the admin API.
fn with_admin(legacy: &Stub, admin: &str) -> String {
    let plain = config(legacy.address, legacy.address, "", "");
    plain.replace(&format!("[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n"), &format!("[admin]\n{admin}\n"))
}

async fn call(gateway: &Gateway, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = gateway.client.request(method, format!("http://{}{path}", gateway.admin)).bearer_auth(token);
    let answer = request.json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_look_changes_nothing_and_the_history_has_the_names_of_the_others() {
    let legacy = Stub::start("legacy");
    let ada = hex::encode(Sha256::digest(ADA));
    let admin = format!(
        "bind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\nview_token = \"{VIEW}\"\n\
         tokens = [{{ name = \"ada\", role = \"operate\", sha256 = \"{ada}\" }}]\nmetrics_need_token = true"
    );
    let gateway = Gateway::start(&with_admin(&legacy, &admin), "");
    let weight = |percent: u32| json!({ "percent": percent, "actor": "somebody", "reason": "a test" });
    for (token, method, path, body, expected) in [
        (VIEW, Method::GET, "/api/v1/routes", json!({}), 200),
        (VIEW, Method::GET, "/api/v1/status", json!({}), 200),
        (VIEW, Method::GET, "/api/v1/history", json!({}), 200),
        (VIEW, Method::POST, "/api/v1/rollout/plan", json!({ "document": "" }), 200),
        (VIEW, Method::PUT, "/api/v1/routes/invoke/weight", weight(1), 403),
        (VIEW, Method::POST, "/api/v1/routes/invoke/rollback", json!({}), 403),
        (VIEW, Method::POST, "/api/v1/rollback", json!({}), 403),
        (VIEW, Method::PUT, "/api/v1/rollout", json!({ "document": "" }), 403),
        (VIEW, Method::POST, "/api/v1/undo", json!({}), 403),
        (VIEW, Method::POST, "/api/v1/upgrade", json!({}), 403),
        (ADA, Method::PUT, "/api/v1/routes/invoke/weight", weight(2), 200),
        (TOKEN, Method::PUT, "/api/v1/routes/invoke/weight", weight(3), 200),
        (&ada, Method::GET, "/api/v1/routes", json!({}), 401),
        (&ada, Method::POST, "/api/v1/upgrade", json!({}), 401),
    ] {
        let (status, answer) = call(&gateway, token, method, path, body).await;
        assert_eq!(status, expected, "{path} {answer}");
    }
    let (_, history) = call(&gateway, VIEW, Method::GET, "/api/v1/history", json!({})).await;
    let shown = history.to_string();
    for expected in ["\"authenticated_as\":\"ada\"", "\"authenticated_as\":\"operate\"", "\"actor\":\"somebody\""] {
        assert!(shown.contains(expected), "{expected} is missing in {shown}");
    }
    let metrics = |token: &str| {
        let request = gateway.client.get(format!("http://{}/metrics", gateway.admin));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    };
    assert_eq!(metrics("").send().await.unwrap().status(), 401);
    assert_eq!(metrics(VIEW).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_slowed_down_and_the_right_one_still_passes() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    let mut statuses = Vec::new();
    for guess in 0..70 {
        let url = format!("http://{}/api/v1/routes", gateway.admin);
        let answer = gateway.client.get(url).bearer_auth(format!("guess-{guess}")).send().await.unwrap();
        if answer.status() == 429 {
            let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
        }
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses[..60], [401; 60]);
    // A minute that ends meanwhile begins anew.
    assert!(statuses[60..].contains(&429), "{statuses:?}");
    let (status, _) = gateway.admin(Method::POST, "/api/v1/rollback", Some(json!({ "reason": "now" }))).await;
    assert_eq!(status, 200, "nobody's guesses keep an operator from rolling back");
    assert!(!gateway.log().contains("guess-"), "what was guessed may be almost right");
}

fn tls_client(pem: &str, address: SocketAddr) -> Client {
    let certificate = Certificate::from_pem(pem.as_bytes()).unwrap();
    Client::builder().tls_certs_only([certificate]).resolve("admin.test", address).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_it_may_listen_everywhere_and_takes_new_certificates() {
    let make = || {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["admin.test".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    };
    let (certificate, key) = make();
    let legacy = Stub::start("legacy");
    let admin = format!(
        "bind = \"0.0.0.0:0\"\ntoken = \"{TOKEN}\"\n[admin.tls]\npoll_interval = \"50ms\"\n\
         certificates = [{{ certificate = \"admin.pem\", key = \"admin.key\" }}]"
    );
    let files = [("admin.pem", certificate.as_str()), ("admin.key", key.as_str())];
    let gateway = Gateway::start_with_files(&with_admin(&legacy, &admin), "", &files);
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.admin.port()));
    let url = format!("https://admin.test:{}/api/v1/routes", gateway.admin.port());
    let client = tls_client(&certificate, address);
    let status = async |client: &Client, origin: Option<&str>| {
        let mut request = client.get(&url).bearer_auth(TOKEN);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.map(|answer| answer.status().as_u16())
    };
    assert_eq!(status(&client, None).await.unwrap(), 200);
    let own = format!("https://admin.test:{}", gateway.admin.port());
    assert_eq!(status(&client, Some(&own)).await.unwrap(), 200);
    assert_eq!(status(&client, Some("https://evil.example")).await.unwrap(), 403);
    assert_eq!(status(&client, Some(&own.replace("https", "http"))).await.unwrap(), 403);
    let plain = Client::new().get(format!("http://{address}/api/v1/routes")).bearer_auth(TOKEN).send().await;
    assert!(plain.is_err(), "nothing answers without TLS");
    // One that connects and says nothing holds up nobody.
    let _silent = std::net::TcpStream::connect(address).unwrap();
    assert_eq!(status(&tls_client(&certificate, address), None).await.unwrap(), 200);

    let (new_certificate, new_key) = make();
    fs::write(gateway.folder.path().join("admin.key"), new_key).unwrap();
    fs::write(gateway.folder.path().join("admin.pem"), &new_certificate).unwrap();
    eventually("the new certificate is in force", async || {
        status(&tls_client(&new_certificate, address), None).await.is_ok_and(|status| status == 200)
    })
    .await;
}
