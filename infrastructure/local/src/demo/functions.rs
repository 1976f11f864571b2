//! The functions of the demonstration: real code, with an event and the one right answer each.

use domain::ExecutionStatus;
use serde_json::{Value, json};

/// A kind of function; many functions are made of each.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) runtime: &'static str,
    pub(super) code: &'static str,
    pub(super) timeout_s: u32,
    event: fn(u64) -> Value,
    answer: fn(u64) -> Answer,
}

/// What a call must come back with.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Output(Value),
    Failure(&'static str),
}

impl Kind {
    /// The event of the call with this number.
    pub(super) fn event(&self, call: u64) -> Value {
        (self.event)(call)
    }

    /// Why this is not the right answer to the call with this number, if it is not.
    pub(super) fn check(&self, call: u64, status: ExecutionStatus, output: &Value, error: &str) -> Result<(), String> {
        match (self.answer)(call) {
            Answer::Output(right) if status == ExecutionStatus::Success && *output == right => Ok(()),
            Answer::Failure(right) if status == ExecutionStatus::Failed && error == right => Ok(()),
            right => Err(format!("{} answered {status} {output} {error}, not {right:?}", self.name)),
        }
    }
}

fn echo_number(call: u64) -> Value {
    json!({"n": call % 50})
}

fn primes_below(limit: u64) -> u64 {
    (2..limit).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).count() as u64
}

/// Every kind: Python and Node; pure, on files in `/tmp`, slow, failing.
pub(super) static KINDS: [Kind; 8] = [
    Kind {
        name: "py-primes",
        runtime: "python3.11",
        timeout_s: 10,
        code: r#"
def handler(event, context):
    limit = event["n"] * 20
    return {"primes": sum(1 for n in range(2, limit) if all(n % d for d in range(2, int(n ** 0.5) + 1)))}
"#,
        event: echo_number,
        answer: |call| Answer::Output(json!({"primes": primes_below((call % 50) * 20)})),
    },
    Kind {
        name: "py-files",
        runtime: "python3.9",
        timeout_s: 10,
        code: r#"
import os

def handler(event, context):
    path = f"/tmp/note-{event['n']}.txt"
    with open(path, "w") as note:
        note.write("line\n" * event["n"])
    with open(path) as note:
        lines = len(note.readlines())
    os.remove(path)
    print(f"wrote {lines} lines")
    return {"lines": lines}
"#,
        event: echo_number,
        answer: |call| Answer::Output(json!({"lines": call % 50})),
    },
    Kind {
        name: "py-slow",
        runtime: "python3.11",
        timeout_s: 10,
        code: r#"
import asyncio

async def handler(event, context):
    await asyncio.sleep(0.1)
    return "awake"
"#,
        event: echo_number,
        answer: |_| Answer::Output(json!("awake")),
    },
    Kind {
        name: "py-failing",
        runtime: "python3.11",
        timeout_s: 10,
        code: r#"
def handler(event, context):
    raise ValueError("no order without an address")
"#,
        event: echo_number,
        answer: |_| Answer::Failure("ValueError: no order without an address"),
    },
    Kind {
        name: "js-cart",
        runtime: "nodejs20",
        timeout_s: 10,
        code: r#"
function handler(event, context) {
    const items = Array.from({length: event.n}, (_, i) => ({price: i, count: 2}));
    return {total: items.reduce((sum, item) => sum + item.price * item.count, 0), items: items.length};
}
"#,
        event: echo_number,
        answer: |call| {
            let n = call % 50;
            Answer::Output(json!({"total": n * n.saturating_sub(1), "items": n}))
        },
    },
    Kind {
        name: "js-files",
        runtime: "nodejs18",
        timeout_s: 10,
        code: r#"
const fs = require("fs");

function handler(event, context) {
    const path = `/tmp/note-${event.n}.json`;
    fs.writeFileSync(path, JSON.stringify(event));
    const read = JSON.parse(fs.readFileSync(path, "utf8"));
    fs.unlinkSync(path);
    return read;
}
"#,
        event: echo_number,
        answer: |call| Answer::Output(echo_number(call)),
    },
    Kind {
        name: "js-slow",
        runtime: "nodejs20",
        timeout_s: 10,
        code: r#"
async function handler(event, context) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    return "awake";
}
"#,
        event: echo_number,
        answer: |_| Answer::Output(json!("awake")),
    },
    Kind {
        name: "js-failing",
        runtime: "nodejs18",
        timeout_s: 10,
        code: r#"
function handler(event, context) {
    return event.order.address;
}
"#,
        event: echo_number,
        answer: |_| Answer::Failure("TypeError: Cannot read properties of undefined (reading 'address')"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_passes() {
        let primes = &KINDS[0];
        assert_eq!(primes.event(10), json!({"n": 10}));
        let check = |output, status| primes.check(10, status, &output, "");
        // Below 200 there are 46 primes.
        assert_eq!(check(json!({"primes": 46}), ExecutionStatus::Success), Ok(()));
        assert!(check(json!({"primes": 47}), ExecutionStatus::Success).is_err());
        assert!(check(json!({"primes": 46}), ExecutionStatus::Timeout).is_err());
    }
}
