//! `ctl …` and `mcp`: commands that use the API of a console.

use clap::ArgMatches;
use console_client::{ClientError, ClientExit};

use super::{CliError, ExitReason, environment};

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = match error.exit() {
            ClientExit::Refused => ExitReason::Refused,
            ClientExit::Usage => ExitReason::Usage,
            ClientExit::Unavailable => ExitReason::Unavailable,
            ClientExit::Internal => ExitReason::Internal,
            ClientExit::TimedOut => ExitReason::TimedOut,
        };
        Self::new(exit, error)
    }
}

pub(super) fn ctl(matches: &ArgMatches) -> Result<(), CliError> {
    block_on(console_client::ctl::run(matches, &environment()))
}

pub(super) fn mcp(matches: &ArgMatches) -> Result<(), CliError> {
    block_on(console_client::mcp::run(matches, &environment()))
}

fn block_on(work: impl Future<Output = Result<(), ClientError>>) -> Result<(), CliError> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    // A name that is still being resolved, or a read of standard input, would keep the program from ending.
    runtime.shutdown_background();
    Ok(done?)
}

/// One thread: commands only wait for answers.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CliError::new(
                ExitReason::Internal,
                format!("cannot start the runtime: {error}"),
            )
        })
}
