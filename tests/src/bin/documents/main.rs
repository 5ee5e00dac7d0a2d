//! Executes the shell commands of the documents on real servers, as a reader would: on a host with the names, addresses and
//! files that the documents have, which is a network and mount namespace of this process.
//!
//! `block_table` has every block, with what a reader puts in for its placeholders, or why it is not executed.

mod block_table;
mod coverage;
mod documented_host;
mod page_session;
mod servers;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use acceptance::lab::directory::LabDirectory;
use acceptance::lab::network;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use coverage::PlannedPage;
use documented_host::DocumentedHost;
use page_session::PageSession;
use rustix::process::getuid;
use servers::DocumentedServers;

/// Execute the shell commands of the documents.
#[derive(Parser)]
struct DocumentArguments {
    /// Pages to execute, as docs/ctl.md; by default all
    #[arg(value_name = "PAGE")]
    pages: Vec<String>,
    /// List every block with what is done with it, and end
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = DocumentArguments::parse();
    let outcome = pages(&arguments).and_then(|pages| {
        if arguments.list {
            for page in &pages {
                page.print();
            }
            return Ok(());
        }
        if !network::in_own_namespace() {
            ensure!(
                getuid().is_root(),
                "the documents' host is a network and mount namespace, and creating these requires root"
            );
            // Does not return on success: the program runs again in namespaces that disappear with this process.
            return Err(network::reexec_in_namespace());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(execute(&pages))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The selected pages. That every block of all pages has an entry is checked whichever are selected.
fn pages(arguments: &DocumentArguments) -> Result<Vec<PlannedPage>> {
    let mut pages = coverage::plan(testing::documents::shell_blocks(), table::PAGES)?;
    if !arguments.pages.is_empty() {
        for name in &arguments.pages {
            let known = pages.iter().any(|page| page.entry.page == name);
            ensure!(known, "no page {name} has a block of commands; see --list");
        }
        pages.retain(|page| arguments.pages.iter().any(|name| page.entry.page == name));
    }
    Ok(pages)
}

async fn execute(pages: &[PlannedPage]) -> Result<()> {
    let began = Instant::now();
    let directory = LabDirectory::create()?;
    let host = DocumentedHost::prepare(directory.path()).context("the documents' host")?;
    let servers = DocumentedServers::start(&directory, &host).await?;
    println!("servers run after {:.1} s", began.elapsed().as_secs_f64());
    let (mut executed, mut omitted, mut failed) = (0, 0, Vec::new());
    for (number, page) in pages.iter().enumerate() {
        let count = page.executed().count();
        omitted += page.blocks.len() - count;
        if count == 0 {
            continue;
        }
        let started = Instant::now();
        let outcome = PageSession::new(&host, &servers, page, number).run().await;
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                executed += count;
                println!(
                    "{}: {count} block(s) executed, {seconds:.1} s",
                    page.entry.page
                );
            }
            Err(error) => {
                println!(
                    "{}: FAILED after {seconds:.1} s: {error:#}",
                    page.entry.page
                );
                failed.push(page.entry.page);
            }
        }
    }
    println!(
        "{executed} block(s) executed, {omitted} not executed, in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    ensure!(
        failed.is_empty(),
        "commands failed in: {}; correct the document, or its entry in tests/src/bin/documents/table",
        failed.join(" ")
    );
    Ok(())
}
