//! Services start in any order, and say what is missing.

use testkit::{ChaosProxy, Network, eventually};

use crate::system::{Ground, SOON};

#[tokio::test]
async fn it_starts_before_its_database_and_says_so() {
    let ground = Ground::new().await;
    let proxy = ChaosProxy::start(ground.database.address()).await;
    proxy.set(Network::Refuse).await;
    let url = ground.database.url_through(&proxy.address().to_string());
    let service = ground.process("both").env("BUILD_SERVICE__DATABASE__URL", url).spawn().await;
    let client = reqwest::Client::new();
    eventually(SOON, || async {
        let Ok(answer) = client.get(service.url("/readyz")).send().await else { return false };
        let text = answer.text().await.unwrap_or_default();
        text.contains("\"database\"") && text.contains("\"queue\"")
    })
    .await;
    let early = client.get(service.url("/builds")).send().await.unwrap();
    assert_eq!((early.status().as_u16(), early.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    proxy.set(Network::Pass).await;
    service.ready().await;
    assert!(service.terminate(SOON).await.success());
}

#[tokio::test]
async fn it_serves_what_it_is_held_to() {
    let system = Ground::new().await.start("master").await;
    let served = system.get("/openapi.json").await.body;
    assert_eq!(served, serde_json::from_str::<serde_json::Value>(include_str!("../openapi.json")).unwrap());
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        assert_eq!(system.get(path).await.status, 200, "{path}");
    }
    assert_eq!(system.get("/nothing").await.status, 404);
}
