use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use testkit::process::Spawned;
use testkit::{Signal, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// A stand-in for a service: it takes its address from a variable and ends with 0 on SIGTERM.
const SERVICE: &str = r#"
import http.server, os, signal, sys
host, port = os.environ["STAND_IN__HTTP__BIND"].split(":")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
print("listening", flush=True)
http.server.ThreadingHTTPServer((host, int(port)), Answer).serve_forever()
"#;

fn stand_in() -> testkit::process::Spawn {
    Spawned::of("python3").arg("-c").arg(SERVICE).listen("STAND_IN__HTTP__BIND")
}

#[tokio::test]
async fn a_binary_is_started_paused_killed_restarted_and_ended() {
    let mut service = stand_in().start().await;
    assert!(service.log().contains("listening"));
    service.pause();
    assert!(!service.is_ready().await);
    service.resume();
    eventually(PATIENCE, || service.is_ready()).await;
    let (pid, port) = (service.pid(), service.port());
    service.kill().await;
    assert_eq!(service.exited(PATIENCE).await.signal(), Some(Signal::SIGKILL as i32));
    service.start_again().await;
    assert!(service.pid() != pid && service.port() == port);
    assert!(service.terminate(PATIENCE).await.success());
}

#[tokio::test]
async fn a_dropped_binary_is_gone() {
    let service = stand_in().start().await;
    let pid = service.pid();
    drop(service);
    eventually(PATIENCE, || async { !std::path::Path::new(&format!("/proc/{pid}")).exists() }).await;
}

#[tokio::test]
#[should_panic(expected = "instead of becoming ready")]
async fn a_binary_that_ends_early_fails_the_test_with_its_log() {
    Spawned::of("python3").arg("-c").arg("raise SystemExit(3)").listen("UNUSED").start().await;
}
