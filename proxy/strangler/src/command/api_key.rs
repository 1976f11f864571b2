//! `strangler api-key new NAME`

use std::process::ExitCode;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    arguments::ApiKeyArguments,
    output::{Output, Refused},
};

/// How every key begins, so that a scanner for leaked secrets knows one when it sees it.
const PREFIX: &str = "sgk_";

/// A key that nobody can guess, of 256 random bits, and what the gateway has to know of it.
pub(crate) fn new(asked: &ApiKeyArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if asked.name.is_empty() || !asked.name.bytes().all(bare) {
        return Err(Refused("a key's name has letters, digits, dashes, dots and underscores only".to_owned()).into());
    }
    // As RFC 6749 has them (section 3.3), which need no escapes in TOML.
    let word = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if asked.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(word)) {
        return Err(Refused("a scope has no spaces, quotes and backslashes".to_owned()).into());
    }
    // The thread's generator is a cryptographic one, seeded by the system.
    let key = format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 32]>()));
    let sha256 = hex::encode(Sha256::digest(&key));
    let entry = entry(asked, &sha256);
    let shown = json!({
        "name": asked.name, "key": key, "sha256": sha256, "scopes": asked.scopes, "expires": asked.expires, "entry": entry,
    });
    output.result(&shown, || {
        format!("The key, which is shown this once:\n\n    {key}\n\nThe entry for the gateway's file of API keys:\n\n{entry}")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn entry(asked: &ApiKeyArguments, sha256: &str) -> String {
    let mut entry = format!("[[keys]]\nname = \"{}\"\nsha256 = \"{sha256}\"\n", asked.name);
    if !asked.scopes.is_empty() {
        let scopes: Vec<String> = asked.scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        entry += &format!("scopes = [{}]\n", scopes.join(", "));
    }
    if let Some(expires) = &asked.expires {
        entry += &format!("expires = \"{expires}\"\n");
    }
    entry
}
