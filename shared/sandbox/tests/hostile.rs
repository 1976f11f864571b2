//! Functions that mean harm: contained, told clearly, and the next one none the worse.

use std::time::Duration;

use crate::{assert_healthy, call, call_within, node, python, run, start, summary};

const OUT_OF_MEMORY: (&str, &str) = ("failed", "the function used more memory than its limit of 128 MB");

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_is_refused_however_it_is_taken() {
    for (name, function) in [
        ("one piece", python("def handler(e, c):\n  return len(bytearray(1 << 30))")),
        ("many pieces", python("def handler(e, c):\n  a = []\n  while True: a.append('x' * 100 + str(len(a)))")),
        ("heap", node("function handler() { const a = []; for (;;) a.push({x: String(a.length)}); }")),
        ("buffers", node("function handler() { const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1)); }")),
        ("one buffer", node("function handler() { return Buffer.alloc(2 ** 30, 1).length; }")),
        ("while it loads", python("a = bytearray(1 << 30)\ndef handler(e, c): pass")),
    ] {
        let outcome = run(&function, "{}").await;
        assert_eq!(summary(&outcome), OUT_OF_MEMORY, "{name}: {}", outcome.logs);
        assert!(!outcome.worker_reusable, "{name}");
    }
    assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_shared_among_children_counts_too() {
    if !crate::sandbox().describe().contains("control groups v") {
        return;
    }
    let function = python(
        "import mmap, os, time\ndef handler(e, c):\n  for _ in range(8):\n    if os.fork() == 0:\n      \
         m = mmap.mmap(-1, 60 << 20)\n      for i in range(0, 60 << 20, 4096): m[i] = 1\n      time.sleep(60)\n  \
         for _ in range(8): print(os.wait())\n  return 'survived'",
    );
    let outcome = run_within(&function, Duration::from_secs(4)).await;
    // The kernel chooses whom to kill: the function itself, or some of its children.
    let told = outcome.logs.contains(", 9)") || summary(&outcome) == OUT_OF_MEMORY;
    assert!(told, "{outcome:?}");
    assert_healthy().await;
}

async fn run_within(function: &sandbox::FunctionCode, timeout: Duration) -> sandbox::Outcome {
    crate::sandbox().call_once(function, &call_within("{}", timeout)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_the_limit() {
    let bomb = python(
        "import os\ndef handler(e, c):\n  while True:\n    try:\n      os.fork()\n    except OSError as error:\n      reason = error\n",
    );
    let outcome = run_within(&bomb, Duration::from_secs(1)).await;
    assert_ne!(summary(&outcome).0, "success", "{outcome:?}");
    let counted = python(
        "import os, time\ndef handler(e, c):\n  n = 0\n  try:\n    while True:\n      if os.fork() == 0: time.sleep(60)\n      \
         n += 1\n  except OSError as error:\n    return [n, error.errno]",
    );
    let outcome = run(&counted, "{}").await;
    let (_, text) = summary(&outcome);
    let (count, errno): (u32, i32) = serde_json::from_str(text).unwrap_or_else(|_| panic!("{outcome:?}"));
    assert!((40..=64).contains(&count) && errno == 11, "{count} processes, errno {errno}");
    let children = node(
        "function handler() { const {spawn} = require('child_process'); return new Promise((resolve) => {\n\
         const grow = (n) => spawn('/bin/sleep', ['60']).on('spawn', () => grow(n + 1)).on('error', (e) => resolve([n, e.code]));\n\
         grow(0); }); }",
    );
    let outcome = run(&children, "{}").await;
    let (_, text) = summary(&outcome);
    let (count, code): (u32, String) = serde_json::from_str(text).unwrap_or_else(|_| panic!("{outcome:?}"));
    assert!((20..=64).contains(&count) && code == "EAGAIN", "{count} processes, {code}");
    assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_prints_is_read_counted_and_dropped() {
    for function in [
        python("def handler(e, c):\n  line = 'x' * 65535\n  for _ in range(1 << 14): print(line)\n  return 'done'"),
        node(
            "function handler() { const line = 'x'.repeat(65535); for (let i = 0; i < 1 << 14; i++) console.log(line); return 'done'; }",
        ),
    ] {
        let outcome = run(&function, "{}").await;
        assert_eq!(summary(&outcome), ("success", "\"done\""));
        let dropped = (1_u64 << 30) - (256 << 10);
        assert!(
            outcome.logs.ends_with(&format!("\n[{dropped} bytes of output dropped]\n")),
            "{:?}",
            &outcome.logs[outcome.logs.len() - 80..]
        );
        assert!(outcome.logs.len() < 257 << 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_prints_for_ever_neither_holds_an_answer_back_nor_leaks_into_the_next() {
    let function = python(
        "import threading\ndef shout():\n  while True: print('shout ' * 100)\n\
         def handler(e, c):\n  if e == 1: threading.Thread(target=shout, daemon=True).start()\n  return e",
    );
    let mut worker = start(&function).await;
    let outcome = worker.invoke(&call("1")).await;
    assert_eq!(summary(&outcome), ("success", "1"));
    let outcome = worker.invoke(&call("2")).await;
    assert_eq!(summary(&outcome), ("success", "2"));
    assert!(outcome.logs.len() < 512 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_descriptors_are_bounded() {
    let full =
        |text: &str| text.contains("No space left") || text.contains("ENOSPC") || text.contains("File too large");
    for place in ["/tmp", "/dev/shm"] {
        let function = python(&format!(
            "def handler(e, c):\n  for n in range(100):\n    with open(f'{place}/{{n}}', 'wb') as f: f.write(b'x' * (4 << 20))"
        ));
        let outcome = run(&function, "{}").await;
        assert!(full(summary(&outcome).1), "{place}: {outcome:?}");
    }
    let function = node(
        "function handler() { const fs = require('fs'); for (let n = 0; n < 100; n++) fs.writeFileSync('/tmp/' + n, Buffer.alloc(4 << 20)); }",
    );
    let outcome = run(&function, "{}").await;
    assert!(full(summary(&outcome).1), "{outcome:?}");
    let leak = python("def handler(e, c):\n  a = []\n  while True: a.append(open('/dev/null'))");
    let outcome = run(&leak, "{}").await;
    assert_eq!(summary(&outcome), ("failed", "OSError: [Errno 24] Too many open files: '/dev/null'"));
    let leak = node("function handler() { const fs = require('fs'); for (;;) fs.openSync('/dev/null'); }");
    let outcome = run(&leak, "{}").await;
    assert_eq!(summary(&outcome), ("failed", "Error: EMFILE: too many open files, open '/dev/null'"));
    assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_broken_answers_end_the_worker() {
    let forge = |bytes: &str| python(&format!("import os\ndef handler(e, c):\n  {bytes}\n  return 1"));
    let violation = "the function broke the worker protocol: ";
    for (function, reason) in [
        (forge("os.write(4, b'hello, this is no frame at all')"), "an answer of"),
        (forge("os.write(4, b'\\xff' * 64)"), "an answer of"),
        (forge("os.write(4, b'\\0\\0\\0\\2\\0\\0\\0\\0[]')"), "an answer cannot be read: "),
        (
            forge(
                "h = b'{\"type\":\"result\",\"execution_id\":\"other\",\"status\":\"success\",\"reusable\":true,\"peak_memory_bytes\":1}'; \
                 os.write(4, len(h).to_bytes(4, 'big') + b'\\0\\0\\0\\1' + h + b'7')",
            ),
            "the answer is to another call",
        ),
        (
            node("function handler() { require('fs').writeSync(4, 'hello, this is no frame'); return 1; }"),
            "an answer of",
        ),
    ] {
        let mut worker = start(&function).await;
        let outcome = worker.invoke(&call("{}")).await;
        let (status, text) = summary(&outcome);
        assert!(status == "failed" && text.starts_with(&format!("{violation}{reason}")), "{text}");
        assert!(!outcome.worker_reusable);
    }
    // A forged answer to its own call is only the function's own answer; the real one then comes unasked.
    let function = python(
        "import os\ndef handler(e, c):\n  h = ('{\"type\":\"result\",\"execution_id\":\"%s\",\"status\":\"success\",\"reusable\":true,\
         \"peak_memory_bytes\":1}' % c.execution_id).encode()\n  \
         os.write(4, len(h).to_bytes(4, 'big') + b'\\0\\0\\0\\1' + h + b'7')\n  return 8",
    );
    let mut worker = start(&function).await;
    assert_eq!(summary(&worker.invoke(&call("{}")).await), ("success", "7"));
    let outcome = worker.invoke(&call("{}")).await;
    // By the time that the next call is made the real answer is there, or it comes instead of that call's.
    let reasons = ["an answer came that nobody asked for", "the answer is to another call"];
    assert!(
        reasons.iter().any(|reason| summary(&outcome) == ("failed", &format!("{violation}{reason}"))),
        "{outcome:?}"
    );
    assert!(!outcome.worker_reusable);
    assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_every_descriptor_is_no_way_out() {
    for (deed, seen) in [
        ("time.sleep(60)", ("timeout", "the function did not answer within 1 s")),
        // Python cannot flush what is closed, and says so with its own status.
        ("return 1", ("failed", "the function exited with status 120 before it answered")),
    ] {
        let function = python(&format!("import os, time\ndef handler(e, c):\n  os.closerange(0, 200)\n  {deed}"));
        let outcome = run_within(&function, Duration::from_secs(1)).await;
        assert_eq!(summary(&outcome), seen);
    }
    assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zombies_and_orphans_are_reaped() {
    let function = python(
        "import os, time\ndef handler(e, c):\n  for _ in range(30):\n    if os.fork() == 0:\n      os.fork()\n      os._exit(0)\n  \
         while True:\n    try: os.wait()\n    except ChildProcessError: break\n  time.sleep(0.2)\n  \
         return [p for p in os.listdir('/proc') if p.isdigit()]",
    );
    let mut worker = start(&function).await;
    for _ in 0..3 {
        let outcome = worker.invoke(&call("{}")).await;
        assert_eq!(summary(&outcome), ("success", r#"["1","2"]"#));
    }
}
