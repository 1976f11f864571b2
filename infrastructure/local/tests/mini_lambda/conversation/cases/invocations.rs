//! Invocations in both languages, and the executions they leave.

use serde_json::{Value, json};

use super::super::{
    reply::Reply,
    step::{Case, delete, get, post, post_text},
};

const INVOKE: &str = "/api/v1/functions/{function}/invoke";
const EXECUTIONS: &str = "/api/v1/functions/{function}/executions";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for language in [PYTHON, NODE] {
        cases.extend(language.events());
        cases.extend(language.outcomes());
        cases.push(language.environment());
        cases.push(language.handler());
        cases.push(language.memory());
        cases.push(language.history());
    }
    cases.push(go());
    cases
}

/// The same functions in each language, and how it words what goes wrong.
struct Language {
    runtime: &'static str,
    echo: &'static str,
    prints: &'static str,
    fails: &'static str,
    failure: &'static str,
    sleeps: &'static str,
    exits: &'static str,
    returns_no_json: &'static str,
    no_json: &'static str,
    returns_nothing: &'static str,
    is_async: &'static str,
    has_no_handler: &'static str,
    does_not_load: &'static str,
    reads_environment: &'static str,
    /// Has a `handler` and a `main`, which return their names.
    has_two: &'static str,
    tells_memory: &'static str,
    divides: &'static str,
}

const PYTHON: Language = Language {
    runtime: "python3.11",
    echo: "def handler(event, context):\n    return event\n",
    prints: "import sys\nprint('loading')\ndef handler(event, context):\n    print('one', event)\n    \
             print('two: ü 漢字 🦀', file=sys.stderr)\n    return len(event)\n",
    fails: "def handler(event, context):\n    raise ValueError(f\"no: {event['n']}\")\n",
    failure: "ValueError: no: 7",
    sleeps: "import time\ndef handler(event, context):\n    print('begun')\n    time.sleep(60)\n",
    exits: "import sys\ndef handler(event, context):\n    print('bye')\n    sys.exit(3)\n",
    returns_no_json: "def handler(event, context):\n    return {1, 2}\n",
    no_json: "the result cannot be written as JSON: Object of type set is not JSON serializable",
    returns_nothing: "def handler(event, context):\n    pass\n",
    is_async: "import asyncio\nasync def handler(event, context):\n    await asyncio.sleep(0.001)\n    return event\n",
    has_no_handler: "def something_else(event, context):\n    return event\n",
    does_not_load: "def handler(:\n",
    reads_environment: "import os\ndef handler(event, context):\n    return [os.environ.get('COLOUR'), os.environ.get('EMPTY')]\n",
    has_two: "def handler(event, context):\n    return 'handler'\ndef main(event, context):\n    return 'main'\n",
    tells_memory: "def handler(event, context):\n    return context.memory_limit_mb\n",
    divides: "def handler(event, context):\n    return 1 / event['by']\n",
};

const NODE: Language = Language {
    runtime: "nodejs20",
    echo: "function handler(event, context) { return event; }",
    prints: "console.log('loading');\nfunction handler(event) {\n  console.log('one', event);\n  \
             console.error('two: ü 漢字 🦀');\n  return Object.keys(event).length;\n}\n",
    fails: "function handler(event) { throw new RangeError(`no: ${event.n}`); }",
    failure: "RangeError: no: 7",
    sleeps: "function handler() { console.log('begun'); return new Promise((done) => setTimeout(done, 60000)); }",
    exits: "function handler() { console.log('bye'); process.exit(3); }",
    returns_no_json: "function handler() { return 1n; }",
    no_json: "the result cannot be written as JSON: Do not know how to serialize a BigInt",
    returns_nothing: "function handler() {}",
    is_async: "async function handler(event) { await null; return event; }",
    has_no_handler: "function somethingElse(event) { return event; }",
    does_not_load: "function handler( {",
    reads_environment: "function handler() { return [process.env.COLOUR ?? null, process.env.EMPTY ?? null]; }",
    has_two: "exports.handler = () => 'handler';\nexports.main = () => 'main';\n",
    tells_memory: "function handler(event, context) { return context.memoryLimitMb; }",
    divides: "function handler(event) { if (event.by === 0) throw new Error('division by zero'); return 1 / event.by; }",
};

impl Language {
    fn case(&self, name: &str, code: &str) -> Case {
        Case::new(format!("{}: {name}", self.runtime)).with_function(self.runtime, code)
    }

    /// An event comes back as it went, or does not get there.
    fn events(&self) -> impl Iterator<Item = Case> {
        let mut echoed = self.case("events come back", self.echo);
        for event in [
            json!({}),
            json!({"a": [1, -2.5, true, null, {"b": ""}]}),
            json!([]),
            json!([1, 2]),
            json!("text"),
            json!(42),
            json!(false),
            json!(null),
            json!({"ü": "漢字 🦀 \u{0} \u{7f} \u{2028} \\ \" </script>", "": 1}),
            json!(9_007_199_254_740_991_u64),
            json!({"deep": nested(60)}),
            json!({"long": "x".repeat(100_000)}),
        ] {
            echoed = echoed.then(post(INVOKE, &event).answers(Reply::returned(event)));
        }
        let mut bodies = self.case("bodies that are no event", self.echo);
        bodies = bodies.then(post_text(INVOKE, "").answers(Reply::returned(json!({}))));
        bodies = bodies.then(post_text(INVOKE, " {\"n\": 1}\n").answers(Reply::returned(json!({"n": 1}))));
        for text in ["{", "nope", "{} {}", "{'n': 1}", "NaN", "\u{feff}{}"] {
            bodies = bodies.then(post_text(INVOKE, text).answers(Reply::refused(400, "invalid_request")));
        }
        [echoed, bodies].into_iter().map(ended)
    }

    /// However a function ends, the answer is 200 and says how.
    fn outcomes(&self) -> impl Iterator<Item = Case> {
        let event = json!({"n": 7});
        let with_log =
            |status: &str, error: &str| Reply::invoked(json!({"status": status, "error": error, "logs": "[text]"}));
        let printed = |output: Value| Reply::invoked(json!({"status": "success", "output": output, "logs": "[text]"}));
        let exit = "the function exited with status 3 before it answered";
        let table = [
            ("prints", self.prints, printed(json!(1))),
            ("an exception", self.fails, with_log("failed", self.failure)),
            ("an exit", self.exits, with_log("failed", exit)),
            ("a result that is no JSON", self.returns_no_json, Reply::ended("failed", self.no_json)),
            ("nothing returned", self.returns_nothing, Reply::returned(json!(null))),
            ("asynchronous", self.is_async, Reply::returned(event.clone())),
            (
                "no handler in the code",
                self.has_no_handler,
                Reply::ended("failed", "the code has no function named handler"),
            ),
            ("code that does not load", self.does_not_load, with_log("failed", "[text]")),
        ];
        let cases = table.map(|(name, code, reply)| {
            let call = || post(INVOKE, &event).answers(reply.clone());
            // Twice: a worker that is kept must not remember the first call.
            ended(self.case(name, code).then(call()).then(call()))
        });
        cases.into_iter().chain([self.timeout()])
    }

    fn timeout(&self) -> Case {
        let fields = json!({"runtime": self.runtime, "code": self.sleeps, "timeout": 1});
        let late = json!({
            "status": "timeout", "error": "the function did not answer within 1 s", "logs": "begun\n",
        });
        ended(
            Case::new(format!("{}: a timeout", self.runtime))
                .with_function_of(fields)
                .then(post(INVOKE, &json!({})).answers(Reply::invoked(late))),
        )
    }

    /// The candidate applies it, and legacy does so that both agree.
    fn environment(&self) -> Case {
        let fields = json!({
            "runtime": self.runtime, "code": self.reads_environment,
            "environment": {"COLOUR": "rot-grün\n\"'$HOME", "EMPTY": ""},
        });
        ended(
            Case::new(format!("{}: environment", self.runtime))
                .with_function_of(fields)
                .then(post(INVOKE, &json!({})).answers(Reply::returned(json!(["rot-grün\n\"'$HOME", ""])))),
        )
    }

    /// The monolith stores the handler's name and calls `handler` all the same (defect).
    fn handler(&self) -> Case {
        let fields = json!({"runtime": self.runtime, "code": self.has_two, "handler": "index.main"});
        let step =
            post(INVOKE, &json!({})).answers_apart(Reply::returned(json!("handler")), Reply::returned(json!("main")));
        ended(Case::new(format!("{}: the handler's name", self.runtime)).with_function_of(fields).then(step))
    }

    /// The monolith stores the limit and runs every function with its own (defect).
    fn memory(&self) -> Case {
        let fields = json!({"runtime": self.runtime, "code": self.tells_memory, "memory": 200});
        let step = post(INVOKE, &json!({})).answers_apart(Reply::returned(json!(512)), Reply::returned(json!(200)));
        ended(Case::new(format!("{}: memory", self.runtime)).with_function_of(fields).then(step))
    }

    /// Executions are listed newest first, with the keys that clients know.
    fn history(&self) -> Case {
        let execution = |name: &str, status: &str, error: &str| {
            json!({
                "ID": format!("[{name}]"), "FunctionID": "[function]", "Status": status, "Input": null, "Output": null,
                "Error": error, "IsWarmStart": "[number]", "StartedAt": "[time]", "CompletedAt": "[time]",
                "Duration": "[number]", "MemoryUsed": "[number]",
            })
        };
        let failure = if self.runtime == PYTHON.runtime {
            "ZeroDivisionError: division by zero"
        } else {
            "Error: division by zero"
        };
        let failed = json!({"status": "failed", "error": failure, "logs": "[text]"});
        let listed = json!({
            "count": 3,
            "executions": [
                execution("third", "success", ""), execution("second", "failed", failure), execution("first", "success", ""),
            ],
        });
        let none = Reply::json(200, json!({"executions": [], "count": 0}));
        let call = |by: i32, name: &'static str, mut reply: Reply| {
            reply.body["execution_id"] = json!(format!("[{name}]"));
            post(INVOKE, &json!({"by": by})).answers(reply).captures(name, "/execution_id")
        };
        ended(
            self.case("executions", self.divides)
                .then(get(EXECUTIONS).answers(none))
                .then(call(2, "first", Reply::returned(json!(0.5))))
                .then(call(0, "second", Reply::invoked(failed)))
                .then(call(4, "third", Reply::returned(json!(0.25))))
                .then(get(EXECUTIONS).answers(Reply::json(200, listed)).eventually()),
        )
    }
}

/// Deletes the case's function, and its executions with it.
fn ended(case: Case) -> Case {
    case.then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
        .then(get(EXECUTIONS).answers(Reply::json(200, json!({"executions": [], "count": 0}))))
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("the bottom"), |inner, _| json!([inner]))
}

/// A runtime of the contract that neither side runs.
fn go() -> Case {
    ended(
        Case::new("go1.21")
            .with_function("go1.21", "package main")
            .then(post(INVOKE, &json!({})).answers(Reply::ended("failed", "[text]"))),
    )
}
