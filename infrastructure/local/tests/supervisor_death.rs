//! What is left when the supervisor's process ends: nothing, however it ended, and whoever ran it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use local_stack::Signal;
use nix::sys::signal::kill;
use nix::unistd::{Gid, Pid, Uid, User, geteuid};
use testkit::eventually;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::stand_in::Site;

const PATIENCE: Duration = Duration::from_secs(60);
const PARTS: usize = 3;

/// A part that replaces itself at once, as the gateway does when it is told to.
const REPLACES_ITSELF: &str = r#"
name = "replaced"
[[process]]
name = "front"
program = "sh"
args = ["-c", "sh -c 'echo $$ > pid.new; mv pid.new {data}/pid; sleep 600' & until [ -s {data}/pid ]; do sleep 0.01; done"]
pid_file = "{data}/pid"
"#;

/// The example `run_stack`, which cargo builds with the tests.
fn run_stack() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("tests are in PROFILE/deps");
    let example = profile.join("examples/run_stack");
    assert!(example.is_file(), "{} is missing: cargo build -p local-stack --examples", example.display());
    example
}

/// Starts it and reads the processes it lists once all are ready.
async fn started(command: Command) -> (Child, Vec<i32>) {
    let (child, pids) = started_until(command, "process ", PARTS).await;
    let pids =
        pids.iter().map(|rest| rest.split(' ').nth(1).expect("its name is first").parse().expect("a process id"));
    (child, pids.collect())
}

/// Starts it and reads until it has said `count` lines that begin so; returns what follows in them.
async fn started_until(mut command: Command, begins: &str, count: usize) -> (Child, Vec<String>) {
    let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("the example runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let (mut found, mut said) = (Vec::new(), String::new());
    while found.len() < count {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
        let line = line.unwrap_or_else(|| panic!("it ended while starting:\n{said}"));
        found.extend(line.strip_prefix(begins).map(str::to_owned));
        said.push_str(&line);
        said.push('\n');
    }
    // Read on, so that it never waits for us.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, found)
}

fn command(site: &Site) -> Command {
    let mut command = Command::new(run_stack());
    command.arg(site.document()).arg(site.data());
    command
}

async fn all_gone(pids: &[i32]) {
    for pid in pids {
        eventually(PATIENCE, || async { !Path::new(&format!("/proc/{pid}")).exists() }).await;
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("our own child");
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_children_along_and_the_data_is_fit_for_the_next_start() {
    let site = Site::new();
    for _ in 0..2 {
        let (mut supervisor, pids) = started(command(&site)).await;
        signal(&supervisor, Signal::SIGKILL);
        supervisor.wait().await.expect("our own child");
        all_gone(&pids).await;
    }
}

#[tokio::test]
async fn a_killed_supervisor_takes_along_who_took_over_from_a_child() {
    let site = Site::with_document(REPLACES_ITSELF);
    let (mut supervisor, replaced) = started_until(command(&site), "Replaced ", 1).await;
    let successor: i32 =
        std::fs::read_to_string(site.data().join("pid")).expect("written").trim().parse().expect("a pid");
    assert!(replaced[0].contains(&format!("pid: {successor}")), "{replaced:?}");
    assert!(Path::new(&format!("/proc/{successor}")).exists(), "it goes on");
    signal(&supervisor, Signal::SIGKILL);
    supervisor.wait().await.expect("our own child");
    all_gone(&[successor]).await;
}

#[tokio::test]
async fn everything_killed_at_once_is_fit_for_the_next_start() {
    let site = Site::new();
    let (mut supervisor, pids) = started(command(&site)).await;
    signal(&supervisor, Signal::SIGKILL);
    for pid in &pids {
        // It may have gone with its supervisor already.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    supervisor.wait().await.expect("our own child");
    // At once, while the dead server's own processes may still be going.
    let (mut supervisor, pids) = started(command(&site)).await;
    signal(&supervisor, Signal::SIGTERM);
    assert!(supervisor.wait().await.expect("our own child").success());
    all_gone(&pids).await;
}

#[tokio::test]
async fn sigterm_and_ctrl_c_end_it_in_order() {
    let site = Site::new();
    for ending in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut supervisor, pids) = started(command(&site)).await;
        signal(&supervisor, ending);
        assert!(supervisor.wait().await.expect("our own child").success());
        all_gone(&pids).await;
    }
    let stopped = std::fs::read_to_string(site.data().join("stopped")).expect("noted");
    assert_eq!(stopped, "front\nback\nfront\nback\n");
}

#[tokio::test]
async fn a_normal_user_runs_a_stack_too() {
    if !geteuid().is_root() {
        eprintln!("skipped: the other tests run as a normal user already");
        return;
    }
    let nobody = User::from_name("nobody").expect("the user table").expect("every system has it");
    let site = Site::new();
    let home = site.path().join("home");
    std::fs::create_dir(&home).expect("our own folder");
    nix::unistd::chown(&home, Some(nobody.uid), Some(nobody.gid)).expect("we are root");
    // The build folder may be closed to others.
    let program = site.path().join("run_stack");
    std::fs::copy(run_stack(), &program).expect("room for a copy");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("our own file");
    let mut command = Command::new(program);
    let (uid, gid): (Uid, Gid) = (nobody.uid, nobody.gid);
    command.arg(site.document()).arg(home.join("data")).current_dir("/").env("HOME", &home);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").uid(uid.as_raw()).gid(gid.as_raw());
    let (mut supervisor, pids) = started(command).await;
    for pid in &pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}")), "{status}");
    }
    signal(&supervisor, Signal::SIGTERM);
    assert!(supervisor.wait().await.expect("our own child").success());
    all_gone(&pids).await;
}
