//! Redis and PostgreSQL over TLS, and servers that are not who they should be.

use std::{fs, net::IpAddr, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use testkit::{PrivatePostgres, PrivateRedis};

use crate::harness::{Gateway, Stub, config, eventually};

/// An authority, and a pair that it has issued for this machine: `NAME.pem`, `server.pem`, `server.key`.
fn issue(folder: &Path, name: &str) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut server = CertificateParams::default();
    server.subject_alt_names = vec![rcgen::SanType::IpAddress(IpAddr::from([127, 0, 0, 1]))];
    let key = KeyPair::generate().unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join(format!("{name}.pem")), issuer.pem()).unwrap();
    fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// The authority of the servers, and one that is not.
fn certificates() -> TempDir {
    let folder = TempDir::new().unwrap();
    issue(folder.path(), "stranger");
    issue(folder.path(), "authority");
    folder
}

async fn has_line(gateway: &Gateway, wanted: &str) -> bool {
    gateway.metrics().await.lines().any(|line| line == wanted)
}

fn with_redis(stub: &Stub, url: &str, ca_file: &Path) -> Gateway {
    let tables = format!(
        "[limits]\nstore = \"redis\"\n[limits.redis]\nurl = \"{url}\"\n\
         ca_file = \"{}\"\ntimeout = \"5s\"\n[limits.policies.few]\ncounts = \"key\"\nrate = \"2/h\"\nburst = 2\n",
        ca_file.display()
    );
    Gateway::start(&config(stub.address, stub.address, "limits = [\"few\"]", &tables), "")
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_over_tls_with_a_redis_that_is_who_it_should_be() {
    let (folder, redis, stub) = (certificates(), PrivateRedis::start().await, Stub::start("legacy"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let path = |file: &str| folder.path().join(file).display().to_string();
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "tls-auth-clients", "no", "tls-cert-file", &path("server.pem"), "tls-key-file"])
        .arg(&[&path("server.key"), "tls-port", &port.to_string()])
        .query_async(&mut connection)
        .await
        .unwrap();
    let url = redis.url_through(&format!("127.0.0.1:{port}")).replacen("redis", "rediss", 1);
    let authority = folder.path().join("authority.pem");
    let gateways = [with_redis(&stub, &url, &authority), with_redis(&stub, &url, &authority)];
    for gateway in &gateways {
        eventually("Redis decides", async || has_line(gateway, "gateway_limit_store_up 1").await).await;
    }
    let mut statuses = Vec::new();
    for turn in 0..4 {
        statuses.push(gateways[turn % 2].invoke("k").await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    let wary = with_redis(&stub, &url, &folder.path().join("stranger.pem"));
    let refused = "gateway_limit_store_up 0";
    eventually("it has tried", async || wary.log().contains("certificate")).await;
    assert!(has_line(&wary, refused).await, "another authority's Redis decides nothing");
    assert_eq!(wary.invoke("k").await.status(), 200, "and the local budget holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rollout_is_shared_over_tls_with_a_postgres_that_is_who_it_should_be() {
    let (folder, postgres) = (certificates(), PrivatePostgres::start().await);
    let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
    let url = postgres.url("postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for file in ["server.pem", "server.key"] {
        // The server itself writes them: they must be its own, and nobody else may read the key.
        let lines = fs::read_to_string(folder.path().join(file)).unwrap().replace('\n', "','");
        let copy = format!("COPY (SELECT unnest(ARRAY['{lines}'])) TO PROGRAM 'umask 077; cat > {file}'");
        connection.execute(sqlx::AssertSqlSafe(copy)).await.unwrap();
    }
    for setting in ["ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl = on"] {
        connection.execute(sqlx::AssertSqlSafe(format!("ALTER SYSTEM SET {setting}"))).await.unwrap();
    }
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    let gateway = |authority: &str| {
        let authority = folder.path().join(authority);
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}sslmode=verify-full&sslrootcert={}", authority.display());
        let config = config(legacy.address, candidate.address, "", "");
        let config = config.replacen("[rollout]\n", "[rollout]\nstore = \"postgres\"\n", 1);
        Gateway::start(&format!("{config}[rollout.postgres]\nurl = \"{url}\"\nconnect_timeout = \"2s\"\n"), "")
    };
    let trusting = gateway("authority.pem");
    eventually("the store answers", async || has_line(&trusting, "gateway_rollout_store_up 1").await).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'strangler-gateway'";
    let all: Option<bool> = sqlx::query_scalar(encrypted).fetch_one(&mut connection).await.unwrap();
    assert_eq!(all, Some(true), "every connection is encrypted");
    let wary = gateway("stranger.pem");
    eventually("it has tried", async || wary.log().contains("certificate")).await;
    assert!(has_line(&wary, "gateway_rollout_store_up 0").await, "another authority's server is not believed");
}
