//! Settings of routes, and the route table they make.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use layered_config::{ByteSize, HumanDuration, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::RouteAuthConfig;
use super::{
    guard::GuardConfig,
    ramp::RampConfig,
    retries::RetriesConfig,
    route_parts::{self, ExpectedConfig, HeaderEditsConfig},
    shadow::RouteShadowConfig,
};
use crate::{
    gateway::OWN_PATHS,
    only_candidate::{OnlyCandidateConfig, OnlyCandidateSource},
    resilience::{FallbackCase, Resilience},
    route_table::{
        HostPattern, KeyProblem, KeySource, Rewrite, Route, RouteLimits, RouteSlice, RouteTable, Sides, SliceId,
        Template, UpstreamId, Writes,
    },
    sticky_writes::RouteStickyWritesConfig,
};

/// One route.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name in the rollout document, metrics, log and API.
    pub name: String,
    /// The hosts it takes, such as `shop.example` or `*.shop.example`; none for any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The methods it takes; none for any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// A path template: `/api/v1/functions/{id}/invoke`; `{*rest}` at the end takes what is left.
    pub path: Option<String>,
    /// In place of `path`: a path with everything below it, which a rewrite calls `{*rest}`.
    pub prefix: Option<String>,
    /// What headers must be, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, ExpectedConfig>,
    /// What query parameters must be, by name.
    #[serde(default)]
    pub query: BTreeMap<String, ExpectedConfig>,
    /// What a decision is sticky to: `path:NAME`, `header:NAME`, `cookie:NAME`, `claim:NAME`,
    /// `client`, `body:/POINTER`, or `request` for nothing.
    #[serde(default = "request")]
    pub key: String,
    /// Whether a request without a key is refused; otherwise it counts for itself.
    #[serde(default)]
    pub key_required: bool,
    /// The longest body that a key is read from; the gateway holds it in memory. A body above 64 KiB
    /// must declare its length.
    #[serde(default = "key_body_limit")]
    pub key_body_limit: ByteSize,
    /// The longest time from the request's arrival to the header of its answer, over all attempts. Once the answer has begun, a pause longer than that ends it too.
    pub timeout: Option<HumanDuration>,
    /// The longest the upstream may be silent, in place of the upstream's own setting.
    pub read_timeout: Option<HumanDuration>,
    /// The longest body, in place of the general limit.
    pub body_limit: Option<ByteSize>,
    /// The path that upstreams see: a template over the parameters of `path`.
    pub rewrite: Option<String>,
    /// Headers changed on the way to the upstream.
    #[serde(default)]
    pub request_headers: HeaderEditsConfig,
    /// Headers changed on the way to the client.
    #[serde(default)]
    pub response_headers: HeaderEditsConfig,
    /// The upstream of the old side.
    pub legacy: Option<String>,
    /// The upstream of the new side; without it the route never moves.
    pub candidate: Option<String>,
    /// Whether a request whose candidate cannot be reached goes to legacy.
    #[serde(default = "yes")]
    pub fallback: bool,
    /// When it does; `unreachable` and `open` unless given. With `overloaded`, load that is a little too high moves
    /// a key with every other request, and legacy gets the peaks.
    pub fallback_on: Option<Vec<FallbackCase>>,
    /// How requests that failed are sent again; not at all unless given.
    pub retries: Option<RetriesConfig>,
    /// Where the candidate lists the keys that legacy cannot serve; nobody asks unless given.
    pub only_candidate: Option<OnlyCandidateConfig>,
    /// Read-your-writes; none unless given.
    pub sticky_writes: Option<RouteStickyWritesConfig>,
    /// What sets the route's keys apart from other routes'. Routes with the same salt and key move
    /// the same keys together. The route's name unless given.
    pub salt: Option<String>,
    /// What a caller must prove; what `[auth.default]` says unless given.
    pub auth: Option<RouteAuthConfig>,
    /// How the route is shadowed; without it, it cannot be.
    pub shadow: Option<RouteShadowConfig>,
    /// The limit policies that a request must pass, all of them.
    #[serde(default)]
    pub limits: Vec<String>,
    /// How much worse the candidate may be before everything goes back to legacy by itself. A route
    /// with a `ramp` has a guard with the default bounds unless this says otherwise.
    pub guard: Option<GuardConfig>,
    /// How its weight is raised; `strangler ramp start` begins it.
    pub ramp: Option<RampConfig>,
    /// The slice, of those in `[slices]`, that it reads and writes; none for what keeps its database. A route without a
    /// `candidate` is the monolith's until the rows have another owner.
    pub slice: Option<String>,
    /// What serves it once the slice is the candidate's, where that is not the slice's own upstream: another
    /// service that writes through that one.
    pub own_candidate: Option<String>,
    /// The methods by which it writes the slice; those that are not safe unless given.
    pub writes: Option<Vec<String>>,
}

/// What routes may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) upstreams: &'a [&'a str],
    /// Each slice with its upstream, where that is known.
    pub(super) slices: &'a [(&'a str, Option<UpstreamId>)],
}

fn request() -> String {
    "request".to_owned()
}

fn key_body_limit() -> ByteSize {
    ByteSize::from_kib(64)
}

fn yes() -> bool {
    true
}

/// Makes the table, reporting whatever is wrong with the routes. What is reported is left out.
pub(super) fn build(routes: &[RouteConfig], known: Known<'_>, report: &mut Report) -> RouteTable {
    let mut good = Vec::new();
    let mut places = Vec::new();
    for (index, config) in routes.iter().enumerate() {
        report.nested(&format!("routes[{index}]"), |report| {
            if routes[..index].iter().any(|earlier| earlier.name == config.name) {
                report.problem("name", "another route has this name", "give each route a name of its own");
            }
            if let Some(route) = config.compile(known, report) {
                good.push(route);
                places.push(index);
            }
        });
    }
    RouteTable::new(good).unwrap_or_else(|ambiguous| {
        for clash in ambiguous {
            report.problem(&format!("routes[{}].name", places[clash.index]), clash.to_string(), clash.fix());
        }
        RouteTable::default()
    })
}

impl RouteConfig {
    fn compile(&self, known: Known<'_>, report: &mut Report) -> Option<Route> {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(bare) {
            let fix = "write up to 64 letters, digits, dashes and underscores";
            report.problem("name", "it is not usable as a name in documents and metrics", fix);
        }
        let salt = self.salt.as_ref().unwrap_or(&self.name);
        if salt.contains('\0') {
            report.problem("salt", "it has a zero byte, which separates salt and key", "remove it");
        }
        let hosts = self.hosts(report);
        let methods = self.methods(report);
        let conditions = route_parts::conditions(&self.headers, &self.query, report);
        let limits = self.limits(report);
        let request_headers = self.request_headers.compile("request_headers", report);
        let response_headers = self.response_headers.compile("response_headers", report);
        let template = self.template(report);
        let sides = self.sides(known.upstreams, report);
        let slice = self.slice(known, report);
        self.check_ramp(report);
        let template = template?;
        let rewrite = self.rewrite(&template, report);
        let key = self.key_source(&template, report)?;
        let has_key = !matches!(key, KeySource::Request);
        Some(Route {
            name: self.name.clone(),
            hosts,
            methods,
            template,
            conditions,
            key,
            key_text: self.key.clone(),
            key_required: self.key_required,
            sides: sides?,
            resilience: self.resilience(report),
            only_candidate: self.only_candidate(report),
            sticky_writes: self.sticky_writes(has_key, report),
            salt: salt.clone(),
            limits,
            rewrite,
            request_headers,
            response_headers,
            shadowed: self.shadow.is_some(),
            slice,
        })
    }

    fn resilience(&self, report: &mut Report) -> Resilience {
        if !self.fallback && self.fallback_on.is_some() {
            report.problem("fallback_on", "`fallback` is off", "remove it, or write fallback = true");
        }
        let fallback_on = self.fallback_on.as_ref().map(|cases| cases.iter().copied().collect());
        let mut retries = None;
        if let Some(config) = &self.retries {
            report.nested("retries", |report| retries = Some(config.compile(report)));
        }
        Resilience { fallback_on: fallback_on.unwrap_or_default(), retries }
    }

    fn only_candidate(&self, report: &mut Report) -> Option<OnlyCandidateSource> {
        let config = self.only_candidate.as_ref()?;
        let is_split = self.legacy.is_some() && self.candidate.is_some();
        let mut source = None;
        report.nested("only_candidate", |report| source = config.compile(is_split, report));
        source
    }

    fn sticky_writes(&self, has_key: bool, report: &mut Report) -> Option<Duration> {
        let config = self.sticky_writes?;
        let mut window = None;
        report.nested("sticky_writes", |report| window = Some(config.compile(has_key, report)));
        window
    }

    fn hosts(&self, report: &mut Report) -> Vec<HostPattern> {
        let mut hosts = Vec::new();
        for (index, text) in self.hosts.iter().enumerate() {
            let key = format!("hosts[{index}]");
            match text.parse::<HostPattern>() {
                Ok(host) if hosts.contains(&host) => {
                    report.problem(&key, "the same host is named twice", "remove it");
                }
                Ok(host) => hosts.push(host),
                Err(problem) => {
                    let fix = "write \"shop.example\", \"*.shop.example\" or \"[::1]\"; for every host, remove `hosts`";
                    report.problem(&key, problem.to_string(), fix);
                }
            }
        }
        hosts
    }

    fn methods(&self, report: &mut Report) -> Vec<Method> {
        methods("methods", &self.methods, report)
    }

    fn slice(&self, known: Known<'_>, report: &mut Report) -> Option<RouteSlice> {
        let Known { upstreams, slices } = known;
        let writes = match &self.writes {
            None => Writes::Unsafe,
            Some(texts) => Writes::Methods(methods("writes", texts, report)),
        };
        let Some(name) = &self.slice else {
            for (setting, is_set) in
                [("writes", self.writes.is_some()), ("own_candidate", self.own_candidate.is_some())]
            {
                if is_set {
                    report.problem(setting, "the route is of no slice", "set `slice`, or remove it");
                }
            }
            return None;
        };
        let Some(index) = slices.iter().position(|(slice, _)| slice == name) else {
            let known: Vec<&str> = slices.iter().map(|(slice, _)| *slice).collect();
            let fix = match known.as_slice() {
                [] => format!("add a table [slices.{name}]"),
                known => format!("add a table [slices.{name}], or name one of: {}", known.join(", ")),
            };
            report.problem("slice", format!("there is no slice `{name}`"), fix);
            return None;
        };
        let own = match &self.own_candidate {
            None => slices[index].1,
            Some(name) => {
                let found = upstreams.iter().position(|upstream| upstream == name).map(UpstreamId);
                if found.is_none() {
                    let fix = format!("add a table [upstreams.{name}], or name one of: {}", upstreams.join(", "));
                    report.problem("own_candidate", format!("there is no upstream `{name}`"), fix);
                }
                found
            }
        };
        own.map(|own| RouteSlice { id: SliceId(index), own, writes })
    }

    fn check_ramp(&self, report: &mut Report) {
        if let Some(guard) = &self.guard {
            report.nested("guard", |report| guard.validate(report));
        }
        if let Some(ramp) = &self.ramp {
            report.nested("ramp", |report| ramp.validate(report));
        }
        let judged = if self.ramp.is_some() { "ramp" } else { "guard" };
        if (self.guard.is_some() || self.ramp.is_some()) && (self.legacy.is_none() || self.candidate.is_none()) {
            report.problem(judged, "the route has one side only, so nothing of it can move", "remove it");
        }
    }

    fn template(&self, report: &mut Report) -> Option<Template> {
        let (key, text, template) = match (&self.path, &self.prefix) {
            (Some(path), None) => ("path", path, path.parse()),
            (None, Some(prefix)) => ("prefix", prefix, Template::below(prefix)),
            (Some(_), Some(_)) => {
                report.problem("prefix", "the route has a path and a prefix", "remove one of them");
                return None;
            }
            (None, None) => {
                report.problem("", "the route has neither a path nor a prefix", "add `path` or `prefix`");
                return None;
            }
        };
        if key == "path" && OWN_PATHS.contains(&text.as_str()) {
            let fix = "remove the route: ask the upstream directly, or use another path";
            report.problem(key, "the gateway answers this path itself", fix);
        }
        template
            .map_err(|problem| {
                let fix = match key {
                    "path" => "write a path such as \"/api/v1/functions/{id}\" or \"/webhooks/{*path}\"",
                    _ => "write a path such as \"/webhooks\", with everything below it",
                };
                report.problem(key, problem.to_string(), fix);
            })
            .ok()
    }

    fn rewrite(&self, template: &Template, report: &mut Report) -> Option<Rewrite> {
        let text = self.rewrite.as_ref()?;
        let rewrite = Rewrite::parse(text, template).map_err(|problem| {
            let fix = format!("write a path of plain text and parameters of `{template}`");
            report.problem("rewrite", problem.to_string(), fix);
        });
        rewrite.ok()
    }

    fn limits(&self, report: &mut Report) -> RouteLimits {
        for (key, duration) in [("timeout", self.timeout), ("read_timeout", self.read_timeout)] {
            if duration.is_some_and(|duration| duration.get().is_zero()) {
                report.problem(key, "it must not be zero", "write a duration such as \"30s\" or \"500ms\"");
            }
        }
        if self.key_body_limit.bytes() == 0 {
            report.problem("key_body_limit", "no body would fit", "write a size such as \"64 KiB\"");
        }
        if self.body_limit.is_some_and(|limit| self.key.starts_with("body:") && limit < self.key_body_limit) {
            let fix = "raise `body_limit`, or lower `key_body_limit` to it";
            report.problem("body_limit", "it is below `key_body_limit`", fix);
        }
        RouteLimits {
            timeout: self.timeout.map(HumanDuration::get),
            read_timeout: self.read_timeout.map(HumanDuration::get),
            body_bytes: self.body_limit.map(ByteSize::bytes),
            key_body_bytes: self.key_body_limit.as_usize(),
        }
    }

    fn key_source(&self, template: &Template, report: &mut Report) -> Option<KeySource> {
        let problem = match KeySource::parse(&self.key, template) {
            Ok(source) => return Some(source),
            Err(problem) => problem,
        };
        let fix = match problem {
            KeyProblem::UnknownParameter(_) => "name a parameter of the route's path",
            KeyProblem::MalformedPointer(..) => "write a pointer such as \"body:/function_id\" (RFC 6901)",
            _ => {
                "write \"path:NAME\", \"header:NAME\", \"cookie:NAME\", \"claim:NAME\", \"client\", \"body:/POINTER\" or \"request\""
            }
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

/// The methods that a setting lists.
fn methods(setting: &str, texts: &[String], report: &mut Report) -> Vec<Method> {
    let read = |(index, text): (usize, &String)| {
        let method = text.parse::<Method>().ok().filter(|method| method.as_str() == text.to_ascii_uppercase());
        if method.is_none() || method == Some(Method::CONNECT) {
            let fix = "write a method in capitals, such as \"POST\"";
            report.problem(&format!("{setting}[{index}]"), "it is no method that can be forwarded", fix);
        }
        method
    };
    texts.iter().enumerate().filter_map(read).collect()
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
