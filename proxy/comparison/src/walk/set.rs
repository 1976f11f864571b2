//! Lists as bags: every element of one side has to find one of the other.
//!
//! Elements with the same fingerprint are taken together, which is all there is to do for bags that are
//! the same. Of what is left, at most [`MOST_LEFT`] on each side are held against each other: first for
//! pairs that count as the same, by augmenting paths (Kuhn's matching, O(V·E)), so that a tolerance
//! never makes one element take the partner of another; then for the nearest.

use std::collections::HashMap;

use super::Walk;
use crate::{difference::Kind, json::Node, path::Step};

/// How many elements without a partner of the same fingerprint are matched on each side. Those beyond
/// are missing or unexpected.
const MOST_LEFT: usize = 48;
/// How many differences are counted between two elements.
const FAR: usize = 16;

/// An element with its index.
type Element<'a> = (usize, &'a Node<'a>);

impl<'a> Walk<'a> {
    pub(super) fn sets(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
        if self.trial.is_none() && !self.rules.is_set(&self.path) {
            self.note_masked_order(legacy, candidate);
        }
        let (legacy, candidate): (Vec<_>, Vec<_>) =
            (legacy.iter().enumerate().collect(), candidate.iter().enumerate().collect());
        let (_same, legacy, candidate) = self.together(legacy, candidate, |walk, (_, node), _| walk.exact(node));
        let (alike, legacy, candidate) = self.together(legacy, candidate, |walk, (_, node), is_candidate| {
            walk.path.push(Step::Index(0));
            let fingerprint = walk.tolerant(node, is_candidate);
            walk.path.pop();
            fingerprint
        });
        let (same, changed): (Vec<_>, Vec<_>) =
            alike.into_iter().partition(|(one, two)| self.distance_at(*one, *two, 1) == 0);
        // A tolerance may have given one element the partner of another: then more of them are matched anew.
        let again = if changed.is_empty() { 0 } else { MOST_LEFT.saturating_sub(legacy.len() + changed.len()) };
        let (again, same) = same.split_at(again.min(same.len()));
        for (one, two) in same {
            self.pair_at(Step::Index(one.0), one.1, two.1);
        }
        let (mut left, mut right): (Vec<_>, Vec<_>) = changed.into_iter().chain(again.iter().copied()).unzip();
        left.extend(legacy);
        right.extend(candidate);
        self.match_rest(&left, &right);
    }

    /// Takes elements of the same fingerprint together, in order; returns the pairs and what is left.
    fn together(
        &mut self,
        legacy: Vec<Element<'a>>,
        candidate: Vec<Element<'a>>,
        fingerprint: impl Fn(&mut Self, Element<'a>, bool) -> u64,
    ) -> (Vec<(Element<'a>, Element<'a>)>, Vec<Element<'a>>, Vec<Element<'a>>) {
        let mut waiting: HashMap<u64, Vec<Element<'a>>> = HashMap::new();
        for element in candidate.into_iter().rev() {
            let fingerprint = fingerprint(self, element, true);
            waiting.entry(fingerprint).or_default().push(element);
        }
        let (mut pairs, mut left) = (Vec::new(), Vec::new());
        for element in legacy {
            let fingerprint = fingerprint(self, element, false);
            match waiting.get_mut(&fingerprint).and_then(Vec::pop) {
                Some(partner) => pairs.push((element, partner)),
                None => left.push(element),
            }
        }
        let mut rest: Vec<Element<'a>> = waiting.into_values().flatten().collect();
        rest.sort_by_key(|(index, _)| *index);
        (pairs, left, rest)
    }

    fn match_rest(&mut self, legacy: &[Element<'a>], candidate: &[Element<'a>]) {
        let distances = self.distances(legacy, candidate);
        let mut partners = perfect(&distances, candidate.len());
        nearest(&distances, &mut partners);
        let mut taken = vec![false; candidate.len()];
        for (index, element) in legacy.iter().enumerate() {
            match partners.get(index).copied().flatten() {
                Some(partner) => {
                    taken[partner] = true;
                    self.pair_at(Step::Index(element.0), element.1, candidate[partner].1);
                }
                None => self.missing_at(Step::Index(element.0), element.1),
            }
        }
        for (element, _) in candidate.iter().zip(taken).filter(|(_, taken)| !taken) {
            self.unexpected_at(Step::Index(element.0), element.1);
        }
    }

    /// How far each of the one side is from each of the other; `None` where they have nothing in
    /// common, which is another element and not a changed one.
    fn distances(&mut self, legacy: &[Element<'a>], candidate: &[Element<'a>]) -> Vec<Vec<Option<usize>>> {
        let mut rows = Vec::new();
        for one in legacy.iter().take(MOST_LEFT) {
            let mut row = Vec::new();
            for two in candidate.iter().take(MOST_LEFT) {
                let enough = size(one.1).min(size(two.1)).min(FAR);
                let distance = self.distance_at(*one, *two, enough.max(1));
                row.push((distance < enough.max(1) && !self.is_exhausted()).then_some(distance));
            }
            rows.push(row);
        }
        rows
    }

    fn distance_at(&mut self, one: Element<'a>, two: Element<'a>, enough: usize) -> usize {
        self.path.push(Step::Index(one.0));
        let distance = self.distance(one.1, two.1, enough);
        self.path.pop();
        distance
    }

    /// The order was learnt to be noise: that it differed is said.
    fn note_masked_order(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
        if let Some((one, two)) = self.first_moved(legacy, candidate) {
            self.differ(Kind::Order, Some(one), Some(two));
        }
    }
}

/// The largest matching of pairs without a difference.
fn perfect(distances: &[Vec<Option<usize>>], candidates: usize) -> Vec<Option<usize>> {
    let mut owners: Vec<Option<usize>> = vec![None; candidates];
    for row in 0..distances.len() {
        let mut seen = vec![false; candidates];
        augment(distances, row, &mut owners, &mut seen);
    }
    let mut partners = vec![None; distances.len()];
    for (column, owner) in owners.into_iter().enumerate() {
        if let Some(owner) = owner {
            partners[owner] = Some(column);
        }
    }
    partners
}

/// Finds a partner for `row`, moving others if need be. As deep as there are rows.
fn augment(distances: &[Vec<Option<usize>>], row: usize, owners: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for (column, distance) in distances[row].iter().enumerate() {
        if *distance != Some(0) || seen[column] {
            continue;
        }
        seen[column] = true;
        if owners[column].is_none_or(|owner| augment(distances, owner, owners, seen)) {
            owners[column] = Some(row);
            return true;
        }
    }
    false
}

/// Gives those without a partner the nearest that is left.
fn nearest(distances: &[Vec<Option<usize>>], partners: &mut [Option<usize>]) {
    let rows = distances.iter().enumerate();
    let pairs = rows.flat_map(|(row, columns)| {
        columns.iter().enumerate().filter_map(move |(column, distance)| Some(((*distance)?, row, column)))
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    for (_, row, column) in pairs {
        if partners[row].is_none() && !partners.contains(&Some(column)) {
            partners[row] = Some(column);
        }
    }
}

/// How many parts a value has, as far as it matters.
fn size(node: &Node<'_>) -> usize {
    match node {
        Node::List(elements) => elements.len(),
        Node::Object(members) => members.len(),
        _ => 1,
    }
}
