//! The bus on RabbitMQ: the same events, and a broker that goes away.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{PrivateRabbitMq, eventually, process::Spawn};

use crate::{
    events::{dead_letter_after_three_retries, send, webhook},
    system::{DEADLINE, System},
};

const NOTE: &str = "handler = lambda event, context: event['body']";

fn on(url: &str, spawn: Spawn) -> Spawn {
    spawn
        .env("LEGACY__BUS__KIND", "rabbitmq")
        .env("LEGACY__BUS__RABBITMQ__URL", url)
        .env("LEGACY__BUS__RABBITMQ__HEARTBEAT", "2s")
        .env("LEGACY__BUS__RABBITMQ__PUBLISH_TIMEOUT", "2s")
}

/// The numbers that the function was called with, from the webhooks' bodies.
async fn audited(system: &System, function: &str, count: usize) -> usize {
    let events = system.audit(function, count).await;
    let mut ids: Vec<&Value> = events.iter().map(|event| &event["event_id"]).collect();
    ids.sort_by_key(|id| id.to_string());
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "an event is audited once");
    assert!(events.iter().all(|event| event["status"] == "success"), "{events:#?}");
    events.len()
}

#[tokio::test]
async fn webhooks_and_dead_letters() {
    let vhost = testkit::rabbitmq().await;
    let system = System::start_with(|spawn| on(&vhost.url, spawn)).await;
    let function = system.python("f", NOTE).await;
    webhook(&system, &function, "w").await;
    for n in 0..20 {
        assert_eq!(send(&system, "w", &json!(n)).await.status, 200);
    }
    assert_eq!(audited(&system, &function, 20).await, 20);
    dead_letter_after_three_retries(&system).await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_broker_restarts_under_publishing() {
    let mut broker = PrivateRabbitMq::start().await;
    let system = System::start_with(|spawn| on(&broker.url(), spawn)).await;
    let function = system.python("f", NOTE).await;
    webhook(&system, &function, "w").await;

    let (mut accepted, mut refused) = (0, 0);
    let mut publish = async |count: usize| {
        for n in 0..count {
            match send(&system, "w", &json!(n)).await.status {
                200 => accepted += 1,
                500 => refused += 1,
                other => panic!("neither received nor refused: {other}"),
            }
        }
    };
    publish(20).await;
    // Stopped in the middle of publishing, and again killed as by a power cut.
    tokio::join!(publish(20), broker.stop());
    publish(3).await;
    broker.start_again().await;
    eventually(DEADLINE, || system.legacy.is_ready()).await;
    publish(20).await;
    tokio::join!(publish(20), broker.kill());
    broker.start_again().await;
    eventually(DEADLINE, || system.legacy.is_ready()).await;
    publish(20).await;

    assert!(refused >= 3, "what could not be accepted was refused, not dropped: {refused}");
    // A publish that was cut off may have been accepted by the broker without our knowing.
    let audited = audited(&system, &function, accepted).await;
    assert!((accepted..=accepted + refused).contains(&audited), "{accepted} accepted, {audited} audited");
}

#[tokio::test]
async fn a_killed_process_leaves_no_event_undone() {
    let vhost = testkit::rabbitmq().await;
    let mut system = System::start_with(|spawn| on(&vhost.url, spawn)).await;
    killed_with_events_in_flight(&mut system).await;
}

/// The same on every bus.
pub(crate) async fn killed_with_events_in_flight(system: &mut System) {
    let function = system
        .python("slow", "import time\n\ndef handler(event, context):\n    time.sleep(0.3)\n    return event['body']\n")
        .await;
    webhook(system, &function, "w").await;
    for n in 0..30 {
        let answer = send(system, "w", &json!(n)).await;
        assert_eq!(answer.status, 200, "{answer:?}\n{}", system.legacy.log());
    }
    // Some are done, some are being worked on, most wait.
    eventually(DEADLINE, || async { system.executions(&function).await >= 3 }).await;
    system.legacy.kill().await;
    // A child that was between fork and exec holds the listener for a moment longer.
    let address = ("127.0.0.1", system.legacy.port());
    eventually(DEADLINE, || async { tokio::net::TcpListener::bind(address).await.is_ok() }).await;
    system.legacy.start_again().await;
    assert_eq!(audited(system, &function, 30).await, 30);
    // Those that were cut off were called again: at most as many as were in flight.
    assert!((30..=38).contains(&system.executions(&function).await));
}

#[tokio::test]
async fn what_is_no_event_becomes_a_dead_letter_of_the_broker() {
    use lapin::{BasicProperties, Connection, ConnectionProperties, options::*};
    let vhost = testkit::rabbitmq().await;
    let system = System::start_with(|spawn| on(&vhost.url, spawn)).await;
    let connection = Connection::connect(&vhost.url, ConnectionProperties::default()).await.expect("the broker");
    let channel = connection.create_channel().await.expect("a channel");
    let options = BasicPublishOptions::default();
    for body in ["nonsense", "{}", "{\"id\": 7}"] {
        channel
            .basic_publish(
                "mini-lambda-events".into(),
                "webhook".into(),
                options,
                body.as_bytes(),
                BasicProperties::default(),
            )
            .await
            .expect("published");
    }
    // A function that does exist is served behind them.
    let function = system.python("f", NOTE).await;
    webhook(&system, &function, "w").await;
    assert_eq!(send(&system, "w", &json!(1)).await.status, 200);
    assert_eq!(audited(&system, &function, 1).await, 1);
    let bodies = std::sync::Mutex::new(Vec::new());
    eventually(DEADLINE, || async {
        let got =
            channel.basic_get("mini-lambda-dlq".into(), BasicGetOptions { no_ack: true }).await.expect("the queue");
        let mut bodies = bodies.lock().expect("one at a time");
        bodies.extend(got.map(|message| String::from_utf8_lossy(&message.delivery.data).into_owned()));
        bodies.len() == 3
    })
    .await;
    let mut bodies = bodies.into_inner().expect("one at a time");
    bodies.sort();
    assert_eq!(bodies, ["nonsense", "{\"id\": 7}", "{}"]);
}

#[tokio::test]
async fn it_starts_before_the_broker_and_drains_at_the_end() {
    let mut broker = PrivateRabbitMq::start().await;
    let url = broker.url();
    broker.stop().await;
    let (database, bucket) = (testkit::postgres().await, testkit::s3().await);
    let legacy = on(&url, crate::system::spawn(&database.url, &bucket)).spawn().await;
    eventually(DEADLINE, || async { legacy.log().contains("the connection to RabbitMQ broke") }).await;
    assert!(!legacy.is_ready().await);
    broker.start_again().await;
    legacy.ready().await;
    assert!(legacy.terminate(Duration::from_secs(30)).await.success(), "{}", legacy.log());
}
