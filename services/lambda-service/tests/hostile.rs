//! Functions that do their worst: each is answered clearly, and the neighbour does not notice.

use serde_json::{Value, json};

use crate::system::{ECHO, Setup};

struct Hostile {
    name: &'static str,
    runtime: &'static str,
    code: &'static str,
    status: &'static str,
    /// Part of the error's text.
    error: &'static str,
}

const HOSTILE: &[Hostile] = &[
    Hostile {
        name: "exception",
        runtime: "python3.11",
        code: "def handler(e, c):\n    raise KeyError('k')",
        status: "failed",
        error: "KeyError",
    },
    Hostile {
        name: "exception",
        runtime: "nodejs20",
        code: "function handler() { throw new TypeError('t') }",
        status: "failed",
        error: "TypeError: t",
    },
    Hostile {
        name: "rejection",
        runtime: "nodejs20",
        code: "async function handler() { throw new RangeError('r') }",
        status: "failed",
        error: "RangeError: r",
    },
    Hostile {
        name: "syntax",
        runtime: "python3.11",
        code: "def handler(e, c:\n",
        status: "failed",
        error: "SyntaxError",
    },
    Hostile {
        name: "syntax",
        runtime: "nodejs20",
        code: "function handler( {",
        status: "failed",
        error: "SyntaxError",
    },
    Hostile { name: "no handler", runtime: "python3.11", code: "x = 1", status: "failed", error: "handler" },
    Hostile { name: "no handler", runtime: "nodejs20", code: "const x = 1", status: "failed", error: "handler" },
    Hostile {
        name: "timeout",
        runtime: "python3.11",
        code: "def handler(e, c):\n    while True: pass",
        status: "timeout",
        error: "did not answer within",
    },
    Hostile {
        name: "timeout",
        runtime: "nodejs20",
        code: "function handler() { for (;;); }",
        status: "timeout",
        error: "did not answer within",
    },
    Hostile {
        name: "async timeout",
        runtime: "nodejs20",
        code: "function handler() { return new Promise(() => setInterval(() => {}, 1000)) }",
        status: "timeout",
        error: "did not answer within",
    },
    Hostile {
        name: "not JSON",
        runtime: "python3.11",
        code: "def handler(e, c):\n    return {1, 2}",
        status: "failed",
        error: "JSON",
    },
    Hostile {
        name: "not JSON",
        runtime: "nodejs20",
        code: "function handler() { const a = {}; a.a = a; return a }",
        status: "failed",
        error: "JSON",
    },
    Hostile {
        name: "NaN",
        runtime: "python3.11",
        code: "def handler(e, c):\n    return float('nan')",
        status: "failed",
        error: "JSON",
    },
    Hostile {
        name: "exit",
        runtime: "python3.11",
        code: "import sys\ndef handler(e, c):\n    sys.exit(3)",
        status: "failed",
        error: "status 3",
    },
    Hostile {
        name: "hard exit",
        runtime: "python3.11",
        code: "import os\ndef handler(e, c):\n    os._exit(4)",
        status: "failed",
        error: "status 4",
    },
    Hostile {
        name: "exit",
        runtime: "nodejs20",
        code: "function handler() { process.exit(5) }",
        status: "failed",
        error: "status 5",
    },
    Hostile {
        name: "crash",
        runtime: "python3.11",
        code: "import os, signal\ndef handler(e, c):\n    os.kill(os.getpid(), signal.SIGSEGV)",
        status: "failed",
        error: "SIGSEGV",
    },
    Hostile {
        name: "fork bomb",
        runtime: "python3.11",
        code: "import os\ndef handler(e, c):\n    while True:\n        try: os.fork()\n        except OSError: pass",
        status: "timeout",
        error: "did not answer within",
    },
    Hostile {
        name: "1 GB",
        runtime: "python3.11",
        code: "def handler(e, c):\n    return len(b'x' * (1 << 30))",
        status: "failed",
        error: "emory",
    },
    Hostile {
        name: "1 GB",
        runtime: "nodejs20",
        code: "function handler() { const a = []; for (;;) a.push(Buffer.alloc(1 << 24, 1)) }",
        status: "failed",
        error: "",
    },
    Hostile {
        name: "result too large",
        runtime: "python3.11",
        code: "def handler(e, c):\n    return 'x' * (8 << 20)",
        status: "failed",
        error: "limit",
    },
];

#[tokio::test]
async fn hostile_functions_are_answered_and_their_neighbour_is_unharmed() {
    let system = Setup::default().start().await;
    let neighbour = system.create("python3.11", ECHO).await;
    system.invoke(&neighbour, &json!({})).await;
    for case in HOSTILE {
        let label = format!("{} in {}", case.name, case.runtime);
        let fields = json!({"runtime": case.runtime, "code": case.code, "timeout": 2, "memory": 128});
        let id = system.create_with(fields).await;
        let answer = system.invoke(&id, &json!({})).await;
        assert_eq!(answer["status"], case.status, "{label}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(!error.is_empty() && error.contains(case.error), "{label}: {answer}");

        assert_eq!(system.invoke(&neighbour, &json!({"after": label})).await["output"]["after"], label.as_str());
        assert!(system.service.is_ready().await, "after {label}");
    }
    let neighbours = system.get(&format!("/api/v1/functions/{neighbour}/executions")).await.body;
    let cold = |execution: &&Value| execution["IsWarmStart"] == false;
    let cold = neighbours["executions"].as_array().unwrap().iter().filter(cold).count();
    assert_eq!(cold, 1, "the neighbour kept its worker");
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_does_not_block() {
    let system = Setup::default().start().await;
    let code = "def handler(e, c):\n    for _ in range(200000): print('x' * 100)\n    return 'done'\n";
    let id = system.create("python3.11", code).await;
    let answer = system.invoke(&id, &json!({})).await;
    assert_eq!(answer["output"], "done");
    let logs = answer["logs"].as_str().unwrap();
    assert!(logs.len() < 300 * 1024 && logs.contains("dropped"), "{} bytes", logs.len());
}
