//! The tests that docs/threat-model.md names as proof must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const PAGE: &str = "docs/threat-model.md";
/// Names of fewer words are keys, settings or programs.
const TEST_WORDS_MIN: usize = 5;

/// The files and tests that the page names and that do not exist.
///
/// # Errors
/// If the page or a source file cannot be read.
pub(super) fn missing(root: &Path) -> Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let (mut paths, mut tests) = (Vec::new(), BTreeSet::new());
    for file in super::files(root, &["target", "node_modules", ".git"])? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&file)?;
            let names = text.split("fn ").skip(1);
            tests.extend(names.filter_map(|rest| rest.split('(').next().map(str::to_owned)));
            paths.push(format!("/{}", file.strip_prefix(root)?.display()));
        }
    }
    let exists = |name: &str| {
        if is_path(name) {
            let end = format!("/{name}");
            root.join(name).exists() || paths.iter().any(|path| path.ends_with(&end))
        } else {
            !is_test(name) || tests.contains(name)
        }
    };
    let names = quoted(&page).filter(|name| !exists(name));
    Ok(names
        .map(|name| format!("{PAGE} names `{name}`, which does not exist"))
        .collect())
}

/// What stands between backquotes.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether `name` is a path in the repository or the end of one.
fn is_path(name: &str) -> bool {
    let is_source = Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "rs");
    is_source || (name.contains('/') && !name.starts_with('/'))
}

fn is_test(name: &str) -> bool {
    name.split('_').count() >= TEST_WORDS_MIN
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_files_and_tests_are_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "server/tests/hosts.rs",
            "fn a_page_of_another_site_is_refused() {}",
        );
        let page = "`hosts.rs` `server/tests` `server/tests/hosts.rs` `a_page_of_another_site_is_refused` `--public-url` \
                    `/api/v1/session` `galera_console_etcd_open 1` `user`\n`gone.rs` `server/gone` `a_test_that_nobody_wrote_yet`";
        write(PAGE, page);
        let found = missing(root.path()).unwrap().join("\n");
        let expected = [
            "`gone.rs`",
            "`server/gone`",
            "`a_test_that_nobody_wrote_yet`",
        ];
        assert_eq!(found.lines().count(), expected.len(), "{found}");
        assert!(expected.iter().all(|name| found.contains(name)), "{found}");
    }
}
