use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{PostgresBinaries, PostgresError, SUPERUSER, TAIL_LINES, folder_error, log_in};
use crate::account::{Account, first_closed_folder};
use crate::child::{Child, ChildSpec};
use crate::child_log::ChildLog;

/// The longest path of a Unix socket that Linux takes.
const SOCKET_PATH_MAX: usize = 107;
const INITDB_DEADLINE: Duration = Duration::from_secs(120);

/// The files of one server: folders with the right owner, the password, the initialised data.
pub(super) struct Cluster {
    folder: PathBuf,
    data: PathBuf,
    account: Option<Account>,
    password: String,
}

impl Cluster {
    /// Makes the folders and the password, or finds them as an earlier run left them.
    pub(super) fn prepare(folder: &Path, account: Option<Account>) -> Result<Self, PostgresError> {
        private_folder(folder, account.as_ref())?;
        let folder = std::fs::canonicalize(folder).map_err(folder_error(folder))?;
        if let Some(account) = &account
            && let Some(closed) = first_closed_folder(&folder, account)
        {
            return Err(PostgresError::Unreachable { account: account.name.clone(), closed, folder });
        }
        private_folder(&folder.join("run"), account.as_ref())?;
        let password_file = folder.join("password");
        let password = read_or_create_password(&password_file).map_err(folder_error(&password_file))?;
        Ok(Self { data: folder.join("cluster"), folder, account, password })
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The folder for sockets.
    pub(super) fn sockets(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The socket's folder; `None` when its path is too long for a socket, and TCP has to do.
    pub(super) fn socket_folder(&self, port: u16) -> Option<PathBuf> {
        let run = self.sockets();
        let length = run.join(format!(".s.PGSQL.{port}")).as_os_str().len();
        (length <= SOCKET_PATH_MAX).then_some(run)
    }

    /// Runs `initdb` once. It works on a folder beside and renames it, so that a killed one leaves no
    /// half-made cluster.
    pub(super) async fn initialise(&self, binaries: &PostgresBinaries, durable: bool) -> Result<(), PostgresError> {
        if self.data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        let unfinished = self.folder.join("cluster.new");
        remove_all(&unfinished).map_err(folder_error(&unfinished))?;
        let handed_password = self.folder.join("run/password");
        self.hand_over_password(&handed_password).map_err(folder_error(&handed_password))?;
        let result = self.run_initdb(binaries, &unfinished, &handed_password, durable).await;
        std::fs::remove_file(&handed_password).map_err(folder_error(&handed_password))?;
        result?;
        std::fs::rename(&unfinished, &self.data).map_err(folder_error(&self.data))
    }

    /// A child of this server's account, kept apart from the caller's own PostgreSQL settings.
    pub(super) fn child(&self, name: &str, program: PathBuf) -> ChildSpec {
        ChildSpec {
            env: BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]),
            hidden_env_prefixes: vec!["PG".to_owned()],
            folder: Some(self.folder.clone()),
            account: self.account.clone(),
            ..ChildSpec::new(name, program, log_in(&self.folder))
        }
    }

    async fn run_initdb(
        &self,
        binaries: &PostgresBinaries,
        data: &Path,
        password: &Path,
        durable: bool,
    ) -> Result<(), PostgresError> {
        let mut spec = self.child("initdb", binaries.program("initdb"));
        spec.log = ChildLog::new(self.folder.join("initdb.log"));
        spec.args = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--username"].map(Into::into).to_vec();
        spec.args.push(SUPERUSER.into());
        spec.args.extend(["--pwfile".into(), password.into(), "--pgdata".into(), data.into()]);
        if !durable {
            spec.args.push("--no-sync".into());
        }
        let child = Child::start(spec).await?;
        // On a timeout the child is killed by its drop; the status says so.
        let status = match tokio::time::timeout(INITDB_DEADLINE, child.exited()).await {
            Ok(status) => status,
            Err(_) => {
                child.kill_group();
                child.exited().await
            }
        };
        if status.success() {
            Ok(())
        } else {
            Err(PostgresError::Initdb { status, log_tail: child.log().tail(TAIL_LINES) })
        }
    }

    /// `initdb` reads the password as the server's account, which may not read ours.
    fn hand_over_password(&self, path: &Path) -> io::Result<()> {
        remove_all(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.password.as_bytes())?;
        self.account.as_ref().map_or(Ok(()), |account| account.own(path))
    }
}

/// A folder only its owner can look into: the server's account when there is one.
fn private_folder(path: &Path, account: Option<&Account>) -> Result<(), PostgresError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| account.map_or(Ok(()), |account| account.own(path))).map_err(folder_error(path))
}

fn read_or_create_password(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(password) if !password.is_empty() => return Ok(password),
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let password = crate::credential::generate();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(password.as_bytes())?;
    file.sync_all()?;
    Ok(password)
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
