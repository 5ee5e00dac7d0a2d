//! `mcp`: a server of the Model Context Protocol on standard input and output, for programs that give a model tools.
//!
//! Each tool is a command of [`crate::command`] with some arguments fixed. None approves, executes, rejects, attests or
//! overrides, whatever the token may do: people do. Texts of databases and registries are values in documents, never part of
//! a tool's name or description.

mod arguments;
mod resources;
mod server;
mod tools;

use clap::{Arg, ArgAction, ArgMatches, Command};
use rmcp::ServiceExt;

use crate::error::ClientError;
use crate::settings::{Environment, api_client, connection_arguments};
use server::ConsoleTools;

pub use tools::{McpTool, ToolKind, tools};

/// The command `mcp`.
#[must_use]
pub fn mcp_command() -> Command {
    Command::new("mcp")
        .about("Give a model tools that read a console, over the Model Context Protocol")
        .after_help(
            "The protocol is spoken on standard input and output. No tool approves or executes an action, whatever the token may do.",
        )
        .args(connection_arguments())
        .arg(
            Arg::new("allow-requests")
                .long("allow-requests")
                .action(ArgAction::SetTrue)
                .help("Also tools that request, cancel and comment on actions; people approve"),
        )
}

/// Serves the protocol until standard input ends.
///
/// # Errors
/// [`ClientError::Usage`] for wrong options. A console that cannot be reached is an error of each tool.
pub async fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), ClientError> {
    let client = api_client(matches, environment)?;
    let tools = ConsoleTools::new(client, matches.get_flag("allow-requests"));
    let failed = |error: &dyn std::fmt::Display| {
        ClientError::Internal(format!("the protocol ended with an error: {error}"))
    };
    let serving = match tools.serve(rmcp::transport::stdio()).await {
        Ok(serving) => serving,
        // Standard input ended before a client was there.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(failed(&error)),
    };
    serving.waiting().await.map_err(|error| failed(&error))?;
    Ok(())
}
