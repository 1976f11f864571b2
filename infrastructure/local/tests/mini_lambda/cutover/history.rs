//! What clients did and saw, and whether it can have happened with one owner of each row who forgets nothing.
//!
//! Everything that is written is an element of an object: a function of itself, an execution of its function. It is added
//! once, and perhaps removed once. So each element can be judged by itself, whatever happened to the others at the same
//! time: an acknowledged write must be seen by every look that begins later, and nothing else may be seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// Something that a client did.
#[derive(Debug, Clone)]
pub enum Act {
    /// It was told that this was added.
    Add(String),
    /// It asked for something to be added, and was told nothing.
    AddUnknown,
    /// It was told that this was removed.
    Remove(String),
    /// It asked for this to be removed, and was told nothing.
    RemoveUnknown(String),
    /// It was shown all that there is.
    Look(Vec<String>),
}

/// When, by one clock for all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub began: Duration,
    pub ended: Duration,
}

/// An act on an object.
#[derive(Debug, Clone)]
pub struct Event {
    pub object: String,
    pub act: Act,
    pub span: Span,
}

/// What cannot have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was added, and no look shows it any more.
    Lost,
    /// It was added before the look began, and only a later look shows it again.
    Stale,
    /// It was shown before, and then not, though nobody removed it.
    WentBack,
    /// It was removed before the look began, which shows it.
    Risen,
    /// Nobody had added it.
    Invented,
    /// One look shows it more than once.
    Twice,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub object: String,
    pub element: String,
    pub kind: Kind,
    /// The look that shows it.
    pub look: Span,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, element, kind, look } = self;
        write!(f, "{kind:?}: {element} of {object}, looked at from {:?} to {:?}", look.began, look.ended)
    }
}

/// An element's life, as far as clients were told of it.
#[derive(Debug, Default)]
struct Life {
    added: Option<Span>,
    /// When somebody first asked for its removal.
    removing: Option<Duration>,
    /// When somebody was told of it.
    removed: Option<Duration>,
}

struct Look<'a> {
    span: Span,
    seen: BTreeSet<&'a str>,
}

/// Everything in this history that cannot have happened.
pub fn violations(events: &[Event]) -> Vec<Violation> {
    let mut objects: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        objects.entry(&event.object).or_default().push(event);
    }
    objects.into_iter().flat_map(|(object, events)| of_object(object, &events)).collect()
}

fn of_object(object: &str, events: &[&Event]) -> Vec<Violation> {
    let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
    let mut looks = Vec::new();
    let mut unknown = Vec::new();
    let mut found = Vec::new();
    for Event { act, span, .. } in events {
        match act {
            Act::Add(element) => lives.entry(element).or_default().added = Some(*span),
            Act::AddUnknown => unknown.push(span.began),
            Act::Remove(element) => {
                let life = lives.entry(element).or_default();
                life.removing = Some(life.removing.map_or(span.began, |earlier| earlier.min(span.began)));
                life.removed = Some(span.ended);
            }
            Act::RemoveUnknown(element) => {
                let life = lives.entry(element).or_default();
                life.removing = Some(life.removing.map_or(span.began, |earlier| earlier.min(span.began)));
            }
            Act::Look(elements) => {
                let seen: BTreeSet<&str> = elements.iter().map(String::as_str).collect();
                let mut others = elements.clone();
                others.sort_unstable();
                let twice = others.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
                found.extend(twice.map(|element| violation(object, &element, Kind::Twice, *span)));
                looks.push(Look { span: *span, seen });
            }
        }
    }
    looks.sort_by_key(|look| look.span);
    // Of elements nobody was told of there may be as many as were asked for by then.
    let mut untold: BTreeSet<&str> = BTreeSet::new();
    for look in &looks {
        for element in look.seen.iter().filter(|element| lives.get(*element).is_none_or(|life| life.added.is_none())) {
            untold.insert(element);
            if unknown.iter().filter(|began| **began <= look.span.ended).count() < untold.len() {
                found.push(violation(object, element, Kind::Invented, look.span));
            }
        }
    }
    found.extend(lives.iter().flat_map(|(element, life)| of_element(object, element, life, &looks)));
    found
}

fn of_element(object: &str, element: &str, life: &Life, looks: &[Look<'_>]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut first_shown: Option<Duration> = None;
    for (index, look) in looks.iter().enumerate() {
        let Span { began, ended } = look.span;
        let may_be_gone = life.removing.is_some_and(|removing| removing <= ended);
        let kind = if look.seen.contains(element) {
            first_shown = Some(first_shown.map_or(ended, |earlier| earlier.min(ended)));
            if life.removed.is_some_and(|removed| removed < began) {
                Some(Kind::Risen)
            } else if life.added.is_some_and(|added| ended < added.began) {
                Some(Kind::Invented)
            } else {
                None
            }
        } else if may_be_gone {
            None
        } else if life.added.is_some_and(|added| added.ended < began) {
            let again = looks[index + 1..].iter().any(|later| later.seen.contains(element));
            Some(if again { Kind::Stale } else { Kind::Lost })
        } else if first_shown.is_some_and(|shown| shown < began) {
            Some(Kind::WentBack)
        } else {
            None
        };
        found.extend(kind.map(|kind| violation(object, element, kind, look.span)));
    }
    found
}

fn violation(object: &str, element: &str, kind: Kind, look: Span) -> Violation {
    Violation { object: object.to_owned(), element: element.to_owned(), kind, look }
}

mod tests {
    use super::*;

    fn event(act: Act, began: u64, ended: u64) -> Event {
        let span = Span { began: Duration::from_millis(began), ended: Duration::from_millis(ended) };
        Event { object: "o".to_owned(), act, span }
    }

    fn add(element: &str, began: u64, ended: u64) -> Event {
        event(Act::Add(element.to_owned()), began, ended)
    }

    fn remove(element: &str, began: u64, ended: u64) -> Event {
        event(Act::Remove(element.to_owned()), began, ended)
    }

    fn look(elements: &[&str], began: u64, ended: u64) -> Event {
        event(Act::Look(elements.iter().map(|element| (*element).to_owned()).collect()), began, ended)
    }

    fn kinds(events: &[Event]) -> Vec<Kind> {
        violations(events).into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn what_overlaps_may_have_happened_in_either_order() {
        let history = [
            add("a", 10, 20),
            look(&[], 5, 15),
            look(&["a"], 12, 30),
            look(&["a"], 40, 50),
            remove("a", 60, 80),
            look(&["a"], 65, 70),
            look(&[], 72, 75),
            look(&[], 90, 91),
        ];
        assert_eq!(kinds(&history), []);
        let another = Event { object: "p".to_owned(), ..look(&[], 40, 50) };
        assert_eq!(kinds(&[add("a", 10, 20), another]), [], "another object");
    }

    #[test]
    fn a_lost_write_is_found() {
        assert_eq!(kinds(&[add("a", 10, 20), add("b", 10, 20), look(&["b"], 30, 31)]), [Kind::Lost]);
        assert_eq!(kinds(&[add("a", 10, 20), look(&["a"], 21, 22), look(&[], 30, 31)]), [Kind::Lost]);
    }

    #[test]
    fn a_stale_read_after_a_write_is_found() {
        assert_eq!(kinds(&[add("a", 10, 20), look(&[], 21, 30), look(&["a"], 31, 32)]), [Kind::Stale]);
    }

    #[test]
    fn a_look_that_goes_back_before_another_is_found() {
        // Nobody was told yet that it is there, but somebody has seen it.
        let history = [add("a", 10, 90), look(&["a"], 20, 30), look(&[], 40, 50)];
        assert_eq!(kinds(&history), [Kind::WentBack]);
        assert_eq!(kinds(&[add("a", 10, 90), look(&["a"], 20, 45), look(&[], 40, 50)]), [], "they overlap");
    }

    #[test]
    fn what_was_removed_does_not_rise_again() {
        assert_eq!(kinds(&[add("a", 1, 2), remove("a", 10, 20), look(&["a"], 21, 22)]), [Kind::Risen]);
        let unknown = event(Act::RemoveUnknown("a".to_owned()), 10, 20);
        assert_eq!(kinds(&[add("a", 1, 2), unknown, look(&["a"], 21, 22), look(&[], 23, 24)]), [], "either may be");
    }

    #[test]
    fn what_nobody_added_is_found_and_what_is_there_twice() {
        assert_eq!(kinds(&[look(&["a"], 1, 2)]), [Kind::Invented]);
        assert_eq!(kinds(&[look(&["a"], 1, 2), add("a", 5, 6)]), [Kind::Invented], "it was not asked for yet");
        assert_eq!(kinds(&[add("a", 1, 2), look(&["a", "a"], 5, 6)]), [Kind::Twice]);
        let unknown = || event(Act::AddUnknown, 1, 2);
        assert_eq!(kinds(&[unknown(), look(&["a"], 5, 6), look(&["a"], 7, 8)]), [], "one was asked for");
        assert_eq!(kinds(&[unknown(), look(&["a", "b"], 5, 6)]), [Kind::Invented], "but not two");
    }
}
