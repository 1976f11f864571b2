//! systemd's units, with the files that they name as they would be installed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{Packaging, programs::Settings};

/// Where the programs are on a machine that runs the units.
const INSTALLED: &str = "/usr/local/bin/";

pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    let folder = packaging.root.join("infrastructure/systemd");
    let mut names: Vec<String> = fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".service"))
        .collect();
    names.sort();
    for name in &names {
        let unit = fs::read_to_string(folder.join(name))?;
        let users = fs::read_to_string(folder.join("strangler.sysusers.conf"))?;
        packaging.note(name, problems(&unit, &users));
        let variables = match value(&unit, "EnvironmentFile").and_then(|path| path.strip_prefix("/etc/strangler/")) {
            Some(file) => {
                let path = folder.join("environment").join(file);
                environment(&fs::read_to_string(&path).with_context(|| path.display().to_string())?)
            }
            None => BTreeMap::new(),
        };
        for command in commands(&unit).filter(|command| command.starts_with(INSTALLED)) {
            asked(packaging, name, command, variables.clone())?;
        }
    }
    verified(packaging, &folder, &names)
}

fn asked(
    packaging: &mut Packaging<'_>,
    name: &str,
    command: &str,
    variables: BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let mut words = command.split_whitespace().map(str::to_owned);
    let program = words.next().unwrap_or_default().replace(INSTALLED, "");
    if !packaging.binaries().contains(&program.as_str()) {
        packaging.note(name, [format!("{command} starts {program}, which no crate makes")]);
        return Ok(());
    }
    let words: Vec<String> = words.collect();
    let refusal = if program == "strangler" {
        packaging.programs.refusal_of_words(&words)?
    } else {
        let file = words.iter().skip_while(|word| *word != "--config").nth(1);
        let sample = file.and_then(|file| sample(packaging.root, file));
        packaging.programs.refusal_of(&Settings { program: &program, variables }, sample.as_deref())?
    };
    packaging.note(name, refusal);
    Ok(())
}

/// The file that `/etc/strangler/NAME.toml` begins as.
fn sample(root: &Path, installed: &str) -> Option<PathBuf> {
    let name = installed.strip_prefix("/etc/strangler/")?;
    let service = name.strip_suffix(".toml")?;
    let places = [format!("infrastructure/local/mini-lambda/{name}"), format!("services/{service}/{name}")];
    places.into_iter().map(|place| root.join(place)).find(|path| path.exists())
}

fn problems(unit: &str, users: &str) -> Vec<String> {
    let mut problems = Vec::new();
    match value(unit, "User") {
        Some(user) if users.lines().any(|line| line.split_whitespace().nth(1) == Some(user)) => {}
        Some(user) => problems.push(format!("strangler.sysusers.conf makes no user {user}")),
        None => problems.push("it runs as root: no User=".to_owned()),
    }
    for wanted in ["NoNewPrivileges=yes", "ProtectSystem=strict", "Restart=always"] {
        if !unit.lines().any(|line| line == wanted) {
            problems.push(format!("it has no {wanted}"));
        }
    }
    // How the gateway is replaced: proxy/gateway/src/upgrade/mod.rs.
    if unit.contains("kill -USR2") && !["Type=notify", "NotifyAccess=main"].iter().all(|wanted| unit.contains(wanted)) {
        problems.push("a process that names its successor needs Type=notify and NotifyAccess=main".to_owned());
    }
    problems
}

/// `systemd-analyze verify`, on copies that start the programs where they are now.
fn verified(packaging: &mut Packaging<'_>, folder: &Path, names: &[String]) -> anyhow::Result<()> {
    if !packaging.tools.has("systemd-analyze") {
        eprintln!("packaging: skipped: systemd-analyze verify; it is not here");
        return Ok(());
    }
    let copies = packaging.workspace.target_directory.join("packaging/units");
    fs::create_dir_all(&copies)?;
    let here = format!("{}/", packaging.workspace.target_directory.join("debug").display());
    let mut paths = Vec::new();
    for name in names {
        let copy = copies.join(name);
        fs::write(&copy, fs::read_to_string(folder.join(name))?.replace(INSTALLED, &here))?;
        paths.push(copy);
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&paths)
        .output()
        .context("cannot start systemd-analyze")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() || !said.trim().is_empty() {
        packaging.note("systemd-analyze verify", [said.trim().to_owned()]);
    }
    Ok(())
}

fn commands(unit: &str) -> impl Iterator<Item = &str> {
    ["ExecStartPre=", "ExecStart=", "ExecReload="]
        .into_iter()
        .flat_map(|key| unit.lines().filter_map(move |line| line.strip_prefix(key)))
}

fn value<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The variables of an environment file.
fn environment(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Service]\nType=notify\nNotifyAccess=main\nExecStart=/usr/local/bin/shop --config x\n\
        ExecReload=/bin/kill -USR2 $MAINPID\nUser=shop\nNoNewPrivileges=yes\nProtectSystem=strict\nRestart=always\n";

    #[test]
    fn planted_mistakes_are_found() {
        let users = "u shop - \"Shop\"\n";
        assert_eq!(problems(UNIT, users), Vec::<String>::new());
        for (from, to, expected) in [
            ("User=shop", "User=stop", "no user stop"),
            ("User=shop\n", "", "runs as root"),
            ("NoNewPrivileges=yes", "NoNewPrivileges=no", "NoNewPrivileges"),
            ("NotifyAccess=main", "NotifyAccess=none", "names its successor"),
        ] {
            let found = problems(&UNIT.replace(from, to), users);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
        }
    }

    #[test]
    fn a_unit_is_read() {
        assert_eq!(commands(UNIT).collect::<Vec<_>>(), ["/usr/local/bin/shop --config x", "/bin/kill -USR2 $MAINPID"]);
        assert_eq!(
            environment("# a=b\nA=1\n B=x=y\n"),
            BTreeMap::from([("A".into(), "1".into()), ("B".into(), "x=y".into())])
        );
    }
}
