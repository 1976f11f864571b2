//! The shorter routes of the new contract, which only the candidate has.

use serde_json::{Value, json};

use super::super::{
    reply::Reply,
    step::{Case, UNKNOWN, delete, get, post, post_text},
};

const ECHO: &str = "def handler(event, context):\n    return event\n";

pub fn cases() -> Vec<Case> {
    vec![functions(), invocations(), refusals()]
}

fn detail() -> Value {
    json!({
        "function_id": "[function]", "name": "[run] new routes: functions", "runtime": "python3.11",
        "handler": "handler", "timeout": 30, "memory": 128, "environment": {}, "created_at": "[time]",
        "updated_at": "[time]",
    })
}

fn not_found() -> Reply {
    Reply::problem(404, "function_not_found", "Function not found")
}

fn invalid() -> Reply {
    Reply::problem(400, "invalid_request", "Invalid request")
}

fn functions() -> Case {
    Case::new("new routes: functions")
        .with_function("python3.11", ECHO)
        .then(get("/functions/{function}").answers(Reply::json(200, detail())))
        .then(get("/functions?id={function}").answers(Reply::json(200, detail())))
        .then(get("/functions").answers(Reply::json(200, json!([detail()]))))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
        .then(get("/functions").answers(Reply::json(200, json!([]))))
        .then(get("/functions/{function}").answers(not_found()))
}

fn invocations() -> Case {
    let event = json!({"n": [1, "ü"]});
    Case::new("new routes: invocations")
        .with_function("python3.11", ECHO)
        .then(post("/functions/{function}/invoke", &event).answers(Reply::returned(event.clone())))
        .then(post_text("/functions/{function}/invoke", "").answers(Reply::returned(json!({}))))
        .then(post("/invoke", &json!({"function_id": "{function}", "payload": event})).answers(Reply::returned(event)))
        .then(post("/invoke", &json!({"function_id": "{function}"})).answers(Reply::returned(json!({}))))
        .then(
            post("/invoke", &json!({"function_id": "{function}", "payload": null})).answers(Reply::returned(json!({}))),
        )
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}

fn refusals() -> Case {
    Case::new("new routes: refusals")
        .then(get(&format!("/functions/{UNKNOWN}")).answers(not_found()))
        .then(get("/functions?id=nope").answers(not_found()))
        .then(post(&format!("/functions/{UNKNOWN}/invoke"), &json!({})).answers(not_found()))
        .then(post("/invoke", &json!({"function_id": UNKNOWN})).answers(not_found()))
        .then(post("/invoke", &json!({"payload": {}})).answers(invalid()))
        .then(post_text("/invoke", "").answers(invalid()))
        .then(post_text("/invoke", "{").answers(invalid()))
}
