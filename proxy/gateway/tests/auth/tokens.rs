use serde_json::{Value, json};

use super::{AUDIENCE, Guarded, ISSUER, Signer, claims, now_s, signer::base64url};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_passes_with_every_algorithm_and_the_upstream_learns_whose_it_is() {
    for signer in [
        Signer::hs256("k", "0123456789abcdef0123456789abcdef"),
        Signer::rs256("k"),
        Signer::es256("k"),
        Signer::ed25519("k"),
    ] {
        let guarded = Guarded::trusting(&signer, "");
        let token = signer.sign(&claims(&json!({ "scope": "read list" })));
        assert_eq!(guarded.status("/jwt/x", &token).await, 200, "{}", signer.algorithm());
        let seen = guarded.upstream.seen().pop().unwrap();
        for (name, value) in [
            ("x-auth-method", "jwt"),
            ("x-auth-subject", "user-1"),
            ("x-auth-issuer", ISSUER),
            ("x-auth-scopes", "read list"),
            ("authorization", &format!("Bearer {token}")),
        ] {
            assert_eq!(seen.headers[name], value);
        }
        assert_eq!(guarded.metric("gateway_auth_accepted_total{method=\"jwt\"}").await, 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_pass_is_told_as_little_as_rfc_6750_allows() {
    let signer = Signer::es256("k");
    let guarded = Guarded::trusting(&signer, "");
    let bearer = |token: &str| format!("Bearer {token}");
    let good = bearer(&signer.sign(&claims(&json!({ "scope": "read" }))));
    let expired = bearer(&signer.sign(&claims(&json!({ "exp": 1 }))));
    let invalid = "Bearer realm=\"gateway\", error=\"invalid_token\"";
    for (path, headers, status, code, challenge) in [
        ("/jwt/x", &[][..], 401, "unauthorized", "Bearer realm=\"gateway\""),
        ("/jwt/x", &[("authorization", "Basic eDp5")], 401, "unauthorized", "Bearer realm=\"gateway\""),
        ("/jwt/x", &[("authorization", "Bearer")], 401, "unauthorized", invalid),
        ("/jwt/x", &[("authorization", "Bearer x")], 401, "unauthorized", invalid),
        ("/jwt/x", &[("authorization", &expired)], 401, "unauthorized", invalid),
        ("/jwt/x", &[("authorization", &good), ("authorization", &good)], 401, "unauthorized", invalid),
        (
            "/scoped/x",
            &[("authorization", &good)],
            403,
            "insufficient_scope",
            "Bearer realm=\"gateway\", error=\"insufficient_scope\", scope=\"read write\"",
        ),
    ] {
        let answer = guarded.get(path, headers).await;
        assert_eq!(answer.status(), status, "{path} {headers:?}");
        assert_eq!(answer.headers()["www-authenticate"], challenge, "{path} {headers:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], code);
    }
    assert!(guarded.upstream.seen().is_empty(), "nothing of that was forwarded");
    let both = signer.sign(&claims(&json!({ "scp": ["write", "read"] })));
    assert_eq!(guarded.status("/scoped/x", &both).await, 200);
    assert_eq!(guarded.get("/open/x", &[("authorization", "Basic eDp5")]).await.status(), 200);
    assert_eq!(guarded.upstream.seen().pop().unwrap().headers["authorization"], "Basic eDp5");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_refused() {
    let signer = Signer::rs256("k");
    let guarded = Guarded::trusting(&signer, "");
    let good = claims(&json!({}));
    let unsigned = |algorithm: &str| {
        let header = json!({ "alg": algorithm, "kid": "k" }).to_string();
        format!("{}.{}.", base64url(header), base64url(good.to_string()))
    };
    // The secret that a confused verifier would take the public key for, in each of its spellings.
    let public_key = signer.jwk();
    let confused = |secret: &str| Signer::hs256("k", secret).sign(&good);
    let other = Signer::rs256("k").sign_with(&json!({ "alg": "RS256", "kid": "other" }), &good);
    let (body, signature) = other.rsplit_once('.').unwrap();
    let embedded = |member: &str, value: Value| {
        let attacker = Signer::es256("evil");
        attacker.sign_with(&json!({ "alg": "ES256", "kid": "evil", member: value }), &good)
    };
    let kid = |kid: &str| Signer::hs256("", "").sign_with(&json!({ "alg": "HS256", "kid": kid }), &good);
    let header = json!({ "alg": "RS256", "kid": "k" });
    let twice = |text: &str| signer.sign_text(&header.to_string(), text);
    let text = good.to_string();
    let forged = [
        ["none", "None", "NONE", "nOnE", ""].map(unsigned).to_vec(),
        vec![
            confused(&signer.pem()),
            confused(signer.pem().trim_end()),
            confused(public_key["n"].as_str().unwrap()),
            confused(""),
            format!("{body}."),
            format!("{body}.{}", &signature[..signature.len() - 2]),
            format!("{body}.{signature}"),
            Signer::es256("k").sign(&good),
            Signer::ed25519("k").sign(&good),
            embedded("jwk", Signer::es256("evil").jwk()),
            embedded("jku", json!(format!("http://{}/", guarded.upstream.address))),
            embedded("x5u", json!(format!("http://{}/", guarded.upstream.address))),
            signer.sign_with(&json!({ "alg": "RS256", "kid": "k", "crit": ["x"], "x": 1 }), &good),
            twice(&text.replacen('{', "{\"sub\":\"admin\",", 1)),
            twice(&text.replacen('{', "{\"\\u0069ss\":\"https://evil.example\",", 1)),
            signer.sign_text("{\"alg\":\"RS256\",\"kid\":\"k\",\"kid\":\"k\"}", &text),
            twice("[]"),
            twice(""),
            signer.sign(&claims(&json!({ "iss": "https://evil.example" }))),
            signer.sign(&claims(&json!({ "iss": null }))),
            signer.sign(&claims(&json!({ "iss": [ISSUER] }))),
            signer.sign(&claims(&json!({ "sub": null }))),
            signer.sign(&claims(&json!({ "padding": "x".repeat(9_000) }))),
        ],
        [
            "../../../dev/null",
            "/dev/null",
            "' OR '1'='1",
            "k\0",
            "K",
            " k",
            "",
            "%6b",
            "file:///dev/null",
            "k' UNION SELECT 'x",
        ]
        .map(kid)
        .to_vec(),
    ];
    for token in forged.concat() {
        assert_eq!(guarded.status("/jwt/x", &token).await, 401, "{token}");
    }
    assert!(guarded.upstream.seen().is_empty(), "neither a request nor the gateway itself went there");
    assert_eq!(guarded.status("/jwt/x", &signer.sign(&good)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_and_audiences_are_kept_to() {
    let signer = Signer::ed25519("k");
    let guarded = Guarded::trusting(&signer, "leeway = \"30s\"");
    // Far enough from the edges that a slow machine does not cross them; the edges themselves are
    // tested with a clock of their own beside the code.
    for (changes, expected) in [
        (json!({ "exp": now_s() - 15 }), 200),
        (json!({ "exp": now_s() - 45 }), 401),
        (json!({ "exp": null }), 401),
        (json!({ "exp": "never" }), 401),
        (json!({ "exp": 1e300 }), 401),
        (json!({ "exp": -1 }), 401),
        (json!({ "nbf": now_s() + 15 }), 200),
        (json!({ "nbf": now_s() + 60 }), 401),
        (json!({ "iat": now_s() + 60 }), 401),
        (json!({ "aud": [AUDIENCE, "other"] }), 200),
        (json!({ "aud": "other" }), 401),
        (json!({ "aud": null }), 401),
        (json!({ "aud": 7 }), 401),
        (json!({ "aud": { AUDIENCE: true } }), 401),
        (json!({ "aud": [[AUDIENCE]] }), 401),
    ] {
        assert_eq!(guarded.status("/jwt/x", &signer.sign(&claims(&changes))).await, expected, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_side_by_side_are_told_apart() {
    let (one, other) = (Signer::es256("k"), Signer::es256("k"));
    let issuer = |name: &str| {
        format!(
            "[auth.jwt.{name}]\nissuer = \"https://{name}.example\"\nallow_any_audience = true\n\
             algorithms = [\"ES256\"]\npublic_key_file = \"{name}.pem\"\n"
        )
    };
    let auth =
        format!("default = {{ require = \"jwt\", issuers = [\"other\"] }}\n{}{}", issuer("one"), issuer("other"));
    let guarded = Guarded::with_files(&auth, &[("one.pem", &one.pem()), ("other.pem", &other.pem())]);
    let of = |name: &str| claims(&json!({ "iss": format!("https://{name}.example") }));
    assert_eq!(guarded.status("/jwt/x", &one.sign(&of("one"))).await, 200);
    assert_eq!(guarded.status("/jwt/x", &other.sign(&of("other"))).await, 200);
    assert_eq!(guarded.status("/jwt/x", &one.sign(&of("other"))).await, 401, "the wrong key for that issuer");
    // `/open` says nothing itself, so the default counts: tokens of `other` only.
    assert_eq!(guarded.status("/open/x", &other.sign(&of("other"))).await, 200);
    assert_eq!(guarded.status("/open/x", &one.sign(&of("one"))).await, 401);
    assert_eq!(guarded.get("/open/x", &[]).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_key_or_secret_reaches_a_log() {
    let secret = "correct-horse-battery-staple-0123456789";
    let signer = Signer::hs256("k", secret);
    let auth = format!(
        "[auth.jwt.main]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nalgorithms = [\"HS256\"]\n\
         secret = \"{secret}\"\n[auth.api_keys]\nfile = \"api-keys.toml\"\n"
    );
    let guarded = Guarded::with_files(&auth, &[("api-keys.toml", "")]);
    let good = signer.sign(&claims(&json!({ "scope": "topsecretscope" })));
    let expired = signer.sign(&claims(&json!({ "exp": 1 })));
    let (body, _) = good.rsplit_once('.').unwrap();
    let headers = [
        ("authorization", format!("Bearer {good}")),
        ("authorization", format!("Bearer {expired}")),
        ("authorization", format!("Bearer {body}.AAAA")),
        ("authorization", format!("Bearer {secret}")),
        ("x-api-key", "sgk_wrongkeywrongkey".to_owned()),
    ];
    let mut answers = String::new();
    for path in ["/jwt/x", "/scoped/x", "/key/x", "/any/x"] {
        for (name, value) in &headers {
            answers += &guarded.get(path, &[(name, value)]).await.text().await.unwrap();
        }
    }
    let log = guarded.gateway.log();
    assert!(log.contains("not admitted"), "the log says why, at this level:\n{log}");
    let access_log = format!("{:?}", guarded.gateway.access_log());
    let parts = good.split('.').chain(expired.split('.')).filter(|part| part.len() > 30);
    for word in parts.chain([secret, "wrongkey", "topsecretscope", "AAAA"]) {
        for (place, text) in [("log", &log), ("access log", &access_log), ("answers", &answers)] {
            // The stub's answers show nothing of a request.
            assert!(!text.contains(word), "{word} is in the {place}");
        }
    }
}
