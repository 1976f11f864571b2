//! Which hosts a route takes.

use std::{fmt, str::FromStr};

use crate::request_host::canonical_host;

/// One host, or every host below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.DOMAIN`: every host with one or more labels before this domain.
    Below(String),
}

/// What stands for a host pattern is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternProblem {
    /// Neither a host nor `*.` and a domain.
    #[error("it is neither a host such as `shop.example` nor every host below one, as in `*.shop.example`")]
    Malformed,
    /// A port, which routing ignores.
    #[error("it has a port, which says nothing about the host")]
    HasPort,
}

impl FromStr for HostPattern {
    type Err = HostPatternProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, below) = text.strip_prefix("*.").map_or((text, false), |domain| (domain, true));
        let canonical = canonical_host(host).map_err(|_| HostPatternProblem::Malformed)?;
        let literal = host.starts_with('[');
        if host.contains(':') && !literal || host.contains("]:") {
            return Err(HostPatternProblem::HasPort);
        }
        match (below, literal) {
            (false, _) => Ok(Self::Exact(canonical.into_owned())),
            (true, false) => Ok(Self::Below(canonical.into_owned())),
            // Nothing is below an address.
            (true, true) => Err(HostPatternProblem::Malformed),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// The domains that a host is below, the longest first.
pub(super) fn domains_above(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(|(dot, _)| &host[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_one_form() {
        for (written, read) in [
            ("Shop.Example.", "shop.example"),
            ("*.Shop.Example", "*.shop.example"),
            ("[::1]", "[::1]"),
            ("[0::1]", "[::1]"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(written.parse::<HostPattern>().map(|host| host.to_string()).as_deref(), Ok(read), "{written}");
        }
        use HostPatternProblem::{HasPort, Malformed};
        for (written, problem) in [
            ("", Malformed),
            ("*", Malformed),
            ("*.", Malformed),
            ("*.*.a", Malformed),
            ("a.*", Malformed),
            ("*a.example", Malformed),
            ("*.[::1]", Malformed),
            ("a b", Malformed),
            ("shop.example:443", HasPort),
            ("[::1]:443", HasPort),
        ] {
            assert_eq!(written.parse::<HostPattern>(), Err(problem), "{written}");
        }
    }

    #[test]
    fn a_host_is_below_its_domains() {
        assert_eq!(domains_above("a.b.c").collect::<Vec<_>>(), ["b.c", "c"]);
        assert_eq!(domains_above("a").count(), 0);
    }
}
