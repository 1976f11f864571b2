//! The summary, and the links of pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

const SUMMARY: &str = "SUMMARY.md";

/// How much there was to check.
#[derive(Debug, Default)]
pub struct Found {
    pub pages: usize,
    pub links: usize,
}

/// Checks the pages below a folder.
pub fn check(root: &Path) -> anyhow::Result<(Found, Vec<String>)> {
    let mut pages = BTreeMap::new();
    read(root, root, &mut pages)?;
    ensure!(pages.contains_key(Path::new(SUMMARY)), "{} has no {SUMMARY}", root.display());
    let mut problems = Vec::new();
    let mut found = Found { pages: pages.len() - 1, links: 0 };
    for (page, text) in &pages {
        for link in links(text) {
            found.links += 1;
            problems.extend(problem(root, &pages, page, &link).map(|why| format!("{}: {link}: {why}", page.display())));
        }
        let missing = includes(text).filter(|file| !root.join(page).with_file_name("").join(file).is_file());
        problems.extend(missing.map(|file| format!("{}: includes {file}, which is not there", page.display())));
    }
    let listed: BTreeSet<PathBuf> = links(&pages[Path::new(SUMMARY)]).into_iter().map(PathBuf::from).collect();
    let unlisted = pages.keys().filter(|page| *page != Path::new(SUMMARY) && !listed.contains(*page));
    problems.extend(unlisted.map(|page| format!("{}: it is not in {SUMMARY}", page.display())));
    Ok((found, problems))
}

fn read(root: &Path, folder: &Path, pages: &mut BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, pages)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            pages.insert(path.strip_prefix(root)?.to_owned(), text);
        }
    }
    Ok(())
}

/// What is wrong with a link.
fn problem(root: &Path, pages: &BTreeMap<PathBuf, String>, page: &Path, link: &str) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("http://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_owned() } else { joined(page.parent()?, file) };
    if target.extension().is_some_and(|ending| ending == "png") {
        return (!root.join(&target).is_file()).then(|| "there is no such picture".to_owned());
    }
    let Some(text) = pages.get(&target) else { return Some("there is no such page".to_owned()) };
    let known = anchor.is_empty() || headings(text).any(|heading| heading == anchor);
    (!known).then(|| format!("{} has no such heading", target.display()))
}

/// A relative path without its dots.
fn joined(folder: &Path, file: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in file.split('/') {
        match part {
            "." => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path
}

/// The targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        // Every second part is between backticks.
        for plain in line.split('`').step_by(2).collect::<Vec<_>>().join("").split("](").skip(1) {
            links.extend(plain.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    links
}

/// The files of `{{#include FILE}}`.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("{{#include ")?.strip_suffix("}}").map(str::trim))
}

/// The anchors that mdBook gives to headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    })
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_and_headings() {
        let page = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
        let pages = BTreeMap::from([page("a.md", "# One `two`, three"), page("b/c.md", "## Here\n```\n# not\n```")]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infrastructure/book/src");
        let problem = |link: &str| problem(&root, &pages, Path::new("b/c.md"), link);
        for good in ["../a.md", "../a.md#one-two-three", "#here", "../images/route.png", "https://example.org/x"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["a.md", "../a.md#two", "#not", "../../a.md/x", "images/route.png"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn code_is_no_link() {
        let text = "[a](b.md) `[c](d.md)` and [`e`](f.md#g)\n```\n[h](i.md)\n```\n";
        assert_eq!(links(text), ["b.md", "f.md#g"]);
        assert_eq!(includes("```toml\n{{#include ../x.toml}}\n```\n").collect::<Vec<_>>(), ["../x.toml"]);
    }
}
