//! What legacy answers differently from one time to the next, learnt from requests that it got twice.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use comparison::{Answer, Masks, NoiseLearner, NoiseSettings, Rules};

/// Masks are made anew this often at most, because each time all paths are looked at.
const MASKS_LAST: Duration = Duration::from_secs(1);

/// The noise of one route. Only the threads of shadowing come here, so the lock makes no request wait.
pub(super) struct Noise {
    learner: Mutex<NoiseLearner>,
    masks: ArcSwap<Made>,
}

/// Masks, and when they were made.
struct Made {
    masks: Arc<Masks>,
    at: SystemTime,
}

impl Noise {
    pub(super) fn new(settings: NoiseSettings) -> Self {
        let made = Made { masks: Arc::new(Masks::none()), at: SystemTime::UNIX_EPOCH };
        Self { learner: Mutex::new(NoiseLearner::new(settings)), masks: ArcSwap::from_pointee(made) }
    }

    /// Learns from two answers of legacy to one request.
    pub(super) fn observe(&self, rules: &Rules, first: &Answer<'_>, again: &Answer<'_>, now: SystemTime) {
        // A learner that panicked has noted one pair in part, which is as good as not at all.
        let mut learner = self.learner.lock().unwrap_or_else(PoisonError::into_inner);
        learner.observe(rules, first, again, now);
    }

    /// How many pairs were learnt from, and how often a path found no room.
    pub(super) fn learnt(&self) -> (u64, u64) {
        let learner = self.learner.lock().unwrap_or_else(PoisonError::into_inner);
        (learner.pairs(), learner.crowded())
    }

    /// The masks that hold now. They end by themselves, also when nothing more is learnt.
    pub(super) fn masks(&self, now: SystemTime) -> Arc<Masks> {
        let made = self.masks.load();
        // A clock that was set back makes them anew as well.
        if now.duration_since(made.at).is_ok_and(|age| age < MASKS_LAST) {
            return made.masks.clone();
        }
        let masks = Arc::new(self.learner.lock().unwrap_or_else(PoisonError::into_inner).masks(now));
        self.masks.store(Arc::new(Made { masks: masks.clone(), at: now }));
        masks
    }
}

#[cfg(test)]
mod tests {
    use comparison::{Outcome, RulesConfig, compare};
    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    #[test]
    fn what_legacy_answers_differently_is_masked_until_it_does_no_more() {
        let rules = Rules::compile(&RulesConfig::default()).expect("the default has no problems");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = |time: u64, price: u64| format!(r#"{{"time":{time},"price":{price},"name":"a"}}"#);
        let settings = NoiseSettings::default();
        let noise = Noise::new(settings);
        let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let later = |s| begun + Duration::from_secs(s);
        let outcome = |now, one: &str, two: &str| {
            let [one, two] = [one, two].map(|text| Answer { status: 200, headers: &headers, body: text.as_bytes() });
            compare(&rules, &noise.masks(now), &one, &two).outcome
        };
        assert_eq!(outcome(begun, &body(1, 5), &body(2, 5)), Outcome::Different);
        for pair in 0..u64::from(settings.min_pairs) * 4 {
            let (first, again) = (body(pair, 5), body(pair + 1_000, 5));
            let [first, again] =
                [&first, &again].map(|text| Answer { status: 200, headers: &headers, body: text.as_bytes() });
            noise.observe(&rules, &first, &again, begun);
        }
        assert_eq!(outcome(later(2), &body(1, 5), &body(2, 5)), Outcome::Ignored);
        assert_eq!(outcome(later(2), &body(1, 5), &body(2, 6)), Outcome::Different, "its neighbour");
        let over = later(settings.expires_after.as_secs() + 2);
        assert_eq!(outcome(over, &body(1, 5), &body(2, 5)), Outcome::Different, "the mask has ended");
    }
}
