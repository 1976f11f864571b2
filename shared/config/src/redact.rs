//! Hiding what may be a secret before any of a document is shown.

/// Words in keys whose values are hidden. `url` and `dsn` are here because database and broker
/// addresses carry passwords; `_key` is, and not `key`, because a key of a map or a route is no secret.
const SECRET_WORDS: [&str; 8] = ["secret", "token", "password", "passphrase", "credential", "_key", "url", "dsn"];

/// Whether the value under this key must not be shown.
pub(crate) fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| last.contains(word))
}

/// The text with everything after a secret key's `=` starred out to the end of its line. Byte
/// lengths stay, so that spans still point at the same places. It works on lines, not on parsed
/// TOML, because the text of a document that does not parse is shown too.
pub(crate) fn redact(text: &str) -> String {
    text.split_inclusive('\n').map(redact_line).collect()
}

fn redact_line(line: &str) -> String {
    let secret_value = line.match_indices('=').find_map(|(at, _)| {
        let key = line[..at].trim_end();
        let start = key.rfind(|c: char| !(c.is_alphanumeric() || "_-.\"'".contains(c))).map_or(0, |i| i + 1);
        // `start` may fall inside a multi-byte separator; such a key is none of ours.
        key.get(start..).filter(|key| is_secret(key)).map(|_| at + 1)
    });
    match secret_value {
        None => line.to_owned(),
        Some(from) => {
            let stars = line[from..].bytes().map(|byte| match byte {
                b'\n' | b'\r' | b' ' | b'\t' => char::from(byte),
                _ => '*',
            });
            line[..from].chars().chain(stars).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_and_nothing_moves() {
        let text = "bind = \"x\"\ntoken = \"hünter2\" # old: abc\nadmin = { api_key = 'k', port = 1 }\n";
        let redacted = redact(text);
        assert_eq!(redacted.len(), text.len());
        assert!(redacted.starts_with("bind = \"x\"\ntoken = "));
        for hidden in ["nter2", "abc", "'k'", "port"] {
            assert!(!redacted.contains(hidden), "{redacted}");
        }
        assert_eq!(redact("key = \"path:id\""), "key = \"path:id\"");
    }

    #[test]
    fn an_unterminated_secret_is_hidden_too() {
        assert!(!redact("password = \"hunter2").contains("hunter2"));
    }
}
