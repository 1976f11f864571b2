//! Where a server is and how to get in, as the pool of the same database knows it.

use std::{fmt, path::PathBuf};

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Everything that a connection needs.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) place: Place,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    /// Settings of the session, as `-c name=value`.
    pub(crate) options: Option<String>,
    pub(crate) ssl_mode: PgSslMode,
    /// Paths of PEM files, or the PEM text itself.
    pub(crate) root_certificate: Option<String>,
    pub(crate) client_certificate: Option<String>,
    pub(crate) client_key: Option<String>,
}

/// Where the server listens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("place", &self.place).field("database", &self.database).finish_non_exhaustive()
    }
}

impl Address {
    /// What the options of a pool say.
    pub(crate) fn of(options: &PgConnectOptions) -> Self {
        // The password and the certificates have no getters; the URL has them. Its other parts are
        // replaced, because not every user name makes a URL.
        let url = options.clone().username("user").host("localhost").to_url_lossy();
        let option = |name: &str| {
            let value = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())?;
            // The pool says which of the two it is: the name of a file, or what would be in one.
            let stripped = value.strip_prefix("file: ").map(ToOwned::to_owned);
            Some(stripped.unwrap_or(value))
        };
        let port = options.get_port();
        // The host of a URL that names a socket's folder begins with a slash.
        let folder = options.get_socket().cloned().or_else(|| {
            let host = options.get_host();
            host.starts_with('/').then(|| PathBuf::from(host))
        });
        let place = match folder {
            Some(folder) => Place::Socket(folder.join(format!(".s.PGSQL.{port}"))),
            None => Place::Tcp { host: options.get_host().to_owned(), port },
        };
        let user = options.get_username().to_owned();
        Self {
            place,
            password: url.password().map(decoded),
            database: options.get_database().unwrap_or(&user).to_owned(),
            user,
            options: options.get_options().map(ToOwned::to_owned),
            ssl_mode: options.get_ssl_mode(),
            root_certificate: option("sslrootcert"),
            client_certificate: option("sslcert"),
            client_key: option("sslkey"),
        }
    }
}

/// Undoes the percent signs of a URL.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::of(&url.parse().expect("a URL"))
    }

    #[test]
    fn an_address_is_what_the_url_says_and_is_not_shown_with_its_password() {
        let found = address(
            "postgres://who%40x:p%40ss%2F%C3%A9%25@example.org:6543/shop?sslmode=verify-full&sslrootcert=/ca.pem",
        );
        assert!(matches!(&found.place, Place::Tcp { host, port: 6543 } if host == "example.org"), "{found:?}");
        assert_eq!((found.user.as_str(), found.database.as_str()), ("who@x", "shop"));
        assert_eq!(found.password.as_deref(), Some("p@ss/é%"));
        assert_eq!(found.root_certificate.as_deref(), Some("/ca.pem"));
        assert!(matches!(found.ssl_mode, PgSslMode::VerifyFull));
        assert!(!format!("{found:?}").contains("ss/"));
    }

    #[test]
    fn a_socket_is_a_file_in_the_folder() {
        let found = address("postgres:///shop?host=/run/postgresql&port=5433");
        assert!(matches!(&found.place, Place::Socket(path) if path.ends_with(".s.PGSQL.5433")), "{found:?}");
    }
}
