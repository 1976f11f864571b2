//! A large package: streamed, and never in memory.

use reqwest::Method;

use crate::system::{Ground, form, package};

/// The most memory that a process ever had, in bytes.
fn peak_memory_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn load_of_fifty_megabytes_is_never_held_in_memory() {
    let system = Ground::new().await.start("master").await;
    // Of bytes that do not compress.
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut content = vec![0; 50_000_000];
    random.fill(&mut content);
    let (content_type, body) = form(
        &[("name", "large"), ("runtime", "python3.11")],
        &package(&[("index.py", b"def handler(e, c): pass\n"), ("data", &content)]),
    );
    let before = peak_memory_bytes(system.service.pid());
    let request = system.request(Method::POST, "/functions").header("content-type", content_type).body(body);
    let answer = system.try_send(request).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let uploaded = peak_memory_bytes(system.service.pid());
    let mib = |bytes: u64| bytes / (1024 * 1024);
    println!("peak memory: {} MiB at rest, {} MiB after the upload", mib(before), mib(uploaded));
    assert!(uploaded - before < 40 * 1024 * 1024, "a package of 50 MB took {} MiB", mib(uploaded - before));
}
