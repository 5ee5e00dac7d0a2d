//! `secret new|rotate`: creates and replaces the state secret. Nothing in etcd is read or written.

use std::path::Path;

use clap::ArgMatches;
use console_core::state_secret::{generate_file, new_secret, rotate_file};

use super::{CliError, ExitReason, print};

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::new(ExitReason::Usage, error);
    let file = |matches: &ArgMatches| matches.get_one::<String>("file").cloned();
    match matches.subcommand() {
        Some(("new", matches)) => match file(matches) {
            None => print(&format!("{}\n", new_secret()?)),
            Some(path) => {
                let secrets = generate_file(Path::new(&path)).map_err(|error| usage(&error))?;
                print(&format!(
                    "Created the state secret {} in {path}; copy the file to every replica.\n",
                    secrets.newest().kid()
                ))
            }
        },
        Some(("rotate", matches)) => {
            let path = file(matches).unwrap_or_default();
            let secrets = rotate_file(Path::new(&path)).map_err(|error| usage(&error))?;
            print(&format!(
                "Created the state secret {} in {path}; the one before stays valid.\nStop every replica, copy the file to each and start them; records are then sealed with the new secret. Without downtime: see docs/etcd.md.\n",
                secrets.newest().kid()
            ))
        }
        _ => Err(usage(&"no command given; see galera-console secret --help")),
    }
}
