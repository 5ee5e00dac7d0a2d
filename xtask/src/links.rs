//! `cargo xtask links`: every relative link and anchor of the Markdown pages, and every mention of a page in other files
//! (`docs/etcd.md#space` in a message), leads to something that exists.
//!
//! Links to other hosts are not requested: a check must not depend on them.

mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use page::MarkdownPage;
pub(crate) use page::{attribute, percent_decoded};

/// Folders without files of this project.
const SKIPPED: &[&str] = &["target", "node_modules", ".git", "test-results"];
/// The folder of this check, whose tests name pages that do not exist.
const OWN: &str = "xtask";
/// Larger files and those of other programs mention no page.
const LONGEST: u64 = 1 << 20;

/// The Markdown pages of a workspace, by their paths in it.
pub(crate) struct MarkdownPages {
    root: PathBuf,
    pages: BTreeMap<PathBuf, MarkdownPage>,
}

impl MarkdownPages {
    /// Reads every page below `root`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut pages = BTreeMap::new();
        for file in files(root)? {
            if file.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(root.join(&file))
                    .with_context(|| format!("cannot read {}", file.display()))?;
                pages.insert(file, MarkdownPage::parse(&text));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            pages,
        })
    }

    /// Where the workspace is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The paths of all pages in the workspace.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.pages.keys().map(PathBuf::as_path)
    }

    /// The page at `path` in the workspace.
    pub(crate) fn page(&self, path: &Path) -> Option<&MarkdownPage> {
        self.pages.get(path)
    }

    /// What is wrong with the links of all pages, a line each.
    fn broken_links(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for (path, page) in &self.pages {
            for link in &page.links {
                if let Err(reason) = self.follow(path, &link.target) {
                    let (path, line, target) = (path.display(), link.line, &link.target);
                    findings.push(format!("{path}:{line}: {target}: {reason}"));
                }
            }
        }
        findings
    }

    /// Follows a link of the page `from`. Returns the path of what it leads to, `None` for another host.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub(crate) fn follow(&self, from: &Path, target: &str) -> Result<Option<PathBuf>, String> {
        if has_scheme(target) {
            return Ok(None);
        }
        let (file, anchor) = match target.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor)),
            None => (target, None),
        };
        let path = if file.is_empty() {
            from.to_owned()
        } else {
            let path = from.parent().unwrap_or(Path::new("")).join(file);
            within(&path).ok_or("leads out of the project")?
        };
        self.exists(&path, anchor)?;
        Ok(Some(path))
    }

    /// Whether there is a file or folder `path` with the anchor.
    fn exists(&self, path: &Path, anchor: Option<&str>) -> Result<(), String> {
        if !is_spelled(&self.root, path) {
            return Err("does not exist".to_owned());
        }
        let Some(anchor) = anchor else { return Ok(()) };
        match self.pages.get(path) {
            Some(page) if page.anchors.contains(anchor) => Ok(()),
            Some(page) => Err(page.nearest(anchor)),
            None => Err("only Markdown pages have anchors".to_owned()),
        }
    }
}

/// Checks the workspace below `root`.
///
/// # Errors
/// When a link or a mention leads nowhere.
pub(crate) fn check(root: &Path) -> Result<()> {
    let pages = MarkdownPages::read(root)?;
    let mut findings = pages.broken_links();
    for file in files(root)? {
        if file.starts_with(OWN) || fs::metadata(root.join(&file))?.len() > LONGEST {
            continue;
        }
        // Pictures have no text.
        let Ok(text) = fs::read_to_string(root.join(&file)) else {
            continue;
        };
        for (line, path, anchor) in mentions(&text) {
            if let Err(reason) = pages.exists(Path::new(path), anchor) {
                let anchor = anchor.map(|name| format!("#{name}")).unwrap_or_default();
                let file = file.display();
                findings.push(format!("{file}:{line}: {path}{anchor}: {reason}"));
            }
        }
    }
    findings.sort();
    findings.dedup();
    ensure!(
        findings.is_empty(),
        "{}\n{} findings",
        findings.join("\n"),
        findings.len()
    );
    Ok(())
}

/// The files below `root`, relative to it.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let listed = fs::read_dir(root.join(&directory))
            .with_context(|| format!("cannot list {}", root.join(&directory).display()))?;
        for entry in listed {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_file() {
                found.push(path);
            } else if entry.file_type()?.is_dir()
                && !SKIPPED.contains(&entry.file_name().to_string_lossy().as_ref())
            {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the target names another host or a protocol: RFC 3986, section 3.1.
pub(crate) fn has_scheme(target: &str) -> bool {
    target.starts_with("//")
        || target.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        })
}

/// The path without `.` and `..`; `None` if it leaves the folder that it is relative to.
pub(crate) fn within(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// Whether `path` exists in exactly this spelling, which matters on the hosts of others only.
fn is_spelled(root: &Path, path: &Path) -> bool {
    let mut directory = root.to_owned();
    path.components().all(|component| {
        let listed = fs::read_dir(&directory);
        directory.push(component);
        listed.is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name() == component.as_os_str())
        })
    })
}

/// Pages that a text names, `docs/NAME.md` with or without an anchor: line, path, anchor.
fn mentions(text: &str) -> Vec<(usize, &str, Option<&str>)> {
    let part_of_path = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("docs/") {
            let before = line[..at].chars().next_back();
            // Such as ../docs/ in a link, which is followed from its page, or the folder of another project.
            if before.is_some_and(part_of_path) {
                continue;
            }
            let rest = &line[at..];
            let end = rest.find(|c: char| !part_of_path(c)).unwrap_or(rest.len());
            let Some(path) = rest[..end].find(".md").map(|end| &rest[..end + 3]) else {
                continue;
            };
            let anchor = rest[path.len()..].strip_prefix('#').map(|anchor| {
                let end = anchor
                    .find(|c: char| !(c.is_alphanumeric() || "-_".contains(c)))
                    .unwrap_or(anchor.len());
                &anchor[..end]
            });
            found.push((index + 1, path, anchor.filter(|name| !name.is_empty())));
        }
    }
    found
}

#[cfg(test)]
mod tests;
