//! Two independent servers of one contract, compared while one of them serves: invocations go to the
//! monolith, and copies of them to the candidate, which runs them dry.

use reqwest::Client;
use serde_json::json;
use testkit::eventually;
use toml_edit::{DocumentMut, Table, value};

use super::{
    operator::Operator,
    site::{PATIENCE, Site, System, answer},
};

/// Two of the three ways in which the contract says that the sides differ: the monolith calls `handler`
/// whatever a function's settings say, and where there is no such function it answers 500 with a code of
/// its own. The third, the limit of memory, is not here: it has to be found.
const ALLOWED: [&str; 4] = ["$.output.called", "status", "$.error", "$.message"];

const CODE: &str = "def answer(called, context):\n    return {'called': called, 'memory': context.memory_limit_mb}\n\
                    def handler(event, context):\n    return answer('handler', context)\n\
                    def main(event, context):\n    return answer('main', context)\n";

/// The memory that the monolith gives every function, in MiB.
const MONOLITHS: u32 = 512;

#[tokio::test]
async fn what_two_servers_of_a_contract_answer_differently_is_reported_but_for_what_the_rules_allow() {
    let site = Site::new();
    site.edit("gateway.toml", |document| {
        document["shadow"]["dry_run_interval"] = value("200ms");
        let rules = route(document)["shadow"]["compare"]["rules"].as_array_of_tables_mut().expect("it has rules");
        for path in ALLOWED {
            let mut rule = Table::new();
            rule["path"] = value(path);
            rule["rule"] = value("ignore");
            rules.push(rule);
        }
    });
    let system = site.start().await;
    let operator = Operator::of(&system);
    operator.json(&["shadow", "set", "invoke", "100", "--reason", "before the first weight"]).await;
    agreed(&system).await;

    let same = function(&system, "same", "index.handler", MONOLITHS).await;
    let other_handler = function(&system, "other-handler", "index.main", MONOLITHS).await;
    let other_memory = function(&system, "other-memory", "index.handler", 200).await;
    for id in [&same, &same, &other_handler, "no-such-function", &other_memory] {
        invoke(&system, id).await;
    }
    eventually(PATIENCE, || async { compared(&operator).await == Compared { alike: 4, different: 1 } }).await;
    let report = operator.json(&["shadow", "report"]).await;
    let clusters = report["report"]["clusters"].as_array().expect("clusters");
    let found: Vec<_> = clusters.iter().map(|found| (&found["path"], &found["kind"], &found["count"])).collect();
    assert_eq!(found, [(&json!("$.output.memory"), &json!("value"), &json!(1))], "{report}");

    let id = report["mismatches"][0]["id"].as_str().expect("an id");
    let shown = operator.json(&["shadow", "diff", id]).await;
    let difference = json!({"path": "$.output.memory", "kind": "value", "legacy": "512", "candidate": "200"});
    assert_eq!(shown["mismatch"]["differences"], json!([difference]), "{shown}");

    operator.json(&["shadow", "ignore", "invoke", "$.output.memory", "--reason", "the contract says so"]).await;
    invoke(&system, &other_memory).await;
    eventually(PATIENCE, || async { compared(&operator).await == Compared { alike: 5, different: 1 } }).await;
    system.stack.stop().await;
}

fn route(document: &mut DocumentMut) -> &mut Table {
    let routes = document["routes"].as_array_of_tables_mut().expect("it has routes");
    routes.iter_mut().find(|route| route["name"].as_str() == Some("invoke")).expect("a route of that name")
}

/// Waits until the candidate has agreed to run dry.
async fn agreed(system: &System) {
    let metrics = system.url("admin", "/metrics");
    eventually(PATIENCE, || async {
        let answered = Client::new().get(&metrics).bearer_auth(system.token()).send().await.expect("an answer");
        let text = answered.text().await.expect("a whole answer");
        text.contains("gateway_shadow_dry_run_agreed{upstream=\"lambda\"} 1\n")
    })
    .await;
}

async fn function(system: &System, name: &str, handler: &str, memory: u32) -> String {
    let fields = json!({"name": name, "runtime": "python3.11", "code": CODE, "handler": handler, "memory": memory});
    system.create("legacy", &fields).await
}

async fn invoke(system: &System, id: &str) {
    let url = system.url("gateway", &format!("/api/v1/functions/{id}/invoke"));
    let (status, answered) = answer(system.client.post(url).json(&json!({}))).await;
    assert!(status == 200 || id == "no-such-function", "{status}: {answered}");
}

/// What came of the invocations that were compared.
#[derive(Debug, PartialEq)]
struct Compared {
    /// Equal, or different only where the rules allow it.
    alike: u64,
    different: u64,
}

async fn compared(operator: &Operator) -> Compared {
    let report = operator.json(&["shadow", "report", "--route", "invoke"]).await;
    let counted = report["report"]["routes"][0]["outcomes"].as_array().expect("outcomes");
    let sum = |wanted: &[&str]| -> u64 {
        let of_it = counted.iter().filter(|counted| wanted.contains(&counted["outcome"].as_str().expect("a name")));
        of_it.map(|counted| counted["requests"].as_u64().expect("a count")).sum()
    };
    Compared { alike: sum(&["equal", "ignored"]), different: sum(&["different"]) }
}
