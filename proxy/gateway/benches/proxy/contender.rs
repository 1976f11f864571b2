//! Who is measured. All split the same keys over the same two origins, 50 to 50, but for bare pingora,
//! which has one origin and no decision to make; with two it takes them in turn, and has the time limits of a gateway.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;

use crate::{
    nginx::nginx,
    process::{Cores, Process, free_address},
    settings::Servers,
};

/// The contender that all others are compared with.
pub const BARE: &str = "pingora, bare: one upstream, no decision";

/// The gateway without any telemetry.
pub const UNCOUNTED: &str = "gateway: split";

const COUNTED: &str = "gateway: split + metrics";
const LOGGED: &str = "gateway: split + metrics + log";
const TRACED_IN_PART: &str = "gateway: split + metrics + log + 5 % of traces";
const TRACED: &str = "gateway: split + metrics + log + all traces";

/// What telemetry costs is the difference between these and [`UNCOUNTED`].
pub const MEASURED_BESIDE_UNCOUNTED: [&str; 4] = [COUNTED, LOGGED, TRACED_IN_PART, TRACED];

/// One program under one configuration.
pub struct Contender {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Headers that the load sends.
    pub headers: Vec<String>,
    pub process: Process,
}

/// Starts all of them.
pub fn all(servers: &Servers) -> anyhow::Result<Vec<Contender>> {
    Ok(vec![
        bare_pingora(BARE, servers, &[servers.legacy])?,
        bare_pingora("pingora, two upstreams in turn, time limits", servers, &[servers.legacy, servers.candidate])?,
        nginx_split("nginx: split", servers, "access_log off;", "")?,
        haproxy(servers)?,
        gateway(UNCOUNTED, servers, &Options { uncounted: true, ..Options::default() })?,
        gateway(COUNTED, servers, &Options::default())?,
        gateway(LOGGED, servers, &Options { log: true, ..Options::default() })?,
        gateway(TRACED_IN_PART, servers, &Options { log: true, traces: Some(0.05), ..Options::default() })?,
        gateway(TRACED, servers, &Options { log: true, traces: Some(1.0), ..Options::default() })?,
        nginx_split(
            "nginx: split + limit + log",
            servers,
            "limit_req_zone $uri zone=keys:16m rate=100000r/s; access_log access.log;",
            "limit_req zone=keys burst=100000 nodelay;",
        )?,
        gateway(
            "gateway: split + metrics + limit + log",
            servers,
            &Options { log: true, limit: Some("local"), ..Options::default() },
        )?,
        gateway(
            "gateway: split + metrics + Redis limit + log",
            servers,
            &Options { log: true, limit: Some("redis"), ..Options::default() },
        )?,
        gateway(
            "gateway: split + metrics + JWT + log",
            servers,
            &Options { log: true, jwt: true, ..Options::default() },
        )?,
    ])
}

fn bare_pingora(name: &'static str, servers: &Servers, upstreams: &[SocketAddr]) -> anyhow::Result<Contender> {
    let address = free_address()?;
    let mut command = Cores::Measured.command(built("examples/bare_pingora")?);
    command.arg(address.to_string()).args(upstreams.iter().map(ToString::to_string));
    let process = Process::start(command, &servers.folder().join(format!("bare-{}.log", address.port())), address)?;
    Ok(Contender { name, address, headers: Vec::new(), process })
}

fn nginx_split(name: &'static str, servers: &Servers, http: &str, location: &str) -> anyhow::Result<Contender> {
    let address = free_address()?;
    let upstream = |name: &str, address: SocketAddr| format!("upstream {name} {{ server {address}; keepalive 64; }}\n");
    let text = format!(
        "{http}\nkeepalive_requests 100000000;\n{}{}split_clients $uri $side {{ 50% legacy; * candidate; }}\n\
         server {{ listen {address}; location / {{ {location} proxy_pass http://$side; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Request-Id $request_id; add_header X-Served-By $side; }} }}",
        upstream("legacy", servers.legacy),
        upstream("candidate", servers.candidate),
    );
    let folder = format!("nginx-{}", address.port());
    let process = nginx(servers.folder(), &folder, Cores::Measured, &text, address)?;
    Ok(Contender { name, address, headers: Vec::new(), process })
}

fn haproxy(servers: &Servers) -> anyhow::Result<Contender> {
    let address = free_address()?;
    let file = servers.folder().join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  \
         timeout server 60s\n  option forwardfor\n  http-reuse always\nfrontend public\n  bind {address}\n  \
         unique-id-format %{{+X}}o%ci%cp%Ts%rt\n  unique-id-header x-request-id\n  \
         acl legacy path,xxh32,mod(100) lt 50\n  use_backend legacy if legacy\n  default_backend candidate\n\
         backend legacy\n  server one {}\nbackend candidate\n  server one {}\n",
        servers.legacy, servers.candidate
    );
    fs::write(&file, text)?;
    let mut command = Cores::Measured.command("haproxy");
    command.arg("-f").arg(&file);
    let process = Process::start(command, &servers.folder().join("haproxy.log"), address)?;
    Ok(Contender { name: "HAProxy: split", address, headers: Vec::new(), process })
}

/// What the gateway does beyond splitting and counting.
#[derive(Default)]
struct Options {
    /// Not even counting.
    uncounted: bool,
    log: bool,
    /// The share of traces that is exported, to one of the origins, which takes anything.
    traces: Option<f64>,
    limit: Option<&'static str>,
    jwt: bool,
}

fn gateway(name: &'static str, servers: &Servers, options: &Options) -> anyhow::Result<Contender> {
    let (address, admin) = (free_address()?, free_address()?);
    let folder = servers.folder().join(format!("gateway-{}", address.port()));
    fs::create_dir(&folder)?;
    fs::write(folder.join("rollout.toml"), "[routes.invoke]\npercent = 50\n")?;
    let log = if options.log { "file" } else { "off" };
    let mut text = format!(
        "[http]\nbind = \"{address}\"\nthreads = 1\nwork_stealing = false\n[admin]\nbind = \"{admin}\"\n\
         token = \"0123456789abcdef0123456789abcdef\"\n[rollout]\nfile = \"rollout.toml\"\n\
         [access_log]\ndestination = \"{log}\"\nfile = \"access.log\"\n\
         [upstreams.legacy]\naddress = \"{}\"\n[upstreams.candidate]\naddress = \"{}\"\n",
        servers.legacy, servers.candidate
    );
    if options.uncounted {
        text += "[request_metrics]\nenabled = false\n";
    }
    let mut route = "[[routes]]\nname = \"invoke\"\npath = \"/f/{id}/invoke\"\nkey = \"path:id\"\n\
         legacy = \"legacy\"\ncandidate = \"candidate\"\n"
        .to_owned();
    if let Some(store) = options.limit {
        text += &format!("[limits]\nstore = \"{store}\"\n");
        if store == "redis" {
            text += &format!("[limits.redis]\nurl = \"redis://{}/\"\n", servers.redis);
        }
        text += "[limits.policies.per-key]\ncounts = \"key\"\nrate = \"100000/s\"\nburst = 100000\n";
        route += "limits = [\"per-key\"]\n";
    }
    if let Some(ratio) = options.traces {
        text += &format!("[telemetry]\notlp_endpoint = \"http://{}\"\notlp_sample_ratio = {ratio:?}\n", servers.legacy);
    }
    let mut headers = Vec::new();
    if options.jwt {
        let (settings, token) = jwt()?;
        text += &settings;
        route += "auth = { require = \"jwt\" }\n";
        headers.push(format!("Authorization: Bearer {token}"));
    }
    fs::write(folder.join("gateway.toml"), text + &route)?;
    let mut command = Cores::Measured.command(env!("CARGO_BIN_EXE_gateway"));
    command.arg("--config").arg(folder.join("gateway.toml")).env("GATEWAY__TELEMETRY__LOG_FILTER", "warn");
    let process = Process::start(command, &folder.join("log"), address)?;
    Ok(Contender { name, address, headers, process })
}

/// Settings for one issuer, and a token of it that outlives the run.
fn jwt() -> anyhow::Result<(String, String)> {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let secret = "a benchmark's secret of 32 bytes and more";
    let claims = serde_json::json!({ "iss": "https://issuer.example", "aud": "gateway", "sub": "bench", "exp": 4_102_444_800_u64 });
    let token = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))?;
    let settings = format!(
        "[auth.jwt.main]\nissuer = \"https://issuer.example\"\naudience = [\"gateway\"]\nalgorithms = [\"HS256\"]\nsecret = \"{secret}\"\n"
    );
    Ok((settings, token))
}

/// A program beside the benchmark's own.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let release = own.parent().and_then(|deps| deps.parent()).context("no folder")?;
    Ok(release.join(name))
}
