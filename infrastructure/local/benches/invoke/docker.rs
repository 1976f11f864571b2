//! Docker, where there can be a daemon: its own image of this machine's Python, and a container that stands by.

use std::{path::PathBuf, time::Instant};

use anyhow::ensure;
use testkit::TestDocker;

use crate::report::Times;

/// The image that functions and the container have.
pub const IMAGE: &str = "bench-python:latest";

pub struct Docker {
    pub daemon: TestDocker,
    /// The interpreter in the image.
    pub python: PathBuf,
    container: String,
}

impl Docker {
    /// # Errors
    /// Says why there is none.
    pub async fn find() -> Result<Self, String> {
        let daemon = TestDocker::find().await?;
        let python = daemon.import_python(IMAGE);
        let sleep = "import time\nwhile True: time.sleep(1000)";
        let started = daemon.docker(&["run", "--detach", "--rm", "--network=none", IMAGE, &text(&python), "-c", sleep]);
        if !started.status.success() {
            return Err(format!("no container runs here: {}", String::from_utf8_lossy(&started.stderr).trim()));
        }
        let container = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        Ok(Self { daemon, python, container })
    }

    /// A process with nothing to do in the container that stands by.
    pub fn exec(&self, times: &mut Times) -> anyhow::Result<()> {
        self.timed(&["exec", &self.container, &text(&self.python), "-c", "pass"], times)
    }

    /// The same in a new container.
    pub fn run(&self, times: &mut Times) -> anyhow::Result<()> {
        self.timed(&["run", "--rm", "--network=none", IMAGE, &text(&self.python), "-c", "pass"], times)
    }

    fn timed(&self, arguments: &[&str], times: &mut Times) -> anyhow::Result<()> {
        let start = Instant::now();
        let output = self.daemon.docker(arguments);
        times.add_since(start);
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // A daemon of somebody else's keeps nothing of ours but the image.
        let _ = self.daemon.docker(&["rm", "--force", &self.container]);
    }
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}
