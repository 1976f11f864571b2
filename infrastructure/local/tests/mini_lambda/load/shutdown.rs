//! SIGTERM to the supervisor under traffic: what was accepted is answered and recorded, and nothing is
//! left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Stdio,
    time::Instant,
};

use local_stack::Signal;
use nix::{
    sys::{prctl, signal::kill},
    unistd::Pid,
};
use serde_json::json;
use testkit::eventually;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::mini_lambda::{
    kill::recorded,
    site::{PATIENCE, Side, Site, answer, client, is_dead, programs},
    traffic::{Outcome, Traffic},
};

const CALLERS: usize = 8;

/// The example `run_stack`, which cargo builds with the tests: `strangler dev` without its words.
fn run_stack() -> PathBuf {
    let example = programs().join("examples/run_stack");
    assert!(example.is_file(), "{} is missing: cargo build -p local-stack --examples", example.display());
    example
}

/// A supervisor in a process of its own, and what it says of its stack.
struct Supervisor {
    child: Child,
    urls: BTreeMap<String, String>,
    processes: BTreeSet<u32>,
}

impl Supervisor {
    async fn start(site: &Site) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(programs()).chain(std::env::split_paths(&path));
        let mut child = Command::new(run_stack())
            .arg(site.document())
            .arg(site.data())
            // It looks for the parts beside itself, and in `PATH`.
            .env("PATH", std::env::join_paths(folders).expect("no colon in them"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (mut urls, mut processes, mut said) = (BTreeMap::new(), BTreeSet::new(), String::new());
        while processes.len() < 4 {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
            let line = line.unwrap_or_else(|| panic!("it ended while starting:\n{said}"));
            if let Some(process) = line.strip_prefix("process ") {
                let pid = process.rsplit(' ').next().expect("a process id");
                processes.insert(pid.parse().expect("a process id"));
            } else if let Some((name, url)) = line.split_once(": ") {
                urls.insert(name.to_owned(), url.to_owned());
            }
            said.push_str(&line);
            said.push('\n');
        }
        // Read on, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, urls, processes }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

/// The processes below `pid`, by what `/proc` says of parents.
fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut parents = BTreeMap::new();
    for process in fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let parent = fields.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok());
        parents.insert(id, parent.unwrap_or_default());
    }
    let is_below = |id: &u32| {
        let mut at = *id;
        while let Some(parent) = parents.get(&at) {
            if *parent == pid {
                return true;
            }
            at = *parent;
        }
        false
    };
    parents.keys().copied().filter(is_below).collect()
}

/// A process as a message shows it.
fn shown(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", String::from_utf8_lossy(&words).replace('\0', " "))
}

#[tokio::test]
async fn sigterm_ends_everything_and_loses_nothing() {
    // Whatever outlives its parents below us becomes our child, and cannot hide.
    prctl::set_child_subreaper(true).expect("Linux");
    let before = descendants(std::process::id());
    let site = Site::new();
    let mut supervisor = Supervisor::start(&site).await;
    let gateway = supervisor.urls["gateway"].clone();

    let client = client();
    let mut functions = Vec::new();
    for (number, code) in ["def handler(event, context):\n    return event\n"; 8].iter().enumerate() {
        let body = json!({"name": format!("f{number}"), "runtime": "python3.11", "code": code});
        let request = client.post(format!("{gateway}/api/v1/functions")).json(&body);
        let (status, created) = answer(request).await;
        assert_eq!(status, 201, "{created}");
        functions.push(created["function_id"].as_str().expect("an id").to_owned());
    }
    // Ids are random, so the percentage alone may leave a side without calls.
    let pins = format!("pins = {{ \"{}\" = \"legacy\", \"{}\" = \"candidate\" }}", functions[0], functions[1]);
    let rollout = format!("[routes.invoke]\npercent = 50\n{pins}\n");
    fs::write(site.data().join("rollout.toml"), rollout).expect("the stack's own file");
    let traffic = Traffic::at(&gateway, &functions, CALLERS);
    for side in [Side::Legacy, Side::Candidate] {
        traffic.until(|calls| calls.iter().filter(|call| call.side() == Some(side)).count() >= 10).await;
    }
    let during = descendants(supervisor.pid());
    assert!(during.is_superset(&supervisor.processes) && during.len() > supervisor.processes.len() + 2, "{during:?}");

    let asked = Instant::now();
    kill(Pid::from_raw(i32::try_from(supervisor.pid()).expect("a process id")), Signal::SIGTERM).expect("our child");
    let status = tokio::time::timeout(PATIENCE, supervisor.child.wait()).await.expect("in time").expect("our child");
    eprintln!("everything ended {:.1?} after SIGTERM, with {} processes before", asked.elapsed(), during.len());
    assert!(status.success(), "{status}");

    // Zombies that nobody waited for are ours now too, and are no processes any more.
    let left = descendants(std::process::id());
    let left: Vec<String> = left.difference(&before).filter(|pid| !is_dead(**pid)).map(|pid| shown(*pid)).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    let calls = traffic.stop().await;
    for call in &calls {
        assert!(!matches!(call.outcome, Outcome::Refused { .. }), "it was accepted and not served: {call:#?}");
    }

    let system = site.start().await;
    let answered: Vec<&str> = calls.iter().filter_map(|call| call.execution()).collect();
    eventually(PATIENCE, || async { recorded(&system, &answered).await == answered.len() }).await;
    system.stack.stop().await;
}
