//! Server-sent events (HTML, section 9.2): each passes when it is made.

use std::sync::{Mutex, mpsc};

use super::gateway;
use crate::harness::{RawClient, RawUpstream};

#[test]
fn an_event_arrives_before_the_next_is_made() {
    for framing in ["Transfer-Encoding: chunked\r\n", ""] {
        let (arrived, hears) = mpsc::channel();
        let hears = Mutex::new(hears);
        let chunked = !framing.is_empty();
        let upstream = RawUpstream::start(move |exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n"));
            for number in 0..3 {
                let event = format!("data: {number}\n\n");
                let length = event.len();
                exchange.send(if chunked { format!("{length:x}\r\n{event}\r\n") } else { event });
                hears.lock().unwrap().recv().unwrap();
            }
            exchange.close();
        });
        let gateway = gateway(&upstream, "");
        let mut client = RawClient::connect(gateway.http);
        client.send("GET /files/events HTTP/1.1\r\nHost: site\r\nAccept: text/event-stream\r\n\r\n");
        let header = client.header().unwrap();
        assert_eq!((header.status, header.header("content-type")), (200, Some("text/event-stream")));
        let chunks = header.header("transfer-encoding") == Some("chunked");
        for number in 0..3 {
            let event = format!("data: {number}\n\n");
            let wire = if chunks { format!("{:X}\r\n{event}\r\n", event.len()) } else { event };
            let got = client.take(wire.len()).expect("the event, though no other follows yet");
            assert_eq!(String::from_utf8_lossy(&got).to_uppercase(), wire.to_uppercase());
            arrived.send(()).unwrap();
        }
    }
}
