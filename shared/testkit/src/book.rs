//! The book, for tests that hold it to the programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A block of code in a page.
#[derive(Debug, Clone)]
pub struct BookBlock {
    /// The page, relative to the book's pages.
    pub page: PathBuf,
    /// The line that it begins at.
    pub line: usize,
    /// What follows the opening fence, such as `toml,gateway`.
    pub kind: String,
    /// What is in it.
    pub text: String,
}

/// Every block of code of every page, in the order of the pages' names.
///
/// # Panics
/// The book cannot be read.
#[must_use]
pub fn book_blocks() -> Vec<BookBlock> {
    pages().into_iter().flat_map(|(page, text)| blocks(&page, &text)).collect()
}

/// Every page of the book, by its place below the book's pages, with its text.
///
/// # Panics
/// The book cannot be read.
#[must_use]
pub fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infrastructure/book/src");
    let (mut pages, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the book's pages") {
            let path = entry.expect("the book's pages").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let text = fs::read_to_string(&path).expect("a page is text");
                pages.push((path.strip_prefix(&root).expect("it is below").to_owned(), text));
            }
        }
    }
    pages.sort();
    pages
}

fn blocks(page: &Path, text: &str) -> Vec<BookBlock> {
    let mut blocks = Vec::new();
    let mut open: Option<BookBlock> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => {
                let (page, kind) = (page.to_owned(), kind.trim().to_owned());
                open = Some(BookBlock { page, line: index + 1, kind, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block of code is not closed", page.display());
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_kind_and_line() {
        let found = blocks(Path::new("page.md"), "text\n```toml,gateway\na = 1\n```\n`b`\n```\nc\n```\n");
        let found: Vec<_> = found.iter().map(|block| (block.line, block.kind.as_str(), block.text.as_str())).collect();
        assert_eq!(found, [(2, "toml,gateway", "a = 1\n"), (6, "", "c\n")]);
    }
}
