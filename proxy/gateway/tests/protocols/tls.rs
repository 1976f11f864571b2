//! TLS from clients: which certificate they get, which versions, and what a renewal does.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc};

use nix::sys::signal::Signal;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::harness::{self, Gateway, Stub, TOKEN, eventually};

/// A folder of certificates, and a gateway with two of them.
struct Site {
    gateway: Gateway,
    legacy: Stub,
}

/// Writes a certificate for these names under this name, and tells what it is.
fn issue(folder: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    // The key first: whoever looks in between finds no pair, and waits for the other.
    fs::write(folder.join(format!("{file}.key")), signing_key.serialize_pem()).unwrap();
    fs::write(folder.join(format!("{file}.pem")), cert.pem()).unwrap();
    cert.der().clone()
}

fn settings(legacy: SocketAddr, folder: &Path, more: &str) -> String {
    let pair = |file: &str| {
        let path = |ending: &str| folder.join(format!("{file}.{ending}")).display().to_string();
        format!("{{ certificate = \"{}\", key = \"{}\" }}", path("pem"), path("key"))
    };
    let tls = format!(
        "[http.tls]\nbind = \"127.0.0.1:0\"\nhandshake_timeout = \"300ms\"\npoll_interval = \"1h\"\n{more}\n\
         certificates = [{}, {}]",
        pair("first"),
        pair("second")
    );
    harness::config(legacy, legacy, "", &tls)
}

impl Site {
    fn start(folder: &Path, more: &str) -> Self {
        let legacy = Stub::start("legacy");
        issue(folder, "first", &["first.example"]);
        issue(folder, "second", &["second.example", "*.example.org"]);
        Self { gateway: Gateway::start(&settings(legacy.address, folder, more), ""), legacy }
    }

    /// Connects with this server name and tells the certificate that was shown.
    async fn shown(&self, name: &str) -> CertificateDer<'static> {
        let stream = self.connect(name, &[&TLS12, &TLS13], &[]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    async fn connect(
        &self,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.dangerous().set_certificate_verifier(Arc::new(harness::AnyCertificate));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.gateway.tls()).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn on_disk(folder: &Path, file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join(format!("{file}.pem"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_name_chooses_and_the_upstream_hears_of_https() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), "");
    for (name, file) in
        [("first.example", "first"), ("second.example", "second"), ("a.example.org", "second"), ("else.where", "first")]
    {
        assert_eq!(site.shown(name).await, on_disk(folder.path(), file), "{name}");
    }
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let answer = client.get(format!("https://{}/files/x", site.gateway.tls())).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    let plain = site.gateway.client.get(site.gateway.url("/files/x")).send().await.unwrap();
    assert_eq!(plain.status(), 200, "the plain listener is beside it");
    let schemes: Vec<_> = site.legacy.seen().iter().map(|seen| seen.headers["x-forwarded-proto"].clone()).collect();
    assert_eq!(schemes, ["https", "http"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_protocols_are_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), "");
    for (offered, agreed) in [(&["h2", "http/1.1"][..], &b"h2"[..]), (&["http/1.1"], b"http/1.1")] {
        let stream = site.connect("first.example", &[&TLS12, &TLS13], offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed));
    }
    site.connect("first.example", &[&TLS12], &[]).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let strict = Site::start(folder.path(), "minimum_version = \"1.3\"");
    strict.connect("first.example", &[&TLS13], &[]).await.unwrap();
    assert!(strict.connect("first.example", &[&TLS12], &[]).await.is_err());
    let metrics = strict.gateway.metrics().await;
    assert!(metrics.contains("gateway_tls_handshakes_failed_total{cause=\"refused\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), "");
    let mut silent = TcpStream::connect(site.gateway.tls()).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
    let metrics = site.gateway.metrics().await;
    assert!(metrics.contains("gateway_tls_handshakes_failed_total{cause=\"timeout\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), "");
    let kept = site.connect("first.example", &[&TLS13], &[]).await.unwrap();
    let renewed = issue(folder.path(), "first", &["first.example"]);
    eventually("the new certificate is served", async || site.shown("first.example").await == renewed).await;
    drop(kept);

    fs::write(folder.path().join("first.key"), "no key").unwrap();
    eventually("the log says so", async || site.gateway.log().contains("holds no usable private key")).await;
    assert_eq!(site.shown("first.example").await, renewed, "the old one stays");
    let metrics = site.gateway.metrics().await;
    assert!(metrics.contains("gateway_tls_certificate_refused{listener=\"http\"} 1"), "{metrics}");
    assert!(metrics.contains("gateway_tls_certificate_expiry_timestamp_seconds{certificate="), "{metrics}");

    let mended = issue(folder.path(), "first", &["first.example"]);
    site.gateway.signal(Signal::SIGHUP);
    eventually("the mended one is served", async || site.shown("first.example").await == mended).await;
    let metrics = site.gateway.metrics().await;
    assert!(metrics.contains("gateway_tls_certificate_refused{listener=\"http\"} 0"), "{metrics}");
}

#[test]
fn a_gateway_whose_certificate_cannot_be_used_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), "first", &["first.example"]);
    let config = settings(SocketAddr::from(([127, 0, 0, 1], 9)), folder.path(), "");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, config).unwrap();
    for check in [&[][..], &["--check"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gateway")).arg("--config").arg(&file).args(check).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{check:?}");
        assert!(error.contains("second.pem") && error.contains("must exist"), "{check:?}: {error}");
        assert!(!error.contains(TOKEN));
    }
}
