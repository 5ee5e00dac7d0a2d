//! Which entry of the table belongs to which block: each block has exactly one, and each entry has a block.

use anyhow::{Result, ensure};
use testing::documents::ShellBlock;

use crate::block_table::{BlockEntry, BlockExecution, BlockHandling, PageEntry};

/// A page of the table, with the text of its blocks.
pub(crate) struct PlannedPage {
    pub(crate) entry: PageEntry,
    /// In the order of the page.
    pub(crate) blocks: Vec<PlannedBlock>,
}

pub(crate) struct PlannedBlock {
    pub(crate) block: ShellBlock,
    pub(crate) entry: BlockEntry,
}

impl PlannedPage {
    /// The blocks that are executed.
    pub(crate) fn executed(&self) -> impl Iterator<Item = (&ShellBlock, BlockExecution)> {
        self.blocks
            .iter()
            .filter_map(|planned| match planned.entry.handling {
                BlockHandling::Executed(execution) => Some((&planned.block, execution)),
                BlockHandling::NotExecuted(_) => None,
            })
    }

    /// Prints what is done with each block.
    pub(crate) fn print(&self) {
        for planned in &self.blocks {
            let handling = match planned.entry.handling {
                BlockHandling::Executed(execution) if execution.substitutions.is_empty() => {
                    "executed".to_owned()
                }
                BlockHandling::Executed(_) => "executed with substitutions".to_owned(),
                BlockHandling::NotExecuted(requirement) => format!("not executed: {requirement}"),
            };
            println!("{}  {handling}", planned.block.place());
        }
    }
}

/// Every block with its entry, by page in the order of the table.
///
/// # Errors
/// If a block has no entry or several, or an entry no block; names all of them and the remedy.
pub(crate) fn plan(blocks: Vec<ShellBlock>, pages: &[PageEntry]) -> Result<Vec<PlannedPage>> {
    let mut planned: Vec<PlannedPage> = pages
        .iter()
        .map(|entry| PlannedPage {
            entry: *entry,
            blocks: Vec::new(),
        })
        .collect();
    let mut problems = Vec::new();
    for block in blocks {
        let page = planned
            .iter_mut()
            .find(|page| page.entry.page == block.page);
        let Some(page) = page else {
            problems.push(missing(&block));
            continue;
        };
        let mut entries = page
            .entry
            .blocks
            .iter()
            .filter(|entry| block.text.starts_with(entry.begins));
        match (entries.next(), entries.next()) {
            (Some(entry), None) => {
                let entry = *entry;
                page.blocks.push(PlannedBlock { block, entry });
            }
            (None, _) => problems.push(missing(&block)),
            (Some(_), Some(_)) => problems.push(format!(
                "{}: several entries begin like this block; make them longer",
                block.place()
            )),
        }
    }
    for page in &planned {
        for entry in page.entry.blocks {
            let uses = page
                .blocks
                .iter()
                .filter(|block| block.entry.begins == entry.begins);
            match uses.count() {
                1 => {}
                0 => problems.push(format!(
                    "{}: no block begins with {:?}; remove its entry",
                    page.entry.page, entry.begins
                )),
                _ => problems.push(format!(
                    "{}: several blocks begin with {:?}; make their entries longer",
                    page.entry.page, entry.begins
                )),
            }
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(planned)
}

fn missing(block: &ShellBlock) -> String {
    format!(
        "{}: this block has no entry; add one to tests/src/bin/documents/table (CONTRIBUTING.md, The commands of the documents)",
        block.place()
    )
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::block_table::{
        BlockEntry, MissingRequirement, PageEntry, StartingPoint, executed, not_executed,
    };
    use crate::table::PAGES;
    use testing::documents::{ShellBlock, shell_blocks};

    fn block(line: usize, text: &str) -> ShellBlock {
        ShellBlock {
            page: "page.md".to_owned(),
            line,
            text: text.to_owned(),
        }
    }

    const fn page(blocks: &'static [BlockEntry]) -> PageEntry {
        PageEntry {
            page: "page.md",
            starting_point: StartingPoint::NewHost,
            before: "",
            blocks,
        }
    }

    #[test]
    fn every_block_of_the_documents_has_one_entry() {
        let pages = plan(shell_blocks(), PAGES).unwrap_or_else(|error| panic!("{error}"));
        let executed: usize = pages.iter().map(|page| page.executed().count()).sum();
        let all: usize = pages.iter().map(|page| page.blocks.len()).sum();
        assert!(executed * 2 > all, "{executed} of {all} are executed");
    }

    #[test]
    fn substitutions_are_of_the_block() {
        for page in plan(shell_blocks(), PAGES).unwrap() {
            for (block, execution) in page.executed() {
                for (text, _) in execution.substitutions {
                    assert!(block.text.contains(text), "{}: {text}", block.place());
                }
            }
        }
    }

    #[test]
    fn placeholders_are_substituted() {
        for page in plan(shell_blocks(), PAGES).unwrap() {
            for (block, execution) in page.executed() {
                let mut text = block.text.clone();
                for (from, _) in execution.substitutions {
                    text = text.replace(from, "");
                }
                assert!(
                    !text.contains('…'),
                    "{}: an ellipsis remains",
                    block.place()
                );
            }
        }
    }

    #[test]
    fn a_block_without_an_entry_is_named() {
        let entries = [page(const { &[executed("first")] })];
        let blocks = vec![block(3, "first\n"), block(9, "second\n")];
        let error = plan(blocks, &entries).err().unwrap().to_string();
        assert!(
            error.starts_with("page.md:9: this block has no entry"),
            "{error}"
        );
        assert!(error.contains("tests/src/bin/documents/table"), "{error}");
    }

    #[test]
    fn an_entry_without_a_block_is_named() {
        let entries = [page(
            const {
                &[
                    executed("first"),
                    not_executed("gone", MissingRequirement::Docker),
                ]
            },
        )];
        let error = plan(vec![block(3, "first\n")], &entries).err().unwrap();
        assert!(
            error.to_string().contains("no block begins with \"gone\""),
            "{error}"
        );
    }

    #[test]
    fn entries_and_blocks_are_unambiguous() {
        let entries = [page(const { &[executed("first"), executed("first of")] })];
        let error = plan(vec![block(3, "first of two\n")], &entries)
            .err()
            .unwrap();
        assert!(error.to_string().contains("several entries"), "{error}");
        let entries = [page(const { &[executed("first")] })];
        let blocks = vec![block(3, "first one\n"), block(9, "first two\n")];
        let error = plan(blocks, &entries).err().unwrap();
        assert!(error.to_string().contains("several blocks"), "{error}");
    }
}
