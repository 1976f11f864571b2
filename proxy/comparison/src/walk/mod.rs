//! Two JSON documents, walked side by side.

mod fingerprint;
mod list;
mod object;
mod set;

use crate::{
    difference::{Cluster, Difference, Kind},
    json::{Decimal, Node},
    noise::Masks,
    path::{self, Path, Step},
    rules::Rules,
};

/// How many differences of one cluster are kept as examples.
const EXAMPLES: usize = 4;

/// What has been found. Everything in it is bounded by the rules' limits.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) differences: Vec<Difference>,
    /// How many are reported, with those that are not kept.
    pub(crate) reported: usize,
    /// Reported ones.
    pub(crate) clusters: Vec<(Cluster, usize)>,
    /// Those that a mask covers, with an example each: too many of them are reported after all.
    pub(crate) masked: Vec<(Cluster, usize, Difference)>,
    /// Differences that a rule said to ignore.
    pub(crate) ignored: usize,
}

/// The walk: where it is, and what it has found.
pub(crate) struct Walk<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) masks: &'a Masks,
    pub(crate) path: Vec<Step<'a>>,
    pub(crate) found: Found,
    /// Pairs that may still be looked at.
    steps_left: usize,
    /// While it is only asked how far two values are apart: the number so far, and when to stop.
    trial: Option<Trial>,
    /// The seed of the fingerprints, so that nobody can make two values that have the same.
    seed: std::hash::RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    found: usize,
    enough: usize,
}

/// What had been found at a point of the walk.
struct Mark {
    reported: usize,
    ignored: usize,
    differences: usize,
    clusters: Vec<usize>,
    masked: Vec<usize>,
}

/// What a difference comes to.
enum Verdict {
    Accepted,
    Ignored,
    Masked,
    Reported,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(rules: &'a Rules, masks: &'a Masks, found: Found) -> Self {
        Self {
            rules,
            masks,
            path: Vec::new(),
            found,
            steps_left: rules.limits.steps,
            trial: None,
            seed: std::hash::RandomState::new(),
        }
    }

    /// Whether the walk ended before it was done.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps_left == 0
    }

    /// Compares two values at the path.
    pub(crate) fn pair(&mut self, legacy: &'a Node<'a>, candidate: &'a Node<'a>) {
        if !self.step() {
            return;
        }
        match (legacy, candidate) {
            (Node::Object(legacy), Node::Object(candidate)) => self.objects(legacy, candidate),
            (Node::List(legacy), Node::List(candidate)) => self.lists(legacy, candidate),
            _ if equal_scalars(legacy, candidate) => {}
            _ => {
                let kind = if legacy.same_type(candidate) { Kind::Value } else { Kind::Type };
                self.differ(kind, Some(legacy), Some(candidate));
            }
        }
    }

    /// Notes a difference at the path.
    fn differ(&mut self, kind: Kind, legacy: Option<&'a Node<'a>>, candidate: Option<&'a Node<'a>>) {
        let verdict = self.verdict(kind, legacy, candidate);
        if let Some(trial) = &mut self.trial {
            trial.found += usize::from(matches!(verdict, Verdict::Reported));
            return;
        }
        match verdict {
            Verdict::Accepted => {}
            Verdict::Ignored => self.found.ignored += 1,
            Verdict::Masked => {
                let difference = self.difference(kind, legacy, candidate);
                self.found.mask(difference, self.rules.limits.differences);
            }
            Verdict::Reported => {
                let cluster = Cluster { path: path::general(&self.path), kind };
                if self.found.count(&cluster, self.rules.limits.differences) {
                    let difference = self.difference(kind, legacy, candidate);
                    self.found.differences.push(difference);
                }
            }
        }
    }

    fn verdict(&self, kind: Kind, legacy: Option<&Node<'_>>, candidate: Option<&Node<'_>>) -> Verdict {
        if self.rules.ignores(&self.path) {
            return Verdict::Ignored;
        }
        if kind == Kind::Value
            && let (Some(legacy), Some(candidate)) = (legacy, candidate)
            && self.rules.accepts(&self.path, legacy, candidate)
        {
            return Verdict::Accepted;
        }
        if self.is_masked(kind) { Verdict::Masked } else { Verdict::Reported }
    }

    fn is_masked(&self, kind: Kind) -> bool {
        !self.masks.is_empty() && self.masks.hides(&path::general(&self.path), kind)
    }

    fn difference(&self, kind: Kind, legacy: Option<&'a Node<'a>>, candidate: Option<&'a Node<'a>>) -> Difference {
        let most = self.rules.limits.value_bytes;
        let shown = |node: &'a Node<'a>| self.rules.redaction.rendered(node, &mut self.path.clone(), most);
        Difference { path: Path::body(&self.path), kind, legacy: legacy.map(shown), candidate: candidate.map(shown) }
    }

    /// How many differences would be reported between two values at the path; stops at `enough`.
    fn distance(&mut self, legacy: &'a Node<'a>, candidate: &'a Node<'a>, enough: usize) -> usize {
        let outer = self.trial.replace(Trial { found: 0, enough });
        self.pair(legacy, candidate);
        let found = self.trial.map_or(0, |trial| trial.found);
        self.trial = outer;
        found
    }

    /// Compares two values one step down.
    fn pair_at(&mut self, step: Step<'a>, legacy: &'a Node<'a>, candidate: &'a Node<'a>) {
        self.path.push(step);
        self.pair(legacy, candidate);
        self.path.pop();
    }

    /// Notes something one step down that the candidate does not have.
    fn missing_at(&mut self, step: Step<'a>, legacy: &'a Node<'a>) {
        self.path.push(step);
        self.differ(Kind::Missing, Some(legacy), None);
        self.path.pop();
    }

    /// Notes something one step down that only the candidate has.
    fn unexpected_at(&mut self, step: Step<'a>, candidate: &'a Node<'a>) {
        self.path.push(step);
        self.differ(Kind::Unexpected, None, Some(candidate));
        self.path.pop();
    }

    /// Whether the walk may look at one more pair.
    fn step(&mut self) -> bool {
        self.spend() && self.trial.is_none_or(|trial| trial.found < trial.enough)
    }

    /// Takes one of the steps; whether there was one left.
    fn spend(&mut self) -> bool {
        self.steps_left = self.steps_left.saturating_sub(1);
        self.steps_left > 0
    }

    /// How many differences have been reported, or would be.
    fn reported(&self) -> usize {
        self.trial.map_or(self.found.reported, |trial| trial.found)
    }

    /// Remembers what has been found.
    fn mark(&self) -> Mark {
        Mark {
            reported: self.reported(),
            ignored: self.found.ignored,
            differences: self.found.differences.len(),
            clusters: self.found.clusters.iter().map(|(_, count)| *count).collect(),
            masked: self.found.masked.iter().map(|(_, count, _)| *count).collect(),
        }
    }

    /// Forgets what has been found since.
    fn rewind(&mut self, mark: Mark) {
        if let Some(trial) = &mut self.trial {
            trial.found = mark.reported;
            return;
        }
        self.found.reported = mark.reported;
        self.found.ignored = mark.ignored;
        self.found.differences.truncate(mark.differences);
        self.found.clusters.truncate(mark.clusters.len());
        self.found.masked.truncate(mark.masked.len());
        self.found.clusters.iter_mut().zip(mark.clusters).for_each(|((_, count), before)| *count = before);
        self.found.masked.iter_mut().zip(mark.masked).for_each(|((_, count, _), before)| *count = before);
    }
}

impl Found {
    /// Counts a reported difference; whether it is to be kept as an example.
    fn count(&mut self, cluster: &Cluster, most: usize) -> bool {
        self.reported += 1;
        if let Some((_, count)) = self.clusters.iter_mut().find(|(known, _)| known == cluster) {
            *count += 1;
            return *count <= EXAMPLES && self.differences.len() < most;
        }
        if self.clusters.len() < most {
            self.clusters.push((cluster.clone(), 1));
        }
        self.differences.len() < most
    }

    /// Notes a difference outside the walk.
    pub(crate) fn report(&mut self, difference: Difference, most: usize) {
        let cluster = Cluster { path: difference.path.general().into(), kind: difference.kind };
        if self.count(&cluster, most) {
            self.differences.push(difference);
        }
    }

    /// Notes many differences of one cluster, of which there is one example.
    pub(crate) fn report_many(&mut self, example: Difference, count: usize, most: usize) {
        let cluster = Cluster { path: example.path.general().into(), kind: example.kind };
        self.report(example, most);
        (1..count).for_each(|_| {
            self.count(&cluster, most);
        });
    }

    /// Notes a difference that a mask covers; one that there is no room for is reported.
    pub(crate) fn mask(&mut self, difference: Difference, most: usize) {
        let cluster = Cluster { path: difference.path.general().into(), kind: difference.kind };
        if let Some((_, count, _)) = self.masked.iter_mut().find(|(known, ..)| *known == cluster) {
            *count += 1;
        } else if self.masked.len() < most {
            self.masked.push((cluster, 1, difference));
        } else {
            self.report(difference, most);
        }
    }
}

/// Whether two values without parts are the same, whatever the rules.
fn equal_scalars(one: &Node<'_>, two: &Node<'_>) -> bool {
    match (one, two) {
        (Node::Number(one), Node::Number(two)) => one == two || Decimal::new(one) == Decimal::new(two),
        (Node::Text(one), Node::Text(two)) => one == two,
        (Node::Bool(one), Node::Bool(two)) => one == two,
        (Node::Null, Node::Null) => true,
        _ => false,
    }
}
