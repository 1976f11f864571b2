//! Cron triggers, which stay with the monolith.

use serde_json::{Value, json};

use super::super::{
    reply::Reply,
    step::{Case, UNKNOWN, delete, get, post, post_text},
};

const TRIGGERS: &str = "/api/v1/functions/{function}/triggers/cron";
const ECHO: &str = "def handler(event, context):\n    return event\n";

pub fn cases() -> Vec<Case> {
    vec![life(), disabled(), refused(), runs()]
}

/// The quirk: the answer speaks of a webhook.
fn created() -> Reply {
    Reply::json(202, json!({"status": "webhook received"}))
}

fn none() -> Reply {
    Reply::json(200, json!(null))
}

fn trigger(name: &str, cron_expression: &str, timezone: &str) -> Value {
    json!({
        "id": "[trigger]", "function_id": "[function]", "name": name, "cron_expression": cron_expression,
        "timezone": timezone, "enabled": true, "last_run_at": null, "next_run_at": "[time]", "created_at": "[time]",
        "updated_at": "[time]",
    })
}

fn life() -> Case {
    let nightly =
        json!({"name": "nightly", "cron_expression": "0 0 3 * * *", "timezone": "Europe/Berlin", "enabled": true});
    Case::new("life of a cron trigger")
        .with_function("python3.11", ECHO)
        .then(get(TRIGGERS).answers(none()))
        .then(post(TRIGGERS, &nightly).answers(created()))
        .then(
            get(TRIGGERS)
                .answers(Reply::json(200, json!([trigger("nightly", "0 0 3 * * *", "Europe/Berlin")])))
                .captures("trigger", "/0/id"),
        )
        .then(delete("/api/v1/triggers/cron/{trigger}").answers(Reply::empty(204)))
        .then(delete("/api/v1/triggers/cron/{trigger}").answers(Reply::text_refused(500)))
        .then(get(TRIGGERS).answers(none()))
        .then(post(TRIGGERS, &json!({"name": "defaults", "cron_expression": "*/5 * * * * 1-5"})).answers(created()))
        .then(
            get(TRIGGERS)
                .answers(Reply::json(200, json!([trigger("defaults", "*/5 * * * * 1-5", "UTC")])))
                .captures("trigger", "/0/id"),
        )
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
        .then(get(TRIGGERS).answers(none()))
        .then(delete("/api/v1/triggers/cron/{trigger}").answers(Reply::text_refused(500)))
}

fn disabled() -> Case {
    let body = json!({"name": "off", "cron_expression": "* * * * * *", "enabled": false});
    let mut listed = trigger("off", "* * * * * *", "UTC");
    listed["enabled"] = json!(false);
    Case::new("a disabled cron trigger")
        .with_function("python3.11", ECHO)
        .then(post(TRIGGERS, &body).answers(created()))
        .then(get(TRIGGERS).answers(Reply::json(200, json!([listed]))).captures("trigger", "/0/id"))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}

fn refused() -> Case {
    let bad = [
        json!({"name": "five fields", "cron_expression": "* * * * *"}),
        json!({"name": "no expression"}),
        json!({"name": "nonsense", "cron_expression": "every day"}),
        json!({"name": "out of range", "cron_expression": "0 0 25 * * *"}),
        json!({"name": "no such zone", "cron_expression": "* * * * * *", "timezone": "Mars/Phobos"}),
    ];
    let mut case = Case::new("refused cron triggers")
        .with_function("python3.11", ECHO)
        .then(post_text(TRIGGERS, "every day").answers(Reply::text_refused(400)))
        .then(post_text(TRIGGERS, "").answers(Reply::text_refused(400)))
        .then(post(TRIGGERS, &json!({"cron_expression": 5})).answers(Reply::text_refused(400)));
    for body in bad {
        case = case.then(post(TRIGGERS, &body).answers(Reply::text_refused(500)));
    }
    let good = json!({"name": "n", "cron_expression": "* * * * * *"});
    let unknown = format!("/api/v1/functions/{UNKNOWN}/triggers/cron");
    case.then(get(TRIGGERS).answers(none()))
        .then(post(&unknown, &good).answers(Reply::text_refused(500)))
        .then(post("/api/v1/functions/nope/triggers/cron", &good).answers(Reply::text_refused(500)))
        .then(get(&unknown).answers(none()))
        .then(delete("/api/v1/triggers/cron/nope").answers(Reply::text_refused(500)))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}

/// A trigger's event reaches its function.
fn runs() -> Case {
    let body = json!({"name": "always", "cron_expression": "* * * * * *"});
    let mut ran = trigger("always", "* * * * * *", "UTC");
    ran["last_run_at"] = json!("[time]");
    Case::new("a cron trigger runs")
        .with_function("python3.11", ECHO)
        .then(post(TRIGGERS, &body).answers(created()))
        .then(get(TRIGGERS).answers(Reply::json(200, json!([ran]))).captures("trigger", "/0/id").eventually())
        .then(delete("/api/v1/triggers/cron/{trigger}").answers(Reply::empty(204)))
        .then(get("/api/v1/functions/{function}/events?limit=1").answers(event()).eventually())
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}

fn event() -> Reply {
    let event = json!({
        "id": "[id]", "event_id": "[id]", "function_id": "[function]", "event_type": "cron", "status": "success",
        "duration_ms": "[number]", "error_message": null, "created_at": "[time]",
    });
    Reply::json(200, json!([event]))
}
