//! Commands in the documents: the Markdown pages at the top, in `docs/` and in `deploy/`.

use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Programs that start the one that their arguments name.
const WRAPPERS: &[&str] = &["docker", "exec", "kubectl", "sudo"];

/// A command line of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct DocumentedCommand {
    /// Page and line of the block or the paragraph.
    pub place: String,
    /// The words after the name of the program.
    pub arguments: Vec<String>,
    /// It is in a block of shell commands, to be copied, and not a mention in a sentence, which may leave arguments out.
    pub complete: bool,
}

/// A block of shell commands.
#[derive(Debug)]
pub struct ShellBlock {
    /// Name of the page in the workspace.
    pub page: String,
    /// Line of the block in it.
    pub line: usize,
    pub text: String,
}

impl ShellBlock {
    /// Page and line.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

/// What a parser of command lines makes of one.
pub enum ParsedCommand {
    Complete,
    /// An argument or a subcommand is missing; all others are right.
    Incomplete,
    /// Why it is refused.
    Refused(String),
}

/// Every block of shell commands.
pub fn shell_blocks() -> Vec<ShellBlock> {
    let mut found = Vec::new();
    for (name, text) in pages() {
        for (line, code, block) in code_of(&text) {
            if block {
                let page = name.clone();
                let text = code;
                found.push(ShellBlock { page, line, text });
            }
        }
    }
    found
}

/// The command lines of `program` in all documents.
pub fn commands_of(program: &str) -> Vec<DocumentedCommand> {
    let pages = pages();
    let found = pages
        .iter()
        .flat_map(|(name, text)| commands_in(program, name, text));
    found.collect()
}

/// Compares every command line of `program` with its parser. `other` are texts in code that begin with its name and are
/// no commands.
///
/// # Panics
/// When a command line is refused, a block to be copied lacks an argument, or an entry of `other` is not used.
pub fn check_commands(program: &str, other: &[&str], parse: impl Fn(&[String]) -> ParsedCommand) {
    let commands = commands_of(program);
    assert!(
        !commands.is_empty(),
        "no document has a command of {program}"
    );
    let mut unused: Vec<_> = other.to_vec();
    let mut refused = Vec::new();
    for command in &commands {
        let text = command.arguments.join(" ");
        if other.contains(&text.as_str()) {
            unused.retain(|entry| *entry != text);
        } else if let Err(reason) = accepts(command, &parse) {
            refused.push(format!("{}: {program} {text}: {reason}", command.place));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(unused.is_empty(), "no document has {unused:?}");
}

/// An ellipsis stands for a value or for further arguments, so the command is right with or without it.
fn accepts(
    command: &DocumentedCommand,
    parse: impl Fn(&[String]) -> ParsedCommand,
) -> Result<(), String> {
    let judge = |arguments: &[String]| match parse(arguments) {
        ParsedCommand::Complete => Ok(()),
        ParsedCommand::Incomplete if !command.complete => Ok(()),
        ParsedCommand::Incomplete => Err("an argument is missing".to_owned()),
        ParsedCommand::Refused(reason) => Err(reason),
    };
    judge(&command.arguments).or_else(|reason| {
        let mut without = command.arguments.clone();
        without.retain(|word| word != "…");
        let changed = without.len() < command.arguments.len();
        if changed {
            judge(&without)
        } else {
            Err(reason)
        }
    })
}

/// The pages, by their names in the workspace.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["", "docs", "deploy"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = Path::new(folder).join(entry.unwrap().file_name());
            // What was once true stays in the changelog.
            if path.extension().is_some_and(|kind| kind == "md")
                && path != Path::new("CHANGELOG.md")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        (path.display().to_string(), text)
    };
    files.into_iter().map(read).collect()
}

/// Code of a page: line, text, and whether it is a block of shell commands instead of a part of a sentence.
fn code_of(page: &str) -> Vec<(usize, String, bool)> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for (event, range) in Parser::new_ext(page, Options::ENABLE_TABLES).into_offset_iter() {
        let line = 1 + page[..range.start].matches('\n').count();
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language)))
                if ["sh", "bash", "console"].contains(&language.as_ref()) =>
            {
                block = Some(String::new());
            }
            Event::Text(text) => {
                if let Some(block) = &mut block {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                found.extend(block.take().map(|text| (line, text, true)));
            }
            Event::Code(code) => found.push((line, code.into_string(), false)),
            _ => {}
        }
    }
    found
}

fn commands_in(program: &str, page: &str, text: &str) -> Vec<DocumentedCommand> {
    let mut found = Vec::new();
    for (line, code, complete) in code_of(text) {
        let forms = if complete { vec![code] } else { forms(&code) };
        for form in forms {
            for words in command_lines(&form) {
                if let Some(arguments) = arguments_of(program, &words) {
                    let place = format!("{page}:{line}");
                    found.push(DocumentedCommand {
                        place,
                        arguments,
                        complete,
                    });
                }
            }
        }
    }
    found
}

/// What a synopsis stands for: `a|b` for `a` and for `b`, `[--flag]` for `--flag`.
fn forms(synopsis: &str) -> Vec<String> {
    let alternatives = |word: &str| word.contains('|') && word.len() > 2 && !word.contains('\'');
    let Some(word) = synopsis.split(' ').find(|word| alternatives(word)) else {
        return vec![synopsis.replace(['[', ']'], "")];
    };
    let forms = word
        .split('|')
        .flat_map(|choice| forms(&synopsis.replacen(word, choice, 1)));
    forms.collect()
}

/// The words after the name of the program, if the command line runs it.
fn arguments_of(program: &str, words: &[String]) -> Option<Vec<String>> {
    let assignment = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        })
    };
    let from = words.iter().position(|word| !assignment(word))?;
    let words = &words[from..];
    let runs = |word: &String| word.rsplit('/').next() == Some(program);
    let at = if WRAPPERS.contains(&words[0].as_str()) {
        words.iter().rposition(runs)?
    } else {
        runs(&words[0]).then_some(0)?
    };
    Some(words[at + 1..].to_vec())
}

/// The words of each command of a shell text, without redirections. Substitutions are commands like others.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let mut lines = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|inner| *inner != c));
            }
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            '#' if word.is_none() => while chars.next_if(|inner| *inner != '\n').is_some() {},
            ' ' | '\t' => end_word(&mut lines, word.take()),
            '\n' | '|' | '&' | ';' | '(' | ')' | '<' | '>' => {
                end_word(&mut lines, word.take());
                lines.push(Vec::new());
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    end_word(&mut lines, word);
    lines.retain(|words| !words.is_empty());
    lines
}

fn end_word(lines: &mut [Vec<String>], word: Option<String>) {
    if let (Some(line), Some(word)) = (lines.last_mut(), word) {
        line.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> Vec<(String, bool)> {
        let commands = commands_in("prog", "page.md", page).into_iter();
        commands
            .map(|command| (command.arguments.join("_"), command.complete))
            .collect()
    }

    #[test]
    fn commands_are_found_in_blocks_and_sentences() {
        let page = "Run `prog one`, `prog a|b X`, or `VAR=1 prog [--flag]`; `prog-other x` and `run prog` are not.\n\n\
            ```sh\n(umask 077; prog two 'a b' \"c d\" >file)   # prog comment\n/opt/prog three \\\n  --four | other $(prog five)\n\
            docker exec deploy/prog -- prog six\nsystemctl restart prog\n```\n\n```json\nprog seven\n```\n";
        let expected = [
            ("one", false),
            ("a_X", false),
            ("b_X", false),
            ("--flag", false),
            ("two_a b_c d", true),
            ("three_--four", true),
            ("five", true),
            ("six", true),
        ];
        let expected: Vec<_> = expected
            .map(|(words, complete)| (words.to_owned(), complete))
            .into();
        assert_eq!(found(page), expected);
    }

    /// Also those of sentences.
    #[test]
    fn targets_of_make_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
        let targets: Vec<&str> = makefile
            .lines()
            .filter_map(|line| line.strip_prefix(".PHONY: "))
            .collect();
        let commands = commands_of("make");
        assert!(commands.len() > 10, "{commands:?}");
        for DocumentedCommand {
            place, arguments, ..
        } in commands
        {
            let named = arguments
                .iter()
                .filter(|word| !word.contains('=') && !word.starts_with('-'));
            for target in named.filter(|word| *word != "…") {
                let exists = targets.contains(&target.as_str());
                assert!(exists, "{place}: the Makefile has no target {target}");
            }
        }
    }

    /// A block without a language is neither parsed nor executed.
    #[test]
    fn blocks_of_commands_have_the_language_sh() {
        const PROGRAMS: &[&str] = &[
            "$",
            "cd",
            "curl",
            "docker",
            "etcdctl",
            "galera-agent",
            "galera-console",
            "helm",
            "kubectl",
            "make",
            "mariadb",
            "mysql",
            "openssl",
            "sudo",
            "systemctl",
        ];
        for (name, text) in pages() {
            for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter()
            {
                let code = match event {
                    Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => &text[range.clone()],
                    Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language)))
                        if language.is_empty() =>
                    {
                        let block = &text[range.clone()];
                        block.split_once('\n').map_or("", |(_, code)| code)
                    }
                    _ => continue,
                };
                let line = 1 + text[..range.start].matches('\n').count();
                let words = code
                    .lines()
                    .filter_map(|line| line.split_whitespace().next());
                for word in words {
                    assert!(
                        !PROGRAMS.contains(&word),
                        "{name}:{line}: a block with {word} has the language sh"
                    );
                }
            }
        }
    }

    #[test]
    fn blocks_of_commands_are_valid_shell() {
        let blocks = shell_blocks();
        assert!(blocks.len() > 1, "{blocks:?}");
        for block in blocks {
            let output = std::process::Command::new("bash")
                .args(["-n", "-c", &block.text])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}: {output:?}", block.place());
        }
    }

    /// Accepts `run` and `run --value WORD`.
    fn parse(arguments: &[String]) -> ParsedCommand {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["run"] | ["run", "--value", _] => ParsedCommand::Complete,
            ["run", "--value"] | [] => ParsedCommand::Incomplete,
            _ => ParsedCommand::Refused("unknown".to_owned()),
        }
    }

    #[test]
    fn only_mentions_may_leave_arguments_out() {
        for (text, complete, accepted) in [
            ("run", true, true),
            ("run --value …", true, true),
            ("run …", true, true),
            ("run --value", true, false),
            ("run --value", false, true),
            ("walk", true, false),
            ("walk", false, false),
            ("walk …", false, false),
        ] {
            let command = DocumentedCommand {
                place: "page.md:1".to_owned(),
                arguments: text.split(' ').map(str::to_owned).collect(),
                complete,
            };
            assert_eq!(accepts(&command, parse).is_ok(), accepted, "{text}");
        }
    }
}
