//! What becomes of a call, in both languages alike.

use std::time::Duration;

use crate::{call, call_within, function, node, python, run, sandbox, start, summary};
use domain::Language;
use sandbox::{FunctionCode, StartError};

struct Case {
    name: &'static str,
    python: &'static str,
    node: &'static str,
    event: &'static str,
    status: &'static str,
    /// The output or the error; `{python}|{node}` where the languages' own words differ.
    text: &'static str,
    reusable: bool,
}

const fn case(
    name: &'static str,
    python: &'static str,
    node: &'static str,
    event: &'static str,
    status: &'static str,
    text: &'static str,
    reusable: bool,
) -> Case {
    Case { name, python, node, event, status, text, reusable }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("a value", "def handler(event, context):\n  return {'got': event}", "function handler(event) { return {got: event}; }",
        r#"{"a": [1, 2.5, "x", null, true]}"#, "success", r#"{"got":{"a":[1,2.5,"x",null,true]}}"#, true),
    case("nothing", "def handler(event, context):\n  pass", "function handler() {}", "{}", "success", "null", true),
    case("text beyond ASCII and line ends", "def handler(e, c):\n  return e + 'é\\n😀'", "function handler(e) { return e + 'é\\n😀'; }",
        "\"zażółć\\n\"", "success", "\"zażółć\\né\\n😀\"", true),
    case("a lone surrogate", "def handler(e, c):\n  return [e, '\\ud83d']", "function handler(e) { return [e, '\\ud83d']; }",
        r#""\ud800""#, "success", r#"["\ud800","\ud83d"]"#, true),
    case("async", "import asyncio\nasync def handler(e, c):\n  await asyncio.sleep(0.01)\n  return e", "async function handler(e) { await new Promise(r => setTimeout(r, 10)); return e; }",
        "[1]", "success", "[1]", true),
    case("an exception", "def handler(e, c):\n  raise ValueError('bad: é')", "function handler() { throw new TypeError('bad: é'); }",
        "{}", "failed", "ValueError: bad: é|TypeError: bad: é", true),
    case("an async exception", "async def handler(e, c):\n  raise KeyError('k')", "async function handler() { throw new RangeError('k'); }",
        "{}", "failed", "KeyError: 'k'|RangeError: k", true),
    case("an exception without words", "class Odd(Exception): pass\ndef handler(e, c):\n  raise Odd", "class Odd extends Error { get name() { return 'Odd'; } }\nfunction handler() { throw new Odd(); }",
        "{}", "failed", "Odd", true),
    case("not JSON", "def handler(e, c):\n  return {1, 2}", "function handler() { return 10n; }",
        "{}", "failed", "the result cannot be written as JSON: Object of type set is not JSON serializable|the result cannot be written as JSON: Do not know how to serialize a BigInt", true),
    case("NaN", "def handler(e, c):\n  return {'a': [float('nan'), None]}", "function handler() { return {a: [NaN, null]}; }",
        "{}", "failed", "the result cannot be written as JSON: Out of range float values are not JSON compliant|the result cannot be written as JSON: NaN is not JSON", true),
    case("infinity", "def handler(e, c):\n  return float('-inf')", "function handler() { return -Infinity; }",
        "{}", "failed", "the result cannot be written as JSON: Out of range float values are not JSON compliant|the result cannot be written as JSON: -Infinity is not JSON", true),
    case("a circle", "def handler(e, c):\n  a = []; a.append(a); return a", "function handler() { const a = []; a.push(a); return a; }",
        "{}", "failed", "the result cannot be written as JSON: Circular reference detected|the result cannot be written as JSON: Converting circular structure to JSON", true),
    case("a result that is too large", "def handler(e, c):\n  return 'x' * (6 << 20)", "function handler() { return 'x'.repeat(6 << 20); }",
        "{}", "failed", "the result is 6291458 bytes; the limit is 6291456", true),
    case("a status", "import sys\ndef handler(e, c):\n  sys.exit(3)", "function handler() { process.exit(3); }",
        "{}", "failed", "the function exited with status 3 before it answered", false),
    case("the builtin exit", "def handler(e, c):\n  exit()", "function handler() { process.exit(); }",
        "{}", "failed", "the function exited with status 0 before it answered", false),
    case("an exit without a farewell", "import os\ndef handler(e, c):\n  os._exit(7)", "function handler() { process.reallyExit(7); }",
        "{}", "failed", "the function exited with status 7 before it answered", false),
    case("a segmentation fault", "import ctypes\ndef handler(e, c):\n  ctypes.string_at(0)", "function handler() { process.kill(process.pid, 'SIGSEGV'); return new Promise(() => {}); }",
        "{}", "failed", "the function was killed by signal 11 (SIGSEGV) before it answered", false),
    case("its own SIGKILL", "import os, signal\ndef handler(e, c):\n  os.kill(os.getpid(), signal.SIGKILL)", "function handler() { process.kill(process.pid, 'SIGKILL'); return new Promise(() => {}); }",
        "{}", "failed", "the function was killed by signal 9 (SIGKILL) before it answered", false),
    case("an exception outside of the call", "import threading\ndef handler(e, c):\n  t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join(); return 1", "function handler() { setImmediate(() => { throw new Error('late'); }); return new Promise(() => {}); }",
        "{}", "success|failed", "1|Error: late", true),
];

fn either(text: &str, language: Language) -> &str {
    match text.split_once('|') {
        Some((python, node)) => {
            if language == Language::Python {
                python
            } else {
                node
            }
        }
        None => text,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_told_alike_in_both_languages() {
    for case in CASES {
        for (language, source) in [(Language::Python, case.python), (Language::Node, case.node)] {
            let name = format!("{} in {language:?}", case.name);
            let mut worker = start(&function(language, source)).await;
            let outcome = worker.invoke(&call(case.event)).await;
            let expected = (either(case.status, language), either(case.text, language));
            assert_eq!(summary(&outcome), expected, "{name}: {}", outcome.logs);
            // An exception that nobody caught ends Node, as it would outside.
            let reusable = case.reusable && !(language == Language::Node && case.name.ends_with("outside of the call"));
            assert_eq!(outcome.worker_reusable, reusable, "{name}");
            assert_eq!(worker.is_alive(), reusable, "{name}");
            if reusable {
                assert!(outcome.memory_used_bytes > 1 << 20, "{name}: {}", outcome.memory_used_bytes);
                let again = worker.invoke(&call(case.event)).await;
                assert_eq!(summary(&again), expected, "{name}, once more");
            }
            worker.kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_json_is_refused_and_does_no_harm() {
    for function in [python("def handler(e, c):\n  return e"), node("function handler(e) { return e; }")] {
        let mut worker = start(&function).await;
        for event in ["", "{", "[1,]", "NaN", "{\"a\": Infinity}", "\"\t\"", "\"\\x\"", "1 2"] {
            let outcome = worker.invoke(&call(event)).await;
            let (status, text) = summary(&outcome);
            assert!(status == "failed" && text.starts_with("the event cannot be read: "), "{event:?}: {text}");
        }
        assert_eq!(summary(&worker.invoke(&call(" 1 ")).await), ("success", "1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deeply_nested_is_answered_whatever_the_answer() {
    let deep_event = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    for function in [
        python("def handler(e, c):\n  a = []\n  for _ in range(50000): a = [a]\n  return a"),
        node("function handler() { let a = []; for (let i = 0; i < 50000; i++) a = [a]; return a; }"),
    ] {
        let mut worker = start(&function).await;
        for event in ["{}", &deep_event] {
            let outcome = worker.invoke(&call(event)).await;
            let (status, text) = summary(&outcome);
            let told = text.contains("recursion") || text.contains("call stack") || text.starts_with("[[");
            assert!(matches!(status, "failed" | "success") && told, "{status}: {text:.200}");
            assert!(outcome.worker_reusable);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_load_says_why() {
    let mut dotted = python("def main(e, c):\n  return 1");
    dotted.handler = "src/app.handler".to_owned();
    for (function, error, logs) in [
        (python("def handler(:"), "SyntaxError: invalid syntax (index.py, line 1)", "def handler(:"),
        (node("const = 1"), "SyntaxError: Unexpected token '='", "SyntaxError"),
        (python("import nothing_like_it"), "ModuleNotFoundError: No module named 'nothing_like_it'", "index.py"),
        (node("require('nothing-like-it')"), "Error: Cannot find module 'nothing-like-it'", "index.js"),
        (python("print('hello')\nx = 1"), "the code has no function named handler", "hello\n"),
        (node("console.log('hello'); const x = 1"), "the code has no function named handler", "hello\n"),
        (dotted, "the code has no function named handler", ""),
        (python("import sys\nsys.exit(4)"), "the function exited with status 4 before it answered", ""),
        (node("process.exit(4)"), "the function exited with status 4 before it answered", ""),
        (function(Language::Go, "package main"), "code in Go cannot be run: it has no interpreter", ""),
    ] {
        match sandbox().start(&function).await {
            Err(StartError::Function { error: said, logs: printed }) => {
                assert!(said.starts_with(error), "{function:?}: {said}");
                assert!(printed.contains(logs), "{function:?}: {printed}");
            }
            other => panic!("{function:?}: {other:?}"),
        }
        let outcome = run(&function, "{}").await;
        assert!(summary(&outcome).1.starts_with(error));
        assert!(!outcome.worker_reusable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_may_be_named_in_several_ways() {
    for (mut function, handler) in [
        (python("def main(e, c):\n  return __name__"), "app.main"),
        (python("def main(e, c):\n  return 'app'"), "main"),
        (node("function main() { return 'app'; } // a last comment"), "index.main"),
        (node("const main = async () => 'app'"), "main"),
        (node("exports.main = () => 'app'"), "index.main"),
        (node("module.exports = { main() { return 'app'; } }"), "main"),
    ] {
        function.handler = handler.to_owned();
        let outcome = run(&function, "{}").await;
        assert_eq!(summary(&outcome), ("success", "\"app\""), "{function:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_function_is_stopped_at_its_timeout() {
    for (function, printed) in [
        (python("import time\ndef handler(e, c):\n  print('before')\n  time.sleep(60)"), "before\n"),
        (node("function handler() { console.log('before'); return new Promise(() => {}); }"), "before\n"),
        (python("def handler(e, c):\n  while True: pass"), ""),
        (node("function handler() { for (;;); }"), ""),
    ] {
        let mut worker = start(&function).await;
        let outcome = worker.invoke(&call_within("{}", Duration::from_millis(400))).await;
        assert_eq!(summary(&outcome), ("timeout", "the function did not answer within 400 ms"));
        assert_eq!(outcome.logs, printed);
        assert!(outcome.duration < Duration::from_secs(2), "{:?}", outcome.duration);
        assert!(!outcome.worker_reusable && !worker.is_alive());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_output_streams_are_the_log_in_their_order() {
    let python = python(
        "import sys, os\ndef handler(e, c):\n  for i in range(3):\n    print('out', i); print('err', i, file=sys.stderr)\n  \
         os.system('echo child')\n  print('no line end', end='')",
    );
    let node = node(
        "function handler() { for (let i = 0; i < 3; i++) { console.log('out', i); console.error('err', i); }\n\
         require('child_process').execSync('echo child', {stdio: 'inherit'}); process.stdout.write('no line end'); }",
    );
    let expected = "out 0\nerr 0\nout 1\nerr 1\nout 2\nerr 2\nchild\nno line end";
    for function in [python, node] {
        let mut worker = start(&function).await;
        for _ in 0..100 {
            let outcome = worker.invoke(&call("{}")).await;
            assert_eq!((summary(&outcome), outcome.logs.as_str()), (("success", "null"), expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_leaves_its_traceback_in_the_log_and_nothing_of_ours() {
    let python = run(&python("def f():\n  raise ValueError('x')\ndef handler(e, c):\n  f()"), "{}").await;
    assert_eq!(
        python.logs,
        "Traceback (most recent call last):\n  File \"index.py\", line 4, in handler\n    f()\n  \
         File \"index.py\", line 2, in f\n    raise ValueError('x')\nValueError: x\n"
    );
    let node = run(&node("function f() { throw new Error('x'); }\nfunction handler() { f(); }"), "{}").await;
    assert_eq!(node.logs, "Error: x\n    at f (/tmp/index.js:1:22)\n    at handler (/tmp/index.js:2:22)\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_and_the_environment_are_the_functions_own() {
    let with_environment = |mut function: FunctionCode| {
        function.environment = [("GREETING", "zażółć\n=1"), ("TZ", "Asia/Tokyo")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        function
    };
    let python = with_environment(python(
        "import os, time\ndef handler(e, c):\n  left = c.get_remaining_time_in_millis()\n  \
         return [c.function_id, c.function_name, c.execution_id == c.aws_request_id, c.memory_limit_mb, \
         0 < left <= 20000, abs(c.deadline - time.time() * 1000 - left) < 1000, os.environ['GREETING'], \
         time.strftime('%Z'), sorted(os.environ)]",
    ));
    let node = with_environment(node(
        "function handler(e, c) { const left = c.getRemainingTimeInMillis(); return [c.functionId, c.function_name, \
         c.execution_id === c.awsRequestId, c.memory_limit_mb, 0 < left && left <= 20000, \
         Math.abs(c.deadline - Date.now() - left) < 1000, process.env.GREETING, \
         new Date(0).getHours() === 9 ? 'JST' : '', Object.keys(process.env).sort()]; }",
    ));
    for function in [python, node] {
        let outcome = run(&function, "{}").await;
        let expected = r#"["0190-function","a-function",true,128,true,true,"zażółć\n=1","JST",["#;
        let (status, text) = summary(&outcome);
        assert_eq!((status, &text[..expected.len().min(text.len())]), ("success", expected));
        let names: Vec<String> = serde_json::from_str(&text[expected.len() - 1..text.len() - 1]).unwrap();
        assert_eq!(names, ["GREETING", "HOME", "LANG", "PATH", "PWD", "TMPDIR", "TZ"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_6_mib_comes_back_whole_and_a_larger_one_is_refused() {
    let event = format!("\"{}\"", "y".repeat((6 << 20) - 2));
    for function in [python("def handler(e, c):\n  return e"), node("function handler(e) { return e; }")] {
        let mut worker = start(&function).await;
        let outcome = worker.invoke(&call(&event)).await;
        assert!(summary(&outcome) == ("success", event.as_str()), "{:.200?}", summary(&outcome));
        let outcome = worker.invoke(&call(&format!("{event} "))).await;
        assert_eq!(summary(&outcome), ("failed", "the event is 6291457 bytes; the limit is 6291456"));
        assert!(outcome.worker_reusable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_and_the_largest_memory_of_the_contract_both_run() {
    for memory_mb in [1_u64, 10_240] {
        for mut function in [python("def handler(e, c):\n  return e"), node("function handler(e) { return e; }")] {
            function.memory_bytes = memory_mb << 20;
            let outcome = run(&function, "[1]").await;
            assert_eq!(summary(&outcome), ("success", "[1]"), "{memory_mb} MB: {}", outcome.logs);
        }
    }
}
