//! Whether a request is copied, decided from its head, the route's settings and the live share.

use http::{HeaderMap, Method, header};

use super::outcome::{Dropped, Ignored, Outcome};
use crate::{
    config::{RouteShadowConfig, Sample},
    rollout::{Bucket, Weight},
};

/// Set after a route's salt, so that the keys that are copied are not those that the weight moves first.
const SALT_SUFFIX: &str = "/shadow";

/// Which requests of a route are copied.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// The salt of sampled keys; none where requests are sampled.
    salt: Option<String>,
    methods: Vec<Method>,
    dry_run: bool,
}

/// How a request is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it is.
    Plain,
    /// With a signature that asks the other side to do nothing.
    DryRun,
}

/// What the decision is about.
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) key: Option<&'r str>,
}

impl Sampling {
    pub(crate) fn new(config: &RouteShadowConfig, salt: &str) -> Self {
        let salt = (config.sample == Sample::Key).then(|| format!("{salt}{SALT_SUFFIX}"));
        Self { salt, methods: config.safe_methods(), dry_run: config.dry_run }
    }

    /// Decides: how to copy, or what else becomes of the request. `agreed` says whether the side that a
    /// copy would go to has agreed to dry runs.
    pub(crate) fn decide(
        &self,
        asked: &Asked<'_>,
        share: Weight,
        agreed: impl FnOnce() -> bool,
    ) -> Result<Manner, Outcome> {
        if !share.includes(self.bucket(asked.key)) {
            return Err(Outcome::NotSampled);
        }
        if asked.headers.contains_key(header::UPGRADE) {
            return Err(Outcome::Dropped(Dropped::Upgrade));
        }
        if self.methods.contains(asked.method) {
            return Ok(Manner::Plain);
        }
        match self.dry_run {
            false => Err(Outcome::Ignored(Ignored::Method)),
            true if agreed() => Ok(Manner::DryRun),
            true => Err(Outcome::Dropped(Dropped::NoDryRun)),
        }
    }

    pub(crate) fn wants_dry_runs(&self) -> bool {
        self.dry_run
    }

    fn bucket(&self, key: Option<&str>) -> Bucket {
        match (&self.salt, key) {
            (Some(salt), Some(key)) => Bucket::of(salt, key),
            _ => Bucket::random(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(sample: Sample, dry_run: bool) -> Sampling {
        Sampling::new(&RouteShadowConfig { sample, dry_run, ..RouteShadowConfig::default() }, "invoke")
    }

    fn decide(sampling: &Sampling, method: &Method, key: Option<&str>, percent: f64) -> Result<Manner, Outcome> {
        let share = Weight::from_percent(percent).expect("a good percentage");
        sampling.decide(&Asked { method, headers: &HeaderMap::new(), key }, share, || true)
    }

    #[test]
    fn a_key_is_always_or_never_copied_and_other_keys_than_those_that_move() {
        let sampling = sampling(Sample::Key, false);
        let mut moved_too = 0;
        let mut copied = 0;
        for key in (0..4_000).map(|key| key.to_string()) {
            let decision = decide(&sampling, &Method::GET, Some(&key), 25.0);
            assert_eq!(decision, decide(&sampling, &Method::GET, Some(&key), 25.0));
            if decision.is_ok() {
                copied += 1;
                moved_too += u32::from(Bucket::of("invoke", &key).get() < 2_500);
                assert!(decide(&sampling, &Method::GET, Some(&key), 50.0).is_ok(), "a larger share keeps it");
            }
        }
        assert!((800..1_200).contains(&copied) && (150..350).contains(&moved_too), "{copied} {moved_too}");
    }

    #[test]
    fn requests_are_sampled_whatever_their_key() {
        let sampling = sampling(Sample::Request, false);
        let copied = (0..4_000).filter(|_| decide(&sampling, &Method::GET, Some("a"), 25.0).is_ok()).count();
        assert!((800..1_200).contains(&copied), "{copied}");
    }

    #[test]
    fn what_may_change_something_is_copied_as_a_dry_run_only() {
        let plain = sampling(Sample::Key, false);
        assert_eq!(decide(&plain, &Method::HEAD, None, 100.0), Ok(Manner::Plain));
        assert_eq!(decide(&plain, &Method::POST, None, 100.0), Err(Outcome::Ignored(Ignored::Method)));
        assert_eq!(decide(&plain, &Method::POST, None, 0.0), Err(Outcome::NotSampled));
        let dry = sampling(Sample::Key, true);
        assert_eq!(decide(&dry, &Method::POST, None, 100.0), Ok(Manner::DryRun));
        let asked = Asked { method: &Method::POST, headers: &HeaderMap::new(), key: None };
        assert_eq!(dry.decide(&asked, Weight::ALL, || false), Err(Outcome::Dropped(Dropped::NoDryRun)));
    }

    #[test]
    fn an_upgrade_is_not_copied() {
        let headers = HeaderMap::from_iter([(header::UPGRADE, http::HeaderValue::from_static("websocket"))]);
        let asked = Asked { method: &Method::GET, headers: &headers, key: None };
        let decision = sampling(Sample::Key, false).decide(&asked, Weight::ALL, || true);
        assert_eq!(decision, Err(Outcome::Dropped(Dropped::Upgrade)));
    }
}
