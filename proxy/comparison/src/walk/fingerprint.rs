//! Numbers that are the same for values that are the same.

use std::hash::{BuildHasher as _, Hash, Hasher};

use super::Walk;
use crate::{
    difference::Kind,
    json::{Decimal, Node},
    path::{self, Step},
};

impl<'a> Walk<'a> {
    /// A fingerprint of the value itself: the order of members and the writing of numbers do not count.
    pub(super) fn exact(&mut self, node: &Node<'_>) -> u64 {
        let mut state = self.seed.build_hasher();
        if !self.spend() {
            return state.finish();
        }
        std::mem::discriminant(node).hash(&mut state);
        match node {
            Node::Null => {}
            Node::Bool(value) => value.hash(&mut state),
            Node::Number(text) => Decimal::new(text).hash(&mut state),
            Node::Text(text) => text.hash(&mut state),
            Node::List(elements) => elements.iter().for_each(|element| state.write_u64(self.exact(element))),
            Node::Object(members) => {
                let member = |(name, member): &(_, _)| {
                    let member = self.exact(member);
                    self.seed.hash_one((name, member))
                };
                state.write_u64(members.iter().map(member).fold(0, u64::wrapping_add));
            }
        }
        state.finish()
    }

    /// A fingerprint of what the rules and masks leave of the value at the path. Values that count as
    /// the same have the same one; a tolerance leaves nothing of a number, so two that have the same
    /// one still have to be compared. `candidate` says whose names the members have.
    pub(super) fn tolerant(&mut self, node: &'a Node<'a>, candidate: bool) -> u64 {
        let mut state = self.seed.build_hasher();
        std::mem::discriminant(node).hash(&mut state);
        match node {
            Node::List(elements) => {
                let parts = elements.iter().map(|element| self.part(Step::Index(0), element, candidate));
                let parts: Vec<u64> = parts.collect();
                if self.rules.is_shape_only(&self.path) {
                    // Nothing of a list whose length does not count.
                } else if self.is_unordered() {
                    state.write_u64(parts.into_iter().fold(0, u64::wrapping_add));
                } else {
                    parts.hash(&mut state);
                }
            }
            Node::Object(members) => {
                let renames = if candidate { self.rules.renames_at(&self.path) } else { Vec::new() };
                let members = members.iter().map(|(name, member)| {
                    let rename = renames.iter().find(|(candidate, _)| candidate == name);
                    let name = rename.map_or(name.as_ref(), |(_, legacy)| *legacy);
                    self.part(Step::Name(name), member, candidate)
                });
                let sum = members.fold(0, u64::wrapping_add);
                state.write_u64(sum);
            }
            scalar if self.rules.may_accept(&self.path, scalar) || self.is_masked(Kind::Value) => {}
            scalar => state.write_u64(self.exact(scalar)),
        }
        state.finish()
    }

    /// A part one step down, with its name; 0 for what may be there or not.
    fn part(&mut self, step: Step<'a>, node: &'a Node<'a>, candidate: bool) -> u64 {
        let spent = self.spend();
        self.path.push(step);
        let optional = !spent
            || self.rules.ignores(&self.path)
            || self.is_masked(Kind::Missing)
            || self.is_masked(Kind::Unexpected);
        let part = if optional { 0 } else { self.tolerant(node, candidate) };
        self.path.pop();
        match step {
            Step::Name(name) if !optional => self.seed.hash_one((name, part)),
            _ => part,
        }
    }

    /// Whether the list at the path may come in any order.
    pub(super) fn is_unordered(&self) -> bool {
        self.rules.is_set(&self.path)
            || (!self.masks.is_empty() && self.masks.hides(&path::general(&self.path), Kind::Order))
    }
}
