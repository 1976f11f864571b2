//! The fields of an answer, generalised: every place that has a value of its own.

use std::{collections::BTreeMap, ops::Bound};

use crate::{
    json::Node,
    path::{Path, Step, general},
};

/// Generalised paths with whether they are fields (or have parts).
#[derive(Debug, Default)]
pub(crate) struct Fields(BTreeMap<Box<str>, bool>);

impl Fields {
    pub(crate) fn add_header(&mut self, name: &str) {
        self.0.insert(Path::header(name).general().into(), true);
    }

    /// A body that is not JSON is one field.
    pub(crate) fn add_whole_body(&mut self) {
        self.0.insert("$".into(), true);
    }

    pub(crate) fn add_json<'a>(&mut self, node: &'a Node<'a>, most: usize) {
        self.add(node, &mut Vec::new(), most);
    }

    fn add<'a>(&mut self, node: &'a Node<'a>, path: &mut Vec<Step<'a>>, most: usize) {
        let place = general(path);
        if self.0.len() >= most && !self.0.contains_key(&place) {
            return;
        }
        let has_parts = match node {
            Node::List(elements) => !elements.is_empty(),
            Node::Object(members) => !members.is_empty(),
            _ => false,
        };
        let is_field = self.0.entry(place).or_insert(!has_parts);
        *is_field |= !has_parts;
        match node {
            Node::List(elements) => {
                for element in elements {
                    path.push(Step::Index(0));
                    self.add(element, path, most);
                    path.pop();
                }
            }
            Node::Object(members) => {
                for (name, member) in members {
                    path.push(Step::Name(name));
                    self.add(member, path, most);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    pub(super) fn add_path(&mut self, path: &str, is_field: bool) {
        *self.0.entry(path.into()).or_default() |= is_field;
    }

    pub(super) fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|(path, is_field)| self.add_path(path, *is_field));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(path, is_field)| (path.as_ref(), *is_field))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.values().filter(|is_field| **is_field).count()
    }

    /// How many fields are at a path or below it; at least the one that is meant.
    pub(crate) fn under(&self, path: &str) -> usize {
        let below =
            |place: &str| place.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let under = self
            .0
            .range::<str, _>((Bound::Included(path), Bound::Unbounded))
            .take_while(|(place, _)| place.starts_with(path));
        under.filter(|(place, is_field)| **is_field && below(place)).count().max(1)
    }
}
