//! Every variable of ours that a file of `infrastructure/` names, also where nothing can work out its value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context;

use super::{
    Packaging,
    programs::{Programs, SERVICES},
    relative,
};

pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for folder in ["infrastructure/docker", "infrastructure/k8s", "infrastructure/systemd", "infrastructure/terraform"]
    {
        read(packaging.root, &packaging.root.join(folder), &mut found)?;
    }
    let readme = packaging.root.join("infrastructure/README.md");
    note(&fs::read_to_string(&readme)?, "infrastructure/README.md", &mut found);
    for ((program, variable), places) in &found {
        if !packaging.programs.knows(program, variable)? {
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            packaging.note(&places.join(", "), [format!("{program} has no setting {variable}")]);
        }
    }
    Ok(())
}

type Found = BTreeMap<(String, String), BTreeSet<String>>;

fn read(root: &Path, folder: &Path, found: &mut Found) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "state" || name == ".env" || name == ".terraform" {
            continue;
        }
        if path.is_dir() {
            read(root, &path, found)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            note(&text, &relative(root, &path), found);
        }
    }
    Ok(())
}

fn note(text: &str, place: &str, found: &mut Found) {
    for (program, variable) in variables(text) {
        found.entry((program.to_owned(), variable.to_owned())).or_default().insert(place.to_owned());
    }
}

/// Words such as `LEGACY__HTTP__BIND`, each with the program that it is for. `PREFIX__…` is no name.
fn variables(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let part = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    text.split(move |letter: char| !part(letter)).filter_map(|word| {
        if word.strip_prefix("STRANGLER_").is_some_and(|rest| !rest.is_empty()) {
            return Some(("strangler", word));
        }
        let program = SERVICES.into_iter().find(|program| word.starts_with(&Programs::prefix(program)))?;
        (!word.ends_with('_')).then_some((program, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_by_their_programs() {
        let text = "{ LEGACY__HTTP__BIND = 1 } `BUILD_SERVICE__ROLE`, GATEWAY__… STRANGLER_CA: x; LEGACY_DB_PASSWORD";
        let found: Vec<_> = variables(text).collect();
        let expected =
            [("legacy", "LEGACY__HTTP__BIND"), ("build-service", "BUILD_SERVICE__ROLE"), ("strangler", "STRANGLER_CA")];
        assert_eq!(found, expected);
    }
}
