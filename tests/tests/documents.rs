//! The commands of the documents do what the documents state.

use std::time::Duration;

use acceptance::lab::run_program;
use anyhow::Result;

/// Longest time for all pages, on a machine that also runs the other tests; they take about a minute.
const TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_documents_run() -> Result<()> {
    run_program("documents", &[], TIMEOUT).await
}
