//! The certificates in force, and the choice of one for a handshake.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificate::{Certificate, CertificateError, PairBytes};
use crate::config::CertificateConfig;

/// The certificates of one listener. Cheap to ask in each handshake; replaced as a whole.
pub(crate) struct Certificates {
    configs: Vec<CertificateConfig>,
    in_force: ArcSwap<Choice>,
    /// What the files held when they were last looked at, whether it could be used or not.
    seen: Mutex<Vec<PairBytes>>,
}

/// What a look at the files led to.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// Nothing has changed since the last look.
    Unchanged,
    /// New certificates are in force.
    Replaced,
}

impl Certificates {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// The first certificate that cannot be used.
    pub(crate) fn load(configs: &[CertificateConfig]) -> Result<Self, CertificateError> {
        let (seen, choice) = read(configs)?;
        Ok(Self { configs: configs.to_vec(), in_force: ArcSwap::from_pointee(choice), seen: Mutex::new(seen) })
    }

    /// Reads the files again. What is in force changes as a whole or not at all.
    ///
    /// # Errors
    /// The first certificate that cannot be used, once for each change of the files.
    pub(crate) fn reload(&self) -> Result<Reloaded, CertificateError> {
        let bytes: Result<Vec<_>, _> = self.configs.iter().map(PairBytes::read).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.is_err() {
            // Whatever can be read next counts as a change.
            seen.clear();
        }
        let bytes = bytes?;
        if *seen == bytes {
            return Ok(Reloaded::Unchanged);
        }
        let choice = Choice::new(&self.configs, &bytes);
        *seen = bytes;
        drop(seen);
        self.in_force.store(Arc::new(choice?));
        Ok(Reloaded::Replaced)
    }

    /// The files that are read.
    pub(super) fn configs(&self) -> &[CertificateConfig] {
        &self.configs
    }

    /// When each certificate in force expires, in seconds since 1970, in the order of the settings.
    pub(super) fn expiries_s(&self) -> Vec<i64> {
        self.in_force.load().expiries_s.clone()
    }
}

fn read(configs: &[CertificateConfig]) -> Result<(Vec<PairBytes>, Choice), CertificateError> {
    let bytes: Result<Vec<_>, _> = configs.iter().map(PairBytes::read).collect();
    let bytes = bytes?;
    let choice = Choice::new(configs, &bytes)?;
    Ok((bytes, choice))
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("configs", &self.configs).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.in_force.load().find(hello.server_name()))
    }
}

/// Certificates by the names they are for.
#[derive(Debug)]
struct Choice {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
    expiries_s: Vec<i64>,
}

impl Choice {
    fn new(configs: &[CertificateConfig], bytes: &[PairBytes]) -> Result<Self, CertificateError> {
        let (mut exact, mut wildcard, mut first) = (HashMap::new(), HashMap::new(), None);
        let mut expiries_s = Vec::new();
        for (config, bytes) in configs.iter().zip(bytes) {
            let Certificate { key, names, expires_s } = Certificate::new(config, bytes)?;
            for name in names {
                // Of two certificates for one name the earlier in the settings wins.
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.to_owned()).or_insert_with(|| key.clone()),
                    None => exact.entry(name).or_insert_with(|| key.clone()),
                };
            }
            expiries_s.push(expires_s);
            first.get_or_insert(key);
        }
        let first = first.expect("the settings are checked to hold a certificate");
        Ok(Self { exact, wildcard, first, expiries_s })
    }

    /// The certificate for a server name: for exactly this name, for any name beside it, or the first.
    fn find(&self, server_name: Option<&str>) -> Arc<CertifiedKey> {
        let named = server_name.and_then(|name| {
            // Names are compared without regard to case (RFC 6066, section 3); rustls hands them on
            // as the client wrote them.
            let name = name.to_ascii_lowercase();
            let beside = || name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
            self.exact.get(&name).or_else(beside).cloned()
        });
        named.unwrap_or_else(|| self.first.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &Path, file: &str, names: &[&str]) -> CertificateConfig {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let Generated { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let config = CertificateConfig {
            certificate: folder.join(format!("{file}.pem")),
            key: folder.join(format!("{file}.key")),
        };
        fs::write(&config.certificate, cert.pem()).unwrap();
        fs::write(&config.key, signing_key.serialize_pem()).unwrap();
        config
    }

    fn three(folder: &TempDir) -> Vec<CertificateConfig> {
        vec![
            write(folder.path(), "first", &["first.example"]),
            write(folder.path(), "exact", &["Api.Example.org"]),
            write(folder.path(), "wildcard", &["*.example.org"]),
        ]
    }

    #[test]
    fn the_server_name_chooses_exactly_then_by_wildcard_then_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let configs = three(&folder);
        let certificates = Certificates::load(&configs).unwrap();
        let choice = certificates.in_force.load();
        let cases = [
            (Some("first.example"), "first"),
            (Some("api.example.org"), "exact"),
            (Some("API.example.ORG"), "exact"),
            (Some("www.example.org"), "wildcard"),
            (Some("a.b.example.org"), "first"),
            (Some("example.org"), "first"),
            (Some("elsewhere"), "first"),
            (None, "first"),
        ];
        for (name, file) in cases {
            let expected = configs.iter().find(|config| config.key.ends_with(format!("{file}.key"))).unwrap();
            let expected = CertificateDer::from_pem_file(&expected.certificate).unwrap();
            assert_eq!(choice.find(name).cert[0], expected, "{name:?}");
        }
    }

    #[test]
    fn a_broken_file_changes_nothing_and_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let configs = three(&folder);
        let certificates = Certificates::load(&configs).unwrap();
        let before = certificates.in_force.load_full();
        assert!(matches!(certificates.reload(), Ok(Reloaded::Unchanged)));

        fs::write(&configs[1].certificate, "no certificate").unwrap();
        assert!(matches!(certificates.reload(), Err(CertificateError::NoCertificate { .. })));
        assert!(matches!(certificates.reload(), Ok(Reloaded::Unchanged)));
        assert!(Arc::ptr_eq(&before, &certificates.in_force.load_full()));

        write(folder.path(), "exact", &["new.example.org"]);
        assert!(matches!(certificates.reload(), Ok(Reloaded::Replaced)));
        let after = certificates.in_force.load();
        assert!(!Arc::ptr_eq(&after.find(Some("new.example.org")), &after.first));
    }

    #[test]
    fn each_kind_of_bad_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = write(folder.path(), "good", &["good.example"]);
        let other = write(folder.path(), "other", &["other.example"]);
        let text = folder.path().join("text");
        fs::write(&text, "hello").unwrap();
        let load = |certificate: &Path, key: &Path| {
            let config = CertificateConfig { certificate: certificate.to_owned(), key: key.to_owned() };
            Certificates::load(&[config]).unwrap_err()
        };
        assert!(matches!(load(&folder.path().join("absent"), &good.key), CertificateError::Read { .. }));
        assert!(matches!(load(&text, &good.key), CertificateError::NoCertificate { .. }));
        assert!(matches!(load(&good.certificate, &text), CertificateError::NoKey { .. }));
        let swapped = load(&good.certificate, &other.key);
        assert!(matches!(swapped, CertificateError::NotAPair { .. }), "{swapped}");
    }
}
