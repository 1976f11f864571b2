//! The queue on RabbitMQ: the same builds, and a broker that goes away.

use std::collections::HashSet;

use serde_json::json;
use testkit::{PrivateRabbitMq, eventually};

use crate::{
    kill::every_job_ends_once,
    system::{Ground, SOON},
};

async fn on(url: &str) -> Ground {
    Ground::new()
        .await
        .with("QUEUE__KIND", "rabbitmq")
        .with("QUEUE__RABBITMQ__URL", url)
        .with("QUEUE__RABBITMQ__HEARTBEAT", "2s")
        .with("QUEUE__RABBITMQ__PUBLISH_TIMEOUT", "2s")
        .with("WORKER__LEASE", "1s")
        .with("WORKER__MAX_ATTEMPTS", "100")
}

#[tokio::test]
async fn builds_go_through_the_broker_and_what_names_none_becomes_a_dead_letter() {
    use lapin::{BasicProperties, Connection, ConnectionProperties, options::*};
    let vhost = testkit::rabbitmq().await;
    let system = on(&vhost.url).await.start("master").await;
    let worker = system.ground.process("worker").start().await;
    let connection = Connection::connect(&vhost.url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for body in ["nonsense", "{\"job_id\": 7}"] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish("".into(), "build-jobs".into(), options, body.as_bytes(), properties).await.unwrap();
    }
    // A job that there is not is no reason to stop either.
    let unknown = format!("{{\"job_id\": \"{}\"}}", uuid::Uuid::now_v7());
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), "build-jobs".into(), options, unknown.as_bytes(), properties).await.unwrap();
    for _ in 0..5 {
        let job_id = system.submit(json!({})).await;
        assert_eq!(system.ended(&job_id).await["status"], "completed");
    }
    let dead = std::sync::Mutex::new(Vec::new());
    eventually(SOON, || async {
        let got = channel.basic_get("build-jobs.dead".into(), BasicGetOptions { no_ack: true }).await.unwrap();
        let mut dead = dead.lock().unwrap();
        dead.extend(got.map(|message| String::from_utf8_lossy(&message.delivery.data).into_owned()));
        dead.len() == 2
    })
    .await;
    assert!(worker.terminate(SOON).await.success());
}

/// Jobs are taken while the broker is away, and built when it is back.
#[tokio::test]
async fn kill_of_the_broker_and_of_workers_loses_no_build() {
    let mut broker = PrivateRabbitMq::start().await;
    let system = on(&broker.url()).await.start("master").await;
    let mut worker = system.ground.process("worker").start().await;
    let mut accepted = HashSet::new();
    for round in 0..4 {
        for _ in 0..6 {
            accepted.insert(system.submit(json!({})).await);
        }
        if round % 2 == 0 {
            broker.kill().await;
            accepted.insert(system.submit(json!({})).await);
            broker.start_again().await;
        } else {
            worker.kill().await;
            worker.start_again().await;
        }
    }
    every_job_ends_once(&system, &accepted).await;
    assert!(worker.terminate(SOON).await.success(), "{}", worker.log());
    assert!(system.service.terminate(SOON).await.success(), "{}", system.service.log());
}
