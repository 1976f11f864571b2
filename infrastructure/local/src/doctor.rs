//! What this machine has of what the stack needs, and how to get the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use local_servers::{Account, PortChoice, PostgresBinaries, first_closed_folder};
use nix::sys::statvfs::statvfs;

/// Less free disk than this is a warning.
const COMFORTABLE_DISK_BYTES: u64 = 2 << 30;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Good,
    /// The stack runs without it, with the stated loss.
    Warning,
    /// The stack does not run without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, found: found.into(), fix: None }
    }

    fn bad(name: &'static str, verdict: Verdict, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at this machine; `data_folder` is where the stack would keep its state.
#[must_use]
pub fn doctor(data_folder: &Path) -> Vec<Check> {
    vec![
        postgres(),
        server_account(data_folder),
        sandbox(),
        interpreter("python3", "python3", "Python functions do not run"),
        interpreter("node", "nodejs", "JavaScript functions do not run"),
        disk(data_folder),
        ports(),
    ]
}

fn postgres() -> Check {
    const NAME: &str = "PostgreSQL";
    match PostgresBinaries::on_system() {
        Some(binaries) => Check::good(NAME, binaries.folder.display().to_string()),
        None => Check::bad(
            NAME,
            Verdict::Warning,
            "not on this machine; it will be downloaded at the first start",
            "apt install postgresql",
        ),
    }
}

fn server_account(data_folder: &Path) -> Check {
    const NAME: &str = "server account";
    match Account::for_server(None) {
        Ok(None) => Check::good(NAME, "this user"),
        Ok(Some(account)) => match first_closed_folder(data_folder, &account).filter(|closed| closed != data_folder) {
            None => Check::good(NAME, account.name),
            Some(closed) => {
                let found = format!("{} may not pass {}", account.name, closed.display());
                Check::bad(NAME, Verdict::Missing, found, "choose a data folder elsewhere, for example under /var/lib")
            }
        },
        Err(error) => Check::bad(NAME, Verdict::Missing, error.to_string(), "adduser --system postgres"),
    }
}

fn sandbox() -> Check {
    const NAME: &str = "sandbox (bwrap)";
    let probe =
        Command::new("bwrap").args(["--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"]).output();
    match probe {
        Ok(output) if output.status.success() => Check::good(NAME, "usable"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let fix = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
                       kernel.apparmor_restrict_unprivileged_userns=0; in a container, run it with user namespaces";
            Check::bad(NAME, Verdict::Missing, format!("installed, but: {said}"), fix)
        }
        Err(_) => Check::bad(NAME, Verdict::Missing, "not on this machine", "apt install bubblewrap"),
    }
}

fn interpreter(program: &'static str, package: &str, loss: &str) -> Check {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => {
            Check::good(program, String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => Check::bad(
            program,
            Verdict::Warning,
            format!("not on this machine: {loss}"),
            format!("apt install {package}"),
        ),
    }
}

fn disk(data_folder: &Path) -> Check {
    const NAME: &str = "free disk";
    let existing =
        data_folder.ancestors().find(|folder| folder.exists()).map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    let Ok(stat) = statvfs(&existing) else {
        return Check::bad(NAME, Verdict::Warning, format!("unknown at {}", existing.display()), "look at `df`");
    };
    let free_bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
    let found = format!("{} MiB at {}", free_bytes >> 20, existing.display());
    if free_bytes >= COMFORTABLE_DISK_BYTES {
        Check::good(NAME, found)
    } else {
        Check::bad(NAME, Verdict::Warning, found, "make room, or choose a data folder elsewhere")
    }
}

fn ports() -> Check {
    const NAME: &str = "loopback ports";
    match PortChoice::Any.choose() {
        Ok(_) => Check::good(NAME, "free"),
        Err(error) => {
            Check::bad(NAME, Verdict::Missing, error.to_string(), "bring the loopback interface up: ip link set lo up")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_is_not_good_says_what_to_do() {
        let checks = doctor(Path::new("/var/lib/strangler/none"));
        assert_eq!(checks.len(), 7);
        for check in checks {
            assert_eq!(check.verdict == Verdict::Good, check.fix.is_none(), "{check:?}");
        }
    }
}
