//! Every bad archive of function-package's table, sent to a service: refused for its own reason, nothing touched, and
//! the service as well as before.

use std::io::Cursor;

use function_package::{Limits, PackageError, unpack};
use reqwest::Method;
use serde_json::json;

use crate::{
    bad_archives::{self, Case},
    submissions::walk,
    system::{Answer, Ground, SOON, System, form},
};

/// What stands beside the work folder, for an archive that leads out of it.
const CANARIES: [&str; 3] = ["evil", "evil.py", "etc/passwd"];

async fn send(system: &System, archive: &[u8]) -> Answer {
    let name = testkit::unique_name("bad");
    let (content_type, body) = form(&[("name", &name), ("runtime", "python3.11")], archive);
    let request = system.request(Method::POST, "/functions").header("content-type", content_type).body(body);
    system.try_send(request).await.unwrap()
}

/// The refusal of an archive by the library: its code and text.
fn refusal(case: &Case) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    match unpack(&mut Cursor::new(&case.bytes), &folder.path().join("package"), &case.limits) {
        Err(PackageError::Refused(refusal)) => (refusal.code().to_owned(), refusal.to_string()),
        other => panic!("{}: {other:?}", case.name),
    }
}

#[tokio::test]
async fn every_bad_archive_is_refused_for_its_own_reason_and_touches_nothing() {
    let ground = Ground::new().await;
    let outside = ground.work.path().to_owned();
    for name in CANARIES {
        let path = outside.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "as it was").unwrap();
    }
    let inside = outside.join("work");
    let system = ground.with("WORK_FOLDER", inside.to_str().unwrap()).start("both").await;
    let cases: Vec<Case> = bad_archives::all().into_iter().filter(|case| case.limits == Limits::default()).collect();
    assert!(cases.len() >= 100, "{} archives", cases.len());
    let mut built = 0;
    for case in &cases {
        let (code, text) = refusal(case);
        let answer = send(&system, &case.bytes).await;
        if !case.needs_unpacking {
            let refused = (answer.status, &answer.body["subject"], &answer.body["detail"]);
            assert_eq!(refused, (422, &json!(code), &json!(text)), "{}: {answer:?}", case.name);
        } else {
            // Only its data shows it, which the worker sees first.
            assert_eq!(answer.status, 202, "{}: {answer:?}", case.name);
            let build = system.ended(answer.body["job_id"].as_str().unwrap()).await;
            assert_eq!(build["error"], json!({"code": code, "message": text}), "{}", case.name);
            built += 1;
        }
    }
    println!("{} bad archives: {} refused at once, {built} when they were built", cases.len(), cases.len() - built);

    for name in CANARIES {
        assert_eq!(std::fs::read_to_string(outside.join(name)).unwrap(), "as it was");
    }
    let left = walk(&outside);
    assert_eq!(left.len(), CANARIES.len(), "the canaries, and nothing else: {left:?}");
    assert!(system.ground.bucket.keys().iter().all(|key| key.starts_with("uploads/")), "no artifact was made");
    let good = system.submit(json!({})).await;
    assert_eq!(system.ended(&good).await["status"], "completed", "the service is as well as before");
    assert!(system.service.terminate(SOON).await.success(), "{}", system.service.log());
}
