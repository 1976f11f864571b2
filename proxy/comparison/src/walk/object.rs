//! Objects: the order of members never counts.

use std::{borrow::Cow, cmp::Ordering};

use super::Walk;
use crate::{json::Node, path::Step};

type Member<'a> = (Cow<'a, str>, Node<'a>);

impl<'a> Walk<'a> {
    /// A name that appears twice is taken in order: the first with the first.
    pub(super) fn objects(&mut self, legacy: &'a [Member<'a>], candidate: &'a [Member<'a>]) {
        let rules = self.rules;
        let renames = rules.renames_at(&self.path);
        let same_names = || legacy.iter().map(|(name, _)| name).eq(candidate.iter().map(|(name, _)| name));
        if renames.is_empty() && same_names() {
            for ((name, legacy), (_, candidate)) in legacy.iter().zip(candidate) {
                self.pair_at(Step::Name(name), legacy, candidate);
            }
            return;
        }
        let legacy = by_name(legacy, &[]);
        let candidate = by_name(candidate, &renames);
        let (mut legacy, mut candidate) = (legacy.into_iter().peekable(), candidate.into_iter().peekable());
        loop {
            let order = match (legacy.peek(), candidate.peek()) {
                (Some((one, _)), Some((two, _))) => one.cmp(two),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            // Each is there: the order was told from it.
            let one = if order.is_le() { legacy.next() } else { None };
            let two = if order.is_ge() { candidate.next() } else { None };
            match (one, two) {
                (Some((name, one)), Some((_, two))) => self.pair_at(Step::Name(name), one, two),
                (Some((name, one)), None) => self.missing_at(Step::Name(name), one),
                (None, Some((name, two))) => self.unexpected_at(Step::Name(name), two),
                (None, None) => return,
            }
        }
    }
}

/// The members in the order of their names on legacy; stable, so that repeated names keep theirs.
fn by_name<'a>(members: &'a [Member<'a>], renames: &[(&str, &'a str)]) -> Vec<(&'a str, &'a Node<'a>)> {
    let named = members.iter().map(|(name, node)| {
        let rename = renames.iter().find(|(candidate, _)| candidate == name);
        (rename.map_or(name.as_ref(), |(_, legacy)| *legacy), node)
    });
    let mut named: Vec<_> = named.collect();
    named.sort_by_key(|(name, _)| *name);
    named
}
