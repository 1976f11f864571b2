//! Who is measured. All requests are served by legacy; only the copies differ.

use std::{fs, net::SocketAddr};

use crate::{
    copies::Copies,
    hostile::Kind,
    nginx::nginx,
    process::{Cores, Process, free_address},
    upstreams::Upstreams,
};

pub const OFF: &str = "gateway: no shadow";
pub const OFF_AGAIN: &str = "gateway: no shadow, once more";
pub const SAME: &str = "gateway: shadow, equal bytes";
pub const REORDERED: &str = "gateway: shadow, members in another order";
pub const NGINX: &str = "nginx: no mirror";
pub const MIRROR: &str = "nginx: mirror, which compares nothing";

/// One program under one configuration.
pub struct Contender {
    pub name: &'static str,
    pub address: SocketAddr,
    pub process: Process,
    /// Where a gateway tells what became of its copies.
    admin: Option<SocketAddr>,
}

impl Contender {
    pub fn copies(&self) -> anyhow::Result<Copies> {
        self.admin.map_or_else(|| Ok(Copies::default()), Copies::of)
    }
}

/// Starts all of them.
pub fn all(upstreams: &Upstreams) -> anyhow::Result<Vec<Contender>> {
    let mut contenders = vec![
        gateway(OFF, upstreams, None)?,
        gateway(OFF_AGAIN, upstreams, None)?,
        gateway(SAME, upstreams, Some(upstreams.same))?,
        gateway(REORDERED, upstreams, Some(upstreams.reordered))?,
        nginx_proxy(NGINX, upstreams, None)?,
        nginx_proxy(MIRROR, upstreams, Some(upstreams.same))?,
        gateway("gateway: shadow, other side dead", upstreams, Some(upstreams.dead))?,
    ];
    for (kind, address) in &upstreams.hostile {
        let name = match kind {
            Kind::Slow => "gateway: shadow, other side takes 2 s",
            Kind::Trickling => "gateway: shadow, other side trickles",
            Kind::Endless => "gateway: shadow, other side answers 100 MB",
            Kind::Resetting => "gateway: shadow, other side resets",
        };
        contenders.push(gateway(name, upstreams, Some(*address))?);
    }
    Ok(contenders)
}

fn gateway(name: &'static str, upstreams: &Upstreams, other: Option<SocketAddr>) -> anyhow::Result<Contender> {
    let (address, admin) = (free_address()?, free_address()?);
    let folder = upstreams.folder().join(format!("gateway-{}", address.port()));
    fs::create_dir(&folder)?;
    let (table, share) = if other.is_some() { ("[routes.shadow]\n", "shadow = 100\n") } else { ("", "") };
    fs::write(folder.join("rollout.toml"), format!("[routes.invoke]\npercent = 0\n{share}"))?;
    let text = format!(
        "[http]\nbind = \"{address}\"\nthreads = 1\nwork_stealing = false\n[admin]\nbind = \"{admin}\"\n\
         token = \"0123456789abcdef0123456789abcdef\"\n[rollout]\nfile = \"rollout.toml\"\n\
         [access_log]\ndestination = \"off\"\n[upstreams.legacy]\naddress = \"{}\"\n\
         [upstreams.candidate]\naddress = \"{}\"\n[[routes]]\nname = \"invoke\"\npath = \"/f/{{id}}/invoke\"\n\
         key = \"path:id\"\nlegacy = \"legacy\"\ncandidate = \"candidate\"\n{table}",
        upstreams.legacy,
        other.unwrap_or(upstreams.same),
    );
    fs::write(folder.join("gateway.toml"), text)?;
    let mut command = Cores::Measured.command(env!("CARGO_BIN_EXE_gateway"));
    command.arg("--config").arg(folder.join("gateway.toml")).env("GATEWAY__TELEMETRY__LOG_FILTER", "warn");
    let process = Process::start(command, &folder.join("log"), address)?;
    Ok(Contender { name, address, process, admin: Some(admin) })
}

fn nginx_proxy(name: &'static str, upstreams: &Upstreams, mirror: Option<SocketAddr>) -> anyhow::Result<Contender> {
    let address = free_address()?;
    let pass = |to: &str| {
        format!(
            "proxy_pass {to}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Request-Id $request_id;"
        )
    };
    let upstream = |name: &str, address: SocketAddr| format!("upstream {name} {{ server {address}; keepalive 64; }}\n");
    let (directive, mirrored, candidate) = match mirror {
        Some(to) => (
            "mirror /mirror;",
            format!("location = /mirror {{ internal; {} }}\n", pass("http://candidate$request_uri")),
            upstream("candidate", to),
        ),
        None => ("", String::new(), String::new()),
    };
    let text = format!(
        "access_log off; keepalive_requests 100000000;\n{}{candidate}server {{ listen {address};\n\
         location / {{ {directive} {} add_header X-Served-By legacy; }}\n{mirrored}}}",
        upstream("legacy", upstreams.legacy),
        pass("http://legacy"),
    );
    let folder = format!("nginx-{}", address.port());
    let process = nginx(upstreams.folder(), &folder, Cores::Measured, &text, address)?;
    Ok(Contender { name, address, process, admin: None })
}
