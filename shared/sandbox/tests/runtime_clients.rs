//! AWS's own runtime interface clients, unmodified, as their registries have them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use sandbox::{Protocol, StartError};
use tempfile::TempDir;

use super::*;

/// The client for Python, installed into a package as its users do; kept for the next run.
fn with_python_client(files: &[(&str, &str)]) -> Option<TempDir> {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let install = Command::new("/usr/bin/python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--only-binary",
            ":all:",
        ])
        .args(["--target", folder.path().to_str().unwrap(), "awslambdaric==4.2.2"])
        .output()
        .unwrap();
    if !install.status.success() {
        let why = String::from_utf8_lossy(&install.stderr);
        eprintln!("skipped: awslambdaric cannot be installed here: {}", why.lines().last().unwrap_or_default());
        return None;
    }
    for (path, content) in files {
        fs::write(folder.path().join(path), content).unwrap();
    }
    Some(folder)
}

fn python_function(folder: &Path, handler: &str) -> FunctionCode {
    let command = ["{interpreter}", "-m", "awslambdaric", "{handler}"].map(str::to_owned).to_vec();
    FunctionCode {
        language: Language::Python,
        handler: handler.to_owned(),
        launch: Launch { protocol: Protocol::RuntimeApi { command: command.into() }, ..Launch::default() },
        ..crate::runtime_api::provided(folder).expect("asked before")
    }
}

#[tokio::test]
async fn awslambdaric_runs_unmodified() {
    if crate::runtime_api::provided(Path::new("/")).is_none() {
        return;
    }
    let files = [
        (
            "app.py",
            "import os\ncalls = 0\ndef handler(event, context):\n  global calls\n  calls += 1\n  print('call', calls)\n  \
             left = context.get_remaining_time_in_millis()\n  \
             return {'event': event, 'calls': calls, 'id': context.aws_request_id, 'name': context.function_name, \
             'memory': context.memory_limit_in_mb, 'version': context.function_version, 'group': context.log_group_name, \
             'arn': context.invoked_function_arn, 'left': 10000 < left <= 20000, 'trace': os.environ['_X_AMZN_TRACE_ID'][:7]}\n\
             def failing(event, context):\n  return {}['k']\n\
             def wrong(event, context):\n  return {1, 2}\n\
             def large(event, context):\n  return 'x' * (7 << 20)\n",
        ),
        ("broken.py", "import nothing_such\n"),
    ];
    let Some(folder) = with_python_client(&files) else { return };
    let mut worker = start(&python_function(folder.path(), "app.handler")).await;
    for calls in 1..=3 {
        let call = call(r#"{"n": [1, "\u00e4"]}"#);
        let outcome = worker.invoke(&call).await;
        let (status, text) = summary(&outcome);
        assert_eq!(status, "success", "{text} {}", outcome.logs);
        let answer: serde_json::Value = serde_json::from_str(text).unwrap();
        let expected = serde_json::json!({"event": {"n": [1, "ä"]}, "calls": calls, "id": call.execution_id,
            "name": "a-function", "memory": "128", "version": "$LATEST", "group": "/aws/lambda/a-function",
            "arn": "arn:aws:lambda:local:000000000000:function:a-function", "left": true, "trace": "Root=1-"});
        let mut answer = answer;
        if answer["trace"] != "Root=1-" {
            answer["trace"] = "Root=1-".into();
        }
        assert_eq!(answer, expected);
        assert_eq!(outcome.logs, format!("call {calls}\n"));
    }
    let mut worker = start(&python_function(folder.path(), "app.failing")).await;
    for _ in 0..2 {
        let outcome = worker.invoke(&call("{}")).await;
        assert_eq!(summary(&outcome), ("failed", "KeyError: 'k'"));
        assert!(outcome.logs.contains("app.py") && outcome.worker_reusable, "{}", outcome.logs);
    }
    for (handler, error) in
        [("app.wrong", "Runtime.MarshalError"), ("app.large", "the result is 7340034 bytes; the limit is 6291456")]
    {
        let outcome = start(&python_function(folder.path(), handler)).await.invoke(&call("{}")).await;
        let (status, text) = summary(&outcome);
        assert!(status == "failed" && text.starts_with(error), "{text}");
    }
    for (handler, error) in [
        ("broken.handler", "Runtime.ImportModuleError: Unable to import module 'broken'"),
        ("app.absent", "Runtime.HandlerNotFound: Handler 'absent' missing on module 'app'"),
    ] {
        match sandbox().start(&python_function(folder.path(), handler)).await {
            Err(StartError::Function { error: text, .. }) => assert!(text.starts_with(error), "{text}"),
            other => panic!("{handler}: {other:?}"),
        }
    }
}

/// A `node_modules` with the client for Node in it, whose native part has been built: that takes a compiler, autotools and
/// minutes, so it is not done here.
const NODE_CLIENT: &str = "AWS_LAMBDA_RIC_NODE_MODULES";

#[tokio::test]
async fn aws_lambda_ric_runs_unmodified() {
    let Some(modules) = std::env::var_os(NODE_CLIENT).map(PathBuf::from) else {
        eprintln!("skipped: {NODE_CLIENT} names no node_modules with a built aws-lambda-ric");
        return;
    };
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").arg("-r").arg(modules).arg(folder.path().join("node_modules")).status().unwrap();
    assert!(copied.success());
    let source = "let calls = 0; exports.handler = async (event, context) => { console.log('call', ++calls); \
                  return {event, calls, id: context.awsRequestId, name: context.functionName, \
                  left: context.getRemainingTimeInMillis() > 10000}; }; \
                  exports.failing = async () => { throw new TypeError('t'); };";
    fs::write(folder.path().join("app.js"), source).unwrap();
    let function = |handler: &str| {
        let command = ["{interpreter}", "/var/task/node_modules/aws-lambda-ric/bin/index.mjs", "{handler}"];
        Some(FunctionCode {
            language: Language::Node,
            handler: handler.to_owned(),
            launch: Launch {
                protocol: Protocol::RuntimeApi { command: command.map(str::to_owned).to_vec().into() },
                ..Launch::default()
            },
            ..crate::runtime_api::provided(folder.path())?
        })
    };
    let Some(handler) = function("app.handler") else { return };
    let mut worker = start(&handler).await;
    for calls in 1..=3 {
        let call = call(r#"{"n": 1}"#);
        let outcome = worker.invoke(&call).await;
        let answer: serde_json::Value = serde_json::from_str(summary(&outcome).1).unwrap();
        let expected = serde_json::json!({"event": {"n": 1}, "calls": calls, "id": call.execution_id,
            "name": "a-function", "left": true});
        assert_eq!(answer, expected);
        assert!(outcome.logs.contains(&format!("call {calls}")), "{}", outcome.logs);
    }
    let Some(failing) = function("app.failing") else { return };
    let outcome = start(&failing).await.invoke(&call("{}")).await;
    assert_eq!(summary(&outcome), ("failed", "TypeError: t"));
}
