//! Learning what is noise, from pairs of answers that legacy gave to the same request.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{Fields, Mask, Masks};
use crate::{
    Answer, Outcome, Rules, compare,
    compare::fields_of,
    difference::{Cluster, Kind},
};

/// From this many pairs on, old ones count half.
const HALVED_AT: u32 = 1_024;
/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// When noise is taken for noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseSettings {
    /// How many pairs must have had a path before anything there is masked.
    pub min_pairs: u32,
    /// The rate of noise that has to be exceeded, with 97.5 % confidence; below it, a difference is
    /// more likely a write that came between the two requests.
    pub rate_above: f64,
    /// How long a mask stays after legacy was last seen to differ from itself there.
    pub expires_after: Duration,
    /// The largest share of an answer's fields that masks may hide together, from 0 to 1. The number
    /// of fields is rounded up, but never all are hidden.
    pub most_masked: f64,
    /// How many paths are remembered.
    pub max_paths: usize,
}

impl Default for NoiseSettings {
    fn default() -> Self {
        Self {
            min_pairs: 20,
            rate_above: 0.05,
            expires_after: Duration::from_secs(3_600),
            most_masked: 0.5,
            max_paths: 2_048,
        }
    }
}

/// Learns the noise of one route. Its memory is bounded by [`NoiseSettings::max_paths`].
#[derive(Debug)]
pub struct NoiseLearner {
    settings: NoiseSettings,
    places: BTreeMap<Box<str>, Place>,
    pairs: u64,
    /// Times that a path found no room.
    crowded: u64,
}

/// What is known of one generalised path.
#[derive(Debug, Default)]
struct Place {
    seen: u32,
    /// Whether it has ever had a value of its own.
    is_field: bool,
    noise: Vec<Noise>,
}

#[derive(Debug)]
struct Noise {
    kind: Kind,
    noisy: u32,
    last: SystemTime,
    masked_since: Option<SystemTime>,
}

impl NoiseLearner {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(settings: NoiseSettings) -> Self {
        Self { settings, places: BTreeMap::new(), pairs: 0, crowded: 0 }
    }

    /// Learns from two answers that legacy gave to the same request. Two with different statuses, or
    /// that cannot be compared, teach nothing.
    pub fn observe(&mut self, rules: &Rules, first: &Answer<'_>, again: &Answer<'_>, now: SystemTime) {
        let comparison = compare(rules, &Masks::none(), first, again);
        let learnable = !matches!(comparison.outcome, Outcome::NotCompared(_));
        if !learnable || comparison.clusters.iter().any(|(cluster, _)| !cluster.kind.may_be_noise()) {
            return;
        }
        self.pairs += 1;
        let mut fields = fields_of(rules, first, self.settings.max_paths);
        fields.extend(&fields_of(rules, again, self.settings.max_paths));
        for (path, is_field) in fields.iter() {
            self.place(path, |place| {
                place.seen += 1;
                place.is_field |= is_field;
            });
        }
        for (cluster, _) in comparison.clusters {
            self.place(&cluster.path, |place| place.note(cluster.kind, now));
        }
        self.judge(now);
    }

    /// The masks at a time.
    #[must_use]
    pub fn masks(&self, now: SystemTime) -> Masks {
        let mut fields = Fields::default();
        let mut masks = Vec::new();
        for (path, place) in &self.places {
            fields.add_path(path, place.is_field);
            masks.extend(place.noise.iter().filter_map(|noise| self.mask(path, place, noise, now)));
        }
        Masks::new(masks, &fields, self.settings.most_masked)
    }

    /// How many pairs it has learnt from.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// How often something was not learnt because there were too many paths.
    #[must_use]
    pub fn crowded(&self) -> u64 {
        self.crowded
    }

    fn mask(&self, path: &str, place: &Place, noise: &Noise, now: SystemTime) -> Option<Mask> {
        let since = noise.masked_since?;
        let until = noise.last + self.settings.expires_after;
        (now < until).then(|| Mask {
            cluster: Cluster { path: path.into(), kind: noise.kind },
            since,
            until,
            seen: place.seen,
            noisy: noise.noisy,
            rate_at_least: wilson_lower_bound(noise.noisy, place.seen),
        })
    }

    /// Forgets what has ended, and begins and ends masks.
    fn judge(&mut self, now: SystemTime) {
        let NoiseSettings { min_pairs, rate_above, expires_after, .. } = self.settings;
        for place in self.places.values_mut() {
            if place.seen >= HALVED_AT {
                place.seen /= 2;
                place.noise.iter_mut().for_each(|noise| noise.noisy = noise.noisy.div_ceil(2));
            }
            let seen = place.seen;
            place.noise.retain(|noise| now < noise.last + expires_after);
            for noise in &mut place.noise {
                let is_noise = seen >= min_pairs && wilson_lower_bound(noise.noisy, seen) > rate_above;
                noise.masked_since = is_noise.then(|| noise.masked_since.unwrap_or(now));
            }
        }
    }

    fn place(&mut self, path: &str, change: impl FnOnce(&mut Place)) {
        if !self.places.contains_key(path) && self.places.len() >= self.settings.max_paths {
            self.crowded += 1;
            return;
        }
        change(self.places.entry(path.into()).or_default());
    }
}

impl Place {
    fn note(&mut self, kind: Kind, now: SystemTime) {
        match self.noise.iter_mut().find(|noise| noise.kind == kind) {
            Some(noise) => (noise.noisy, noise.last) = (noise.noisy + 1, now),
            None => self.noise.push(Noise { kind, noisy: 1, last: now, masked_since: None }),
        }
    }
}

/// The lower end of the score interval for a proportion: E. B. Wilson, "Probable inference, the law of
/// succession, and statistical inference", JASA 22 (1927). Unlike the usual one it holds for few samples
/// and for rates near 0 and 1.
fn wilson_lower_bound(hits: u32, samples: u32) -> f64 {
    if samples == 0 {
        return 0.0;
    }
    let n = f64::from(samples);
    let rate = f64::from(hits.min(samples)) / n;
    let z2 = Z * Z;
    let centre = rate + z2 / (2.0 * n);
    let margin = Z * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - margin) / (1.0 + z2 / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_wilsons() {
        for (hits, samples, expected) in
            [(0, 20, 0.0), (1, 20, 0.0089), (10, 20, 0.2993), (20, 20, 0.8389), (50, 1_000, 0.0381)]
        {
            let bound = wilson_lower_bound(hits, samples);
            assert!((bound - expected).abs() < 5e-4, "{hits} of {samples}: {bound}");
        }
    }
}
