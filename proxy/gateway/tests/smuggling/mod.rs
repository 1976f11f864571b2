//! Requests that try to be read in two ways.
//!
//! Each row of the tables is sent, byte by byte as it stands, through a gateway to an upstream that
//! keeps what it gets. A row says what must become of it: refused with a status, or forwarded as
//! exactly one request. Whatever a row says, this holds for all of them:
//!
//! - what the upstream got reads strictly (`strict`), as whole requests with nothing between them;
//! - it got no request but those that a row says it gets, and so did the access log;
//! - the next request on the same upstream connection arrives intact;
//! - the same is true when the row is the second request of a client's connection and a third
//!   follows it at once: nothing of one request becomes another.

mod recorder;
mod strict;

mod chunking;
mod connection;
mod framing;
mod headers;
mod host;
mod http2;
mod lines;
mod methods;
mod paths;
mod sizes;
mod whitespace;

use std::fmt;

use recorder::Recorder;
use strict::Seen;

use crate::harness::{self, Frames, Gateway, RawClient, StreamEnd, eventually};

/// One row.
pub struct Case {
    name: &'static str,
    sent: Vec<u8>,
    expect: Expect,
}

/// What must become of it.
#[derive(Clone)]
pub enum Expect {
    /// The upstream gets no request; the client this status.
    Refused(u16),
    /// More bytes would have to come. The upstream gets no whole request, whatever follows.
    Unfinished,
    /// The upstream gets this one request.
    Forwarded { method: &'static str, target: &'static str, host: &'static str, body: Vec<u8> },
}

pub fn case(name: &'static str, sent: impl AsRef<[u8]>, expect: Expect) -> Case {
    Case { name, sent: sent.as_ref().to_vec(), expect }
}

pub fn refused(status: u16) -> Expect {
    Expect::Refused(status)
}

/// Forwarded to the host `site`.
pub fn forwarded(method: &'static str, target: &'static str, body: impl AsRef<[u8]>) -> Expect {
    Expect::Forwarded { method, target, host: "site", body: body.as_ref().to_vec() }
}

impl Expect {
    pub fn host(mut self, name: &'static str) -> Self {
        if let Self::Forwarded { host, .. } = &mut self {
            *host = name;
        }
        self
    }

    fn request(&self) -> Option<Shape> {
        match self {
            Self::Forwarded { method, target, host, body } => Some(Shape {
                method: (*method).to_owned(),
                target: (*target).to_owned(),
                host: (*host).to_owned(),
                body: body.clone(),
            }),
            _ => None,
        }
    }
}

/// What of a request must be the same on both sides.
#[derive(PartialEq, Eq, Clone)]
struct Shape {
    method: String,
    target: String,
    host: String,
    body: Vec<u8>,
}

impl Shape {
    fn get(target: &str) -> Self {
        Self { method: "GET".to_owned(), target: target.to_owned(), host: "site".to_owned(), body: Vec::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: site\r\n\r\n", self.target).into_bytes()
    }
}

impl From<&Seen> for Shape {
    fn from(seen: &Seen) -> Self {
        let Seen { method, target, host, body, .. } = seen.clone();
        Self { method, target, host, body }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, host, body } = self;
        let end = &body[..body.len().min(80)];
        write!(f, "{method} {target} at {host}, {} bytes \"{}\"", body.len(), end.escape_ascii())
    }
}

/// A gateway in front of a recorder.
struct Bench {
    recorder: Recorder,
    gateway: Gateway,
    failures: Vec<String>,
    /// Everything that the upstream should have got by now.
    due: Vec<Shape>,
    probes: usize,
    violations: usize,
}

impl Bench {
    fn start(http: &str) -> Self {
        let recorder = Recorder::start();
        let limits = "read_timeout = \"2s\"\nbody_limit = \"100KiB\"\nheader_limit = \"16KiB\"";
        let config = harness::config(recorder.address, recorder.address, "", &format!("{limits}\n{http}"));
        let gateway = Gateway::start(&config, "");
        Self { recorder, gateway, failures: Vec::new(), due: Vec::new(), probes: 0, violations: 0 }
    }

    fn probe(&mut self) -> Shape {
        self.probes += 1;
        Shape::get(&format!("/files/probe/{}", self.probes))
    }

    /// The row by itself, and another request after it.
    fn alone(&mut self, case: &Case) {
        let mut client = RawClient::connect(self.gateway.http);
        client.send(&case.sent);
        if matches!(case.expect, Expect::Unfinished) {
            client.finish();
        }
        let came = client.final_answer(case.sent.starts_with(b"HEAD")).map(|answer| answer.status);
        drop(client);
        let expected = match case.expect {
            Expect::Refused(status) => Some(Some(status)),
            Expect::Unfinished => None,
            Expect::Forwarded { .. } => Some(Some(200)),
        };
        if expected.is_some_and(|expected| expected != came) {
            self.failures.push(format!("{}: got {came:?}", case.name));
        }
        self.due.extend(case.expect.request());
        self.after(case.name);
        self.compare(case.name);
    }

    /// Another request, on a connection of its own to the gateway.
    fn after(&mut self, name: &str) {
        let probe = self.probe();
        let mut client = RawClient::connect(self.gateway.http);
        client.send(probe.bytes());
        if client.answer(false).is_none_or(|answer| answer.status != 200) {
            self.failures.push(format!("{name}: the next request fails"));
        }
        self.due.push(probe);
    }

    /// A stream of HTTP/2, and a request of HTTP/1.1 after it.
    async fn stream(&mut self, row: http2::Row) {
        let (http, expected) = (self.gateway.http, row.forwarded.clone());
        let name = row.name;
        let end = tokio::task::spawn_blocking(move || row.send(&mut Frames::connect(http))).await.unwrap();
        let good = match (&expected, &end) {
            (Some(_), StreamEnd::Status(status)) => *status == 200,
            (None, StreamEnd::Status(status)) => (400..500).contains(status),
            (None, StreamEnd::Reset | StreamEnd::ConnectionEnded) => true,
            (Some(_), _) => false,
        };
        if !good {
            self.failures.push(format!("{name}: ended as {end:?}"));
        }
        self.due.extend(expected);
        self.after(name);
        self.compare(name);
    }

    /// The row between two others on one connection of a client.
    fn between(&mut self, case: &Case) {
        if matches!(case.expect, Expect::Unfinished) {
            return;
        }
        let (first, last) = (self.probe(), self.probe());
        let mut client = RawClient::connect(self.gateway.http);
        client.send(first.bytes());
        client.answer(false);
        client.send([case.sent.clone(), last.bytes()].concat());
        if client.final_answer(case.sent.starts_with(b"HEAD")).is_some() {
            client.answer(false);
        }
        self.due.push(first);
        // The gateway need not take what was sent ahead. What it takes, it takes whole.
        let seen: Vec<Shape> = self.recorder.record().requests.iter().map(Shape::from).collect();
        let rest = &seen[self.due.len().min(seen.len())..];
        let mut allowed: Vec<Shape> = case.expect.request().into_iter().collect();
        allowed.push(last);
        if rest.iter().any(|shape| !allowed.contains(shape)) || rest.len() > allowed.len() {
            self.failures.push(format!("{}: between two others the upstream got {rest:?}", case.name));
        }
        self.due.extend(rest.to_vec());
        self.compare(case.name);
    }

    fn compare(&mut self, name: &str) {
        let record = self.recorder.record();
        for violation in &record.violations[self.violations..] {
            self.failures.push(format!("{name}: the upstream got {violation}"));
        }
        self.violations = record.violations.len();
        let seen: Vec<Shape> = record.requests.iter().map(Shape::from).collect();
        if seen != self.due {
            let from = seen.iter().zip(&self.due).take_while(|(seen, due)| seen == due).count();
            self.failures.push(format!("{name}: the upstream got {:?} for {:?}", &seen[from..], &self.due[from..]));
            self.due = seen;
        }
    }

    /// The log names exactly the requests that the upstream got.
    async fn finish(mut self) {
        let path = |target: &str| target.split('?').next().unwrap().to_owned();
        let mut due: Vec<_> = self.due.iter().map(|shape| (shape.method.clone(), path(&shape.target))).collect();
        let logged = || -> Vec<(String, String)> {
            let lines = self.gateway.access_log();
            let forwarded = lines.into_iter().filter(|line| line["status"] == 200);
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            forwarded.map(|line| (text(&line["method"]), text(&line["path"]))).collect()
        };
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
        eventually("the access log is written", async || logged().len() >= due.len()).await;
        let mut logged = logged();
        // A line is written after the answer, so the next request's may be there first.
        due.sort();
        logged.sort();
        if logged != due {
            self.failures.push(format!("the log says {logged:?} of {due:?}"));
        }
        let record = self.recorder.record();
        if record.connections > record.requests.len() / 2 + 2 {
            self.failures.push(format!("{} connections for {} requests", record.connections, record.requests.len()));
        }
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

async fn run(cases: Vec<Case>) {
    let mut bench = Bench::start("");
    for case in &cases {
        bench.alone(case);
        bench.between(case);
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn framing() {
    run(framing::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunking() {
    run(chunking::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whitespace() {
    run(whitespace::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines() {
    run(lines::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host() {
    run(host::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths() {
    run(paths::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers() {
    run(headers::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes() {
    run(sizes::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods() {
    run(methods::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection() {
    run(connection::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2() {
    let mut bench = Bench::start("h2c = true");
    for row in http2::rows() {
        bench.stream(row).await;
    }
    bench.finish().await;
}
