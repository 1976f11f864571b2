//! Every command line in the book is one that this program understands.

use clap::{CommandFactory as _, Parser as _};
use testkit::{book_blocks, book_pages};

use super::Arguments;

/// The commands of a script: lines put together, comments and what comes before and after the command left out.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    script.lines().filter_map(|line| words(line.trim())).filter_map(|words| strangler(&words)).collect()
}

/// The words of a line up to a comment, a pipe, a redirection or the end of the command; none for an empty line.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '&' | ';') => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!words.is_empty()).then_some(words)
}

/// The words of a call of this program, from its name on.
fn strangler(words: &[String]) -> Option<Vec<String>> {
    let is_variable = |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.contains(['-', '/']));
    let before = words.iter().take_while(is_variable).count();
    (words.get(before)? == "strangler").then(|| words[before..].to_vec())
}

#[test]
fn commands_in_the_book_are_understood() {
    let mut problems = Vec::new();
    let mut tried = 0;
    for block in book_blocks().iter().filter(|block| block.kind == "sh") {
        for command in commands(&block.text) {
            tried += 1;
            if let Err(error) = Arguments::try_parse_from(&command) {
                let place = format!("{}:{}", block.page.display(), block.line);
                problems.push(format!("{place}: {}\n{error}", command.join(" ")));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(tried > 40, "only {tried} commands were found");
}

#[test]
fn commands_that_the_book_s_text_names_are_there() {
    let program = Arguments::command();
    for (page, text) in book_pages() {
        for code in text.split('`').skip(1).step_by(2).filter(|code| !code.contains('\n')) {
            let Some(named) = code.strip_prefix("strangler ") else { continue };
            let mut command = &program;
            for word in named.split_whitespace() {
                if !command.has_subcommands() {
                    break;
                }
                let found = command.get_subcommands().find(|one| one.get_name() == word);
                command = found.unwrap_or_else(|| panic!("{}: `{code}`: there is no `{word}`", page.display()));
            }
        }
    }
}

#[test]
fn scripts_are_read_as_a_shell_reads_them() {
    let script = "# strangler no\ncd x\nA=1 strangler weight 'a b' \\\n  5 --reason \"it's #1\" > out  # why\nstrangler | head\n";
    let read: Vec<String> = commands(script).iter().map(|words| words.join("·")).collect();
    assert_eq!(read, ["strangler·weight·a b·5·--reason·it's #1", "strangler"]);
}
