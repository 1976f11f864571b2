use std::path::{Path, PathBuf};
use std::process::Command;

use postgresql_embedded::{PostgreSQL, Settings, VersionReq};

use super::PostgresError;

/// Debian keeps each major version's binaries in a folder of its own, off the `PATH`.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
/// The major version that is downloaded when the system has none.
const DOWNLOAD_VERSION: &str = "=17.5.0";
const RELEASES_URL: &str = "https://github.com/theseus-rs/postgresql-binaries";

/// Where the binaries came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinarySource {
    /// Installed on this machine.
    System,
    /// Downloaded by `postgresql_embedded`.
    Download,
    /// Named by who started the server.
    Named,
}

/// A folder with `postgres` and `initdb` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresBinaries {
    /// The folder.
    pub folder: PathBuf,
    /// Where it came from.
    pub source: BinarySource,
}

impl PostgresBinaries {
    /// The system's binaries: Debian's newest version, else the `PATH`, else what `pg_config` names.
    #[must_use]
    pub fn on_system() -> Option<Self> {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        newest_debian(Path::new(DEBIAN_ROOT))
            .or_else(|| std::env::split_paths(&on_path).find_map(|folder| resolved(&folder)))
            .or_else(named_by_pg_config)
            .map(|folder| Self { folder, source: BinarySource::System })
    }

    /// Those of each major version in a folder that has one folder for each, as Debian's has, by version.
    #[must_use]
    pub fn by_version(root: &Path) -> Vec<(u32, PathBuf)> {
        let Ok(versions) = std::fs::read_dir(root) else { return Vec::new() };
        let mut found: Vec<(u32, PathBuf)> = versions
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, folder)| complete(folder))
            .collect();
        found.sort();
        found
    }

    /// The named binaries, or the system's, or `postgresql_embedded`'s, downloaded once into `downloads`.
    pub(super) async fn find(named: Option<&Path>, downloads: &Path) -> Result<Self, PostgresError> {
        if let Some(folder) = named {
            return Ok(Self { folder: folder.to_path_buf(), source: BinarySource::Named });
        }
        match Self::on_system() {
            Some(found) => Ok(found),
            None => Self::download(downloads, RELEASES_URL).await,
        }
    }

    /// Only the installation is `postgresql_embedded`'s: it would run `initdb` as this user, which
    /// fails for root, and the server without a parent-death signal. `setup` leaves a data folder that
    /// looks initialised alone, so it is given one that does.
    async fn download(downloads: &Path, releases_url: &str) -> Result<Self, PostgresError> {
        let no_data = downloads.join("no-data");
        std::fs::create_dir_all(&no_data)
            .and_then(|()| std::fs::write(no_data.join("postgresql.conf"), ""))
            .map_err(|source| PostgresError::Folder { path: no_data.clone(), source })?;
        let unavailable = |reason: String| PostgresError::NoBinaries { downloads: downloads.to_path_buf(), reason };
        let settings = Settings {
            releases_url: releases_url.to_owned(),
            version: VersionReq::parse(DOWNLOAD_VERSION).map_err(|error| unavailable(error.to_string()))?,
            installation_dir: downloads.to_path_buf(),
            password_file: no_data.join("no-password"),
            data_dir: no_data,
            host: "127.0.0.1".to_owned(),
            port: 0,
            username: "postgres".to_owned(),
            password: String::new(),
            temporary: false,
            timeout: None,
            configuration: std::collections::HashMap::new(),
            trust_installation_dir: false,
            socket_dir: None,
        };
        tracing::info!(downloads = %downloads.display(), "no PostgreSQL on this machine, downloading one");
        let mut installer = PostgreSQL::new(settings);
        installer.setup().await.map_err(|error| unavailable(full_reason(&error)))?;
        let folder = installer.settings().binary_dir();
        Ok(Self { folder, source: BinarySource::Download })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn full_reason(error: &dyn std::error::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !reason.contains(&inner_text) {
            reason.push_str(": ");
            reason.push_str(&inner_text);
        }
        cause = inner.source();
    }
    reason
}

fn newest_debian(root: &Path) -> Option<PathBuf> {
    PostgresBinaries::by_version(root).pop().map(|(_, folder)| folder)
}

/// `postgres` may be a link out of a folder of links; its companions and libraries are where it leads.
fn resolved(folder: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(folder.join("postgres")).ok()?;
    let real_folder = real.parent()?.to_path_buf();
    [real_folder, folder.to_path_buf()].into_iter().find(|candidate| complete(candidate))
}

fn named_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    complete(&folder).then_some(folder)
}

fn complete(folder: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|name| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_version_wins_by_number() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (version, programs) in [("9", 2), ("15", 2), ("16", 1)] {
            let bin = root.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).expect("a folder");
            for program in ["postgres", "initdb"].iter().take(programs) {
                std::fs::write(bin.join(program), "").expect("a file");
            }
        }
        assert_eq!(newest_debian(root.path()), Some(root.path().join("15/bin")));
    }

    #[tokio::test]
    async fn without_a_download_the_error_says_what_to_install() {
        let downloads = tempfile::tempdir().expect("a temporary folder");
        let error =
            PostgresBinaries::download(downloads.path(), "https://127.0.0.1:9/none").await.expect_err("no such server");
        let text = error.to_string();
        assert!(text.contains("apt install postgresql") && text.contains("/usr/lib/postgresql"), "{text}");
    }
}
