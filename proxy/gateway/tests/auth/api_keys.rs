use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::{Guarded, config};
use crate::harness::{Stub, eventually};

const SETTINGS: &str = "[auth.api_keys]\nfile = \"api-keys.toml\"\n\
                        [auth.jwt.main]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\n\
                        secret = \"0123456789abcdef0123456789abcdef\"\n";

fn entry(name: &str, key: &str, rest: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n{rest}\n", hex::encode(Sha256::digest(key)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_passes_by_its_hash_and_stays_in_the_gateway() {
    let keys = entry("ci", "key-of-ci", "scopes = [\"read\"]")
        + &entry("old", "key-of-old", "expires = \"2020-01-01T00:00:00Z\"");
    let guarded = Guarded::with_files(SETTINGS, &[("api-keys.toml", &keys)]);
    let status = async |path: &str, key: &str| guarded.get(path, &[("x-api-key", key)]).await.status().as_u16();
    for path in ["/key/x", "/key-scoped/x", "/any/x"] {
        assert_eq!(status(path, "key-of-ci").await, 200, "{path}");
    }
    let seen = guarded.upstream.seen().pop().unwrap();
    assert_eq!(
        (&seen.headers["x-auth-method"], &seen.headers["x-auth-subject"]),
        (&"api_key".parse().unwrap(), &"ci".parse().unwrap())
    );
    assert!(!seen.headers.contains_key("x-api-key"), "it is no secret of the upstream's");
    let hash = hex::encode(Sha256::digest("key-of-ci"));
    for key in ["", "key-of-c", "key-of-ci2", "KEY-OF-CI", "key-of-old", &hash, &"x".repeat(5_000)] {
        assert_eq!(status("/key/x", key).await, 401, "{key}");
    }
    assert_eq!(status("/jwt/x", "key-of-ci").await, 401, "a route that wants a token");
    let answer = guarded.get("/key/x", &[]).await;
    assert_eq!(answer.headers()["www-authenticate"], "ApiKey realm=\"gateway\", header=\"x-api-key\"");
    let both = guarded.get("/any/x", &[("x-api-key", "key-of-ci"), ("authorization", "Bearer x")]).await;
    assert_eq!(both.status(), 401, "which of the two would count?");
    assert_eq!(both.headers().get_all("www-authenticate").iter().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_when_it_changes_and_a_broken_one_is_not_taken() {
    let guarded = Guarded::with_files(SETTINGS, &[("api-keys.toml", &entry("a", "key-a", ""))]);
    let status = async |key: &str| guarded.get("/key/x", &[("x-api-key", key)]).await.status().as_u16();
    assert_eq!((status("key-a").await, status("key-b").await), (200, 401));
    guarded.replace("api-keys.toml", &entry("b", "key-b", ""));
    eventually("it is in force", async || status("key-b").await == 200).await;
    assert_eq!(status("key-a").await, 401);
    guarded.replace("api-keys.toml", "[[keys]]\nname = \"x\"\nsha256 = \"12\"\n");
    eventually("the log says so", async || guarded.gateway.log().contains("keys[0].sha256")).await;
    assert_eq!(status("key-b").await, 200);
    let failed = "gateway_auth_key_refreshes_total{outcome=\"failed\",source=\"api_keys.file\"}";
    assert!(guarded.metric(failed).await >= 1.0);
}

#[test]
fn a_check_names_every_problem_with_keys() {
    let upstream = Stub::start("upstream");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let check = |auth: &str| {
        std::fs::write(&file, config(&upstream, auth)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_gateway")).arg("--check").arg("--config").arg(&file).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, shown) = check(
        "realm = 'a\"b'\nidentity_header_prefix = \"auth_\"\n[auth.default]\nscopes = [\"a b\"]\n[auth.jwt.one]\n\
         issuer = \"i\"\nalgorithms = [\"RS256\"]\nsecret = \"hunter2\"\n[auth.jwt.two]\nissuer = \"i\"\n\
         audience = []\nalgorithms = [\"HS256\"]\njwks_url = \"http://id.example/keys\"\nstale_for = \"1s\"\n\
         [auth.jwt.three]\nissuer = \"j\"\naudience = \"a\"\nalgorithms = [\"RS256\"]\n",
    );
    assert_eq!(code, Some(2), "{shown}");
    for expected in [
        "auth.realm",
        "auth.identity_header_prefix",
        "auth.default.scopes[0]",
        "auth.default.require",
        "auth.jwt.one.audience",
        "auth.jwt.one.secret",
        "auth.jwt.one.algorithms",
        "auth.jwt.two.issuer",
        "auth.jwt.two.algorithms",
        "auth.jwt.two.jwks_url",
        "auth.jwt.two.stale_for",
        "auth.jwt.three",
    ] {
        assert!(shown.contains(expected), "{expected} is missing in\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "secrets are not shown");
    let (code, shown) =
        check("[auth.jwt.main]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"none\"]\nsecret = \"x\"\n");
    assert!(code == Some(2) && shown.contains("no supported algorithm"), "{shown}");
    let jwt = "[auth.jwt.main]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"RS256\"]\n";
    let (code, shown) = check(&format!("{jwt}jwks_file = \"missing.json\"\n"));
    assert!(code == Some(2) && shown.contains("missing.json"), "{shown}");
    std::fs::write(folder.path().join("keys.json"), "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}")
        .unwrap();
    let (code, shown) = check(&format!("{jwt}jwks_file = \"keys.json\"\n"));
    assert!(code == Some(2) && shown.contains("2048"), "{shown}");
}
