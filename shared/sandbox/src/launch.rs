//! How an interpreter is launched: the same bootstrap and the same flags wherever it runs.

use domain::Language;

/// Moves the protocol's streams to descriptors 3 and 4, out of the way of whatever the function prints
/// or reads, and becomes the interpreter. Shell, because JavaScript cannot duplicate a descriptor.
const MOVE_STREAMS: &str = r#"exec 3<&0 4>&1 0</dev/null 1>&2; exec "$@""#;

/// The same, with a limit on processes first. It must be set inside the sandbox's user namespace:
/// outside, it would count every process that the service's user has on the whole machine.
/// (`-p` in dash and ash, `-u` in bash.)
const LIMIT_AND_MOVE_STREAMS: &str = r#"ulimit -p "$1" 2>/dev/null || ulimit -u "$1"; shift
exec 3<&0 4>&1 0</dev/null 1>&2; exec "$@""#;

/// The same, saying first that the sandbox is there.
const ANNOUNCE_LIMIT_AND_MOVE_STREAMS: &str = r#"echo; ulimit -p "$1" 2>/dev/null || ulimit -u "$1"; shift
exec 3<&0 4>&1 0</dev/null 1>&2; exec "$@""#;

/// The same limit; then says that the sandbox is there, waits until it is told to go on, and becomes the program.
const LIMIT_AND_WAIT: &str = r#"ulimit -p "$1" 2>/dev/null || ulimit -u "$1"; shift
echo; read -r _ || exit 1; exec 0</dev/null 1>&2; exec "$@""#;

/// The program that speaks the worker protocol inside the interpreter, for languages that have one.
#[must_use]
pub fn bootstrap(language: Language) -> Option<&'static str> {
    match language {
        Language::Python => Some(include_str!("bootstrap/worker.py")),
        Language::Node => Some(include_str!("bootstrap/worker.js")),
        Language::Go | Language::Provided => None,
    }
}

/// The command that runs a worker with `interpreter` in a place that is isolated already, such as a
/// container: its stdin takes requests, its stdout gives answers, its stderr gives logs. The place needs
/// `/bin/sh`. `None` when code in the language cannot be run.
#[must_use]
pub fn launch_command(language: Language, interpreter: &str, memory_bytes: u64) -> Option<Vec<String>> {
    let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned(), MOVE_STREAMS.to_owned(), "worker".to_owned()];
    command.extend(interpreter_command(language, interpreter, memory_bytes)?);
    Some(command)
}

/// [`launch_command`] with at most `processes` of them. Announced, it writes a line to its answers before all else,
/// when the sandbox around it is there.
pub(crate) fn limited_launch_command(
    language: Language,
    interpreter: &str,
    memory_bytes: u64,
    processes: u32,
    is_announced: bool,
) -> Option<Vec<String>> {
    let script = if is_announced { ANNOUNCE_LIMIT_AND_MOVE_STREAMS } else { LIMIT_AND_MOVE_STREAMS };
    let mut command = ["/bin/sh", "-c", script, "worker"].map(str::to_owned).to_vec();
    command.push(processes.to_string());
    command.extend(interpreter_command(language, interpreter, memory_bytes)?);
    Some(command)
}

/// The command that runs a program of its own, at a gate: it writes a line when it is there, and begins when
/// it is given one.
pub(crate) fn gated_command(command: impl Iterator<Item = String>, processes: u32) -> Vec<String> {
    let shell = ["/bin/sh", "-c", LIMIT_AND_WAIT, "worker"].map(str::to_owned);
    shell.into_iter().chain([processes.to_string()]).chain(command).collect()
}

pub(crate) fn interpreter_command(language: Language, interpreter: &str, memory_bytes: u64) -> Option<Vec<String>> {
    let bootstrap = bootstrap(language)?;
    let flags = match language {
        // Isolated, and without the site module: nothing of the host's packages leaks in, and it starts faster.
        Language::Python => vec!["-I".to_owned(), "-S".to_owned(), "-X".to_owned(), "utf8".to_owned(), "-c".to_owned()],
        Language::Node => {
            let heap_mb = memory_bytes.div_ceil(1024 * 1024).max(SMALLEST_NODE_HEAP_MB);
            vec![format!("--max-old-space-size={heap_mb}"), "-e".to_owned()]
        }
        Language::Go | Language::Provided => return None,
    };
    let mut command = vec![interpreter.to_owned()];
    command.extend(flags);
    command.push(bootstrap.to_owned());
    Some(command)
}

/// Below this V8 dies while it loads its own library.
const SMALLEST_NODE_HEAP_MB: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_gets_its_heap_limit_and_never_one_that_it_cannot_start_with() {
        for (memory_mb, heap) in [(256, "256"), (1, "16")] {
            let command = launch_command(Language::Node, "node", memory_mb << 20).expect("node has a bootstrap");
            assert!(command.contains(&format!("--max-old-space-size={heap}")));
        }
    }

    #[test]
    fn compiled_code_has_no_interpreter() {
        assert_eq!(launch_command(Language::Go, "go", 1), None);
    }
}
