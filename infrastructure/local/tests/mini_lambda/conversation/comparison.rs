//! Finds where answers are not what they should be, and shows it.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use super::{
    reply::Reply,
    step::{Case, Expected},
    transcript::{Entry, Transcript},
};
use crate::mini_lambda::site::Side;

/// The differences found so far.
#[derive(Default)]
pub struct Comparison {
    differences: Vec<String>,
}

impl Comparison {
    /// Each answer is what the table says about the side that gave it.
    pub fn with_the_table(&mut self, transcript: &Transcript, cases: &[Case]) {
        for entry in &transcript.entries {
            let Some((side, reply)) = &entry.answered else { continue };
            let expected = cases[entry.case].steps[entry.step].expected.of(*side);
            if !reply.is(expected) {
                let title = format!("{} does not answer what the table says ({side:?})", transcript.partner);
                self.add(&title, entry, cases, ("the table", expected), ("answered", reply));
            }
        }
    }

    /// Both sides answer alike, but for steps of which the contract says that they do not.
    pub fn between_sides(&mut self, legacy: &Transcript, candidate: &Transcript, cases: &[Case]) {
        for (left, right) in legacy.entries.iter().zip(&candidate.entries) {
            let (Some((_, old)), Some((_, new))) = (&left.answered, &right.answered) else { continue };
            let says_apart = matches!(cases[left.case].steps[left.step].expected, Expected::Apart { .. });
            if (old == new) == says_apart {
                let title = if says_apart {
                    "the table says that the sides differ, and they do not"
                } else {
                    "a client can tell which side answered"
                };
                self.add(title, left, cases, ("legacy", old), ("candidate", new));
            }
        }
    }

    /// Through the gateway comes what the side that served it answers when asked directly.
    pub fn with_the_side_that_served(
        &mut self,
        through: &Transcript,
        legacy: &Transcript,
        candidate: &Transcript,
        cases: &[Case],
    ) {
        for (index, entry) in through.entries.iter().enumerate() {
            let Some((side, reply)) = &entry.answered else { continue };
            let direct = match side {
                Side::Legacy => &legacy.entries[index],
                Side::Candidate => &candidate.entries[index],
            };
            let (_, asked) = direct.answered.as_ref().expect("a side that serves a route has it");
            if reply != asked {
                let title = format!("the {} is not {side:?}'s own answer", through.partner);
                self.add(&title, entry, cases, ("directly", asked), ("through it", reply));
            }
        }
    }

    /// Fails the test with everything that was found.
    pub fn nothing(self) {
        let found = self.differences.len();
        assert!(found == 0, "differences: {found}\n\n{}", self.differences.join("\n"));
    }

    fn add(&mut self, title: &str, entry: &Entry, cases: &[Case], left: (&str, &Reply), right: (&str, &Reply)) {
        let case = &cases[entry.case];
        let request = &case.steps[entry.step].request;
        let (old, new) = (shown(left.1), shown(right.1));
        let mut text = format!("{title}\n  case: {}\n  step {}: {request}\n", case.name, entry.step + 1);
        let _ = writeln!(text, "--- {}\n+++ {}", left.0, right.0);
        for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let _ = write!(text, "{sign} {change}");
        }
        self.differences.push(text);
    }
}

fn shown(reply: &Reply) -> String {
    let content_type = reply.content_type.as_deref().unwrap_or("no content type");
    let body = serde_json::to_string_pretty(&reply.body).expect("JSON is writable");
    format!("{} {content_type}\n{body}\n", reply.status)
}
