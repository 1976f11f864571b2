//! Functions: create, list, show, delete, and `PUT`, which was never built.

use serde_json::{Value, json};

use super::super::{
    reply::Reply,
    step::{Case, UNKNOWN, delete, get, post, post_text, put},
};

const FUNCTIONS: &str = "/api/v1/functions";
const FUNCTION: &str = "/api/v1/functions/{function}";
const ECHO: &str = "def handler(event, context):\n    return event\n";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![life(), defaults(), newest_first()];
    cases.extend(accepted());
    cases.extend(refused());
    cases.extend(unknown_ids());
    cases
}

fn life() -> Case {
    let fields = json!({
        "name": "{run} life", "runtime": "python3.11", "handler": "index.handler", "code": ECHO, "timeout": 5,
        "memory": 256, "environment": {"MODE": "test", "LEER": ""},
    });
    let summary = json!({
        "function_id": "[function]", "name": "[run] life", "runtime": "python3.11", "created_at": "[time]",
    });
    let detail = json!({
        "function_id": "[function]", "name": "[run] life", "runtime": "python3.11", "handler": "index.handler",
        "timeout": 5, "memory": 256, "environment": {"MODE": "test", "LEER": ""}, "created_at": "[time]",
        "updated_at": "[time]",
    });
    let mut again = summary.clone();
    again["function_id"] = json!("[again]");
    Case::new("life of a function")
        .then(post(FUNCTIONS, &fields).answers(Reply::json(201, summary.clone())).captures("function", "/function_id"))
        .then(get(FUNCTION).answers(Reply::json(200, detail.clone())))
        .then(get(FUNCTIONS).answers(Reply::json(200, json!({"functions": [summary], "count": 1}))))
        .then(post(FUNCTIONS, &fields).answers(Reply::refused(409, "function_exists")))
        .then(put(FUNCTION, &fields).answers(Reply::refused(501, "not_implemented")))
        .then(get(FUNCTION).answers(Reply::json(200, detail)))
        .then(delete(FUNCTION).answers(Reply::empty(204)))
        .then(delete(FUNCTION).answers(Reply::refused(404, "not_found")))
        .then(get(FUNCTION).answers(Reply::refused(404, "function_not_found")))
        .then(post(&format!("{FUNCTION}/invoke"), &json!({})).answers_apart(
            // The defect: a function that is not there is a failure inside.
            Reply::refused(500, "failed_to_get_function"),
            Reply::refused(404, "function_not_found"),
        ))
        .then(get(&format!("{FUNCTION}/executions")).answers(no_executions()))
        .then(post(FUNCTIONS, &fields).answers(Reply::json(201, again)).captures("again", "/function_id"))
        .then(delete("/api/v1/functions/{again}").answers(Reply::empty(204)))
}

fn no_executions() -> Reply {
    Reply::json(200, json!({"executions": [], "count": 0}))
}

fn defaults() -> Case {
    let detail = json!({
        "function_id": "[function]", "name": "[run] defaults", "runtime": "nodejs18", "handler": "handler",
        "timeout": 30, "memory": 128, "environment": {}, "created_at": "[time]", "updated_at": "[time]",
    });
    Case::new("defaults")
        .with_function("nodejs18", "const handler = (event) => event;")
        .then(get(FUNCTION).answers(Reply::json(200, detail)))
        .then(delete(FUNCTION).answers(Reply::empty(204)))
}

fn newest_first() -> Case {
    let summary = |name: &str| json!({"function_id": format!("[{name}]"), "name": format!("[run] {name}"), "runtime": "python3.9", "created_at": "[time]"});
    let create = |name: &'static str| {
        let fields = json!({"name": format!("{{run}} {name}"), "runtime": "python3.9", "code": ECHO});
        post(FUNCTIONS, &fields).answers(Reply::json(201, summary(name))).captures(name, "/function_id")
    };
    let listed = |names: &[&str]| {
        let functions: Vec<Value> = names.iter().map(|name| summary(name)).collect();
        get(FUNCTIONS).answers(Reply::json(200, json!({"count": names.len(), "functions": functions})))
    };
    Case::new("the list is newest first")
        .then(listed(&[]))
        .then(create("first"))
        .then(create("second"))
        .then(create("third"))
        .then(listed(&["third", "second", "first"]))
        .then(delete("/api/v1/functions/{second}").answers(Reply::empty(204)))
        .then(listed(&["third", "first"]))
        .then(delete("/api/v1/functions/{first}").answers(Reply::empty(204)))
        .then(delete("/api/v1/functions/{third}").answers(Reply::empty(204)))
}

/// Bodies that are a function although one might think otherwise.
fn accepted() -> impl Iterator<Item = Case> {
    // The run's name is six characters long.
    let longest = format!("{{run}}{}", "ü".repeat(249));
    let cases = [
        ("null counts as missing", json!({"handler": null, "timeout": null, "memory": null, "environment": null})),
        ("unknown fields are ignored", json!({"tags": ["a"], "code_key": "mine", "function_id": UNKNOWN})),
        ("an empty handler is the default", json!({"handler": ""})),
        ("a name of 255 characters", json!({"name": longest})),
        ("a name with quotes", json!({"name": "{run} '; drop table functions; -- \" \\ 漢字 🦀"})),
        ("the most of everything", json!({"timeout": 900, "memory": 10_240})),
        ("the least of everything", json!({"timeout": 1, "memory": 1})),
        ("every character in the environment", json!({"environment": {"A": "\u{1}\n\"'\\ü=漢字🦀", "ü": "1"}})),
        ("code that is no code", json!({"code": "\u{0}{{{ def \u{1F980}"})),
        ("the runtime of Go", json!({"runtime": "go1.21"})),
    ];
    cases.into_iter().map(|(name, fields)| {
        let body = with_fields(name, &fields);
        let shown = body["name"].as_str().expect("a name").replace("{run}", "[run]");
        let reply = json!({
            "function_id": "[function]", "name": shown, "runtime": body["runtime"], "created_at": "[time]",
        });
        let environment = body["environment"].as_object().cloned().unwrap_or_default();
        let detail = json!({
            "function_id": "[function]", "name": shown, "runtime": body["runtime"], "handler": "handler",
            "timeout": body["timeout"].as_u64().unwrap_or(30), "memory": body["memory"].as_u64().unwrap_or(128),
            "environment": environment, "created_at": "[time]", "updated_at": "[time]",
        });
        Case::new(format!("created: {name}"))
            .then(post(FUNCTIONS, &body).answers(Reply::json(201, reply)).captures("function", "/function_id"))
            .then(get(FUNCTION).answers(Reply::json(200, detail)))
            .then(delete(FUNCTION).answers(Reply::empty(204)))
    })
}

/// A good body with some of its fields replaced.
fn with_fields(name: &str, fields: &Value) -> Value {
    let mut body = json!({"name": format!("{{run}} {name}"), "runtime": "python3.11", "code": ECHO});
    for (field, value) in fields.as_object().expect("fields") {
        body[field] = value.clone();
    }
    body
}

fn refused() -> impl Iterator<Item = Case> {
    let texts =
        [("no body", ""), ("not JSON", "{\"name\":"), ("two values", "{} {}"), ("null", "null"), ("a list", "[]")];
    let texts = texts.map(|(name, text)| (name, text.to_owned(), "invalid_request"));
    let cases = [
        ("no name", json!({"name": null}), "invalid_request"),
        ("an empty name", json!({"name": ""}), "invalid_request"),
        ("a number as name", json!({"name": 7}), "invalid_request"),
        ("no runtime", json!({"runtime": null}), "invalid_request"),
        ("an empty runtime", json!({"runtime": ""}), "invalid_request"),
        ("no code", json!({"code": null}), "invalid_request"),
        ("empty code", json!({"code": ""}), "invalid_request"),
        ("text as timeout", json!({"timeout": "30"}), "invalid_request"),
        ("a fraction as timeout", json!({"timeout": 1.5}), "invalid_request"),
        ("a list as environment", json!({"environment": []}), "invalid_request"),
        ("a number in the environment", json!({"environment": {"A": 1}}), "invalid_request"),
        ("a name of 256 characters", json!({"name": format!("{{run}}{}", "n".repeat(250))}), "validation_failed"),
        ("a name with NUL", json!({"name": "{run} a\u{0}b"}), "validation_failed"),
        ("a handler with NUL", json!({"handler": "a\u{0}b"}), "validation_failed"),
        ("a timeout over 15 minutes", json!({"timeout": 901}), "validation_failed"),
        ("a timeout beyond all numbers", json!({"timeout": i64::MAX}), "validation_failed"),
        ("no time at all", json!({"timeout": 0}), "validation_failed"),
        ("negative memory", json!({"memory": -1}), "validation_failed"),
        ("no memory", json!({"memory": 0}), "validation_failed"),
        ("memory over 10240 MB", json!({"memory": 10_241}), "validation_failed"),
        ("a variable with = in its name", json!({"environment": {"A=B": "c"}}), "validation_failed"),
        ("a variable without a name", json!({"environment": {"": "c"}}), "validation_failed"),
        ("a variable with NUL", json!({"environment": {"A": "\u{0}"}}), "validation_failed"),
        ("a runtime of tomorrow", json!({"runtime": "python4.0"}), "invalid_runtime"),
        ("a runtime in capitals", json!({"runtime": "PYTHON3.11"}), "invalid_runtime"),
        // In this order, as the monolith checks.
        ("a bad timeout and a bad runtime", json!({"timeout": 901, "runtime": "cobol"}), "validation_failed"),
        ("no code and a bad timeout", json!({"code": "", "timeout": 901}), "invalid_request"),
    ];
    let cases = cases.map(|(name, fields, code)| (name, with_fields(name, &fields).to_string(), code));
    texts.into_iter().chain(cases).map(|(name, body, code)| {
        Case::new(format!("not created: {name}")).then(post_text(FUNCTIONS, &body).answers(Reply::refused(400, code)))
    })
}

fn unknown_ids() -> impl Iterator<Item = Case> {
    // Not with an encoded slash: the gateway lets no such path through.
    [UNKNOWN, "nope", "00000000-0000-0000-0000-000000000000", "%20", "%27%20OR%201=1", "ü"].into_iter().map(|id| {
        let function = format!("{FUNCTIONS}/{id}");
        Case::new(format!("no function has the id {id}"))
            .then(get(&function).answers(Reply::refused(404, "function_not_found")))
            .then(put(&function, &json!({})).answers(Reply::refused(501, "not_implemented")))
            .then(delete(&function).answers(Reply::refused(404, "not_found")))
            .then(get(&format!("{function}/executions")).answers(no_executions()))
            .then(post(&format!("{function}/invoke"), &json!({})).answers_apart(
                Reply::refused(500, "failed_to_get_function"),
                Reply::refused(404, "function_not_found"),
            ))
    })
}
