//! Which modules of a library name which other ones, read from its text: its top-level modules, or the modules below one of
//! them.
//!
//! Comments and tests are left out. The root module itself is no part of the graph: an item that it re-exports counts as the
//! module's that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::graph::Graph;

/// The arrows between the modules below `directory`, which holds `lib.rs`.
pub(super) fn of_library(directory: &Path) -> Result<Graph> {
    below(directory, &directory.join("lib.rs"), "crate::")
}

/// The arrows between the modules below the top-level module `module` of the library in `directory`.
pub(super) fn of_module(directory: &Path, module: &str) -> Result<Graph> {
    let root = directory.join(format!("{module}.rs"));
    below(
        &directory.join(module),
        &root,
        &format!("crate::{module}::"),
    )
}

/// The arrows between the modules below `directory`; `root` is the module above them, with the path `prefix`.
fn below(directory: &Path, root: &Path, prefix: &str) -> Result<Graph> {
    let root = read(root)?;
    let files = files(directory)?;
    let modules: BTreeSet<String> = files.iter().filter_map(|file| module_of(file)).collect();
    let exported = exported(&root, &modules);
    let mut graph = Graph::default();
    for file in &files {
        let Some(module) = module_of(file) else {
            continue;
        };
        let text = read(&directory.join(file))?;
        let is_top = file.components().count() == 1;
        for (line, name) in names(&text, prefix, is_top) {
            let target = match modules.get(&name) {
                Some(target) => Some(target),
                None => exported.get(&name),
            };
            if let Some(target) = target.filter(|target| **target != module) {
                graph.add(&module, target, format!("{}:{line}", file.display()));
            }
        }
    }
    Ok(graph)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Source files below `directory`, by relative path.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                // Programs are crates of their own.
                if path != directory.join("bin") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(directory)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The top-level module that `file` belongs to; `None` for roots and tests.
fn module_of(file: &Path) -> Option<String> {
    let mut parts = file.iter().map(|part| part.to_string_lossy());
    if parts
        .clone()
        .any(|part| part == "tests" || part == "tests.rs")
    {
        return None;
    }
    let first = parts.next()?;
    let name = first.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// The names that the root module re-exports, and the module that each comes from.
fn exported(root: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exported = BTreeMap::new();
    for (_, statement) in statements(root) {
        let Some((_, path)) = statement.split_once("use ") else {
            continue;
        };
        let Some((module, items)) = path.split_once("::") else {
            continue;
        };
        if !statement.trim_start().starts_with("pub") || !modules.contains(module.trim()) {
            continue;
        }
        for item in items.split(|c: char| !c.is_alphanumeric() && c != '_') {
            exported.insert(item.to_owned(), module.trim().to_owned());
        }
    }
    exported
}

/// Statements with the number of their first line, without comments, up to the tests.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements = Vec::new();
    let (mut begun, mut statement) = (1, String::new());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let code = line.split("//").next().unwrap_or_default();
        let is_test = code.trim() == "#[cfg(test)]"
            && lines
                .peek()
                .is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
        if is_test {
            break;
        }
        if statement.trim().is_empty() {
            statement.clear();
            begun = index + 1;
        }
        statement.push_str(code);
        statement.push('\n');
        if code.contains(';') {
            statements.push((begun, std::mem::take(&mut statement)));
        }
    }
    statements.push((begun, statement));
    statements
}

/// The first name of every path from the root module, whose own path is `prefix`, with its line.
fn names(text: &str, prefix: &str, is_top: bool) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (begun, statement) in statements(text) {
        for root in [prefix, "super::"] {
            if root == "super::" && !is_top {
                continue;
            }
            for (at, _) in statement.match_indices(root) {
                let before = statement[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let line = begun + statement[..at].matches('\n').count();
                let rest = &statement[at + root.len()..];
                names.extend(heads(rest).into_iter().map(|name| (line, name)));
            }
        }
    }
    names
}

/// `a` of `a::b`, and `a` and `c` of `{a::{b}, c}`.
fn heads(path: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let (mut depth, mut heads, mut part) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => heads.push(identifier(&std::mem::take(&mut part))),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                part.push(c);
            }
        }
    }
    heads.push(identifier(&part));
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, is_top: bool) -> Vec<String> {
        let names = names(text, "crate::", is_top);
        names.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn groups_and_calls_are_read_and_comments_and_tests_are_not() {
        let text = "// crate::no\nuse crate::{a::{x, y}, b};\nfn f() { crate::c::g(); my_crate::d(); }\n#[cfg(test)]\nmod tests {\n    use crate::e;\n}\n";
        assert_eq!(named(text, true), ["a", "b", "c"]);
    }

    #[test]
    fn paths_of_a_nested_root_begin_with_its_own() {
        let text = "use crate::a::b::X;\nuse crate::c::d;\nuse super::{E, f};\n";
        let names = names(text, "crate::a::", true);
        let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["b", "E", "f"]);
    }

    #[test]
    fn parent_of_a_nested_module_is_its_own_module() {
        assert_eq!(named("use super::a;\n", true), ["a"]);
        assert!(named("use super::a;\n", false).is_empty());
    }
}
