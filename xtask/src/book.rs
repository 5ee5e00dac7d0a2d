//! `cargo xtask book`: the documents as a site with search, made by mdBook. Its pages are those that links lead to from
//! the README, in that order, and the files that they link to; links stay as they are in the repository.

mod html;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::links::MarkdownPages;

/// Where reading begins.
const FIRST: &str = "README.md";
/// The list of the decisions, which are chapters below it.
const DECISIONS: &str = "docs/adr/README.md";
const SETTINGS: &str = "[book]\ntitle = \"Galera Console\"\nlanguage = \"en\"\nsrc = \"source\"\n\n\
    [build]\nbuild-dir = \"site\"\ncreate-missing = false\n\n\
    [output.html]\nno-section-label = true\nsmart-punctuation = false\n\n[output.html.fold]\nenable = true\nlevel = 0\n\n\
    [output.html.search]\nenable = true\nlimit-results = 30\nuse-boolean-and = true\n";

/// Replaces `out` with the site of the workspace below `root`.
///
/// # Errors
/// When a page in `docs/` is not reached from the README, mdBook fails or is missing, or a link of the site is broken.
pub(crate) fn build(root: &Path, out: &Path) -> Result<()> {
    let pages = MarkdownPages::read(root)?;
    let contents = SiteContents::reach(&pages)?;
    let work = out.with_extension("work");
    for directory in [&work, &out.to_owned()] {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
    }
    contents.write(&pages, &work)?;
    let built = Command::new("mdbook").arg("build").arg(&work).output();
    let built = built.context("mdbook cannot be started; scripts/setup docs installs it")?;
    ensure!(
        built.status.success(),
        "mdbook: {}\n{}",
        built.status,
        String::from_utf8_lossy(&built.stderr)
    );
    html::check(&work.join("site"))?;
    fs::rename(work.join("site"), out)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// What the site consists of, by paths in the workspace.
#[derive(Debug, Default)]
struct SiteContents {
    /// In the order in which links lead to them.
    chapters: Vec<PathBuf>,
    files: BTreeSet<PathBuf>,
    /// Folders that links lead to.
    folders: BTreeSet<PathBuf>,
}

impl SiteContents {
    /// Follows the links from the first page.
    fn reach(pages: &MarkdownPages) -> Result<Self> {
        let mut contents = Self::default();
        contents.chapters.push(FIRST.into());
        let mut next = 0;
        while let Some(path) = contents.chapters.get(next).cloned() {
            next += 1;
            let page = pages.page(&path).context("the first page")?;
            for link in &page.links {
                match pages.follow(&path, &link.target) {
                    Ok(Some(target)) => contents.add(pages, target),
                    Ok(None) => {}
                    Err(reason) => {
                        bail!(
                            "{}:{}: {}: {reason}",
                            path.display(),
                            link.line,
                            link.target
                        )
                    }
                }
            }
        }
        let missing: Vec<_> = pages
            .paths()
            .filter(|path| {
                path.starts_with("docs") && !contents.chapters.iter().any(|chapter| chapter == path)
            })
            .map(|path| path.display().to_string())
            .collect();
        ensure!(
            missing.is_empty(),
            "no link leads from {FIRST} to {}",
            missing.join(", ")
        );
        Ok(contents)
    }

    fn add(&mut self, pages: &MarkdownPages, target: PathBuf) {
        if pages.page(&target).is_some() {
            if !self.chapters.contains(&target) {
                self.chapters.push(target);
            }
        } else if pages.root().join(&target).is_dir() {
            let first = target.join("README.md");
            if pages.page(&first).is_some() {
                self.add(pages, first);
            } else {
                self.folders.insert(target);
            }
        } else {
            self.files.insert(target);
        }
    }

    /// Writes the sources and the settings of mdBook.
    fn write(&self, pages: &MarkdownPages, work: &Path) -> Result<()> {
        let source = work.join("source");
        let copy = |path: &Path| -> Result<()> {
            let to = source.join(path);
            fs::create_dir_all(to.parent().unwrap_or(&source))?;
            fs::copy(pages.root().join(path), to)
                .with_context(|| format!("cannot copy {}", path.display()))?;
            Ok(())
        };
        for path in &self.chapters {
            let to = source.join(as_index(path));
            fs::create_dir_all(to.parent().unwrap_or(&source))?;
            let text = fs::read_to_string(pages.root().join(path))?;
            fs::write(to, with_index_links(&text))?;
        }
        for path in &self.files {
            copy(path)?;
        }
        let mut summary = String::from("# Summary\n\n");
        for path in &self.chapters {
            let title = pages.page(path).and_then(|page| page.title.as_deref());
            let title = title.with_context(|| format!("{} has no title", path.display()))?;
            let is_decision =
                path.parent() == Path::new(DECISIONS).parent() && path != Path::new(DECISIONS);
            if !is_decision {
                writeln!(summary, "- [{title}]({})", as_index(path).display())?;
            }
            if path == Path::new(DECISIONS) {
                self.write_decisions(pages, &mut summary)?;
            }
        }
        for folder in &self.folders {
            let mut listing = format!("# {}\n\n", folder.display());
            for file in files_below(pages.root(), folder)? {
                copy(&file)?;
                let name = file.strip_prefix(folder)?.display();
                writeln!(listing, "- [{name}]({name})")?;
            }
            let page = folder.join("index.md");
            fs::write(source.join(&page), listing)?;
            writeln!(
                summary,
                "- [Files of {}]({})",
                folder.display(),
                page.display()
            )?;
        }
        fs::write(source.join("SUMMARY.md"), summary)?;
        fs::write(work.join("book.toml"), SETTINGS)?;
        Ok(())
    }

    fn write_decisions(&self, pages: &MarkdownPages, summary: &mut String) -> Result<()> {
        let folder = Path::new(DECISIONS).parent();
        for path in self.chapters.iter().filter(|path| path.parent() == folder) {
            if path != Path::new(DECISIONS) {
                let title = pages.page(path).and_then(|page| page.title.as_deref());
                let title = title.with_context(|| format!("{} has no title", path.display()))?;
                writeln!(summary, "  - [{title}]({})", path.display())?;
            }
        }
        Ok(())
    }
}

/// mdBook makes `index.html` of a README, but links to `README.html`.
fn as_index(path: &Path) -> PathBuf {
    if path.file_name().is_some_and(|name| name == "README.md") {
        path.with_file_name("index.md")
    } else {
        path.to_owned()
    }
}

/// The page with the links that [`as_index`] changes.
fn with_index_links(text: &str) -> String {
    let mut pieces = text.split("](");
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (target, rest) = piece.split_at(piece.find(')').unwrap_or(0));
        changed.push_str("](");
        changed.push_str(&target.replace("README.md", "index.md"));
        changed.push_str(rest);
    }
    changed
}

/// The files in `folder` and below it, by their paths in the workspace.
fn files_below(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(files_below(root, &path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn chapters_and_files_are_those_that_links_lead_to() {
        let first = "# First\n[b](docs/b.md) [adr](docs/adr/) [units](deploy/units) README.md";
        let root = workspace(&[
            ("README.md", first),
            ("docs/a.md", "# A\n"),
            (
                "docs/b.md",
                "# B\n[a](a.md) [home](../README.md#first) [data](data.json)",
            ),
            ("docs/data.json", "{}"),
            ("docs/adr/README.md", "# Decisions\n[1](0001.md)"),
            ("docs/adr/0001.md", "# One"),
            ("deploy/units/x.service", "[Unit]"),
            ("other.md", "# Not reached"),
        ]);
        let pages = MarkdownPages::read(root.path()).unwrap();
        let work = root.path().join("work");
        SiteContents::reach(&pages)
            .unwrap()
            .write(&pages, &work)
            .unwrap();
        let summary = fs::read_to_string(work.join("source/SUMMARY.md")).unwrap();
        let expected = "# Summary\n\n- [First](index.md)\n- [B](docs/b.md)\n- [Decisions](docs/adr/index.md)\n  - [One](docs/adr/0001.md)\n- [A](docs/a.md)\n- [Files of deploy/units](deploy/units/index.md)\n";
        assert_eq!(summary, expected);
        let page = fs::read_to_string(work.join("source/docs/b.md")).unwrap();
        assert!(page.contains("[home](../index.md#first)"), "{page}");
        let index = fs::read_to_string(work.join("source/index.md")).unwrap();
        assert!(index.ends_with(" README.md"), "{index}");
        assert!(work.join("source/docs/data.json").exists());
        assert!(work.join("source/deploy/units/x.service").exists());
    }

    #[test]
    fn a_page_that_no_link_leads_to_is_refused() {
        let root = workspace(&[("README.md", "# First"), ("docs/lost.md", "# Lost")]);
        let refused = SiteContents::reach(&MarkdownPages::read(root.path()).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("docs/lost.md"), "{refused}");
    }
}
