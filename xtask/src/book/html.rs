//! Checks the links of a built site: mdBook makes anchors and file names by rules of its program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::links::{attribute, has_scheme, percent_decoded, within};

/// Pages that mdBook makes for special uses, with links relative to other places.
const SPECIAL: &[&str] = &["404.html", "print.html", "toc.html"];

/// # Errors
/// When a link of the site below `root` leads nowhere, or there is no index for the search.
pub(super) fn check(root: &Path) -> Result<()> {
    let mut pages = BTreeMap::new();
    let mut files = BTreeSet::new();
    collect(root, Path::new(""), &mut pages, &mut files)?;
    ensure!(
        files
            .iter()
            .any(|file| file.to_string_lossy().starts_with("searchindex")),
        "mdbook made no index for the search: it was built without that feature"
    );
    let mut findings = Vec::new();
    for (path, html) in &pages {
        for name in ["href", "src"] {
            for target in attribute(html, name) {
                if let Err(reason) = follow(&pages, &files, path, target) {
                    findings.push(format!("{}: {target}: {reason}", path.display()));
                }
            }
        }
    }
    ensure!(
        findings.is_empty(),
        "{}\n{} broken links in the built site",
        findings.join("\n"),
        findings.len()
    );
    Ok(())
}

fn collect(
    root: &Path,
    folder: &Path,
    pages: &mut BTreeMap<PathBuf, String>,
    files: &mut BTreeSet<PathBuf>,
) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, pages, files)?;
            continue;
        }
        let is_page = path.extension().is_some_and(|kind| kind == "html");
        if is_page && !SPECIAL.iter().any(|name| path == Path::new(name)) {
            pages.insert(path.clone(), fs::read_to_string(root.join(&path))?);
        }
        files.insert(path);
    }
    Ok(())
}

fn follow(
    pages: &BTreeMap<PathBuf, String>,
    files: &BTreeSet<PathBuf>,
    from: &Path,
    target: &str,
) -> Result<(), &'static str> {
    let target = percent_decoded(target);
    if has_scheme(&target) {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
    let path = match file {
        "" => from.to_owned(),
        file => within(&from.parent().unwrap_or(Path::new("")).join(file))
            .ok_or("leads out of the site")?,
    };
    let index = path.join("index.html");
    let path = if files.contains(&index) { index } else { path };
    if !files.contains(&path) {
        return Err("does not exist");
    }
    match pages.get(&path) {
        Some(html) if !anchor.is_empty() => attribute(html, "id")
            .any(|id| id == anchor)
            .then_some(())
            .ok_or("the page has no such anchor"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(page: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("searchindex.js", "");
        write("docs/index.html", "<h1 id=\"top\">x</h1>");
        write("page.html", page);
        check(root.path()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn broken_links_of_a_site_are_found() {
        let right = "<a href=\"docs/index.html#top\"><a href=\"docs\"><a href=\"https://example.org/x\"><b id=\"é\"><a href=\"#%C3%A9\">";
        assert_eq!(findings(right), "");
        for wrong in [
            "docs/index.html#bottom",
            "docs/README.html",
            "../page.html",
            "#x",
        ] {
            let found = findings(&format!("<a href=\"{wrong}\">"));
            assert!(found.contains(wrong), "{found}");
        }
    }
}
