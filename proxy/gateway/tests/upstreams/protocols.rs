use std::{fs, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::task::JoinSet;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use super::start;
use crate::harness::{Behaviour, Instance, Wire, eventually};

/// An authority, a server that it vouches for as `upstream.test`, and a client's certificate.
struct Pki {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        // Two are linked in, so none is taken unasked.
        let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap(), authority };
        fs::write(pki.path("ca.pem"), pki.authority.pem()).unwrap();
        let (certificate, key) = pki.issue("gateway.test");
        fs::write(pki.path("client.pem"), certificate.pem()).unwrap();
        fs::write(pki.path("client.key"), key.serialize_pem()).unwrap();
        pki
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap(), key)
    }

    fn server(&self, protocols: &[&str], wants_client: bool) -> Wire {
        let (certificate, key) = self.issue("upstream.test");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap())
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Wire::Tls(Arc::new(config))
    }
}

fn tls(folder: &Path, more: &str) -> String {
    let ca = folder.join("ca.pem");
    format!("[upstreams.candidate.tls]\nca_file = \"{}\"\nserver_name = \"upstream.test\"\n{more}", ca.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_spoken_to_as_configured() {
    let pki = Pki::new();
    let legacy = Instance::start(Behaviour::Answer(200));
    let client = format!(
        "client_certificate = \"{}\"\nclient_key = \"{}\"",
        pki.path("client.pem").display(),
        pki.path("client.key").display()
    );
    for (wire, protocol, tls, version) in [
        (Wire::Http1, "http1", String::new(), "HTTP/1.1"),
        (Wire::H2c, "h2c", String::new(), "HTTP/2.0"),
        (pki.server(&["http/1.1"], false), "http1", tls(pki.folder.path(), ""), "HTTP/1.1"),
        (pki.server(&["h2"], false), "h2", tls(pki.folder.path(), ""), "HTTP/2.0"),
        (pki.server(&["h2"], true), "h2", tls(pki.folder.path(), &client), "HTTP/2.0"),
    ] {
        let candidate = Instance::speaking(wire, Behaviour::Answer(200));
        let settings = format!("address = \"{}\"\nprotocol = \"{protocol}\"\n{tls}", candidate.address);
        let gateway = start(&legacy, &settings, "fallback = false");
        for size in [0, 1, 100_000] {
            let answer = gateway.client.post(gateway.url("/f/k")).body(vec![7; size]).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{protocol}");
            assert_eq!(answer.headers()["x-version"], version);
            assert_eq!(answer.text().await.unwrap(), "answered 200");
        }
        assert_eq!((candidate.requests(), candidate.body_bytes()), (3, 100_001), "{protocol}");
        eventually("it is healthy", async || gateway.status().await["upstreams"][0]["healthy"] == true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_http2_connection() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::speaking(Wire::H2c, Behaviour::Hang);
    let settings = format!("address = \"{}\"\nprotocol = \"h2c\"", candidate.address);
    let gateway = start(&legacy, &settings, "fallback = false");
    // Whoever comes before the first connection is there makes another; afterwards all share.
    let mut waiting = JoinSet::new();
    for count in 1..=50 {
        waiting.spawn(gateway.client.get(gateway.url("/f/k")).send());
        eventually("it is in flight", async || candidate.in_flight() == count).await;
    }
    assert!(candidate.connections() <= 3, "{} connections, with that of the probe", candidate.connections());
    let status = gateway.status().await;
    assert_eq!(status["upstreams"][0]["in_flight"], 50, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_no_upstream_and_is_named() {
    let (pki, other) = (Pki::new(), Pki::new());
    let legacy = Instance::start(Behaviour::Answer(200));
    let wrong_name = tls(pki.folder.path(), "").replace("upstream.test", "another.test");
    for (settings, problem) in [
        (tls(other.folder.path(), ""), "invalid peer certificate"),
        (wrong_name, "not valid for name"),
        (String::from("[upstreams.candidate.tls]\nserver_name = \"upstream.test\""), "UnknownIssuer"),
    ] {
        let candidate = Instance::speaking(pki.server(&["http/1.1"], false), Behaviour::Answer(200));
        let gateway = start(&legacy, &format!("address = \"{}\"\n{settings}", candidate.address), "fallback = false");
        let answer = gateway.client.get(gateway.url("/f/k")).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(candidate.requests(), 0);
        let status = gateway.status().await;
        let told = status["upstreams"][0]["addresses"][0]["problem"].as_str().unwrap().to_owned();
        assert!(told.contains(problem), "{told}");
        eventually("the log says so", async || gateway.log().contains("upstream address cannot be reached")).await;
    }
    let candidate = Instance::speaking(pki.server(&["http/1.1"], false), Behaviour::Answer(200));
    let unchecked = format!("address = \"{}\"\n[upstreams.candidate.tls]\nverify = false", candidate.address);
    let gateway = start(&legacy, &unchecked, "fallback = false");
    assert_eq!(gateway.client.get(gateway.url("/f/k")).send().await.unwrap().status(), 200);
}

#[test]
fn tls_files_that_cannot_be_used_are_found_before_anything_runs() {
    let (pki, other) = (Pki::new(), Pki::new());
    fs::write(pki.path("empty.pem"), "").unwrap();
    fs::write(pki.path("text.pem"), "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(pki.path("der.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::copy(other.path("client.key"), pki.path("other.key")).unwrap();
    for (settings, told) in [
        ("ca_file = \"absent.pem\"", "cannot read"),
        ("ca_file = \"empty.pem\"", "holds no certificate"),
        ("ca_file = \"client.key\"", "holds no certificate"),
        ("ca_file = \"text.pem\"", "is not valid PEM"),
        ("ca_file = \"der.pem\"", "cannot be used"),
        ("client_certificate = \"client.pem\"\nclient_key = \"ca.pem\"", "holds no private key"),
        ("client_certificate = \"client.pem\"\nclient_key = \"other.key\"", "cannot be used"),
        ("client_certificate = \"client.pem\"", "client_key"),
        ("server_name = \"no name\"", "server_name"),
    ] {
        let config = format!(
            "[admin]\ntoken = \"{}\"\n[upstreams.a]\naddress = \"127.0.0.1:1\"\n[upstreams.a.tls]\n{settings}\n\
             [[routes]]\nname = \"all\"\npath = \"/{{*rest}}\"\nlegacy = \"a\"\n",
            crate::harness::TOKEN
        );
        fs::write(pki.path("gateway.toml"), config).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"));
        let output = command.arg("--check").arg("--config").arg(pki.path("gateway.toml")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(told), "{settings}: {text}");
    }
}
