//! `testkit-servers`, as `scripts/test` uses it.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use testkit::{Signal, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(120);
const PRINT_THE_SERVERS: &str = r#"
echo "$TESTKIT_POSTGRES_URL $TESTKIT_S3_ENDPOINT $TESTKIT_RABBITMQ_FOLDER"
"#;

fn wrapper(script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testkit-servers"));
    command.args(["--", "sh", "-c", script]).stdout(Stdio::piped()).kill_on_drop(true);
    // Servers of the run that this test is part of are none of the wrapper's.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TESTKIT_")) {
        command.env_remove(name);
    }
    command
}

/// Where the PostgreSQL and the S3 server of a printed line listen.
fn addresses(line: &str) -> [String; 2] {
    let mut words = line.split_whitespace();
    let postgres =
        words.next().and_then(|url| Some(url.split_once('@')?.1.split_once('/')?.0)).expect("a database URL");
    let s3 = words.next().and_then(|url| url.strip_prefix("http://")).expect("an S3 endpoint");
    [postgres.to_owned(), s3.to_owned()]
}

async fn is_listening(address: &str) -> bool {
    TcpStream::connect(address).await.is_ok()
}

#[tokio::test]
async fn the_commands_exit_code_is_returned_and_the_servers_are_gone() {
    let output = wrapper(&format!("{PRINT_THE_SERVERS} exit 7")).output().await.expect("the wrapper runs");
    assert_eq!(output.status.code(), Some(7));
    let line = String::from_utf8(output.stdout).expect("text");
    for address in addresses(&line) {
        assert!(!is_listening(&address).await, "{address}");
    }
    let broker_folder = line.split_whitespace().nth(2).expect("a broker");
    assert!(!std::path::Path::new(broker_folder).exists());
}

#[tokio::test]
async fn neither_sigterm_nor_sigkill_leaves_a_server_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // `exec`, so that the signal ends the waiting too.
        let mut wrapper = wrapper(&format!("{PRINT_THE_SERVERS} exec sleep 600")).spawn().expect("the wrapper runs");
        let mut lines = BufReader::new(wrapper.stdout.take().expect("a pipe")).lines();
        let line = lines.next_line().await.expect("text").expect("a line");
        let addresses = addresses(&line);
        assert!(is_listening(&addresses[0]).await);
        let pid = i32::try_from(wrapper.id().expect("it runs")).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("our own child");
        let status = tokio::time::timeout(PATIENCE, wrapper.wait()).await.expect("in time").expect("a status");
        match signal {
            Signal::SIGTERM => assert_eq!(status.code(), Some(128 + signal as i32)),
            _ => assert_eq!(status.signal(), Some(signal as i32)),
        }
        for address in &addresses {
            eventually(PATIENCE, || async { !is_listening(address).await }).await;
        }
    }
}
