//! `cargo xtask prose`: the word list of CONTRIBUTING.md, checked, the numbers of docs/invariants.md, and the tests that
//! docs/threat-model.md names.
//!
//! Text that users read is every string literal with a space in non-test code, and every Markdown page.

mod proofs;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A phrase, in lower case, and what to write instead.
const MARKERS: &[(&str, &str)] = &[
    (
        "whoever",
        "the role: the caller, another replica, an operator",
    ),
    ("somebody", "the role: another person, another node"),
    ("nobody", "no node, no operator, no replica"),
    ("everybody", "every node, every viewer"),
    ("anew", "again"),
    ("for ever", "forever"),
    ("any more", "no longer"),
    ("all the same", "anyway"),
    ("by itself", "automatically"),
    ("by themselves", "automatically"),
    ("of its own", "a dedicated, a separate"),
    ("of our own", "a dedicated, a separate"),
    ("is none", "is not a valid …"),
    ("told", "notified, shown, reported"),
    ("tells", "notifies, shows, reports"),
    ("hears", "receives"),
    ("wants", "requires, requests"),
    ("wishes", "requests"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("takes in", "reads, ingests"),
    ("lets go", "deletes, releases"),
    ("takes note", "records"),
    ("comes to", "reaches, amounts to"),
    ("last word", "last update"),
    ("own word", "as the node reports"),
    ("is heard", "is received"),
    ("are heard", "are received"),
    ("at once", "immediately, or: together"),
    ("meanwhile", "in the meantime, since then"),
];

/// The same for what programs show; of a document or a page that states something, "says" is idiomatic.
const PROGRAM_MARKERS: &[(&str, &str)] = &[("says", "shows, names, reports")];

/// Folders whose Rust code is not shown to users.
const SKIPPED: &[&str] = &[
    "target",
    "node_modules",
    ".git",
    "tests",
    "benches",
    "fuzz",
    "model",
    "xtask",
];
/// The page that lists the words themselves.
const WORD_LIST: &str = "CONTRIBUTING.md";

/// Checks the workspace below `root`.
///
/// # Errors
/// When a phrase of the list is used, an invariant is cited but not defined, one that is marked tested has no test, or the
/// threat model names a test that does not exist.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    for file in files(root, SKIPPED)? {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") if !name.ends_with("tests.rs") => in_strings(&text),
            Some("md") if name != WORD_LIST => in_lines(&text),
            _ => Vec::new(),
        };
        findings.extend(found.into_iter().map(|(line, phrase, instead)| {
            format!("{name}:{line}: \"{phrase}\": write {instead}")
        }));
    }
    findings.extend(invariants(root)?);
    findings.extend(proofs::missing(root)?);
    ensure!(
        findings.is_empty(),
        "{}\n{} findings",
        findings.join("\n"),
        findings.len()
    );
    Ok(())
}

fn files(root: &Path, skipped: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if !skipped.contains(&name.as_str()) {
                    open.push(entry.path());
                }
            } else if name.ends_with(".rs") || name.ends_with(".md") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

type Found = (usize, &'static str, &'static str);

fn in_lines(text: &str) -> Vec<Found> {
    let numbered = text.lines().enumerate();
    numbered
        .flat_map(|(index, line)| {
            markers(line, MARKERS).map(move |(phrase, instead)| (index + 1, phrase, instead))
        })
        .collect()
}

/// The phrases of `list` in `text`, as whole words.
fn markers(
    text: &str,
    list: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lower = text.to_lowercase();
    list.iter().copied().filter(move |(phrase, _)| {
        lower.match_indices(phrase).any(|(at, _)| {
            let before = lower[..at].chars().next_back();
            let after = lower[at + phrase.len()..].chars().next();
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !inside(before) && !inside(after)
        })
    })
}

/// The phrases in string literals outside of `#[cfg(test)]` modules.
fn in_strings(source: &str) -> Vec<Found> {
    let source = source.split("#[cfg(test)]\nmod").next().unwrap_or(source);
    let mut found = Vec::new();
    for (line, literal) in literals(source) {
        if literal.contains(' ') {
            let phrases = markers(&literal, MARKERS).chain(markers(&literal, PROGRAM_MARKERS));
            found.extend(phrases.map(|(phrase, instead)| (line, phrase, instead)));
        }
    }
    found
}

/// The string literals of Rust code with the line on which each begins.
pub(crate) fn literals(source: &str) -> Vec<(usize, String)> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &source[at..];
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw_string(rest) {
            let open = hashes + 2;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = rest[open..]
                .find(&close)
                .map_or(rest.len(), |end| open + end);
            found.push((line, rest[open..end].to_owned()));
            (end + close.len()).min(rest.len())
        } else if rest.starts_with('"') {
            let end = closing_quote(rest);
            found.push((line, rest[1..end].replace("\\\n", "\n")));
            (end + 1).min(rest.len())
        } else if let Some(length) = char_literal(rest) {
            length
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        line += rest[..skip].matches('\n').count();
        at += skip;
    }
    found
}

/// The number of hashes when a raw string begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    hashes[count..].starts_with('"').then_some(count)
}

fn closing_quote(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal, as opposed to a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let mut chars = inner.char_indices();
    match chars.next()? {
        (_, '\\') => inner[2..].find('\'').map(|end| end + 4),
        _ => match chars.next()? {
            (at, '\'') => Some(at + 2),
            _ => None,
        },
    }
}

/// Numbers that are cited and not defined, and defined as tested without a test.
fn invariants(root: &Path) -> Result<Vec<String>> {
    let page = fs::read_to_string(root.join("docs/invariants.md")).context("docs/invariants.md")?;
    let row = |line: &str| {
        let number: u32 = line.strip_prefix("| I")?.split(' ').next()?.parse().ok()?;
        Some((number, line.ends_with("| tested |")))
    };
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    let (mut cited, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for file in files(root, &["target", "node_modules", ".git"])? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            // A variant such as `Number::I64` is no citation.
            let text = fs::read_to_string(&file)?.replace("::I", "::");
            cited.extend(numbers(&text, 'I', |c| c.is_alphanumeric() || c == '_'));
            for name in text.split("fn ").skip(1) {
                let name = name.split('(').next().unwrap_or_default();
                tested.extend(numbers(name, 'i', |c| c.is_alphanumeric()));
            }
        }
    }
    let defined = |number: u32| rows.iter().any(|(row, _)| *row == number);
    let unknown = cited.union(&tested).filter(|number| !defined(**number));
    let unknown = unknown
        .map(|number| format!("I{number} is cited but docs/invariants.md does not define it"));
    let untested = rows
        .iter()
        .filter(|(number, says)| *says && !tested.contains(number));
    let untested = untested.map(|(number, _)| {
        format!("docs/invariants.md marks I{number} as tested; no test is named i{number:02}_…")
    });
    Ok(unknown.chain(untested).collect())
}

/// The numbers of one or two digits that follow `letter` as words of their own.
fn numbers(text: &str, letter: char, joins: impl Fn(char) -> bool) -> Vec<u32> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(letter) {
        let before = text[..at].chars().next_back();
        let rest = &text[at + letter.len_utf8()..];
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let after = rest[digits.len()..].chars().next();
        if (1..=2).contains(&digits.len())
            && !before.is_some_and(&joins)
            && !after.is_some_and(&joins)
        {
            found.extend(digits.parse::<u32>());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_and_comments_are_not() {
        let source =
            "// \"no\"\nlet c = '\"'; let l: &'a str = \"one \\\" two\";\nr#\"raw \"x\" y\"#";
        let expected = [
            (2, "one \\\" two".to_owned()),
            (3, "raw \"x\" y".to_owned()),
        ];
        assert_eq!(literals(source), expected);
    }

    #[test]
    fn phrases_are_whole_words_in_text_that_users_read() {
        let source = "fn f() { log(\"Nobody answers\"); key(\"nobody\"); } // nobody told\n#[cfg(test)]\nmod tests { \"somebody else\" }";
        let found = in_strings(source);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0, found[0].1), (1, "nobody"));
        assert!(in_lines("a manewver of somebodyish").is_empty());
        assert_eq!(in_strings("f(\"the log says why\")").len(), 1);
        assert!(in_lines("the page says why").is_empty());
    }

    #[test]
    fn invariants_are_recognised_by_number() {
        assert_eq!(
            numbers("I17, I1–I33; WIDTH3 I123 I4x", 'I', |c| c
                .is_alphanumeric()
                || c == '_'),
            [17, 1, 33]
        );
        assert_eq!(
            numbers("i16_i17_no_step", 'i', |c| c.is_alphanumeric()),
            [16, 17]
        );
    }
}
