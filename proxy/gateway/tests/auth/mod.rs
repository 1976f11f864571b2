//! Who may pass, and what the upstream learns of them.

mod api_keys;
mod identity_headers;
mod key_server;
mod published_keys;
mod signer;
mod tokens;

use std::{fs, path::Path};

use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Gateway, Stub, TOKEN};
use key_server::KeyServer;
use signer::Signer;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "functions";

/// A gateway that asks who is there, in front of one upstream.
struct Guarded {
    upstream: Stub,
    gateway: Gateway,
}

/// A route for each way to ask. `auth` has the settings below `[auth]`.
fn config(upstream: &Stub, auth: &str) -> String {
    let route = |name: &str, auth: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}/{{*rest}}\"\nlegacy = \"upstream\"\n{auth}\n")
    };
    let routes = [
        ("open", ""),
        ("jwt", "auth = { require = \"jwt\" }"),
        ("scoped", "auth = { require = \"jwt\", scopes = [\"read\", \"write\"] }"),
    ];
    let routes: String = routes.iter().map(|(name, auth)| route(name, auth)).collect();
    let keys = [
        ("key", "auth = { require = \"api_key\" }"),
        ("key-scoped", "auth = { require = \"api_key\", scopes = [\"read\"] }"),
        ("any", "auth = { require = \"any\" }"),
    ];
    let keys: String = keys.iter().map(|(name, auth)| route(name, auth)).collect();
    let keys = if auth.contains("api_keys") { keys } else { String::new() };
    format!(
        r#"
[http]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
token = "{TOKEN}"
[telemetry]
log_filter = "info,gateway=trace"
[access_log]
destination = "file"
[upstreams.upstream]
address = "{}"
[auth]
poll_interval = "20ms"
{auth}
{routes}
{keys}
"#,
        upstream.address
    )
}

impl Guarded {
    fn start(auth: &str) -> Self {
        Self::with_files(auth, &[])
    }

    /// With files beside the configuration.
    fn with_files(auth: &str, files: &[(&str, &str)]) -> Self {
        let upstream = Stub::start("upstream");
        let config = config(&upstream, auth);
        let gateway = Gateway::start_with_files(&config, "", files);
        Self { upstream, gateway }
    }

    /// With one issuer, whose tokens this signer makes, and these settings of it.
    fn trusting(signer: &Signer, settings: &str) -> Self {
        let algorithm = signer.algorithm();
        let set = json!({ "keys": [signer.jwk()] }).to_string();
        let auth = format!(
            "[auth.jwt.main]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nalgorithms = [\"{algorithm}\"]\n\
             jwks_file = \"keys.json\"\n{settings}\n"
        );
        Self::with_files(&auth, &[("keys.json", &set)])
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.gateway.client.get(self.gateway.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// The status of a request with this token.
    async fn status(&self, path: &str, token: &str) -> u16 {
        self.get(path, &[("authorization", &format!("Bearer {token}"))]).await.status().as_u16()
    }

    /// Replaces a file beside the configuration as a whole.
    fn replace(&self, name: &str, text: &str) {
        replace(self.gateway.folder.path(), name, text);
    }

    async fn metric(&self, line: &str) -> f64 {
        let metrics = self.gateway.metrics().await;
        let value = metrics.lines().find_map(|shown| shown.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

fn replace(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, folder.join(name)).unwrap();
}

fn now_s() -> i64 {
    chrono::Utc::now().timestamp()
}

/// Good claims, with these in place of or beside them; null takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "exp": now_s() + 600 });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}
