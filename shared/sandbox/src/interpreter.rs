//! Finds the interpreters that work inside the sandbox on this machine.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use domain::Language;
use nix::unistd::geteuid;

use crate::{
    SandboxConfig, SandboxError,
    jail::{self, Descriptors, Folder},
};

/// An interpreter that was seen to work in the sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Interpreter {
    pub(crate) program: String,
    /// The folder that holds it and its library.
    pub(crate) prefix: PathBuf,
    /// As it reports it.
    pub(crate) version: String,
}

/// How to ask an interpreter for its real path, the folder of its installation, and its version.
struct Question {
    language: Language,
    name: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
}

const PYTHON: Question = Question {
    language: Language::Python,
    name: "python3",
    package: "python3",
    arguments: &[
        "-I",
        "-S",
        "-c",
        "import sys, platform; print(sys.executable, sys.base_prefix, platform.python_version(), sep='\\n')",
    ],
};
const NODE: Question = Question {
    language: Language::Node,
    name: "node",
    package: "nodejs",
    arguments: &[
        "-p",
        "[process.execPath, require('path').resolve(process.execPath, '../..'), process.versions.node].join('\\n')",
    ],
};

/// The `bwrap` program.
pub(crate) fn find_bwrap(config: &SandboxConfig) -> Result<PathBuf, SandboxError> {
    let found = match &config.bwrap {
        Some(path) => Some(path.clone()).filter(|path| path.is_file()),
        None => jail::on_path("bwrap").into_iter().next(),
    };
    found.ok_or_else(|| SandboxError::BwrapMissing { configured: config.bwrap.clone() })
}

/// Makes an empty sandbox, to learn early and in clear words when this machine does not allow one.
pub(crate) fn try_bwrap(bwrap: &Path, config: &SandboxConfig, uid: Option<u32>) -> Result<(), SandboxError> {
    let output = run_jailed(bwrap, config, uid, None, Path::new("/bin/true"), &[])?;
    if output.status.success() {
        return Ok(());
    }
    let reason = last_line(&output);
    Err(SandboxError::BwrapRefused { fix: fix_for(&reason), reason })
}

/// The interpreter at this path, or else the first on the machine that works. `language` must be one that has any.
pub(crate) fn find(
    language: Language,
    bwrap: &Path,
    config: &SandboxConfig,
    uid: Option<u32>,
    path: Option<&Path>,
) -> Result<Interpreter, SandboxError> {
    let question = if language == Language::Node { NODE } else { PYTHON };
    question.find(bwrap, config, uid, path)
}

impl Question {
    /// The first candidate that works inside the sandbox.
    fn find(
        &self,
        bwrap: &Path,
        config: &SandboxConfig,
        uid: Option<u32>,
        configured: Option<&Path>,
    ) -> Result<Interpreter, SandboxError> {
        let candidates = configured.map_or_else(
            || {
                let system = Path::new("/usr/bin").join(self.name);
                let mut candidates = jail::on_path(self.name);
                candidates.retain(|candidate| *candidate != system);
                candidates.insert(0, system);
                candidates
            },
            |path| vec![path.to_owned()],
        );
        let mut reasons = Vec::new();
        for candidate in candidates {
            match self.ask(bwrap, config, uid, &candidate) {
                Ok(interpreter) => return Ok(interpreter),
                Err(reason) => reasons.push(format!("{}: {reason}", candidate.display())),
            }
        }
        let reason = reasons.join("; ");
        Err(SandboxError::NoInterpreter { language: self.language, reason, package: self.package })
    }

    fn ask(
        &self,
        bwrap: &Path,
        config: &SandboxConfig,
        uid: Option<u32>,
        candidate: &Path,
    ) -> Result<Interpreter, String> {
        // Outside first: a version manager's shim only leads to the interpreter out here.
        let outside = Command::new(candidate)
            .args(self.arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let interpreter = parse(&outside)?;
        let program = Path::new(&interpreter.program);
        let inside = run_jailed(bwrap, config, uid, Some(&interpreter.prefix), program, self.arguments)
            .map_err(|error| error.to_string())?;
        parse(&inside).map_err(|reason| format!("works, but not inside the sandbox: {reason}"))
    }
}

fn parse(output: &Output) -> Result<Interpreter, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    match (output.status.success(), lines.next(), lines.next(), lines.next()) {
        (true, Some(program), Some(prefix), Some(version)) => {
            Ok(Interpreter { program: program.to_owned(), prefix: PathBuf::from(prefix), version: version.to_owned() })
        }
        _ => Err(last_line(output)),
    }
}

fn run_jailed(
    bwrap: &Path,
    config: &SandboxConfig,
    uid: Option<u32>,
    prefix: Option<&Path>,
    program: &Path,
    arguments: &[&str],
) -> Result<Output, SandboxError> {
    // The information goes to where nobody reads it: standard input, which is /dev/null opened for writing.
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(|source| SandboxError::Start { operation: "open /dev/null", source })?;
    let mut command = Command::new(bwrap);
    command.env_clear();
    command
        .args(jail::arguments(&config.limits, prefix, Folder::Absent, &Descriptors::default()))
        .arg(program)
        .args(arguments)
        .stdin(null);
    set_user(&mut command, uid);
    command.output().map_err(|source| SandboxError::Start { operation: "run bwrap", source })
}

/// Has the command run as this user, with no other group than its own.
pub(crate) fn set_user(command: &mut Command, uid: Option<u32>) {
    use std::os::unix::process::CommandExt;
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
}

/// Whether this process may start others as another user.
pub(crate) fn runs_as_root() -> bool {
    geteuid().is_root()
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().rev().find(|line| !line.trim().is_empty()).map_or_else(|| output.status.to_string(), str::to_owned)
}

fn fix_for(reason: &str) -> &'static str {
    if reason.contains("mounting proc") || reason.contains("Can't mount proc") {
        "the container around it hides parts of /proc: run it with --security-opt systempaths=unconfined, or run functions in Docker"
    } else if reason.contains("namespace") || reason.contains("not permitted") || reason.contains("uid map") {
        "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
         kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile too), or run functions in Docker"
    } else {
        "bwrap 0.8 or later is needed (Debian 12 has it)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bwrap_says_leads_to_a_fix() {
        for (reason, fix) in [
            ("bwrap: No permissions to create new namespace, likely because the kernel does not allow", "sysctl"),
            ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths"),
            ("bwrap: Unknown option --disable-userns", "0.8"),
        ] {
            assert!(fix_for(reason).contains(fix), "{reason}");
        }
    }
}
