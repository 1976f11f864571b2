//! What is not held against the candidate, because legacy does it too.

use std::{collections::HashMap, time::SystemTime};

use super::Fields;
use crate::difference::{Cluster, Kind};

/// One sort of difference at one path that legacy shows against itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    /// What it hides: this kind at this path, and nothing else there.
    pub cluster: Cluster,
    /// Since when it is applied.
    pub since: SystemTime,
    /// When it ends, unless legacy differs from itself there again.
    pub until: SystemTime,
    /// In how many pairs of legacy's answers the path was.
    pub seen: u32,
    /// In how many of these they differed so.
    pub noisy: u32,
    /// The rate of noise is at least this, with 97.5 % confidence.
    pub rate_at_least: f64,
}

/// The masks of a route at a time: a value that the comparisons share, made anew now and then.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Masks {
    /// The surest first.
    applied: Vec<Mask>,
    over_cap: Vec<Mask>,
    /// Ranks in `applied`.
    ranks: HashMap<Box<str>, Vec<(Kind, usize)>>,
    share: f64,
}

impl Masks {
    /// No masks.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Of these, as many as the cap allows.
    pub(super) fn new(mut masks: Vec<Mask>, fields: &Fields, share: f64) -> Self {
        masks.sort_by(|one, two| {
            two.rate_at_least.total_cmp(&one.rate_at_least).then_with(|| one.cluster.cmp(&two.cluster))
        });
        let allowed = allowed(share, fields.count());
        let mut hidden = Hidden::default();
        let (applied, over_cap): (Vec<_>, Vec<_>) =
            masks.into_iter().partition(|mask| hidden.fits(&mask.cluster.path, fields, allowed));
        let mut ranks: HashMap<Box<str>, Vec<(Kind, usize)>> = HashMap::new();
        for (rank, mask) in applied.iter().enumerate() {
            ranks.entry(mask.cluster.path.clone()).or_default().push((mask.cluster.kind, rank));
        }
        Self { applied, over_cap, ranks, share }
    }

    /// The masks that are applied, the surest first.
    #[must_use]
    pub fn applied(&self) -> &[Mask] {
        &self.applied
    }

    /// The noise that is not masked, because that would hide more of the answers than the cap allows.
    #[must_use]
    pub fn over_cap(&self) -> &[Mask] {
        &self.over_cap
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.applied.is_empty()
    }

    pub(crate) fn hides(&self, path: &str, kind: Kind) -> bool {
        self.rank(path, kind).is_some()
    }

    /// How sure a mask is, beside the others; 0 is the surest.
    pub(crate) fn rank(&self, path: &str, kind: Kind) -> Option<usize> {
        let here = self.ranks.get(path)?;
        here.iter().find(|(hidden, _)| *hidden == kind).map(|(_, rank)| *rank)
    }

    /// How many fields of a document may be hidden: the share, rounded up, but never all of them.
    pub(crate) fn allowed(&self, fields: usize) -> usize {
        allowed(self.share, fields)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share from 0 to 1 of a number of fields, which are bounded"
)]
fn allowed(share: f64, fields: usize) -> usize {
    ((share * fields as f64).ceil() as usize).min(fields.saturating_sub(1))
}

/// The fields that are hidden so far.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    paths: Vec<Box<str>>,
    fields: usize,
}

impl Hidden {
    /// Hides a path if there is room for its fields. Another kind at the same path hides no more.
    pub(crate) fn fits(&mut self, path: &str, fields: &Fields, allowed: usize) -> bool {
        if self.paths.iter().any(|hidden| hidden.as_ref() == path) {
            return true;
        }
        let fields = self.fields + fields.under(path);
        let fits = fields <= allowed;
        if fits {
            self.fields = fields;
            self.paths.push(path.into());
        }
        fits
    }
}
