//! The stack's one folder on disk. Layout: `lock`, `ports.toml`, `secrets/NAME`, `logs/NAME.log`,
//! `work/NAME` (one per process), `postgres`, `s3`, `scratch` (which names a folder outside), the files that a
//! person edits, in `shipped` what they were, and those that each start makes anew.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use local_servers::{Account, FolderLock, PortChoice, generate_credential};

use super::{StackError, scratch::Scratch};

const PORTS: &str = "ports.toml";
/// Copies of the stack's files as they were brought.
const SHIPPED: &str = "shipped";

/// A locked data folder.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    /// Made when a process needs it.
    scratch: OnceLock<Scratch>,
    // Dropped last: until then nobody else uses what is here.
    _lock: FolderLock,
}

impl DataFolder {
    /// Where a stack called `name` keeps its state unless told otherwise: a place that PostgreSQL's
    /// account can reach for root, the user's state folder for others.
    pub(super) fn default_path(name: &str) -> PathBuf {
        let state_home = if nix::unistd::geteuid().is_root() {
            PathBuf::from("/var/lib")
        } else {
            let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".local/state");
            named.unwrap_or_else(home)
        };
        state_home.join("strangler").join(name)
    }

    /// Makes or finds the folder and takes its lock. `server_account` is whom root lets through to the
    /// server's part of it.
    pub(super) fn open(path: &Path, server_account: Option<&Account>) -> Result<Self, StackError> {
        std::fs::create_dir_all(path).map_err(io_error("make", path))?;
        let path = std::fs::canonicalize(path).map_err(io_error("find", path))?;
        let lock = FolderLock::try_take(&path).map_err(io_error("lock", &path))?;
        let lock = lock.ok_or_else(|| StackError::InUse { folder: path.clone() })?;
        let mode = match server_account {
            Some(account) => {
                let gid = nix::unistd::Gid::from_raw(account.gid);
                nix::unistd::chown(&path, None, Some(gid)).map_err(io::Error::from).map_err(io_error("own", &path))?;
                0o710
            }
            None => 0o700,
        };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("close", &path))?;
        let folder = Self { path, scratch: OnceLock::new(), _lock: lock };
        for part in ["secrets", "logs", "work"] {
            folder.private_folder(part)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log_of(&self, part: &str) -> PathBuf {
        self.path.join("logs").join(format!("{part}.log"))
    }

    /// A process's own folder.
    pub(super) fn work_folder(&self, part: &str) -> Result<PathBuf, StackError> {
        self.private_folder(&format!("work/{part}"))
    }

    /// A process's folder outside of this one.
    pub(super) fn scratch_folder(&self, part: &str) -> Result<PathBuf, StackError> {
        let note = self.path.join("scratch");
        let failed = io_error("make the folder of", &note);
        let scratch = match self.scratch.get() {
            Some(scratch) => scratch,
            None => {
                let opened = Scratch::open(note.clone()).map_err(io_error("make the folder of", &note))?;
                self.scratch.get_or_init(|| opened)
            }
        };
        scratch.of(part).map_err(failed)
    }

    /// Brings the stack's files here: those that are not there, and those that nobody has edited since they were
    /// brought. Answers what was edited and is not what the stack comes with now.
    pub(super) fn bring(&self, files: &BTreeMap<String, String>) -> Result<Vec<String>, StackError> {
        let shipped = self.private_folder(SHIPPED)?;
        let mut outdated = Vec::new();
        for (name, text) in files {
            let (path, shipped) = (self.path.join(name), shipped.join(name));
            let before = std::fs::read_to_string(&shipped).ok();
            let edited = path.exists() && std::fs::read_to_string(&path).ok() != before;
            if before.as_ref() == Some(text) && path.exists() {
                continue;
            }
            // The copy last: a start that is killed between the two finds an edited file, and keeps it.
            if edited {
                outdated.push(name.clone());
            } else {
                replace(&path, text.as_bytes()).map_err(io_error("write", &path))?;
            }
            replace(&shipped, text.as_bytes()).map_err(io_error("write", &shipped))?;
        }
        Ok(outdated)
    }

    /// Writes a file that is made anew at each start.
    pub(super) fn generate(&self, name: &str, text: &str) -> Result<(), StackError> {
        let path = self.path.join(name);
        replace(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// What the stack comes with, as it was brought.
    pub(super) fn shipped(&self, name: &str) -> PathBuf {
        self.path.join(SHIPPED).join(name)
    }

    /// The secret `name`, generated the first time.
    pub(super) fn secret(&self, name: &str) -> Result<String, StackError> {
        let path = self.path.join("secrets").join(name);
        match std::fs::read_to_string(&path) {
            Ok(secret) if !secret.is_empty() => Ok(secret),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("read", &path)(error)),
            _ => {
                let secret = generate_credential();
                replace(&path, secret.as_bytes()).map_err(io_error("write", &path))?;
                Ok(secret)
            }
        }
    }

    /// A free port for each name: the one it had last time when that is still free, so that addresses
    /// stay the same over restarts.
    pub(super) fn ports<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, u16>, StackError> {
        let path = self.path.join(PORTS);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A file that cannot be read costs familiar port numbers, nothing more.
        let mut remembered: BTreeMap<String, u16> = toml::from_str(&text).unwrap_or_default();
        let mut chosen: BTreeMap<String, u16> = BTreeMap::new();
        for name in names {
            let mut choice = remembered.get(name).map_or(PortChoice::Any, |&port| PortChoice::Prefer(port));
            let port = loop {
                let port = choice.choose().map_err(StackError::NoPort)?;
                if !chosen.values().any(|&taken| taken == port) {
                    break port;
                }
                choice = PortChoice::Any;
            };
            chosen.insert(name.to_owned(), port);
        }
        remembered.extend(chosen.clone());
        let text: String = remembered.iter().map(|(name, port)| format!("{name} = {port}\n")).collect();
        replace(&path, text.as_bytes()).map_err(io_error("write", &path))?;
        Ok(chosen)
    }

    fn private_folder(&self, part: &str) -> Result<PathBuf, StackError> {
        let path = self.path.join(part);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(io_error("make", &path))?;
        Ok(path)
    }
}

/// Writes a private file whole or not at all, also when the machine stops in the middle.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StackError + use<> {
    let path = path.to_path_buf();
    move |source| StackError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_finds_its_ports_secrets_and_edited_files() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join("data");
        let files = BTreeMap::from([("rollout.toml".to_owned(), "first".to_owned())]);
        let folder = DataFolder::open(&path, None).expect("it is free");
        assert_eq!(folder.bring(&files).expect("written"), [""; 0]);
        let ports = folder.ports(["a", "b"]).expect("free ports");
        let secret = folder.secret("admin").expect("generated");
        folder.generate("address", "of the first start").expect("written");
        assert!(matches!(DataFolder::open(&path, None), Err(StackError::InUse { .. })));
        std::fs::write(path.join("rollout.toml"), "edited").expect("our own file");
        drop(folder);

        let folder = DataFolder::open(&path, None).expect("it is free again");
        assert_eq!(folder.bring(&files).expect("nothing to write"), [""; 0]);
        assert_eq!(std::fs::read_to_string(path.join("rollout.toml")).expect("there"), "edited");
        assert_eq!(folder.ports(["a", "b"]).expect("the same ports"), ports);
        assert_eq!(folder.secret("admin").expect("the same secret"), secret);
        folder.generate("address", "of the second").expect("written anew");
        assert_eq!(std::fs::read_to_string(path.join("address")).expect("there"), "of the second");
        let mode = |name: &str| std::fs::metadata(path.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("secrets"), mode("secrets/admin"), mode("address")), (0o700, 0o700, 0o600, 0o600));
    }

    #[test]
    fn a_newer_stack_replaces_what_was_not_edited() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folder = DataFolder::open(&temp.path().join("data"), None).expect("it is free");
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("there");
        let files = |content: &str| {
            ["edited", "untouched"].map(|name| (name.to_owned(), content.to_owned())).into_iter().collect()
        };
        assert_eq!(folder.bring(&files("first")).expect("written"), [""; 0]);
        std::fs::write(folder.path().join("edited"), "mine").expect("our own file");
        assert_eq!(folder.bring(&files("second")).expect("written"), ["edited"]);
        assert_eq!([text("edited"), text("untouched")], ["mine", "second"]);
        assert_eq!(std::fs::read_to_string(folder.shipped("edited")).expect("there"), "second");
        assert_eq!(folder.bring(&files("second")).expect("nothing to write"), [""; 0], "it is said once");
        assert_eq!([text("edited"), text("untouched")], ["mine", "second"]);
    }
}
