//! Several gateways over one shared store.

use serde_json::json;

use super::Ramp;
use crate::harness::{Behaviour, Gateway, Instance, config, eventually};

const PLAN: &str = r#"
[routes.ramp]
steps = [{ percent = 10, time = "1h" }, { percent = 50, time = "1h" }]
lease = "2s"
"#;

async fn conductors(gateways: &[Gateway]) -> Vec<usize> {
    let mut found = Vec::new();
    for (index, gateway) in gateways.iter().enumerate() {
        if gateway.ramp_view().await["here"]["conducts"] == json!(true) {
            found.push(index);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_gateways_conducts_and_another_takes_over_by_way_of_the_proven_weight() {
    let database = testkit::postgres().await;
    let [legacy, candidate] = [(); 2].map(|()| Instance::start(Behaviour::Answer(200)));
    let text = crate::control::shared(&config(legacy.address, candidate.address, PLAN, ""), &database.url);
    let mut gateways = vec![Gateway::start(&text, "[routes.invoke]\npercent = 0\n")];
    gateways.extend((1..3).map(|_| Gateway::start(&text, "")));
    gateways[0].start_ramp().await;
    for gateway in &gateways {
        gateway.reaches_percent(10.0).await;
    }
    let first = conductors(&gateways).await;
    assert_eq!(first.len(), 1, "{first:?}");
    gateways[0].ramp("promote").await;
    for gateway in &gateways {
        gateway.reaches_percent(50.0).await;
    }
    // Dropping it kills it.
    drop(gateways.remove(first[0]));
    for gateway in &gateways {
        gateway.reaches_percent(10.0).await;
    }
    eventually("another conducts", async || conductors(&gateways).await.len() == 1).await;
    for gateway in &gateways {
        gateway.reaches_percent(50.0).await;
    }
    assert_eq!(conductors(&gateways).await.len(), 1);
    let ramp = Ramp { legacy, candidate, gateway: gateways.remove(0) };
    ramp.gateway.ramp("abort").await;
    gateways[0].reaches_percent(0.0).await;
    drop(ramp);
}
