//! Which tables could move together. Pure.
//!
//! Tables that foreign keys join belong together, so each component is a group. A large one is cut at
//! the foreign key without which it falls into two parts that are as equal as possible: a service on
//! either side of it loses one constraint and no more.

use std::collections::{BTreeMap, BTreeSet};

/// A foreign key between two tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) name: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Tables that could move together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// The table that most others refer to.
    pub(crate) hub: String,
    pub(crate) tables: BTreeSet<String>,
    /// Foreign keys of its tables that point out of it.
    pub(crate) cut: Vec<Edge>,
}

/// Groups of at most `most` tables, as far as one foreign key at a time can be cut.
pub(crate) fn groups(tables: &BTreeSet<String>, edges: &[Edge], most: usize) -> Vec<Group> {
    let mut open = components(tables, edges);
    let mut done = Vec::new();
    while let Some(part) = open.pop() {
        match (part.len() > most).then(|| halves(&part, edges)).flatten() {
            Some((one, other)) => open.extend([one, other]),
            None => done.push(part),
        }
    }
    let group = |tables: BTreeSet<String>| {
        let cut = edges.iter().filter(|edge| tables.contains(&edge.from) && !tables.contains(&edge.to)).cloned();
        Group { hub: hub(&tables, edges), cut: cut.collect(), tables }
    };
    let mut groups: Vec<Group> = done.into_iter().map(group).collect();
    groups.sort_by(|one, other| one.hub.cmp(&other.hub));
    groups
}

fn components(tables: &BTreeSet<String>, edges: &[Edge]) -> Vec<BTreeSet<String>> {
    let mut neighbours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| tables.contains(&edge.from) && tables.contains(&edge.to)) {
        neighbours.entry(&edge.from).or_default().push(&edge.to);
        neighbours.entry(&edge.to).or_default().push(&edge.from);
    }
    let mut left: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
    let mut parts = Vec::new();
    while let Some(first) = left.pop_first() {
        let mut part = BTreeSet::from([first.to_owned()]);
        let mut open = vec![first];
        while let Some(table) = open.pop() {
            for neighbour in neighbours.get(table).into_iter().flatten() {
                if left.remove(neighbour) {
                    part.insert((*neighbour).to_owned());
                    open.push(neighbour);
                }
            }
        }
        parts.push(part);
    }
    parts
}

/// The two parts that a component falls into without the keys between one pair of tables; none when
/// it holds together, or when one part would be a single table.
fn halves(part: &BTreeSet<String>, edges: &[Edge]) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let pairs: BTreeSet<(&str, &str)> = edges
        .iter()
        .filter(|edge| edge.from != edge.to && part.contains(&edge.from) && part.contains(&edge.to))
        .map(|edge| (edge.from.as_str(), edge.to.as_str()))
        .collect();
    let without = |(from, to): (&str, &str)| {
        let rest: Vec<Edge> = edges
            .iter()
            .filter(|edge| (edge.from.as_str(), edge.to.as_str()) != (from, to))
            .filter(|edge| (edge.from.as_str(), edge.to.as_str()) != (to, from))
            .cloned()
            .collect();
        let mut parts = components(part, &rest);
        let other = parts.pop()?;
        let one = parts.pop()?;
        (one.len().min(other.len()) >= 2).then_some((one, other))
    };
    // The last of the best would do as well; the first is what a person would read first.
    let candidates: Vec<_> = pairs.into_iter().filter_map(without).collect();
    candidates.into_iter().rev().max_by_key(|(one, other)| one.len().min(other.len()))
}

fn hub(tables: &BTreeSet<String>, edges: &[Edge]) -> String {
    let referred = |table: &&String| edges.iter().filter(|edge| edge.to == **table && edge.from != **table).count();
    let outgoing = |table: &&String| edges.iter().filter(|edge| edge.from == **table).count();
    // Of equals the first by name, which `max_by_key` finds last from behind.
    tables.iter().rev().max_by_key(|table| (referred(table), outgoing(table))).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &str)]) -> Vec<Edge> {
        let edge = |(from, to): &(&str, &str)| Edge {
            name: format!("{from}_{to}_fkey"),
            from: (*from).to_owned(),
            to: (*to).to_owned(),
        };
        pairs.iter().map(edge).collect()
    }

    fn names(tables: &[&str]) -> BTreeSet<String> {
        tables.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_shop_falls_apart_between_what_is_sold_and_who_buys() {
        let keys = edges(&[
            ("album", "artist"),
            ("track", "album"),
            ("track", "genre"),
            ("playlist_track", "track"),
            ("playlist_track", "playlist"),
            ("line", "track"),
            ("line", "invoice"),
            ("invoice", "customer"),
            ("customer", "employee"),
            ("employee", "employee"),
        ]);
        let tables = names(&[
            "album",
            "artist",
            "track",
            "genre",
            "playlist",
            "playlist_track",
            "line",
            "invoice",
            "customer",
            "employee",
            "alone",
        ]);
        let found = groups(&tables, &keys, 6);
        let shown: Vec<(&str, usize, Vec<&str>)> = found
            .iter()
            .map(|group| {
                (group.hub.as_str(), group.tables.len(), group.cut.iter().map(|edge| edge.name.as_str()).collect())
            })
            .collect();
        assert_eq!(shown, [("alone", 1, vec![]), ("customer", 4, vec!["line_track_fkey"]), ("track", 6, vec![]),]);
    }

    #[test]
    fn what_holds_together_stays_together() {
        let circle = edges(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]);
        let found = groups(&names(&["a", "b", "c", "d"]), &circle, 2);
        assert_eq!((found.len(), found[0].cut.len()), (1, 0));
    }
}
