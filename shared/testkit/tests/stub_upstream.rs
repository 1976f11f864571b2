use std::time::{Duration, Instant};

use testkit::{Answer, StubUpstream};

#[tokio::test]
async fn requests_are_answered_by_script_and_recorded_whole() {
    let stub = StubUpstream::start(|request| match request.path.as_str() {
        "/missing" => Answer::json(404, r#"{"error":"none"}"#),
        _ => Answer::new(201, request.body.clone()).header("x-stub", "yes"),
    })
    .await;
    let client = reqwest::Client::new();
    let before = Instant::now();
    let body = vec![b'x'; 3 << 20];
    let answer =
        client.put(stub.url("/a%2Fb?q=1")).header("x-key", "k").body(body.clone()).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers()["x-stub"].as_bytes()), (201, b"yes".as_slice()));
    assert_eq!(answer.bytes().await.expect("a body"), body);
    let answer = client.get(stub.url("/missing")).send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].as_bytes()),
        (404, b"application/json".as_slice())
    );

    let requests = stub.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("PUT", "/a%2Fb?q=1"));
    assert_eq!((requests[0].headers["x-key"].as_bytes(), requests[0].body.len()), (b"k".as_slice(), body.len()));
    assert!(before <= requests[0].arrived && requests[0].arrived <= requests[1].arrived);
}

#[tokio::test]
async fn it_can_be_slow_break_off_go_away_and_come_back() {
    let mut stub = StubUpstream::start(|_| Answer::new(200, "late").after(Duration::from_millis(100))).await;
    let client = reqwest::Client::new();
    let started = Instant::now();
    client.get(stub.url("/")).send().await.expect("an answer");
    assert!(started.elapsed() >= Duration::from_millis(100));
    stub.set(|_| Answer::cut());
    client.get(stub.url("/")).send().await.expect_err("no answer");
    assert_eq!(stub.count(), 2, "what was cut was still asked");
    stub.set(|_| Answer::new(200, ""));
    stub.take_down().await;
    assert!(client.get(stub.url("/")).send().await.expect_err("nobody listens").is_connect());
    stub.bring_back().await;
    client.get(stub.url("/")).send().await.expect("the same address answers");
}
