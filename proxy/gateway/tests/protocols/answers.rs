//! Answers of an upstream that could be read in two ways. The client gets one well-framed answer, or
//! a connection that ends before the answer does; never bytes that it would take for another answer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::gateway;
use crate::harness::{RawClient, RawUpstream};

/// What the client must get.
#[derive(Debug, Clone, Copy)]
enum Gets {
    /// This status with this body.
    Answer(u16, &'static str),
    /// 502.
    BadGateway,
    /// Less than the header promises.
    CutOff,
}
use Gets::{Answer, BadGateway, CutOff};

const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsmuggle";

fn table() -> Vec<(&'static str, Vec<u8>, Gets)> {
    let ok = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes();
    let raw = |bytes: &str| bytes.as_bytes().to_vec();
    vec![
        ("a length", ok("Content-Length: 2\r\n\r\nok"), Answer(200, "ok")),
        ("chunks", ok("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), Answer(200, "ok")),
        ("until the end", ok("\r\nok"), Answer(200, "ok")),
        ("two lengths that differ", ok("Content-Length: 2\r\nContent-Length: 9\r\n\r\nok"), BadGateway),
        ("a list of lengths that differ", ok("Content-Length: 2, 9\r\n\r\nok"), BadGateway),
        ("a length with a sign", ok("Content-Length: +2\r\n\r\nok"), BadGateway),
        ("a negative length", ok("Content-Length: -2\r\n\r\nok"), BadGateway),
        ("a length that is no number", ok("Content-Length: two\r\n\r\nok"), BadGateway),
        ("a length beyond 64 bits", ok("Content-Length: 18446744073709551618\r\n\r\nok"), BadGateway),
        (
            "a length and chunks",
            ok("Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            Answer(200, "ok"),
        ),
        ("more than the length", [ok("Content-Length: 2\r\n\r\nok"), raw(SECOND)].concat(), Answer(200, "ok")),
        (
            "more than the chunks",
            [ok("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), raw(SECOND)].concat(),
            Answer(200, "ok"),
        ),
        ("less than the length", ok("Content-Length: 10\r\n\r\nok"), CutOff),
        ("chunks without an end", ok("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), CutOff),
        ("a chunk size that is none", ok("Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n"), CutOff),
        ("a chunk longer than its size", ok("Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"), CutOff),
        ("a negative chunk size", ok("Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n"), CutOff),
        (
            "204 with a body",
            raw(&format!("HTTP/1.1 204 No Content\r\nContent-Length: 56\r\n\r\n{SECOND}")),
            Answer(204, ""),
        ),
        (
            "304 with a body",
            raw(&format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 56\r\n\r\n{SECOND}")),
            Answer(304, ""),
        ),
        (
            "204 with chunks",
            raw("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            Answer(204, ""),
        ),
        (
            "101 that nobody asked for",
            raw(&format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{SECOND}")),
            BadGateway,
        ),
        ("a folded line", ok("X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok"), Answer(200, "ok")),
        ("space before a colon", ok("Content-Length : 2\r\n\r\nok"), Answer(200, "ok")),
        ("a zero byte in a value", ok("X-A: b\0c\r\nContent-Length: 2\r\n\r\nok"), BadGateway),
        ("bare CR in a value", ok("X-A: b\rContent-Length: 9\r\nContent-Length: 2\r\n\r\nok"), BadGateway),
        ("garbage", raw("\x01\x02\x03 garbage\r\n\r\n"), BadGateway),
        ("another protocol", raw("SSH-2.0-OpenSSH_9.9\r\n\r\n"), BadGateway),
        ("HTTP/0.9", raw("<html>hello</html>\r\n\r\n"), BadGateway),
        ("a status that is none", raw("HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok"), BadGateway),
        ("a status of two digits", raw("HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"), BadGateway),
        (
            "an oversize header",
            ok(&format!("X-A: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(2 * 1024 * 1024))),
            BadGateway,
        ),
        ("too many headers", ok(&format!("{}Content-Length: 2\r\n\r\nok", "X-A: b\r\n".repeat(400))), BadGateway),
        ("nothing", Vec::new(), BadGateway),
        ("half a header", raw("HTTP/1.1 200 OK\r\nContent-Le"), BadGateway),
        ("an end before the answer", raw("HTTP/1.1 100 Continue\r\n\r\n"), BadGateway),
    ]
}

#[test]
fn an_answer_is_read_in_one_way_or_not_passed_on() {
    let rows = Arc::new(table());
    let (served, serving) = (rows.clone(), Arc::new(AtomicUsize::new(0)));
    let upstream = RawUpstream::start(move |exchange| {
        let Some(row) = exchange.path().strip_prefix("/files/row/") else {
            return exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter");
        };
        exchange.send(&served[row.parse::<usize>().unwrap()].1);
        serving.fetch_add(1, Ordering::SeqCst);
        exchange.close();
    });
    let gateway = gateway(&upstream, "");
    let mut failures = Vec::new();
    for (number, (name, _, gets)) in rows.iter().enumerate() {
        let mut client = RawClient::connect(gateway.http);
        client.send(format!("GET /files/row/{number} HTTP/1.1\r\nHost: site\r\n\r\n"));
        let answer = client
            .final_answer(false)
            .map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned()));
        let good = match gets {
            Answer(status, body) => answer == Some((*status, (*body).to_owned())),
            BadGateway => answer.as_ref().is_some_and(|(status, _)| *status == 502),
            CutOff => answer.is_none(),
        };
        if !good {
            failures.push(format!("{name}: {gets:?}, but got {answer:?}"));
        }
        // Whatever happened, the next answer is the next request's. The client sends it on the same
        // connection as long as there is one.
        client.send("GET /files/after HTTP/1.1\r\nHost: site\r\n\r\n");
        match client.final_answer(false) {
            Some(answer) if answer.body == b"after" => {}
            None => {}
            Some(answer) => failures.push(format!("{name}: and then {answer:?}")),
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn an_answer_to_head_that_has_a_body_anyway_does_not_become_the_next() {
    let upstream = RawUpstream::start(|exchange| {
        let body = if exchange.header.starts_with("HEAD") { SECOND } else { "after" };
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let gateway = gateway(&upstream, "");
    for _ in 0..5 {
        let mut client = RawClient::connect(gateway.http);
        let head = client.send("HEAD /files/x HTTP/1.1\r\nHost: site\r\n\r\n").answer(true).unwrap();
        assert_eq!(head.status, 200);
        let after = client.send("GET /files/x HTTP/1.1\r\nHost: site\r\n\r\n").answer(false);
        assert!(after.is_none_or(|answer| answer.body == b"after"));
    }
}
