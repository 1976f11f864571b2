//! Lists.

use std::collections::HashMap;

use super::Walk;
use crate::{difference::Kind, json::Node, path::Step};

impl<'a> Walk<'a> {
    pub(super) fn lists(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
        if self.rules.is_shape_only(&self.path) {
            return self.shapes(legacy, candidate);
        }
        if self.is_unordered() {
            return self.sets(legacy, candidate);
        }
        if legacy.len() == candidate.len() {
            let before = self.mark();
            for (index, (legacy, candidate)) in legacy.iter().zip(candidate).enumerate() {
                self.pair_at(Step::Index(index), legacy, candidate);
            }
            // Only elements that differ are worth the question, whether they are just elsewhere.
            if self.reported() > before.reported && self.is_reordered(legacy, candidate) {
                self.rewind(before);
                self.differ_in_order(legacy, candidate);
            }
            return;
        }
        self.shifted(legacy, candidate);
    }

    /// Elements that are there or not: what is the same at both ends stays out of it, so that one
    /// element too many in front does not make all others differ.
    fn shifted(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
        let shorter = legacy.len().min(candidate.len());
        let mut front = 0;
        while front < shorter && self.same_at(front, &legacy[front], &candidate[front]) {
            front += 1;
        }
        let mut back = 0;
        while back < shorter - front {
            let (one, two) = (legacy.len() - 1 - back, candidate.len() - 1 - back);
            if !self.same_at(one, &legacy[one], &candidate[two]) {
                break;
            }
            back += 1;
        }
        // Once more for the ends, so that what is ignored or masked in them is counted.
        for index in 0..front {
            self.pair_at(Step::Index(index), &legacy[index], &candidate[index]);
        }
        let (inner, other) = (&legacy[front..legacy.len() - back], &candidate[front..candidate.len() - back]);
        for (index, (legacy, candidate)) in inner.iter().zip(other).enumerate() {
            self.pair_at(Step::Index(front + index), legacy, candidate);
        }
        for (index, element) in inner.iter().enumerate().skip(other.len()) {
            self.missing_at(Step::Index(front + index), element);
        }
        for (index, element) in other.iter().enumerate().skip(inner.len()) {
            self.unexpected_at(Step::Index(front + index), element);
        }
        for back in (0..back).rev() {
            let (one, two) = (legacy.len() - 1 - back, candidate.len() - 1 - back);
            self.pair_at(Step::Index(one), &legacy[one], &candidate[two]);
        }
    }

    fn same_at(&mut self, index: usize, legacy: &'a Node<'a>, candidate: &'a Node<'a>) -> bool {
        self.path.push(Step::Index(index));
        let distance = self.distance(legacy, candidate, 1);
        self.path.pop();
        distance == 0 && !self.is_exhausted()
    }

    /// Whether the elements are the same ones in another order.
    fn is_reordered(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) -> bool {
        let mut counts: HashMap<u64, isize> = HashMap::new();
        let mut moved = false;
        for (one, two) in legacy.iter().zip(candidate) {
            let (one, two) = (self.exact(one), self.exact(two));
            moved |= one != two;
            *counts.entry(one).or_default() += 1;
            *counts.entry(two).or_default() -= 1;
        }
        moved && !self.is_exhausted() && counts.into_values().all(|count| count == 0)
    }

    /// Only types and names count, and no length.
    fn shapes(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
        for index in 0..legacy.len().max(candidate.len()) {
            let of = |list: &'a [Node<'a>]| list.get(index).or_else(|| list.last());
            if let (Some(legacy), Some(candidate)) = (of(legacy), of(candidate)) {
                self.pair_at(Step::Index(index), legacy, candidate);
            }
        }
    }

    fn differ_in_order(&mut self, legacy: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
        // The first that has moved shows what it is about.
        let (legacy, candidate) = self.first_moved(legacy, candidate).unzip();
        self.differ(Kind::Order, legacy, candidate);
    }

    pub(super) fn first_moved(
        &mut self,
        legacy: &'a [Node<'a>],
        candidate: &'a [Node<'a>],
    ) -> Option<(&'a Node<'a>, &'a Node<'a>)> {
        legacy.iter().zip(candidate).find(|(one, two)| self.exact(one) != self.exact(two))
    }
}
