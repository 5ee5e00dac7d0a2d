//! `audit verify|export`: the trail, checked or written out by whoever may reach etcd.

use clap::ArgMatches;
use console_core::audit::{Trail, TrailError, csv};
use galera::record::audit::{Entry, verify};

use super::connect::with_registry;
use super::{Exit, Failure, inputs, print, runtime};
use crate::config;
use crate::telemetry;

impl From<TrailError> for Failure {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Registry(error) => error.into(),
            TrailError::Damaged { .. } => Self::new(Exit::Internal, error),
            TrailError::Contended => Self::new(Exit::Unavailable, error),
        }
    }
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(Failure::new(
            Exit::Usage,
            "no command given; see galera-console audit --help",
        ));
    };
    let format = matches
        .try_get_one::<String>("format")
        .ok()
        .flatten()
        .map_or("json", String::as_str);
    let config = config::load_for_user(&inputs(matches)?)?;
    telemetry::init(&config.log);
    let read = with_registry(config.etcd, async |registry| {
        Ok(Trail::new(registry, &config.state_prefix).all().await?)
    });
    let (entries, head) = runtime()?.block_on(read)?;
    match command {
        "export" => export(&entries, format),
        _ => check(&entries, head.as_ref()),
    }
}

/// One JSON object a line, or CSV; oldest entry first.
fn export(entries: &[Entry], format: &str) -> Result<(), Failure> {
    if format == "csv" {
        return print(&csv(entries));
    }
    let mut text = String::new();
    for entry in entries {
        let line = serde_json::to_string(entry);
        text.push_str(&line.map_err(|error| Failure::new(Exit::Internal, error))?);
        text.push('\n');
    }
    print(&text)
}

fn check(entries: &[Entry], head: Option<&Entry>) -> Result<(), Failure> {
    let broken = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Internal,
            format!(
                "the audit trail is broken: {why}; keep a copy of etcd's data and find out who wrote to it"
            ),
        )
    };
    let verified = verify(entries).map_err(|error| broken(&error))?;
    if head.map(|head| head.hash.as_str()) != verified.head.as_deref() {
        return Err(broken(&format!(
            "its head names entry {}, but the last one is entry {}",
            head.map_or(0, |head| head.sequence),
            verified.entries
        )));
    }
    let head = verified.head.unwrap_or_else(|| "none".to_owned());
    print(&format!(
        "{} entries, each follows from the one before. Head: {head}\n",
        verified.entries
    ))
}
