//! Commands that programs and pages show: remedies, notices, problem details and help, in the sources of the workspace.

use std::path::{Path, PathBuf};

use crate::documents::ParsedCommand;

/// What ends a command in a text.
const ENDS: &[char] = &[
    '`', '"', '\'', '\\', ',', ';', ':', '(', ')', '<', '>', '|', '…', '\n',
];

/// Compares every command of `program` in the sources with its parser. A text counts as a command if its first word is one
/// of the program's; the sentence may continue after it. `other` are beginnings of texts that are no commands.
///
/// # Panics
/// When a command is refused, or an entry of `other` is not used.
pub fn check_source_commands(
    program: &str,
    other: &[&str],
    parse: impl Fn(&[String]) -> ParsedCommand,
) {
    let mut unused: Vec<_> = other.to_vec();
    let (mut refused, mut accepted) = (Vec::new(), 0);
    for (place, words) in commands(program) {
        let is_known = |words: &[String]| !matches!(parse(words), ParsedCommand::Refused(_));
        if !is_known(&words[..1]) {
            continue;
        }
        let text = words.join(" ");
        if let Some(entry) = other.iter().find(|entry| text.starts_with(*entry)) {
            unused.retain(|one| one != entry);
        } else if is_accepted(&words, is_known) {
            accepted += 1;
        } else {
            refused.push(format!("{place}: {program} {text}"));
        }
    }
    assert!(
        refused.is_empty(),
        "no such command:\n{}",
        refused.join("\n")
    );
    assert!(accepted > 0, "no source has a command of {program}");
    assert!(unused.is_empty(), "no source has {unused:?}");
}

/// Whether the words begin with a command that has all of their options, and all words up to a capital letter or an
/// option.
fn is_accepted(words: &[String], is_known: impl Fn(&[String]) -> bool) -> bool {
    let last_option = words.iter().rposition(|word| word.starts_with("--"));
    let shortest = last_option.map_or(1, |at| at + 1);
    (shortest..=words.len())
        .rev()
        .any(|length| is_known(&words[..length]))
}

/// Place and words of each text that begins with the program's name and a lower-case word.
fn commands(program: &str) -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for package in std::fs::read_dir(&root).unwrap() {
        let package = package.unwrap();
        // Users do not see the commands of test programs.
        if package.file_name() != "tests" {
            collect(&package.path().join("src"), &mut files);
        }
    }
    let mut found = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(&root)
            .unwrap_or(&file)
            .display()
            .to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for words in commands_of_line(program, line) {
                found.push((format!("{name}:{}", number + 1), words));
            }
        }
    }
    found
}

/// The sources of a folder; tests and this package, whose commands are examples, are left out.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).file_name();
    if folder.parent().and_then(Path::file_name) == own {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !is_test {
            files.push(path);
        }
    }
}

fn commands_of_line(program: &str, line: &str) -> Vec<Vec<String>> {
    let name = format!("{program} ");
    let mut found = Vec::new();
    for (at, _) in line.match_indices(&name) {
        let rest = &line[at + name.len()..];
        let rest = rest.split(ENDS).next().unwrap_or_default();
        // A sentence ends with a full stop; values have some, too.
        let rest = rest
            .split(". ")
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
        let begins = words.first().and_then(|word| word.chars().next());
        if begins.is_some_and(|first| first.is_ascii_lowercase()) {
            found.push(words);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[String]) -> ParsedCommand {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["state"] => ParsedCommand::Incomplete,
            ["state", "show"] | ["state", "accept", "--confirm"] => ParsedCommand::Complete,
            _ => ParsedCommand::Refused(String::new()),
        }
    }

    #[test]
    fn a_command_ends_before_the_sentence_continues() {
        for (line, expected) in [
            ("\"see `prog state show`\"", &[&["state", "show"][..]][..]),
            (
                "prog state show says what to do. Then",
                &[&["state", "show", "says", "what", "to", "do"]],
            ),
            ("prog state; prog STATE, other", &[&["state"]]),
        ] {
            assert_eq!(commands_of_line("prog", line), expected, "{line}");
        }
        let known = |words: &[String]| !matches!(parse(words), ParsedCommand::Refused(_));
        for (text, accepted) in [
            ("state show says what to do", true),
            ("state accept --confirm ends it", true),
            ("state show --confirm", false),
            ("state accept --confrim", false),
        ] {
            let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
            assert_eq!(is_accepted(&words, known), accepted, "{text}");
        }
    }
}
