//! The words in which cases are written.

use reqwest::Method;
use serde_json::{Value, json};

use super::reply::Reply;
use crate::mini_lambda::site::Side;

/// A path that stands for no function.
pub const UNKNOWN: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";

/// Requests that belong together; what one captures, those after it use.
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
}

impl Case {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), steps: Vec::new() }
    }

    /// Adds a step.
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Creates a function, as `{function}` from here on.
    pub fn with_function(self, runtime: &str, code: &str) -> Self {
        self.with_function_of(json!({"runtime": runtime, "code": code}))
    }

    /// The same with these fields, and a name after the case's.
    pub fn with_function_of(self, mut fields: Value) -> Self {
        let name = format!("{{run}} {}", self.name);
        fields["name"] = json!(name);
        let created = json!({
            "function_id": "[function]", "name": name.replace("{run}", "[run]"), "runtime": fields["runtime"],
            "created_at": "[time]",
        });
        self.then(
            post("/api/v1/functions", &fields).answers(Reply::json(201, created)).captures("function", "/function_id"),
        )
    }
}

/// A request and the answers that it must have.
pub struct Step {
    pub request: Request,
    pub expected: Expected,
    /// Names for what the answer holds at these JSON pointers.
    pub captures: Vec<(&'static str, &'static str)>,
    /// Whether the answer comes only after a while.
    pub is_awaited: bool,
}

/// What is answered.
pub enum Expected {
    /// The same by both sides.
    Alike(Reply),
    /// Something else by each, as the contract says.
    Apart { legacy: Reply, candidate: Reply },
}

impl Expected {
    pub fn of(&self, side: Side) -> &Reply {
        match (self, side) {
            (Self::Alike(reply), _) | (Self::Apart { legacy: reply, .. }, Side::Legacy) => reply,
            (Self::Apart { candidate, .. }, Side::Candidate) => candidate,
        }
    }
}

impl Step {
    /// Names what the answer holds at a JSON pointer: `{name}` in later requests, `[name]` in answers.
    pub fn captures(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.captures.push((name, pointer));
        self
    }

    /// The answer comes only after a while; until then the request is repeated.
    pub fn eventually(mut self) -> Self {
        self.is_awaited = true;
        self
    }
}

/// A request, with holes such as `{run}` and `{function}`.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

pub fn get(path: &str) -> Request {
    Request::new(Method::GET, path, String::new())
}

pub fn delete(path: &str) -> Request {
    Request::new(Method::DELETE, path, String::new())
}

pub fn put(path: &str, body: &Value) -> Request {
    Request::new(Method::PUT, path, body.to_string())
}

pub fn post(path: &str, body: &Value) -> Request {
    Request::new(Method::POST, path, body.to_string()).header("content-type", "application/json")
}

/// A body that is no JSON, or none at all.
pub fn post_text(path: &str, body: &str) -> Request {
    Request::new(Method::POST, path, body.to_owned())
}

impl Request {
    fn new(method: Method, path: &str, body: String) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Both sides answer this.
    pub fn answers(self, reply: Reply) -> Step {
        self.expecting(Expected::Alike(reply))
    }

    /// The contract says that the sides differ here.
    pub fn answers_apart(self, legacy: Reply, candidate: Reply) -> Step {
        self.expecting(Expected::Apart { legacy, candidate })
    }

    fn expecting(self, expected: Expected) -> Step {
        Step { request: self, expected, captures: Vec::new(), is_awaited: false }
    }

    /// Which side has this route, and where the gateway sends it.
    pub fn home(&self) -> Home {
        let path = self.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (self.method.as_str(), parts.as_slice()) {
            ("GET", ["health"]) => Home::EachOwn,
            ("GET", ["metrics"]) | ("PUT", ["api", "v1", "functions", _]) => Home::Stays,
            ("GET" | "POST", ["api", "v1", "functions"])
            | ("GET" | "DELETE", ["api", "v1", "functions", _])
            | ("POST", ["api", "v1", "functions", _, "invoke"])
            | ("GET", ["api", "v1", "functions", _, "executions"]) => Home::Moves,
            ("GET" | "POST", ["functions", ..]) | ("POST", ["invoke"]) => Home::CandidateOnly,
            _ => Home::LegacyOnly,
        }
    }

    /// The function whose key decides where the request goes, as it stands in the path.
    pub fn key(&self) -> Option<&str> {
        let mut parts = self.path.strip_prefix("/api/v1/functions/")?.split('/');
        parts.next().filter(|_| self.home() == Home::Moves)
    }
}

/// Which side has a route, and where the gateway sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// Both have it, and its weight decides.
    Moves,
    /// Both have it, and the gateway leaves it with legacy.
    Stays,
    /// Both have it, and so has the gateway, of its own.
    EachOwn,
    LegacyOnly,
    CandidateOnly,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        if self.body.is_empty() { Ok(()) } else { write!(f, " {}", shortened(&self.body)) }
    }
}

fn shortened(body: &str) -> String {
    const SHOWN: usize = 200;
    if body.chars().count() <= SHOWN {
        body.to_owned()
    } else {
        body.chars().take(SHOWN).chain("…".chars()).collect()
    }
}
