//! `completions` and `man`: made of the command line, so that they name every flag.

use std::path::Path;

use clap::ArgMatches;
use clap_complete::Shell;

use super::{CliError, ExitReason, arguments, print};

pub(super) fn completions(matches: &ArgMatches) -> Result<(), CliError> {
    let shell = matches.get_one::<Shell>("shell").copied();
    let mut script = Vec::new();
    let mut command = arguments::command();
    clap_complete::generate(
        shell.unwrap_or(Shell::Bash),
        &mut command,
        "galera-console",
        &mut script,
    );
    // clap_complete names the hyphen of a program's name in two ways, and then completes no subcommand.
    print(&String::from_utf8_lossy(&script).replace("galera__subcmd__console", "galera__console"))
}

pub(super) fn man(matches: &ArgMatches) -> Result<(), CliError> {
    let Some(directory) = matches.get_one::<String>("directory") else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(arguments::command()).render(&mut page);
        rendered.map_err(|error| CliError::new(ExitReason::Internal, error))?;
        return print(&String::from_utf8_lossy(&page));
    };
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(arguments::command(), Path::new(directory)));
    written.map_err(|error| {
        CliError::new(
            ExitReason::Usage,
            format!("cannot write manual pages to {directory}: {error}"),
        )
    })
}
