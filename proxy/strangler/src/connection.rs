//! Finding the gateway's admin API and the token for it.

use std::{
    fmt, fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use local_stack::{RunningStack, StackOptions};
use serde::{Deserialize, Serialize};

use crate::{arguments::ConnectionArguments, output::Refused, stack};

/// The file in a stack's data folder that says where its gateway is.
const FILE: &str = "connection.json";

/// Where the admin API is, and the token for it.
pub(crate) struct Connection {
    pub(crate) admin: String,
    pub(crate) token: String,
    /// Authorities to trust in place of the system's, as PEM.
    pub(crate) ca: Option<Vec<u8>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// Flags and environment first; then the file that a running stack leaves in its data folder.
pub(crate) fn find(arguments: &ConnectionArguments) -> anyhow::Result<Connection> {
    let token = match &arguments.token_file {
        Some(file) => Some(read_token(file)?),
        None => std::env::var("STRANGLER_TOKEN").ok().filter(|token| !token.is_empty()),
    };
    let read = |file: &PathBuf| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let ca = arguments.ca.as_ref().map(read).transpose()?;
    match (&arguments.admin, token) {
        (Some(admin), Some(token)) => {
            let admin = admin.trim_end_matches('/').to_owned();
            if crosses_a_network_in_clear(&admin) {
                let said =
                    format!("{admin} is another machine, and without https:// the token could be read on its way");
                return Err(Refused(said).into());
            }
            Ok(Connection { admin, token, ca })
        }
        (Some(_), None) => {
            Err(Refused("no token for the admin API: name a file with --token-file, or set STRANGLER_TOKEN".to_owned())
                .into())
        }
        (None, token) => {
            let stack = from_stack(&data_folder(arguments)?)?;
            Ok(Connection { token: token.unwrap_or(stack.token), admin: stack.admin, ca })
        }
    }
}

/// The data folder of the stack that is meant.
pub(crate) fn data_folder(arguments: &ConnectionArguments) -> anyhow::Result<PathBuf> {
    let data_folder = arguments.data.clone();
    Ok(StackOptions { data_folder, ..StackOptions::new(stack::source(None)?) }.data_folder())
}

/// Leaves word of a running stack's gateway, for the calls that name none: of the URL and the
/// secret that its document calls `admin`.
pub(crate) fn leave(running: &RunningStack) -> anyhow::Result<()> {
    let (Some(admin), Some(token)) = (running.urls().get("admin"), running.secret("admin")) else { return Ok(()) };
    let word = StackConnection { admin: admin.clone(), token: token.to_owned() };
    let path = running.data_folder().join(FILE);
    // Made anew, so that an older file's permissions do not count.
    let _ = fs::remove_file(&path);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&serde_json::to_vec(&word)?))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the token would be sent to another machine as it is. What is no address is refused later.
fn crosses_a_network_in_clear(admin: &str) -> bool {
    let Ok(url) = admin.parse::<reqwest::Url>() else { return false };
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && !here
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the token from {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// What a running stack says of its gateway.
#[derive(Deserialize, Serialize)]
struct StackConnection {
    admin: String,
    token: String,
}

fn from_stack(data: &Path) -> anyhow::Result<Connection> {
    let file = data.join(FILE);
    let text = fs::read_to_string(&file).map_err(|error| {
        Refused(format!(
            "no gateway was named and no stack runs in {} ({error}); start one with `strangler dev`, or name a gateway \
             with --admin and --token-file",
            data.display()
        ))
    })?;
    let stack: StackConnection =
        serde_json::from_str(&text).with_context(|| format!("{} is not what `dev` writes", file.display()))?;
    Ok(Connection { admin: stack.admin, token: stack.token, ca: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_crosses_no_network_in_clear() {
        for admin in
            ["http://10.0.0.1:9901", "http://gateway.example", "http://127.0.0.1.nip.io:1", "http://[fe80::1]:1"]
        {
            assert!(crosses_a_network_in_clear(admin), "{admin}");
        }
        for admin in
            ["http://127.0.0.1:9901", "http://localhost:1", "http://[::1]:1", "https://gateway.example", "nonsense"]
        {
            assert!(!crosses_a_network_in_clear(admin), "{admin}");
        }
    }
}
