//! The bucket against a real S3 server, there and away.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use layered_config::{HumanDuration, Secret};
use objects::{Objects, ObjectsConfig};
use testkit::{ChaosProxy, Network, TestBucket};

fn config(bucket: &TestBucket) -> ObjectsConfig {
    ObjectsConfig {
        endpoint: bucket.endpoint.clone(),
        bucket: bucket.bucket.clone(),
        access_key: bucket.access_key.clone(),
        secret_key: Secret::new(&bucket.secret_key),
        ..ObjectsConfig::default()
    }
}

#[tokio::test]
async fn what_is_put_is_got_until_it_is_deleted() {
    let bucket = testkit::s3().await;
    let objects = Objects::connect(&config(&bucket));
    let content = Bytes::from(vec![7_u8; 300_000]);
    assert_eq!(objects.get("a/b").await.unwrap(), None);
    objects.put("a/b", content.clone()).await.unwrap();
    objects.put("a/b", content.clone()).await.unwrap();
    assert_eq!(objects.get("a/b").await.unwrap(), Some(content));
    objects.delete("a/b").await.unwrap();
    objects.delete("a/b").await.unwrap();
    assert_eq!(objects.get("a/b").await.unwrap(), None);
}

#[tokio::test]
async fn a_bucket_is_made_once_however_often_it_is_asked_for() {
    let bucket = testkit::s3().await;
    let mut config = config(&bucket);
    config.bucket = testkit::unique_name("made").replace('_', "-");
    let objects = Objects::connect(&config);
    let (first, second) = tokio::join!(objects.ensure_bucket(), objects.ensure_bucket());
    first.unwrap();
    second.unwrap();
    objects.ensure_bucket().await.unwrap();
    objects.put("x", Bytes::from_static(b"y")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_the_secret() {
    let bucket = testkit::s3().await;
    let proxy = ChaosProxy::start(bucket.endpoint.trim_start_matches("http://")).await;
    let mut config = config(&bucket);
    config.endpoint = format!("http://{}", proxy.address());
    config.attempt_timeout = HumanDuration::from_millis(300);
    config.operation_timeout = HumanDuration::from_millis(700);
    let objects = Objects::connect(&config);
    objects.put("k", Bytes::from_static(b"v")).await.unwrap();

    for network in [Network::Refuse, Network::Stall] {
        proxy.set(network).await;
        proxy.cut().await;
        let error = objects.get("k").await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&format!("cannot read {}/k", config.bucket)), "{shown}");
        assert!(!shown.contains(&bucket.secret_key), "{shown}");
    }

    proxy.set(Network::Pass).await;
    assert_eq!(objects.get("k").await.unwrap(), Some(Bytes::from_static(b"v")));
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let bucket = testkit::s3().await;
    let mut config = config(&bucket);
    config.secret_key = Secret::new("wrong");
    assert!(Objects::connect(&config).put("k", Bytes::new()).await.is_err());
}

#[tokio::test]
async fn files_of_any_size_go_there_and_back() {
    let bucket = testkit::s3().await;
    let objects = Objects::connect(&config(&bucket));
    let folder = tempfile::tempdir().unwrap();
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    const PART: usize = 8 * 1024 * 1024;
    for bytes in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 20_000_000] {
        let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        std::fs::write(&there, &content).unwrap();
        // The test's server keeps an object's checksum when an upload in parts replaces it.
        let key = bytes.to_string();
        objects.put_file(&key, &there).await.unwrap();
        assert!(objects.has(&key).await.unwrap());
        assert!(objects.get_file(&key, &back, 20_000_000).await.unwrap());
        assert!(std::fs::read(&back).unwrap() == content, "{bytes} bytes came back as others");
        std::fs::remove_file(&back).unwrap();
    }
    let too_large = objects.get_file("20000000", &back, 1_000).await.unwrap_err();
    assert!(too_large.to_string().contains("larger than it may be"), "{too_large}");
    assert!(!objects.get_file("none", &folder.path().join("none"), 1).await.unwrap());
    assert!(!objects.has("none").await.unwrap());
}
