//! Docker of the test's own, where there can be one, and images made of this machine's programs: nothing is pulled.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};
use tempfile::TempDir;

/// A loaded machine may take its time.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Where a daemon of somebody else's listens, if the test is to use one.
const HOST: &str = "TESTKIT_DOCKER_HOST";

/// A daemon: somebody else's, or our own, which ends with this value.
#[derive(Debug)]
pub struct TestDocker {
    /// Its socket.
    pub socket: String,
    own: Option<(Child, TempDir)>,
}

impl TestDocker {
    /// The daemon that `TESTKIT_DOCKER_HOST` names (a socket's path), or one started for this test.
    ///
    /// # Errors
    /// Says why there is none: a test skips then, and says so.
    pub async fn find() -> Result<Self, String> {
        if let Ok(host) = std::env::var(HOST) {
            let socket = host.strip_prefix("unix://").unwrap_or(&host).to_owned();
            return Ok(Self { socket, own: None });
        }
        if !Uid::effective().is_root() {
            return Err(format!("{HOST} is not set, and dockerd needs root"));
        }
        Self::start().await
    }

    async fn start() -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        // Not /tmp, which may be memory.
        let folder = tempfile::Builder::new().prefix("dockerd").tempdir_in("/var/tmp").map_err(text)?;
        let at = |name: &str| folder.path().join(name);
        let socket = at("docker.sock").display().to_string();
        let log = std::fs::File::create(at("log")).map_err(text)?;
        let child = Command::new("dockerd")
            .args(["--host", &format!("unix://{socket}")])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--containerd-namespace", &crate::unique_name("testkit")])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .stdout(log.try_clone().map_err(text)?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("dockerd cannot be started: {error}"))?;
        let mut docker = Self { socket, own: Some((child, folder)) };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let mut command = docker.command(&["version"]);
            let answer = tokio::task::spawn_blocking(move || command.output()).await;
            if answer.is_ok_and(|output| output.is_ok_and(|output| output.status.success())) {
                return Ok(docker);
            }
            let (child, folder) = docker.own.as_mut().expect("just started");
            let has_ended = child.try_wait().map_err(text)?.is_some();
            if has_ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(format!("dockerd does not run here: {}", log.lines().last().unwrap_or_default()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `docker` says with these arguments.
    ///
    /// # Panics
    /// When there is no such program.
    #[must_use]
    pub fn docker(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the docker program")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        // The builder that is a part of the daemon: BuildKit's is a program of its own, which may not be here.
        command.env("DOCKER_BUILDKIT", "0");
        command.args(["--host", &format!("unix://{}", self.socket)]).args(arguments);
        command
    }

    /// The ids of all containers with this label (`name` or `name=value`), those that have ended too.
    #[must_use]
    pub fn containers(&self, label: &str) -> Vec<String> {
        let output = self.docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("label={label}")]);
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Imports an image of this machine's `/usr/bin/python3` with its standard library; gives the interpreter's path in it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn import_python(&self, image: &str) -> PathBuf {
        let (python, files) = Self::python();
        self.import(image, files);
        python
    }

    /// Where this machine's `/usr/bin/python3` is, and all that it needs in an image.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn python() -> (PathBuf, Vec<PathBuf>) {
        let asking = "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))";
        let asked = Command::new("/usr/bin/python3").args(["-I", "-S", "-c", asking]).output().expect("python3");
        let asked = String::from_utf8(asked.stdout).expect("paths");
        let [python, library] = asked.lines().collect::<Vec<_>>()[..] else { panic!("two paths: {asked}") };
        let modules = std::fs::read_dir(Path::new(library).join("lib-dynload")).expect("Python's compiled modules");
        let mut files = vec![PathBuf::from(python), "/bin/sh".into()];
        files.extend(modules.filter_map(|module| Some(module.ok()?.path())));
        files.extend(Self::libraries_of(&files));
        files.push(library.into());
        (python.into(), files)
    }

    /// Where this machine's `/usr/bin/node` is, and all that it needs in an image.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn node() -> (PathBuf, Vec<PathBuf>) {
        let node = std::fs::canonicalize("/usr/bin/node").expect("node");
        let mut files = vec![node.clone(), "/bin/sh".into()];
        files.extend(Self::libraries_of(&files));
        (node, files)
    }

    /// This machine's libraries that Python's compiled packages expect wherever they are (the list of PEP 513), beside libc.
    ///
    /// # Panics
    /// When there is no libc.
    #[must_use]
    pub fn libraries_of_wheels() -> Vec<PathBuf> {
        const NAMES: [&str; 9] = [
            "libdl.so.2",
            "libgcc_s.so.1",
            "libm.so.6",
            "libnsl.so.1",
            "libpthread.so.0",
            "libresolv.so.2",
            "librt.so.1",
            "libstdc++.so.6",
            "libutil.so.1",
        ];
        let of_sh = Self::libraries_of(&["/bin/sh".into()]);
        let libc = of_sh.iter().find(|library| library.ends_with("libc.so.6")).expect("libc");
        let beside = NAMES.map(|name| libc.with_file_name(name));
        beside.into_iter().filter(|library| library.exists()).collect()
    }

    /// The shared libraries of this machine that these programs need.
    ///
    /// # Panics
    /// When there is no `ldd`.
    #[must_use]
    pub fn libraries_of(programs: &[PathBuf]) -> Vec<PathBuf> {
        let libraries = Command::new("ldd").args(programs).output().expect("ldd");
        let libraries = String::from_utf8_lossy(&libraries.stdout);
        let words = libraries.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
        words.map(PathBuf::from).collect()
    }

    /// Imports an image of these files and folders of this machine, each at its path, and nothing else.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn import(&self, image: &str, mut files: Vec<PathBuf>) {
        files.sort();
        files.dedup();
        // By way of a folder, because an import makes what the tar does not name closed to all but root;
        // and dereferenced, because links such as /lib and /bin/sh would lead nowhere in the image.
        let work = tempfile::tempdir_in("/var/tmp").expect("a temporary folder");
        let (root, tar) = (work.path().join("root"), work.path().join("root.tar"));
        std::fs::create_dir(&root).expect("our own folder");
        run(Command::new("cp").args(["--recursive", "--dereference", "--parents"]).args(files).arg(&root));
        run(Command::new("chmod").arg("0755").arg(&root));
        run(Command::new("tar")
            .args(["--create", "--exclude=__pycache__", "--exclude=*/python3*/test", "--exclude=*/config-*"])
            .arg("--file")
            .arg(&tar)
            .arg("--directory")
            .arg(&root)
            .arg("."));
        let imported = self.docker(&["import", &tar.display().to_string(), image]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
}

impl Drop for TestDocker {
    fn drop(&mut self) {
        if let Some((child, _folder)) = &mut self.own {
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
            // In order, so that it takes its containerd along.
            let _ = kill(pid, Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("coreutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
