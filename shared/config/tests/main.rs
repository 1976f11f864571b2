//! What a person sees when settings are wrong, and that right ones arrive.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, net::SocketAddr};

use layered_config::{ByteSize, HumanDuration, Origin, Report, Secret, Sources, Validate, load, load_str};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    bind: SocketAddr,
    body_limit: ByteSize,
    timeout: HumanDuration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:0".parse().unwrap(),
            body_limit: ByteSize::from_mib(1),
            timeout: HumanDuration::from_secs(30),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    name: String,
    path: String,
    #[serde(default)]
    fallback: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    http: Http,
    token: Secret,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Validate for Settings {
    fn validate(&self, report: &mut Report) {
        if self.token.expose().len() < 8 {
            report.problem("token", "it is shorter than 8 characters", "write a longer one");
        }
        for (index, route) in self.routes.iter().enumerate() {
            report.nested(&format!("routes[{index}]"), |report| {
                if !route.path.starts_with('/') {
                    report.problem("path", "it does not start with `/`", "write an absolute path");
                }
            });
        }
    }
}

fn problems_of(text: &str) -> String {
    load_str::<Settings>("shop.toml", text).expect_err("the document is wrong").to_string()
}

#[test]
fn every_problem_is_shown_at_once_with_its_line_and_its_fix() {
    insta::assert_snapshot!(problems_of(
        r#"token = "correct horse"
[http]
bind = "localhost"
body_limit = "much"
timeuot = "5s"
[[routes]]
name = "a"
path = "a"
[[routes]]
path = "/b"
fallback = "perhaps"
"#
    ));
}

#[test]
fn a_secret_is_never_shown() {
    let wrong = problems_of("token = \"hunter2\"\nroutes = 3\n");
    assert!(!wrong.contains("hunter2"), "{wrong}");
    let wrong = problems_of("token = { a = \"hunter2\" }\n");
    assert!(!wrong.contains("hunter2"), "{wrong}");
    let unparsable = problems_of("token = \"hunter2\nx = 1");
    assert!(!unparsable.contains("hunter2"), "{unparsable}");
    let environment = [("SHOP__TOKEN".to_owned(), "hunter2".to_owned())];
    let wrong = load::<Settings>(&Sources::new("SHOP").environment(environment)).unwrap_err();
    assert!(!format!("{wrong} {wrong:?} {}", wrong.summary()).contains("hunter2"));
}

#[test]
fn text_that_is_not_toml_is_pointed_at() {
    insta::assert_snapshot!(problems_of("[http]\nbind = = 3\n"));
}

#[test]
fn the_environment_wins_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.toml");
    let text = "token = \"correct horse\"\nroutes = [{ name = \"a\", path = \"/a\" }]\n[http]\nbind = \"127.0.0.1:80\"\nbody_limit = 10\n";
    std::fs::write(&file, text).unwrap();
    let with = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load::<Settings>(&Sources::new("SHOP").file(&file).environment(variables.collect::<Vec<_>>()))
    };

    let settings = with(&[
        ("SHOP__HTTP__BIND", "0.0.0.0:8080"),
        ("SHOP__TOKEN", "0123456789"),
        ("SHOP__LABELS__TEAM", "007"),
        ("OTHER__HTTP__BIND", "nonsense"),
    ])
    .unwrap();
    assert_eq!(settings.http.bind.port(), 8080);
    assert_eq!(settings.http.body_limit.bytes(), 10);
    assert_eq!(settings.http.timeout.get().as_secs(), 30, "neither layer names it");
    assert_eq!((settings.routes[0].name.as_str(), settings.routes[0].fallback), ("a", false));
    assert_eq!(settings.token.expose(), "0123456789", "digits stay text");
    assert_eq!(settings.labels["team"], "007");

    let problems =
        with(&[("SHOP__HTTP__TIMEOUT", "soon"), ("SHOP__HTPT__BIND", "x"), ("SHOP__TOKEN__X", "y")]).unwrap_err();
    let mut named: Vec<_> = problems
        .iter()
        .map(|problem| match &problem.origin {
            Origin::Environment { variable } => variable.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["SHOP__HTPT__BIND", "SHOP__HTTP__TIMEOUT", "SHOP__TOKEN__X"], "{problems}");
}

#[test]
fn a_list_of_the_environment_is_written_as_in_toml() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Receivers {
        allow: Vec<String>,
        ports: Vec<u16>,
        password: String,
    }
    impl Validate for Receivers {
        fn validate(&self, _: &mut Report) {}
    }
    let with = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load::<Receivers>(&Sources::new("SHOP").environment(variables.collect::<Vec<_>>()))
    };
    let receivers = with(&[
        ("SHOP__ALLOW", "[\"10.0.0.0/8\", \"hooks\"]"),
        ("SHOP__PORTS", "[80, 443]"),
        ("SHOP__PASSWORD", "[\"not a list\"]"),
    ])
    .unwrap();
    assert_eq!(receivers.allow, ["10.0.0.0/8", "hooks"]);
    assert_eq!(receivers.ports, [80, 443]);
    assert_eq!(receivers.password, "[\"not a list\"]");
    assert_eq!(with(&[("SHOP__ALLOW", "[]")]).unwrap().allow, [""; 0]);

    for text in ["hooks", "[\"open\"", "[\"a\"]\npassword = \"b\"", ""] {
        let problems = with(&[("SHOP__ALLOW", text)]).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!(problem.origin, Origin::Environment { variable: "SHOP__ALLOW".to_owned() });
        assert_eq!(problem.fix.as_deref(), Some("write a list, such as [\"one\", \"two\"]"), "{text:?}");
    }
}

#[test]
fn a_missing_file_is_a_problem_not_a_panic() {
    let error = load::<Settings>(&Sources::new("SHOP").file("/nowhere/shop.toml").environment([])).unwrap_err();
    assert!(error.to_string().contains("/nowhere/shop.toml"), "{error}");
}
