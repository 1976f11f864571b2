//! Settings of routes, and the route table they make.

use http::Method;
use layered_config::Report;
use serde::Deserialize;

use crate::{
    gateway::OWN_PATHS,
    resilience::{FallbackCase, Resilience},
    route_table::{KeyProblem, KeySource, Route, RouteTable, Sides, Template, UpstreamId},
};

/// One route.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name in the rollout document, metrics, log and API.
    pub name: String,
    /// The methods it takes; none for any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// A path template: `/api/v1/functions/{id}/invoke`; `{*rest}` at the end takes what is left.
    pub path: String,
    /// What a decision is sticky to: `path:NAME`, `header:NAME`, or `request` for nothing.
    #[serde(default = "request")]
    pub key: String,
    /// The upstream of the old side.
    pub legacy: Option<String>,
    /// The upstream of the new side; without it the route never moves.
    pub candidate: Option<String>,
    /// Whether a request whose candidate cannot be reached goes to legacy.
    #[serde(default = "yes")]
    pub fallback: bool,
    /// When it does; [`crate::FallbackOn`] says what is best left out, and why.
    pub fallback_on: Option<Vec<FallbackCase>>,
    /// What sets the route's keys apart from other routes'. Routes with the same salt and key move
    /// the same keys together. The route's name unless given.
    pub salt: Option<String>,
    /// The limit policies that a request must pass, all of them.
    #[serde(default)]
    pub limits: Vec<String>,
}

fn request() -> String {
    "request".to_owned()
}

fn yes() -> bool {
    true
}

/// Makes the table, reporting whatever is wrong with the routes. What is reported is left out.
pub(super) fn build(routes: &[RouteConfig], upstreams: &[&str], report: &mut Report) -> RouteTable {
    let mut good = Vec::new();
    let mut places = Vec::new();
    for (index, config) in routes.iter().enumerate() {
        report.nested(&format!("routes[{index}]"), |report| {
            if routes[..index].iter().any(|earlier| earlier.name == config.name) {
                report.problem("name", "another route has this name", "give each route a name of its own");
            }
            if let Some(route) = config.compile(upstreams, report) {
                good.push(route);
                places.push(index);
            }
        });
    }
    RouteTable::new(good).unwrap_or_else(|ambiguous| {
        for clash in ambiguous {
            let fix = "change the path or the methods of one of them, or remove one";
            report.problem(&format!("routes[{}].path", places[clash.index]), clash.to_string(), fix);
        }
        RouteTable::default()
    })
}

impl RouteConfig {
    fn compile(&self, upstreams: &[&str], report: &mut Report) -> Option<Route> {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(bare) {
            let fix = "write up to 64 letters, digits, dashes and underscores";
            report.problem("name", "it is not usable as a name in documents and metrics", fix);
        }
        let salt = self.salt.as_ref().unwrap_or(&self.name);
        if salt.contains('\0') {
            report.problem("salt", "it has a zero byte, which separates salt and key", "remove it");
        }
        let methods = self.methods(report);
        let template = self.template(report);
        let sides = self.sides(upstreams, report);
        let template = template?;
        let key = self.key_source(&template, report)?;
        Some(Route {
            name: self.name.clone(),
            methods,
            template,
            key,
            key_text: self.key.clone(),
            sides: sides?,
            resilience: self.resilience(report),
            salt: salt.clone(),
        })
    }

    fn resilience(&self, report: &mut Report) -> Resilience {
        if !self.fallback && self.fallback_on.is_some() {
            report.problem("fallback_on", "`fallback` is off", "remove it, or write fallback = true");
        }
        let fallback_on = self.fallback_on.as_ref().map(|cases| cases.iter().copied().collect());
        Resilience { fallback_on: fallback_on.unwrap_or_default() }
    }

    fn methods(&self, report: &mut Report) -> Vec<Method> {
        let read = |(index, text): (usize, &String)| {
            let method = text.parse::<Method>().ok().filter(|method| method.as_str() == text.to_ascii_uppercase());
            if method.is_none() || method == Some(Method::CONNECT) {
                let fix = "write a method in capitals, such as \"POST\"";
                report.problem(&format!("methods[{index}]"), "it is no method that can be forwarded", fix);
            }
            method
        };
        self.methods.iter().enumerate().filter_map(read).collect()
    }

    fn template(&self, report: &mut Report) -> Option<Template> {
        if OWN_PATHS.contains(&self.path.as_str()) {
            let fix = "remove the route: ask the upstream directly, or use another path";
            report.problem("path", "the gateway answers this path itself", fix);
        }
        let template = self.path.parse();
        template
            .map_err(|problem| {
                let fix = "write a path such as \"/api/v1/functions/{id}\" or \"/webhooks/{*path}\"";
                report.problem("path", format!("{problem}"), fix);
            })
            .ok()
    }

    fn key_source(&self, template: &Template, report: &mut Report) -> Option<KeySource> {
        let problem = match KeySource::parse(&self.key, template) {
            Ok(source) => return Some(source),
            Err(problem) => problem,
        };
        let fix = match problem {
            KeyProblem::UnknownParameter(_) => "name a parameter of the route's path",
            _ => "write \"path:NAME\", \"header:NAME\" or \"request\"",
        };
        report.problem("key", problem.to_string(), fix);
        None
    }

    fn sides(&self, upstreams: &[&str], report: &mut Report) -> Option<Sides> {
        let mut find = |key: &str, name: &Option<String>| {
            let name = name.as_ref()?;
            let found = upstreams.iter().position(|upstream| upstream == name).map(UpstreamId);
            if found.is_none() {
                let fix = match upstreams {
                    [] => format!("add a table [upstreams.{name}]"),
                    known => format!("add a table [upstreams.{name}], or name one of: {}", known.join(", ")),
                };
                report.problem(key, format!("there is no upstream `{name}`"), fix);
            }
            found
        };
        let sides = (find("legacy", &self.legacy), find("candidate", &self.candidate));
        if self.legacy.is_none() && self.candidate.is_none() {
            report.problem("", "the route has no side to send a request to", "set `legacy`, `candidate` or both");
        }
        match sides {
            (Some(legacy), Some(candidate)) => Some(Sides::Both { legacy, candidate, fallback: self.fallback }),
            (Some(legacy), None) => Some(Sides::Legacy(legacy)),
            (None, Some(candidate)) => Some(Sides::Candidate(candidate)),
            (None, None) => None,
        }
    }
}
