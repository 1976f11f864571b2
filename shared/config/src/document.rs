//! A TOML document with the place of every key and value.

use std::{borrow::Cow, ops::Range};

use config::{Value, ValueKind};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

/// One segment of a key: a name, or a place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Name(String),
    Index(usize),
}

/// A key such as `routes[2].weight` or `tables."public.functions".columns`, as TOML would write it.
pub(crate) fn display_path(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Name(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&quote(name));
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// A name as a TOML key: bare where that is allowed.
fn quote(name: &str) -> Cow<'_, str> {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { Cow::Borrowed(name) } else { Cow::Owned(format!("{name:?}")) }
}

/// Reads what [`display_path`] writes back into segments.
pub(crate) fn parse_path(key: &str) -> Vec<Segment> {
    let mut path = Vec::new();
    let mut rest = key;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some((name, after)) = rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            path.push(Segment::Name(name.to_owned()));
            rest = after;
        } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|opened| opened.split_once(']')) {
            path.extend(index.parse().ok().map(Segment::Index));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).filter(|end| *end > 0).unwrap_or(rest.len());
            path.push(Segment::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    path
}

/// Where the value at `path` stands in the document, or else the nearest enclosing one that is there.
pub(crate) fn find_span(root: &Spanned<DeTable<'_>>, path: &[Segment]) -> Option<Range<usize>> {
    let mut table = Some(root.get_ref());
    let mut list = None;
    let mut span = None;
    for segment in path {
        let found = match segment {
            Segment::Name(name) => table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name)).map(
                // A table's own span is its header or braces; its key is the better place to point at.
                |(key, value)| (value, if value.get_ref().is_table() { key.span() } else { value.span() }),
            ),
            Segment::Index(index) => list
                .and_then(|list: &DeArray<'_>| list.get(*index))
                .map(|value: &Spanned<DeValue<'_>>| (value, value.span())),
        };
        let Some((value, place)) = found else { break };
        span = Some(place);
        table = value.get_ref().as_table();
        list = value.get_ref().as_array();
    }
    span
}

/// The span of the key itself, for a key that should not be there.
pub(crate) fn find_key_span(root: &Spanned<DeTable<'_>>, path: &[Segment]) -> Option<Range<usize>> {
    let (Segment::Name(last), parents) = path.split_last()? else { return None };
    let mut table = root.get_ref();
    let mut value = None;
    for segment in parents {
        let next = match segment {
            Segment::Name(name) => table.iter().find(|(key, _)| key.get_ref() == name)?.1.get_ref(),
            Segment::Index(index) => value.and_then(DeValue::as_array)?.get(*index)?.get_ref(),
        };
        if let DeValue::Table(inner) = next {
            table = inner;
        }
        value = Some(next);
    }
    table.iter().find(|(key, _)| key.get_ref() == last).map(|(key, _)| key.span())
}

/// The document as a value of the `config` crate, which converts text to the type a field has.
pub(crate) fn to_value(table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), convert(value.get_ref()))).collect();
    Value::new(None, ValueKind::Table(entries))
}

fn convert(value: &DeValue<'_>) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or_else(
                // Larger than any integer here: kept as text, so that the type error shows it.
                |_| ValueKind::String(number.as_str().to_owned()),
                ValueKind::I64,
            )
        }
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| ValueKind::String(number.as_str().to_owned()), ValueKind::Float)
        }
        DeValue::Boolean(truth) => ValueKind::Boolean(*truth),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(items) => ValueKind::Array(items.iter().map(|item| convert(item.get_ref())).collect()),
        DeValue::Table(table) => return to_value(table),
    };
    Value::new(None, kind)
}

/// A list in TOML's notation.
pub(crate) fn list(text: &str) -> Option<Value> {
    let document = format!("list = {text}");
    let table = DeTable::parse(&document).ok()?;
    let only = table.get_ref().len() == 1;
    let list = get(&to_value(table.get_ref()), &[Segment::Name("list".to_owned())])?.clone();
    (only && matches!(list.kind, ValueKind::Array(_))).then_some(list)
}

/// Puts a value at a path, making tables on the way. `false` when something that is no table stands
/// in the way.
pub(crate) fn set(root: &mut Value, path: &[Segment], new: Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        *root = new;
        return true;
    };
    match (&mut root.kind, first) {
        (ValueKind::Table(table), Segment::Name(name)) => {
            let slot =
                table.entry(name.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(config::Map::new())));
            set(slot, rest, new)
        }
        (ValueKind::Array(items), Segment::Index(index)) => {
            items.get_mut(*index).is_some_and(|slot| set(slot, rest, new))
        }
        _ => false,
    }
}

/// Takes away what stands at a path. `false` when there is nothing.
pub(crate) fn remove(root: &mut Value, path: &[Segment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match (&mut root.kind, first) {
        (ValueKind::Table(table), Segment::Name(name)) if rest.is_empty() => table.remove(name).is_some(),
        (ValueKind::Table(table), Segment::Name(name)) => table.get_mut(name).is_some_and(|slot| remove(slot, rest)),
        (ValueKind::Array(items), Segment::Index(index)) if rest.is_empty() => {
            let there = *index < items.len();
            if there {
                items.remove(*index);
            }
            there
        }
        (ValueKind::Array(items), Segment::Index(index)) => {
            items.get_mut(*index).is_some_and(|slot| remove(slot, rest))
        }
        _ => false,
    }
}

/// What stands at a path.
pub(crate) fn get<'a>(root: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    path.iter().try_fold(root, |at, segment| match (&at.kind, segment) {
        (ValueKind::Table(table), Segment::Name(name)) => table.get(name),
        (ValueKind::Array(items), Segment::Index(index)) => items.get(*index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_text() {
        for key in ["a", "a.b[2].c", "a[0][1]", "tables.\"public.functions\".columns"] {
            assert_eq!(display_path(&parse_path(key)), key);
        }
    }
}
