//! Load by wrk, and what it counted.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::{contender::Contender, process::Cores};

const CONNECTIONS: usize = 32;

/// What wrk prints at the end, by the script below.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Load {
    pub requests: u64,
    pub failed: u64,
    pub seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Asks for one key after another and prints the sums as JSON. The requests are made beforehand, so
/// that Lua does next to nothing while wrk runs.
const SCRIPT: &str = r#"
local requests, next_one = {}, 0
function init(arguments)
  for key = 1, 1000 do requests[key] = wrk.format("GET", "/f/key-" .. key .. "/invoke") end
end
function request()
  next_one = next_one % 1000 + 1
  return requests[next_one]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('JSON{"requests":%d,"failed":%d,"seconds":%f,"p50_us":%f,"p99_us":%f}\n',
    summary.requests, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))
end
"#;

/// Loads a contender for this long.
pub fn run(contender: &Contender, duration: Duration) -> anyhow::Result<Load> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("load.lua");
    fs::write(&script, SCRIPT)?;
    let mut command = Cores::Rest.command("wrk");
    command.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()]);
    command.arg("--duration").arg(format!("{}s", duration.as_secs())).arg("--script").arg(&script);
    for header in &contender.headers {
        command.args(["--header", header]);
    }
    let output = command.arg(format!("http://{}/", contender.address)).output().context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    let json = text.lines().find_map(|line| line.strip_prefix("JSON")).with_context(|| format!("wrk said: {text}"))?;
    Ok(serde_json::from_str(json)?)
}
