//! The images' last stages as `infrastructure/docker/Dockerfile` has them, on a base that is made here of this machine's
//! own libraries, because no registry is needed for that: they start, as a user without privileges, on a read-only root,
//! and say whether they are ready. How the programs are compiled in an image, and the real bases, are not tried.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;
use testkit::{TestDocker, eventually, or_skip};

const BASE: &str = "strangler-test-base";
/// A loaded machine may be ten times slower than this needs.
const DEADLINE: Duration = Duration::from_secs(120);
const GATEWAY: [&str; 6] = [
    "GATEWAY__ADMIN__TOKEN=0123456789abcdef0123456789abcdef",
    "GATEWAY__SHADOW__DRY_RUN_SECRET=0123456789abcdef0123456789abcdef",
    "GATEWAY__UPSTREAMS__LEGACY__ADDRESS=127.0.0.1:1",
    "GATEWAY__UPSTREAMS__LAMBDA__ADDRESS=127.0.0.1:1",
    "GATEWAY__UPSTREAMS__LAMBDA_OWN__ADDRESS=127.0.0.1:1",
    "GATEWAY__UPSTREAMS__BUILD__ADDRESS=127.0.0.1:1",
];

/// A daemon, and a place for what images are built of.
struct Daemon {
    docker: TestDocker,
    folder: TempDir,
    /// On each container, because the daemon may be somebody else's.
    label: String,
}

impl Daemon {
    /// `Err` says why there is none.
    async fn start() -> Result<Self, String> {
        let docker = TestDocker::find().await?;
        // Not /tmp, which may be memory.
        let folder =
            tempfile::Builder::new().prefix("images").tempdir_in("/var/tmp").map_err(|error| error.to_string())?;
        Ok(Self { docker, folder, label: testkit::unique_name("images") })
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.docker.docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The base: an image of the shared libraries and the authorities that the programs need, and nothing else.
    fn import_base(&self, names: &[&str]) {
        let names: Vec<PathBuf> = names.iter().map(|name| programs().join(name)).collect();
        let mut files = TestDocker::libraries_of(&names);
        files.push("/etc/ssl/certs/ca-certificates.crt".into());
        self.docker.import(BASE, files);
    }

    /// Builds a target's last stage with the programs that were built here.
    fn build(&self, dockerfile: &str, target: &str) {
        let context = self.folder.path().join(target);
        fs::create_dir_all(context.join("programs")).expect("a folder");
        fs::create_dir_all(context.join("empty")).expect("a folder");
        fs::write(context.join("Dockerfile"), last_stage(dockerfile, target)).expect("a file");
        for name in [target, "strangler"] {
            // Without what a debugger needs, which is most of it.
            run(Command::new("strip").arg("-o").arg(context.join("programs").join(name)).arg(programs().join(name)));
        }
        let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("mini-lambda");
        let copies = context.join("infrastructure/local/mini-lambda");
        fs::create_dir_all(&copies).expect("a folder");
        for name in ["gateway.toml", "mapping.toml"] {
            fs::copy(settings.join(name), copies.join(name)).expect("a copy");
        }
        self.ok(&["build", "--quiet", "--tag", target, &context.display().to_string()]);
    }

    /// Starts an image as Compose and Kubernetes do: without capabilities, and with a volume for what it keeps.
    fn start_image(&self, target: &str, state: &str, options: &[&str], variables: &[&str]) -> String {
        let volume = format!("{target}-state:{state}");
        let mut arguments = vec!["run", "--detach", "--label", &self.label, "--network=none", "--cap-drop=ALL"];
        arguments.extend(["--security-opt=no-new-privileges", "--volume", &volume]);
        arguments.extend(options);
        arguments.extend(variables.iter().flat_map(|variable| ["--env", variable]));
        arguments.push(target);
        self.ok(&arguments)
    }

    /// What the health check has said so far.
    fn health(&self, container: &str) -> serde_json::Value {
        let said = self.ok(&["inspect", "--format", "{{json .State.Health}}", container]);
        serde_json::from_str(&said).expect("JSON")
    }

    fn log(&self, container: &str) -> String {
        text(&self.docker.docker(&["logs", container]))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for container in self.docker.containers(&self.label) {
            let _ = self.docker.docker(&["rm", "--force", "--volumes", &container]);
        }
    }
}

/// A target's own stage, on the base of this test, with what the stage `build` would have made taken from the context.
fn last_stage(dockerfile: &str, target: &str) -> String {
    let end = format!(" AS {target}");
    let lines = dockerfile.lines().skip_while(|line| !(line.starts_with("FROM ") && line.ends_with(&end)));
    let own = lines.skip(1).take_while(|line| !line.starts_with("FROM "));
    let stage: Vec<String> = own
        .map(|line| match line.starts_with("COPY --from=build") {
            true => {
                line.replace("--from=build ", "").replace(" /programs/", " programs/").replace(" /empty ", " empty ")
            }
            false => line.to_owned(),
        })
        .collect();
    assert!(stage.iter().any(|line| line.starts_with("ENTRYPOINT")), "the Dockerfile has no target {target}");
    format!("FROM {BASE}\n{}\n", stage.join("\n"))
}

/// The folder of the programs under test: tests are in `PROFILE/deps`, binaries in `PROFILE`.
fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("tests are in PROFILE/deps").to_path_buf()
}

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn dockerfile() -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/Dockerfile");
    fs::read_to_string(path).expect("the Dockerfile")
}

#[tokio::test]
async fn images_start_and_say_whether_they_are_ready() {
    let Some(daemon) = or_skip(Daemon::start().await) else { return };
    let dockerfile = dockerfile();
    let services = ["lambda-service", "build-service"];
    daemon.import_base(&["gateway", "strangler", "legacy", "lambda-service", "build-service"]);

    // The gateway needs nobody to be ready; the command line beside it reaches its admin API.
    daemon.build(&dockerfile, "gateway");
    let gateway = daemon.start_image("gateway", "/var/lib/strangler", &["--read-only"], &GATEWAY);
    eventually(DEADLINE, || async {
        let health = daemon.health(&gateway);
        assert_ne!(health["Status"], "unhealthy", "{health} {}", daemon.log(&gateway));
        health["Status"] == "healthy"
    })
    .await;
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.Config.User}}", &gateway]), "10001:10001");
    let token = GATEWAY[0].replace("GATEWAY__ADMIN__TOKEN", "STRANGLER_TOKEN");
    let admin = "STRANGLER_ADMIN=http://127.0.0.1:9901";
    let arguments = ["exec", "--env", &token, "--env", admin, &gateway, "strangler"];
    let listed = daemon.ok(&[&arguments[..], &["routes"]].concat());
    assert!(listed.contains("invoke"), "{listed}");
    // Its folder is a volume that took over the image's owner, and the rollout is kept there.
    daemon.ok(&[&arguments[..], &["weight", "invoke", "1", "--reason", "a try"]].concat());
    daemon.ok(&["stop", "-t", "60", &gateway]);
    let code = daemon.ok(&["inspect", "--format", "{{.State.ExitCode}}", &gateway]);
    assert_eq!(code, "0", "{}", daemon.log(&gateway));

    daemon.build(&dockerfile, "strangler");
    daemon.ok(&["run", "--rm", "--network=none", "--read-only", "strangler", "--version"]);

    // The monolith ends at once where it has no sandbox, which is not on this base: it is only asked its version.
    daemon.build(&dockerfile, "legacy");
    daemon.ok(&["run", "--rm", "--network=none", "legacy", "--version"]);

    // The services answer, and say that they are not ready: nothing that they stand on is here.
    for service in services {
        daemon.build(&dockerfile, service);
        let prefix = service.to_uppercase().replace('-', "_");
        let variables: Vec<String> = [
            ("DATABASE__URL", "postgres://nobody:x@127.0.0.1:1/nothing"),
            ("OBJECTS__ENDPOINT", "http://127.0.0.1:1"),
            ("OBJECTS__ACCESS_KEY", "x"),
            ("OBJECTS__SECRET_KEY", "x"),
        ]
        .into_iter()
        .map(|(name, value)| format!("{prefix}__{name}={value}"))
        .collect();
        let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        let container = daemon.start_image(service, &format!("/var/lib/{service}"), &[], &variables);
        eventually(DEADLINE, || async {
            let health = daemon.health(&container);
            let checks = health["Log"].as_array().cloned().unwrap_or_default();
            checks.iter().any(|check| {
                let said = check["Output"].as_str().unwrap_or_default();
                check["ExitCode"] == 1 && said.contains("503") && said.contains("missing")
            })
        })
        .await;
        assert_eq!(
            daemon.ok(&["inspect", "--format", "{{.State.Running}}", &container]),
            "true",
            "{}",
            daemon.log(&container)
        );
        daemon.ok(&["rm", "--force", "--volumes", &container]);
    }
}
