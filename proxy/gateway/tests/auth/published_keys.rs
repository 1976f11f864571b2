use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use super::{AUDIENCE, Guarded, ISSUER, KeyServer, Signer, claims, key_server::Publishes};
use crate::harness::eventually;

fn fetching(url: &str, settings: &str) -> Guarded {
    Guarded::start(&format!(
        "[auth.jwt.main]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nalgorithms = [\"ES256\", \"RS256\"]\n\
         jwks_url = \"{url}\"\n{settings}\n"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_with_a_key_just_published_passes_at_once() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = KeyServer::start(&[&old]).await;
    let guarded = fetching(&server.url(), "refresh_interval = \"1h\"\nrefresh_cooldown = \"20ms\"");
    assert_eq!(guarded.status("/jwt/x", &old.sign(&claims(&json!({})))).await, 200);
    assert_eq!(server.fetches(), 1, "before the first request");
    server.publish(&[&new]);
    assert_eq!(guarded.status("/jwt/x", &new.sign(&claims(&json!({})))).await, 200);
    assert_eq!(server.fetches(), 2);
    let old = old.sign(&claims(&json!({})));
    assert_eq!(guarded.status("/jwt/x", &old).await, 401, "also if it was verified before");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_of_good_tokens_goes_through_every_rotation() {
    let server = KeyServer::start(&[]).await;
    let first = Signer::es256("0");
    server.publish(&[&first]);
    let guarded = fetching(&server.url(), "refresh_interval = \"1h\"\nrefresh_cooldown = \"50ms\"");
    let mut before = first;
    for round in 1..=5 {
        let now = Signer::es256(&round.to_string());
        // An issuer publishes a key before it signs with it, and keeps the one before for a while.
        server.publish(&[&before, &now]);
        let mut clients = JoinSet::new();
        for number in 0..16 {
            let signer = if number % 2 == 0 { &now } else { &before };
            let token = signer.sign(&claims(&json!({ "sub": format!("{round}-{number}") })));
            let (client, url) = (guarded.gateway.client.clone(), guarded.gateway.url("/jwt/x"));
            clients.spawn(async move {
                for _ in 0..10 {
                    let answer = client.get(&url).bearer_auth(&token).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        before = now;
    }
    assert!(server.fetches() <= 1 + 2 * 5, "{} fetches", server.fetches());
}

#[tokio::test(flavor = "multi_thread")]
async fn random_key_ids_cause_no_storm() {
    let signer = Signer::es256("k");
    let server = KeyServer::start(&[&signer]).await;
    let guarded = fetching(&server.url(), "refresh_cooldown = \"500ms\"\nrefresh_waiters = 50");
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..200 {
        let token = Signer::es256(&format!("{number}")).sign(&claims(&json!({})));
        let (client, url) = (guarded.gateway.client.clone(), guarded.gateway.url("/jwt/x"));
        clients.spawn(async move { client.get(&url).bearer_auth(&token).send().await.unwrap().status().as_u16() });
    }
    let mut statuses = Vec::new();
    while let Some(status) = clients.join_next().await {
        statuses.push(status.unwrap());
        assert_eq!(guarded.status("/jwt/x", &signer.sign(&claims(&json!({})))).await, 200, "the others pass meanwhile");
    }
    let most = 2 + started.elapsed().as_millis() / 500;
    assert!(server.fetches() as u128 <= most, "{} fetches in {:?}", server.fetches(), started.elapsed());
    // 503 for those that found no place in the line: whether they are good was not found out.
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&401));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_force_stay_while_their_place_fails() {
    let signer = Signer::es256("k");
    let server = KeyServer::start(&[&signer]).await;
    let guarded =
        fetching(&server.url(), "refresh_interval = \"30ms\"\nrefresh_cooldown = \"10ms\"\njwks_timeout = \"100ms\"");
    let failed = "gateway_auth_key_refreshes_total{outcome=\"failed\",source=\"main\"}";
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1_024));
    for publishes in [
        Publishes::Text(500, "{\"keys\":[]}".to_owned()),
        Publishes::Text(404, String::new()),
        Publishes::Text(200, "<html>maintenance</html>".to_owned()),
        Publishes::Text(200, "{\"keys\":[]}".to_owned()),
        Publishes::Text(200, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}".to_owned()),
        Publishes::Text(200, huge),
        Publishes::Elsewhere,
        Publishes::Silence,
    ] {
        server.does(publishes);
        let before = guarded.metric(failed).await;
        eventually("it fails twice", async || guarded.metric(failed).await >= before + 2.0).await;
        let token = signer.sign(&claims(&json!({ "jti": before })));
        assert_eq!(guarded.status("/jwt/x", &token).await, 200);
    }
    assert_eq!(guarded.metric("gateway_auth_keys{source=\"main\"}").await, 1.0);
    let unknown = Signer::es256("new").sign(&claims(&json!({})));
    assert_eq!(guarded.status("/jwt/x", &unknown).await, 503, "nobody can say whether it is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_it_starts_says_so_and_recovers_by_itself() {
    let signer = Signer::es256("k");
    let server = KeyServer::start(&[&signer]).await;
    server.does(Publishes::Silence);
    let guarded =
        fetching(&server.url(), "jwks_timeout = \"100ms\"\nrefresh_cooldown = \"50ms\"\nrefresh_interval = \"200ms\"");
    let token = signer.sign(&claims(&json!({})));
    let answer = guarded.get("/jwt/x", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["error"], "keys_unavailable");
    assert_eq!(guarded.get("/open/x", &[]).await.status(), 200, "other routes are served");
    server.publish(&[&signer]);
    eventually("the keys arrive", async || guarded.status("/jwt/x", &token).await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_confirms_are_given_up() {
    let signer = Signer::es256("k");
    let server = KeyServer::start(&[&signer]).await;
    let settings = "refresh_interval = \"50ms\"\nrefresh_cooldown = \"10ms\"\nstale_for = \"400ms\"";
    let guarded = fetching(&server.url(), settings);
    let token = signer.sign(&claims(&json!({})));
    eventually("they are there", async || guarded.status("/jwt/x", &token).await == 200).await;
    server.does(Publishes::Text(500, String::new()));
    eventually("they are stale", async || guarded.status("/jwt/x", &token).await == 503).await;
    server.publish(&[&signer]);
    eventually("and good again", async || guarded.status("/jwt/x", &token).await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_changes_is_read_and_a_broken_one_is_not_taken() {
    let (old, new) = (Signer::rs256("k"), Signer::es256("k"));
    let auth = format!(
        "[auth.jwt.main]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nalgorithms = [\"ES256\", \"RS256\"]\n\
         public_key_file = \"key.pem\"\n"
    );
    let guarded = Guarded::with_files(&auth, &[("key.pem", &old.pem())]);
    let (old, token) = (old.sign(&claims(&json!({}))), new.sign(&claims(&json!({}))));
    assert_eq!(guarded.status("/jwt/x", &old).await, 200);
    let failed = "gateway_auth_key_refreshes_total{outcome=\"failed\",source=\"main\"}";
    for broken in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &Signer::ed25519("k").pem()] {
        guarded.replace("key.pem", broken);
        let before = guarded.metric(failed).await;
        eventually("it is refused", async || guarded.metric(failed).await > before).await;
        assert_eq!(guarded.status("/jwt/x", &old).await, 200);
    }
    guarded.replace("key.pem", &new.pem());
    eventually("it is in force", async || guarded.status("/jwt/x", &token).await == 200).await;
    assert_eq!(guarded.status("/jwt/x", &old).await, 401);
}
