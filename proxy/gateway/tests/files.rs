use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_document_is_refused_and_the_state_before_it_stays() {
    let setup = Setup::with("", "", "[routes.invoke]\npercent = 100\n");
    let gateway = &setup.gateway;
    for (broken, shown) in [
        ("[routes.invoke]\npercent = 101\n", "rollout.toml:2:11"),
        ("[routes.invoke]\npercent = \n", "rollout.toml:2"),
        ("[routes.invoked]\npercent = 1\n", "there is no route `invoked`"),
        ("[routes.rest]\npercent = 1\n", "one side only"),
    ] {
        gateway.edit_rollout(broken);
        eventually("the status shows it", async || {
            gateway.status().await["reload_error"].as_str().is_some_and(|text| text.contains(shown))
        })
        .await;
        assert_eq!(gateway.side_of("k").await, "candidate");
    }
    assert!(gateway.log().contains("rollout document refused"), "the log shows it");
    assert!(gateway.metrics().await.contains("gateway_rollout_document_refused 1"), "and a metric");
    let change = Some(json!({ "percent": 5 }));
    let (status, answer) = gateway.admin(Method::PUT, "/api/v1/routes/invoke/weight", change).await;
    assert_eq!((status, &answer["error"]), (409, &json!("rollout_document_broken")));

    fs::remove_file(gateway.rollout_path()).unwrap();
    eventually("a missing file is shown", async || {
        gateway.status().await["reload_error"].as_str().is_some_and(|text| text.contains("gone"))
    })
    .await;
    assert_eq!(gateway.side_of("k").await, "candidate");
    gateway.edit_rollout("[routes.invoke]\npercent = 0\n");
    eventually("a good one ends it", async || gateway.side_of("k").await == "legacy").await;
    assert!(gateway.status().await["reload_error"].is_null());
    assert!(gateway.metrics().await.contains("gateway_rollout_document_refused 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_document_again() {
    let setup = Setup::start();
    setup.gateway.edit_rollout("[routes.invoke]\npercent = 100\n");
    setup.gateway.signal(Signal::SIGHUP);
    eventually("it is in force", async || setup.gateway.side_of("k").await == "candidate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_opens_the_access_log_anew() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    gateway.side_of("k").await;
    eventually("the first line", async || gateway.access_log().len() == 1).await;
    let log = gateway.rollout_path().ancestors().nth(2).unwrap().join("access.log");
    fs::rename(&log, log.with_extension("1")).unwrap();
    gateway.signal(Signal::SIGHUP);
    eventually("a new file", async || log.exists()).await;
    gateway.side_of("k").await;
    eventually("its first line", async || gateway.access_log().len() == 1).await;
}

#[test]
fn the_sample_files_are_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.example.toml");
    let summary = gateway::validate(&file).unwrap();
    assert_eq!((summary.routes, summary.split_routes, summary.has_rollout_document), (4, 3, true));
}

/// Beside the files that it names, and with the secrets that it leaves to the environment.
#[test]
fn the_production_sample_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("production.example.toml");
    let file = folder.path().join("gateway.toml");
    fs::copy(sample, &file).unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    for name in ["shop", "api"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
        fs::write(folder.path().join(format!("tls/{name}.pem")), made.cert.pem()).unwrap();
        fs::write(folder.path().join(format!("tls/{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let hash = "0".repeat(64);
    let keys = format!("[[keys]]\nname = \"batch\"\nsha256 = \"{hash}\"\nscopes = [\"functions:invoke\"]\n");
    fs::write(folder.path().join("api-keys.toml"), keys).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["--check", "--config"])
        .arg(&file)
        .env("GATEWAY__ADMIN__TOKEN", "0123456789abcdef0123456789abcdef")
        .env("GATEWAY__LIMITS__REDIS__URL", "redis://:secret@redis.internal:6379/0")
        .env("GATEWAY__ROLLOUT__POSTGRES__URL", "postgres://gateway:secret@db.internal/strangler")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_check_prints_every_problem_of_a_file_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(
        &file,
        "[http]\nthreads = 0\n[admin]\nbind = \"0.0.0.0:1\"\ntoken = \"hunter2\"\n[upstreams.old]\naddress = \"x\"\n\
         [[routes]]\nname = \"a\"\npath = \"/a/{id}\"\nlegacy = \"new\"\n\
         [[routes]]\nname = \"b\"\npath = \"/b\"\nkey = \"path:id\"\nlegacy = \"old\"\n\
         [[routes]]\nname = \"c\"\npath = \"/b\"\nlegacy = \"old\"\n\
         [[routes]]\nname = \"d\"\npath = \"/b\"\nlegacy = \"old\"\n\
         [[routes]]\nname = \"e\"\npath = \"/health\"\n",
    )
    .unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_gateway")).arg("--check").arg("--config").arg(&file).output().unwrap();
    let shown = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{shown}");
    for expected in [
        "http.threads",
        "admin.bind",
        "admin.token",
        "upstreams.old.address",
        "routes[0].legacy",
        "routes[1].key",
        "takes the same requests as `c`",
        "routes[4].path",
        "no side to send",
    ] {
        assert!(shown.contains(expected), "{expected} is missing in\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "secrets are not shown");
}
