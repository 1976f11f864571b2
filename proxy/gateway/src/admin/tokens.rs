//! Who holds which token of the admin API.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{AdminConfig, AdminRole};

/// How long wrong tokens are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// A caller whose token was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    /// What the history calls it.
    pub(crate) name: String,
    pub(crate) role: AdminRole,
}

/// The tokens, by their hashes: the process keeps no token to compare with.
pub(crate) struct Tokens {
    known: Vec<([u8; 32], Operator)>,
    wrong: WrongTokens,
}

impl Tokens {
    /// The tokens of settings that have been checked.
    pub(crate) fn new(config: &AdminConfig) -> Self {
        let hash = |token: &str| -> [u8; 32] { Sha256::digest(token).into() };
        let mut known = Vec::new();
        for (token, name, role) in
            [(&config.token, "operate", AdminRole::Operate), (&config.view_token, "view", AdminRole::View)]
        {
            if !token.is_empty() {
                known.push((hash(token.expose()), Operator { name: name.to_owned(), role }));
            }
        }
        for token in &config.tokens {
            let digest = match &token.sha256 {
                None => hash(token.token.expose()),
                Some(text) => {
                    let mut digest = [0; 32];
                    hex::decode_to_slice(text, &mut digest).expect("the settings have been checked");
                    digest
                }
            };
            known.push((digest, Operator { name: token.name.clone(), role: token.role }));
        }
        Self { known, wrong: WrongTokens::new(config.wrong_tokens_per_minute) }
    }

    /// Whose token this is. It takes as long whoever's it is, and if it is nobody's.
    pub(super) fn find(&self, token: &str) -> Option<&Operator> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, operator) in &self.known {
            let same: Choice = known.ct_eq(&digest);
            if bool::from(same) {
                found = Some(operator);
            }
        }
        found
    }

    /// Counts a wrong token. How long its sender should wait once there were too many.
    pub(super) fn count_wrong(&self, now: Instant) -> Option<Duration> {
        self.wrong.count(now)
    }
}

/// Wrong tokens of the current minute.
struct WrongTokens {
    most: u32,
    window: Mutex<Option<(Instant, u32)>>,
}

impl WrongTokens {
    fn new(most: u32) -> Self {
        Self { most, window: Mutex::default() }
    }

    fn count(&self, now: Instant) -> Option<Duration> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = window.filter(|(began, _)| now.duration_since(*began) < WINDOW).unwrap_or((now, 0));
        *window = Some((began, count.saturating_add(1)));
        (count >= self.most).then(|| WINDOW.saturating_sub(now.duration_since(began)))
    }
}

#[cfg(test)]
mod tests {
    use layered_config::Secret;

    use super::*;
    use crate::config::AdminTokenConfig;

    #[test]
    fn each_token_has_one_holder() {
        let hashed = hex::encode(Sha256::digest("token-of-ada-0123"));
        let ada = AdminTokenConfig {
            name: "ada".to_owned(),
            role: AdminRole::Operate,
            token: Secret::default(),
            sha256: Some(hashed.clone()),
        };
        let config = AdminConfig {
            token: Secret::new("token-to-operate"),
            view_token: Secret::new("token-to-view-01"),
            tokens: vec![ada],
            ..AdminConfig::default()
        };
        let tokens = Tokens::new(&config);
        for (token, expected) in [
            ("token-to-operate", Some(("operate", AdminRole::Operate))),
            ("token-to-view-01", Some(("view", AdminRole::View))),
            ("token-of-ada-0123", Some(("ada", AdminRole::Operate))),
            (&hashed, None),
            ("", None),
            ("token-to-operat", None),
        ] {
            let found = tokens.find(token).map(|operator| (operator.name.as_str(), operator.role));
            assert_eq!(found, expected, "{token}");
        }
        let without_view = Tokens::new(&AdminConfig { view_token: Secret::default(), ..config });
        assert_eq!(without_view.find(""), None, "a token that is not set is nobody's");
    }

    #[test]
    fn wrong_tokens_are_counted_by_the_minute() {
        let wrong = WrongTokens::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((wrong.count(at(0)), wrong.count(at(1))), (None, None));
        assert_eq!(wrong.count(at(20)), Some(Duration::from_secs(40)));
        assert_eq!(wrong.count(at(60)), None, "another minute");
    }
}
