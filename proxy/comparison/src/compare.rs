//! Two answers, compared.

use http::{HeaderMap, HeaderName, header};

use crate::{
    answer::Answer,
    content::{Content, ContentProblem, digest},
    difference::{Comparison, Difference, Kind, Obstacle, Outcome, cut},
    json::{self, Node, ParseError},
    noise::{Fields, Hidden, Masks},
    path::Path,
    redaction::REDACTED,
    rules::Rules,
    walk::{Found, Walk},
};

/// Compares the answers of legacy and candidate to one request, whichever of them was served.
///
/// - Another status is the only difference that is told: headers and body follow from it.
/// - Header fields that the rules name are compared by their values in order; a value is never split
///   at commas.
/// - A body is compared by its content: without its encoding, if that is gzip, deflate or br. JSON is
///   compared by path; the order of members never counts, numbers are compared exactly as what they
///   mean. Text and everything else is compared as a whole. Bodies of the same bytes are not looked at.
/// - Time and memory are bounded by the rules' limits, whatever the answers are.
#[must_use]
pub fn compare(rules: &Rules, masks: &Masks, legacy: &Answer<'_>, candidate: &Answer<'_>) -> Comparison {
    let mut found = Found::default();
    if legacy.status != candidate.status {
        let (one, two) = (legacy.status.to_string(), candidate.status.to_string());
        if !rules.ignores_status() {
            found.report(difference(Path::status(), Kind::Status, Some(one), Some(two)), rules.limits.differences);
            return finished(rules, masks, found, legacy);
        }
        found.ignored += 1;
    }
    for name in &rules.headers {
        compare_header(rules, masks, name, (legacy.headers, candidate.headers), &mut found);
    }
    match compare_bodies(rules, masks, (legacy, candidate), found) {
        Ok(found) => finished(rules, masks, found, legacy),
        // What is known to be different is different, however much is not known.
        Err((obstacle, found)) if found.reported == 0 => {
            Comparison { ignored: found.ignored, ..Comparison::empty(Outcome::NotCompared(obstacle)) }
        }
        Err((_, found)) => finished(rules, masks, found, legacy),
    }
}

fn compare_header(
    rules: &Rules,
    masks: &Masks,
    name: &HeaderName,
    (legacy, candidate): (&HeaderMap, &HeaderMap),
    found: &mut Found,
) {
    if legacy.get_all(name).iter().eq(candidate.get_all(name)) {
        return;
    }
    let values = |headers: &HeaderMap| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        values.collect::<Vec<String>>()
    };
    let (one, two) = (values(legacy), values(candidate));
    let accepted =
        || one.iter().zip(&two).all(|(one, two)| one == two || rules.accepts_header(name.as_str(), one, two));
    if one.len() == two.len() && accepted() {
        return;
    }
    let sorted = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    };
    let kind = match (one.is_empty(), two.is_empty()) {
        (false, true) => Kind::Missing,
        (true, false) => Kind::Unexpected,
        _ if sorted(&one) == sorted(&two) => Kind::Order,
        _ => Kind::Value,
    };
    let shown = |values: Vec<String>| {
        let hidden = || REDACTED.to_owned();
        let joined = || cut(&values.join(" | "), rules.limits.value_bytes).into_owned();
        (!values.is_empty()).then(|| if rules.redaction.hides_header(name) { hidden() } else { joined() })
    };
    let path = Path::header(name.as_str());
    if rules.ignores_header(name.as_str()) {
        found.ignored += 1;
    } else if masks.hides(path.general(), kind) {
        found.mask(difference(path, kind, shown(one), shown(two)), rules.limits.differences);
    } else {
        found.report(difference(path, kind, shown(one), shown(two)), rules.limits.differences);
    }
}

/// The differences with those of the bodies, or why those are not known.
fn compare_bodies(
    rules: &Rules,
    masks: &Masks,
    (legacy, candidate): (&Answer<'_>, &Answer<'_>),
    found: Found,
) -> Result<Found, (Obstacle, Found)> {
    let [one, two] = [legacy, candidate].map(|answer| answer.headers.get(header::CONTENT_ENCODING));
    if legacy.body == candidate.body && one == two {
        return Ok(found);
    }
    let bodies = Bodies { rules, masks, found };
    let one = Content::of(legacy.headers, legacy.body, &rules.limits);
    let two = Content::of(candidate.headers, candidate.body, &rules.limits);
    match (one, two) {
        (Ok(legacy), Ok(candidate)) => bodies.contents(&legacy, &candidate),
        (Err(ContentProblem::Encoding), _) | (_, Err(ContentProblem::Encoding)) => {
            Err((Obstacle::Encoding, bodies.found))
        }
        (Err(ContentProblem::TooLarge), Err(ContentProblem::TooLarge)) => Err((Obstacle::OverLimits, bodies.found)),
        (one, two) => Ok(bodies.over_limits(one.is_err(), two.is_err())),
    }
}

struct Bodies<'r> {
    rules: &'r Rules,
    masks: &'r Masks,
    found: Found,
}

impl Bodies<'_> {
    /// A body that is said to be JSON on one side only is read as JSON on both.
    fn contents(self, legacy: &Content<'_>, candidate: &Content<'_>) -> Result<Found, (Obstacle, Found)> {
        match (legacy, candidate) {
            (Content::Empty, Content::Empty) => Ok(self.found),
            (Content::Text(one), Content::Text(two)) => Ok(self.texts(one, two)),
            (Content::Json(one) | Content::Text(one), Content::Json(two) | Content::Text(two)) => {
                let bounds = self.rules.limits.bounds();
                match (json::parse(one, bounds), json::parse(two, bounds)) {
                    (Ok(one), Ok(two)) => self.documents(&one, &two),
                    (Err(ParseError::NotJson), Err(ParseError::NotJson)) => Ok(self.texts(one, two)),
                    (Err(ParseError::OverBounds), Err(ParseError::OverBounds)) => {
                        Err((Obstacle::OverLimits, self.found))
                    }
                    (one, two) if one == Err(ParseError::OverBounds) || two == Err(ParseError::OverBounds) => {
                        Ok(self.over_limits(one == Err(ParseError::OverBounds), two == Err(ParseError::OverBounds)))
                    }
                    _ => Ok(self.whole(Kind::Type, told(legacy), told(candidate))),
                }
            }
            (Content::Binary(one), Content::Binary(two)) if one == two => Ok(self.found),
            _ => {
                let kind = match (legacy, candidate) {
                    (_, Content::Empty) => Kind::Missing,
                    (Content::Empty, _) => Kind::Unexpected,
                    (Content::Binary(_), Content::Binary(_)) => Kind::Value,
                    _ => Kind::Type,
                };
                Ok(self.whole(kind, told(legacy), told(candidate)))
            }
        }
    }

    fn documents(self, legacy: &Node<'_>, candidate: &Node<'_>) -> Result<Found, (Obstacle, Found)> {
        let mut walk = Walk::new(self.rules, self.masks, self.found);
        walk.pair(legacy, candidate);
        if walk.is_exhausted() { Err((Obstacle::TooMuchWork, walk.found)) } else { Ok(walk.found) }
    }

    fn texts(self, legacy: &str, candidate: &str) -> Found {
        let (one, two) = (Node::Text(legacy.into()), Node::Text(candidate.into()));
        if legacy == candidate || self.rules.accepts(&[], &one, &two) {
            return self.found;
        }
        if !self.rules.redaction.keep_text || self.rules.redaction.hides(&[]) {
            return self.whole(Kind::Value, Some(digest(legacy.as_bytes())), Some(digest(candidate.as_bytes())));
        }
        // What is around the first difference tells more than the beginning.
        let same = legacy.bytes().zip(candidate.bytes()).take_while(|(one, two)| one == two).count();
        let most = self.rules.limits.value_bytes;
        let shown = |text: &str| {
            let from = text.floor_char_boundary(same.saturating_sub(most / 4));
            cut(&text[from..], most).into_owned()
        };
        self.whole(Kind::Value, Some(shown(legacy)), Some(shown(candidate)))
    }

    fn over_limits(self, legacy: bool, candidate: bool) -> Found {
        let said = |is_over: bool| Some(if is_over { "over the limits" } else { "within the limits" }.to_owned());
        self.whole(Kind::TooComplex, said(legacy), said(candidate))
    }

    /// Notes a difference of the bodies as a whole.
    fn whole(mut self, kind: Kind, legacy: Option<String>, candidate: Option<String>) -> Found {
        if self.rules.ignores(&[]) {
            self.found.ignored += 1;
        } else {
            let difference = difference(Path::body(&[]), kind, legacy, candidate);
            self.found.report(difference, self.rules.limits.differences);
        }
        self.found
    }
}

/// What is said of a body that is not shown by its parts.
fn told(content: &Content<'_>) -> Option<String> {
    let (sort, bytes) = match content {
        Content::Empty => return None,
        Content::Json(text) => ("JSON", text.as_bytes()),
        Content::Text(text) => ("text", text.as_bytes()),
        Content::Binary(bytes) => ("binary", bytes.as_ref()),
    };
    Some(format!("{sort}, {}", digest(bytes)))
}

/// Holds the masks to their cap for this very document, and says what is the outcome.
fn finished(rules: &Rules, masks: &Masks, mut found: Found, legacy: &Answer<'_>) -> Comparison {
    let mut masked = std::mem::take(&mut found.masked);
    let mut over_cap = Vec::new();
    if !masked.is_empty() {
        let fields = fields_of(rules, legacy, rules.limits.values);
        let allowed = masks.allowed(fields.count());
        masked.sort_by_key(|(cluster, ..)| masks.rank(&cluster.path, cluster.kind));
        let mut hidden = Hidden::default();
        let (kept, over): (Vec<_>, Vec<_>) =
            masked.into_iter().partition(|(cluster, ..)| hidden.fits(&cluster.path, &fields, allowed));
        masked = kept;
        for (cluster, count, example) in over {
            found.report_many(example, count, rules.limits.differences);
            over_cap.push(cluster);
        }
    }
    let outcome = match (found.reported, found.ignored + masked.len()) {
        (0, 0) => Outcome::Equal,
        (0, _) => Outcome::Ignored,
        _ => Outcome::Different,
    };
    Comparison {
        outcome,
        differences: found.differences,
        clusters: found.clusters,
        masked: masked.into_iter().map(|(cluster, count, _)| (cluster, count)).collect(),
        ignored: found.ignored,
        over_cap,
    }
}

/// The fields of an answer, of which there are at most `most`.
pub(crate) fn fields_of(rules: &Rules, answer: &Answer<'_>, most: usize) -> Fields {
    let mut fields = Fields::default();
    for name in rules.headers.iter().filter(|name| answer.headers.contains_key(*name)) {
        fields.add_header(name.as_str());
    }
    match Content::of(answer.headers, answer.body, &rules.limits) {
        Ok(Content::Json(text)) => match json::parse(&text, rules.limits.bounds()) {
            Ok(node) => fields.add_json(&node, most),
            Err(_) => fields.add_whole_body(),
        },
        Ok(Content::Empty) => {}
        _ => fields.add_whole_body(),
    }
    fields
}

fn difference(path: Path, kind: Kind, legacy: Option<String>, candidate: Option<String>) -> Difference {
    Difference { path, kind, legacy, candidate }
}
