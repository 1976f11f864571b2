//! Runtimes in settings.

use std::path::PathBuf;

use domain::Language;
use layered_config::{Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::NamePattern;

/// What the package's own program is called, where a worker sees it.
const BOOTSTRAP: &str = "/var/task/bootstrap";

/// The runtimes, in the order in which a name is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RuntimesConfig(pub(crate) Vec<RuntimeConfig>);

/// One runtime, or a family of them whose names differ in one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Its name; `*` stands for letters and digits.
    pub name: NamePattern,
    /// `python`, `node`, `provided`, or `go`, whose functions may be made and cannot run.
    pub kind: Language,
    /// The interpreter, an absolute path; `*` is what it stood for in the name. Unless set, the one that the executor
    /// has for the language.
    #[serde(default)]
    pub interpreter: Option<PathBuf>,
    /// The Docker image, which must be there already; `*` is what it stood for in the name.
    #[serde(default)]
    pub image: Option<String>,
    /// `built-in` or `runtime-api`; unless set, `runtime-api` for `provided` and `built-in` for the others.
    #[serde(default)]
    pub protocol: Option<ProtocolName>,
    /// With `runtime-api`, the command that speaks it: `{interpreter}` and `{handler}` stand for the function's.
    /// Unless set, `/var/task/bootstrap`, which comes with the package.
    #[serde(default)]
    pub bootstrap: Vec<String>,
}

/// The protocols between the platform and a function's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolName {
    /// The worker protocol.
    BuiltIn,
    /// AWS's Runtime API.
    RuntimeApi,
}

impl Default for RuntimesConfig {
    fn default() -> Self {
        let entry = |name: &str, kind, image: Option<&str>| RuntimeConfig {
            name: name.parse().expect("a pattern of ours"),
            kind,
            interpreter: None,
            image: image.map(str::to_owned),
            protocol: None,
            bootstrap: Vec::new(),
        };
        Self(vec![
            entry("python3.*", Language::Python, Some("python:3.*-slim")),
            entry("nodejs*", Language::Node, Some("node:*-slim")),
            entry("provided", Language::Provided, Some("debian:12-slim")),
            entry("provided.*", Language::Provided, Some("debian:12-slim")),
            entry("go1.21", Language::Go, None),
        ])
    }
}

impl RuntimeConfig {
    pub(crate) fn protocol(&self) -> ProtocolName {
        let is_provided = self.kind == Language::Provided;
        self.protocol.unwrap_or(if is_provided { ProtocolName::RuntimeApi } else { ProtocolName::BuiltIn })
    }

    pub(crate) fn bootstrap(&self) -> Vec<String> {
        if self.bootstrap.is_empty() { vec![BOOTSTRAP.to_owned()] } else { self.bootstrap.clone() }
    }
}

impl Validate for RuntimesConfig {
    fn validate(&self, report: &mut Report) {
        for (index, entry) in self.0.iter().enumerate() {
            report.nested(&format!("[{index}]"), |report| {
                entry.validate(report);
                if self.0[..index].iter().any(|other| other.name == entry.name) {
                    report.problem("name", "an entry before this one has the same name", "remove one of the two");
                }
            });
        }
    }
}

impl Validate for RuntimeConfig {
    fn validate(&self, report: &mut Report) {
        if let Some(interpreter) = &self.interpreter {
            if !interpreter.is_absolute() {
                report.problem("interpreter", "it is not an absolute path", "write one such as \"/usr/bin/python3\"");
            }
            if matches!(self.kind, Language::Provided | Language::Go) {
                report.problem("interpreter", "code of this kind has none", "remove it");
            }
        }
        let starred = |text: &str| text.contains('*') && !self.name.is_open();
        if self.interpreter.as_ref().is_some_and(|path| starred(&path.to_string_lossy())) {
            report.problem("interpreter", "the name has no `*` to stand for", "write the path in full");
        }
        if self.image.as_deref().is_some_and(starred) {
            report.problem("image", "the name has no `*` to stand for", "write the image in full");
        }
        match (self.protocol(), self.kind) {
            (ProtocolName::BuiltIn, Language::Provided) => report.problem(
                "protocol",
                "programs that packages bring speak AWS's Runtime API only",
                "write \"runtime-api\" or leave it out",
            ),
            (ProtocolName::RuntimeApi, Language::Go) => {
                report.problem("protocol", "code in Go is not run", "leave it out, or make it `kind = \"provided\"`");
            }
            _ => {}
        }
        if self.protocol() == ProtocolName::BuiltIn && !self.bootstrap.is_empty() {
            report.problem("bootstrap", "only `runtime-api` has one", "remove it, or set `protocol = \"runtime-api\"`");
        }
        if self.bootstrap.iter().any(|word| word.contains('\0')) {
            report.problem("bootstrap", "it holds a NUL character", "remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::RuntimeName;

    use super::*;
    use crate::{Protocol, RuntimeSpec};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        runtimes: RuntimesConfig,
    }

    impl Validate for Settings {
        fn validate(&self, report: &mut Report) {
            report.nested("runtimes", |report| self.runtimes.validate(report));
        }
    }

    fn name(text: &str) -> RuntimeName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_default_knows_every_runtime_of_the_contract_and_later_ones() {
        let runtimes = layered_config::load_str::<Settings>("s.toml", "").expect("valid").runtimes;
        for (runtime, language) in [
            ("python3.9", Language::Python),
            ("python3.14", Language::Python),
            ("nodejs18", Language::Node),
            ("nodejs24", Language::Node),
            ("provided", Language::Provided),
            ("provided.al2023", Language::Provided),
            ("go1.21", Language::Go),
        ] {
            assert_eq!(runtimes.find(&name(runtime)).expect(runtime).language, language, "{runtime}");
        }
        for runtime in domain::Runtime::ALL {
            assert_eq!(runtimes.find(&runtime.into()).expect("of the contract").language, runtime.language());
        }
        let refused = runtimes.check("cobol").expect_err("unknown").to_string();
        assert_eq!(
            refused,
            "runtime `cobol` is not supported; use one of python3.*, nodejs*, provided, provided.*, go1.21"
        );
        assert!(runtimes.check("../python3.9").is_err());
    }

    #[test]
    fn an_entry_says_what_runs_a_function_and_how_it_is_spoken_to() {
        let text = r#"
            [[runtimes]]
            name = "python3.*-aws"
            kind = "python"
            interpreter = "/opt/python3.*/bin/python3"
            image = "registry.example/python:3.*"
            protocol = "runtime-api"
            bootstrap = ["{interpreter}", "-m", "awslambdaric", "{handler}"]
            [[runtimes]]
            name = "provided"
            kind = "provided"
        "#;
        let runtimes = layered_config::load_str::<Settings>("s.toml", text).expect("valid").runtimes;
        let found = runtimes.find(&name("python3.12-aws")).expect("listed");
        assert_eq!(
            found,
            RuntimeSpec {
                language: Language::Python,
                interpreter: Some("/opt/python3.12/bin/python3".into()),
                image: Some("registry.example/python:3.12".to_owned()),
                protocol: Protocol::RuntimeApi {
                    command: ["{interpreter}", "-m", "awslambdaric", "{handler}"].map(str::to_owned).to_vec()
                },
            }
        );
        let provided = runtimes.find(&name("provided")).expect("listed").protocol;
        assert_eq!(provided, Protocol::RuntimeApi { command: vec!["/var/task/bootstrap".to_owned()] });
        assert!(runtimes.check("python3.12").is_err(), "the list replaces the default");
    }

    #[test]
    fn every_bad_entry_is_named() {
        let text = r#"
            [[runtimes]]
            name = "python3.9"
            kind = "python"
            interpreter = "python3.*"
            image = "python:3.*"
            bootstrap = ["x"]
            [[runtimes]]
            name = "python3.9"
            kind = "python"
            [[runtimes]]
            name = "own"
            kind = "provided"
            interpreter = "/usr/bin/own"
            protocol = "built-in"
            [[runtimes]]
            name = "go1.21"
            kind = "go"
            protocol = "runtime-api"
        "#;
        let problems = layered_config::load_str::<Settings>("s.toml", text).expect_err("all of it is bad");
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "runtimes[0].interpreter",
                "runtimes[0].image",
                "runtimes[0].bootstrap",
                "runtimes[1].name",
                "runtimes[2].interpreter",
                "runtimes[2].protocol",
                "runtimes[3].protocol",
            ]
        );
    }
}
