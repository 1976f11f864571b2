//! Runs one function's code in an isolated interpreter, behind one worker protocol.
//!
//! The protocol is the same wherever the interpreter runs, so that a function gets the same outcome,
//! to the letter of its error text, from either side of the migration:
//!
//! - [`Sandbox::start`] gives a warm [`Worker`] in a `bwrap` sandbox: code loaded once, many calls.
//! - [`Sandbox::call_once`] starts one, calls it once and kills it, as the monolith always did.
//! - [`call_once_over`] drives the same bootstrap through any three streams, such as those of
//!   `docker exec` with the command that [`launch_command`] gives.
//! - [`Guest`] is an interpreter in a container that somebody else has started, entered through a [`Doorway`]; it becomes
//!   a warm [`Worker`] like one in a sandbox.
//!
//! # The worker protocol
//!
//! The interpreter is launched by a line of shell that moves the request and answer streams to private
//! descriptors (3 and 4), gives the function `/dev/null` as its input, and joins its output and error
//! into one stream. Seen from the host: **stdin carries requests, stdout carries answers, stderr
//! carries logs.** A result therefore never travels among log lines, and printing never harms an answer.
//!
//! A frame is
//!
//! ```text
//! u32 BE header length │ u32 BE payload length │ header (JSON) │ payload (raw bytes)
//! ```
//!
//! | frame | direction | header | payload |
//! |---|---|---|---|
//! | load | → | `type, function_id, function_name, handler, folder?, environment, memory_limit_mb, output_limit_bytes` | the source text, unless the code is in a folder |
//! | loaded | ← | `type` | |
//! | load_failed | ← | `type, error` | |
//! | invoke | → | `type, execution_id, timeout_ms` | the event (JSON) |
//! | result | ← | `type, execution_id, status (success, failed), error?, reusable, peak_memory_bytes` | the output (JSON) when it is a success |
//!
//! The first frame is `load`; then calls go one at a time. An answer must echo its execution id. A wrong
//! id, an answer nobody asked for, a frame that is too large or cannot be read is a violation: the worker
//! is killed, and the call fails. What the function printed before its answer is in the log stream before
//! the answer is in the answer stream, so after an answer the host reads the log stream until it would
//! block and has all of it. The end of the request stream ends the interpreter.
//!
//! # What a function sees
//!
//! Python: `def handler(event, context)`, sync or async. JavaScript: `function handler(event, context)`,
//! sync or async, or `exports.handler`, or `module.exports = {handler}`. A handler named
//! `index.main` is the function `main`. Code in a folder ([`Code::Folder`]) is imported as the language imports: a Python
//! module, or a CommonJS or ECMAScript module, whichever its ending and `package.json` make it. The context has `function_id`, `function_name`,
//! `execution_id` (also `aws_request_id`), `memory_limit_mb`, `deadline` (ms since 1970) and
//! `get_remaining_time_in_millis()` (JavaScript: the same in camelCase as well). What it returns must be
//! JSON; `NaN` and infinities are not, in either language.
//!
//! # What is isolated
//!
//! See `infrastructure/decisions/0003-one-worker-protocol.md` for the table of what stops what.

mod accounts;
mod body;
mod channel;
mod config;
mod control_group;
mod conversation;
mod doorway;
mod environment;
mod error;
mod frame;
mod function;
mod guest;
mod interpreter;
mod interpreters;
mod jail;
mod launch;
mod log_capture;
mod machine;
mod mount;
mod one_shot;
mod outcome;
mod prewarmed;
mod process_tree;
mod reach;
mod resource_limits;
mod runtime_api;
mod sandbox;
mod system_calls;
mod uid;
mod worker;

pub use accounts::Accounts;
pub use body::{Body, Ending, SandboxBody};
pub use config::{ControlGroups, Limits, SandboxConfig};
pub use doorway::{DOORWAY_ROOT, Doorway};
pub use environment::of_runtime_api;
pub use error::{SandboxError, StartError};
pub use function::{Code, FunctionCode, Invocation, Launch, Protocol, TASK_ROOT};
pub use guest::{Guest, Inhabitant};
pub use launch::{bootstrap, launch_command};
pub use one_shot::{WorkerStreams, call_once_over};
pub use outcome::{FunctionResult, Outcome};
pub use prewarmed::{Kind, Prewarmed};
pub use reach::barrier;
pub use resource_limits::Bounds;
pub use sandbox::Sandbox;
pub use worker::Worker;
