//! Webhooks and the events they cause, which stay with the monolith.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::super::{
    reply::Reply,
    step::{Case, Request, UNKNOWN, delete, get, post, post_text},
};

const WEBHOOKS: &str = "/api/v1/functions/{function}/webhooks";
const EVENTS: &str = "/api/v1/functions/{function}/events";
const HOOK: &str = "/webhooks/{run}/push";
const BODY: &str = r#"{"ref": "main"}"#;
const ECHO: &str = "def handler(event, context):\n    return event\n";

pub fn cases() -> Vec<Case> {
    vec![life(), signatures(), unsigned(), refused(), no_events()]
}

/// A webhook with the secret `s3cret`, at `{run}/push`.
fn definition() -> Value {
    json!({
        "name": "forge", "path": "/{run}/push", "secret": "s3cret", "signature_header": "X-Hub-Signature-256",
        "headers": {"x-team": "core"},
    })
}

fn created() -> Reply {
    let webhook = json!({
        "id": "[webhook]", "function_id": "[function]", "name": "forge", "path": "/[run]/push", "secret": "s3cret",
        "signature_header": "X-Hub-Signature-256", "enabled": true, "headers": {"x-team": "core"},
        "created_at": "[time]", "updated_at": "[time]",
    });
    Reply::json(201, webhook)
}

fn case(name: &str) -> Case {
    Case::new(name)
        .with_function("python3.11", ECHO)
        .then(post(WEBHOOKS, &definition()).answers(created()).captures("webhook", "/id"))
}

fn ended(case: Case) -> Case {
    case.then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
        .then(post_text(HOOK, BODY).answers(Reply::text_refused(400)))
}

fn received() -> Reply {
    Reply::json(200, json!({"status": "received"}))
}

/// Hex of the HMAC-SHA256 of `body`.
fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn signed(request: Request, signature: &str) -> Request {
    request.header("x-hub-signature-256", signature)
}

fn life() -> Case {
    let genuine = signature("s3cret", BODY);
    let gone = "/api/v1/webhooks/{webhook}";
    case("life of a webhook")
        // The path belongs to the first.
        .then(post(WEBHOOKS, &definition()).answers(Reply::text_refused(500)))
        .then(signed(post_text(HOOK, BODY), &genuine).answers(received()))
        .then(get(EVENTS).answers(events(1)).eventually())
        .then(delete(gone).answers(Reply::empty(204)))
        .then(delete(gone).answers(Reply::text_refused(500)))
        .then(signed(post_text(HOOK, BODY), &genuine).answers(Reply::text_refused(400)))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}

fn events(count: usize) -> Reply {
    let event = json!({
        "id": "[id]", "event_id": "[id]", "function_id": "[function]", "event_type": "webhook", "status": "success",
        "duration_ms": "[number]", "error_message": null, "created_at": "[time]",
    });
    Reply::json(200, Value::from(vec![event; count]))
}

fn signatures() -> Case {
    let genuine = signature("s3cret", BODY);
    let accepted = [
        genuine.clone(),
        genuine.to_uppercase(),
        format!("sha256={genuine}"),
        format!("sha1={genuine}"),
        format!("v0={genuine}"),
    ];
    let forged = [
        signature("another secret", BODY),
        signature("s3cret", "{}"),
        genuine[..62].to_owned(),
        format!("sha512={genuine}"),
        "nonsense".to_owned(),
        String::new(),
    ];
    let mut case = case("signatures");
    for signature in &accepted {
        case = case.then(signed(post_text(HOOK, BODY), signature).answers(received()));
    }
    for signature in &forged {
        case = case.then(signed(post_text(HOOK, BODY), signature).answers(Reply::text_refused(400)));
    }
    let empty = signature("s3cret", "");
    case = case
        .then(signed(get(HOOK), &empty).answers(received()))
        .then(signed(get(&format!("{HOOK}?a=b")), &empty).answers(received()))
        // The defect: without a signature it is accepted. The candidate will refuse it with 401 when it has
        // webhooks.
        .then(post_text(HOOK, BODY).answers(received()))
        .then(get(EVENTS).answers(events(accepted.len() + 3)).eventually())
        .then(get(&format!("{EVENTS}?limit=2&offset=6")).answers(events(2)))
        .then(get(&format!("{EVENTS}?limit=2&offset=7")).answers(events(1)))
        .then(get(&format!("{EVENTS}?limit=2&offset=8")).answers(events(0)));
    ended(case)
}

/// Any body is an event, and a webhook without a secret takes it from anybody.
fn unsigned() -> Case {
    let definition = json!({"name": "open", "path": "{run}/push"});
    let webhook = json!({
        "id": "[webhook]", "function_id": "[function]", "name": "open", "path": "[run]/push", "secret": "",
        "signature_header": "", "enabled": true, "headers": {}, "created_at": "[time]", "updated_at": "[time]",
    });
    let case = Case::new("a webhook without a secret")
        .with_function("nodejs20", "function handler(event) { return event.body; }")
        .then(post(WEBHOOKS, &definition).answers(Reply::json(201, webhook)).captures("webhook", "/id"))
        .then(post_text(HOOK, "").answers(received()))
        .then(post_text(HOOK, "text, and no JSON: ü \u{0}").answers(received()))
        .then(signed(post_text(HOOK, BODY), "nonsense").answers(received()))
        .then(get(EVENTS).answers(events(3)).eventually());
    ended(case)
}

fn refused() -> Case {
    let unknown = format!("/api/v1/functions/{UNKNOWN}/webhooks");
    Case::new("refused webhooks")
        .with_function("python3.11", ECHO)
        .then(post_text(WEBHOOKS, "?").answers(Reply::text_refused(400)))
        .then(post_text(WEBHOOKS, "").answers(Reply::text_refused(400)))
        .then(post(WEBHOOKS, &json!({"name": "no path"})).answers(Reply::text_refused(400)))
        .then(post(WEBHOOKS, &json!({"path": 7})).answers(Reply::text_refused(400)))
        .then(post(&unknown, &definition()).answers(Reply::text_refused(500)))
        .then(post("/api/v1/functions/nope/webhooks", &definition()).answers(Reply::text_refused(500)))
        .then(delete(&format!("/api/v1/webhooks/{UNKNOWN}")).answers(Reply::text_refused(500)))
        .then(delete("/api/v1/webhooks/nope").answers(Reply::text_refused(500)))
        .then(post_text(HOOK, BODY).answers(Reply::text_refused(400)))
        .then(get(HOOK).answers(Reply::text_refused(400)))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}

fn no_events() -> Case {
    let none = || Reply::json(200, json!([]));
    Case::new("no events")
        .with_function("python3.11", ECHO)
        .then(get(EVENTS).answers(none()))
        .then(get(&format!("{EVENTS}?limit=x&offset=-1")).answers(none()))
        .then(get(&format!("/api/v1/functions/{UNKNOWN}/events")).answers(none()))
        .then(get("/api/v1/functions/nope/events").answers(none()))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}
