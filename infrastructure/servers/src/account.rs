use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, geteuid};

/// An unprivileged account of this machine that a server runs as when we are root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name in the system's user table.
    pub name: String,
    /// Its user id; never 0.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// No account to run a server as.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The account that was asked for is not on this machine.
    #[error("there is no account `{name}` on this machine; create it, or name another one")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The account that was asked for is root.
    #[error("`{name}` is root, and PostgreSQL refuses to run as root; name an unprivileged account")]
    IsRoot {
        /// The name asked for.
        name: String,
    },
    /// The user table cannot be read.
    #[error("the system's user table cannot be read")]
    Lookup(#[source] nix::errno::Errno),
}

impl Account {
    /// The account for a server that must not be root: `None` when this process is not root itself,
    /// otherwise `configured`, or `postgres` when that exists, or `nobody`.
    ///
    /// # Errors
    /// The configured account is missing or root, or the user table cannot be read.
    pub fn for_server(configured: Option<&str>) -> Result<Option<Self>, AccountError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let names = configured.map_or_else(|| vec!["postgres", "nobody"], |name| vec![name]);
        for name in &names {
            if let Some(user) = User::from_name(name).map_err(AccountError::Lookup)? {
                if user.uid.is_root() {
                    return Err(AccountError::IsRoot { name: (*name).to_owned() });
                }
                return Ok(Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        Err(AccountError::Unknown { name: names[names.len() - 1].to_owned() })
    }

    /// Makes this account the owner of `path`.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn own(&self, path: &Path) -> std::io::Result<()> {
        nix::unistd::chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        Ok(())
    }
}

/// The first folder on the way to `path` that `account` may not pass through, if any. Folders that do
/// not exist yet are not judged.
#[must_use]
pub fn first_closed_folder(path: &Path, account: &Account) -> Option<PathBuf> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    ancestors
        .into_iter()
        .filter(|folder| std::fs::metadata(folder).is_ok_and(|meta| meta.is_dir() && !may_pass(&meta, account)))
        .map(Path::to_path_buf)
        .next()
}

fn may_pass(meta: &std::fs::Metadata, account: &Account) -> bool {
    let mode = meta.permissions().mode();
    let bit = if meta.uid() == account.uid {
        0o100
    } else if meta.gid() == account.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}
