//! `secret new|rotate`: creates and replaces the state secret, without etcd. `secret rotate-session-key`: replaces the key
//! that signs sessions, in etcd.

use std::path::Path;

use clap::ArgMatches;
use console_core::clock::now;
use console_core::state_secret::{generate_file, new_secret, rotate_file};

use super::connect::{StateAccess, actor, with_state};
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config;
use crate::telemetry;

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
        Some(("rotate-session-key", matches)) => rotate_session_key(matches),
        _ => Err(usage(&"no command given; see galera-console secret --help")),
    }
}

fn rotate_session_key(matches: &ArgMatches) -> Result<(), CliError> {
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let (prefix, end_sessions) = (
        config.state_prefix.clone(),
        matches.get_flag("end-sessions"),
    );
    let rotated = with_state(config, StateAccess::Write, async |registry| {
        let actor = actor();
        accounts::rotate_session_key(&registry, &prefix, &actor, end_sessions, now())
            .await
            .map_err(CliError::from)
    });
    let rotation = runtime()?.block_on(rotated)?;
    let effect = if rotation.sessions_continue {
        "Sessions continue; the former key is removed when the last one that it signed has ended."
    } else {
        "Every session has ended."
    };
    print(&format!(
        "Sessions are signed with the new key {}.\n{effect}\n",
        rotation.kid
    ))
}
