//! nginx, as an origin and as a contender.

use std::{fs, net::SocketAddr, path::Path};

use crate::process::{Cores, Process};

/// An nginx with one worker and these lines in its `http` block.
pub fn nginx(folder: &Path, name: &str, cores: Cores, http: &str, listens: SocketAddr) -> anyhow::Result<Process> {
    let prefix = folder.join(name);
    fs::create_dir(&prefix)?;
    let file = prefix.join("nginx.conf");
    // Temporary folders in the prefix: the packaged ones need not be writable.
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", prefix.display()))
        .concat();
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let text = format!(
        "{user}daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n{folders}{http}\n}}\n",
        prefix.display()
    );
    fs::write(&file, text)?;
    let mut command = cores.command("nginx");
    command.arg("-p").arg(&prefix).arg("-c").arg(&file);
    Process::start(command, &folder.join(format!("{name}.log")), listens)
}

/// An nginx that answers each request at each of these addresses with the JSON beside it.
pub fn origin(folder: &Path, name: &str, cores: Cores, answers: &[(SocketAddr, String)]) -> anyhow::Result<Process> {
    let server = |(address, body): &(SocketAddr, String)| {
        format!("server {{ listen {address}; location / {{ default_type application/json; return 200 '{body}'; }} }}\n")
    };
    let servers: String = answers.iter().map(server).collect();
    let http = format!("access_log off; keepalive_requests 100000000;\n{servers}");
    nginx(folder, name, cores, &http, answers[0].0)
}
