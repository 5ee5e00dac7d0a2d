//! `audit verify`: the chain, the seals and the anchors of the trail.

use std::fmt::Display;

use clap::ArgMatches;
use console_core::audit::AuditError;
use galera::record::audit::{
    AuditAnchor, AuditEntry, EntryAuthenticator, MatchedAnchors, TrailVerifier, VerifiedTrail,
    check_anchors, find_anchors,
};

use crate::cli::connect::{StateAccess, with_state};
use crate::cli::{CliError, ExitReason, print, runtime};
use crate::config::AdminConfig;

/// What the trail must contain.
pub(super) struct Expectation {
    anchors: Vec<AuditAnchor>,
}

impl Expectation {
    /// Reads `--expect` and `--anchors`.
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, CliError> {
        let usage = |message: String| CliError::new(ExitReason::Usage, message);
        let given = |name| {
            let values = matches.get_many::<String>(name);
            values.into_iter().flatten().map(String::as_str)
        };
        let mut anchors = Vec::new();
        for text in given("expect") {
            let anchor: Result<AuditAnchor, _> = text.parse();
            anchors.push(anchor.map_err(|error| usage(format!("--expect: {error}")))?);
        }
        for path in given("anchors") {
            let bytes = std::fs::read(path)
                .map_err(|error| usage(format!("--anchors: cannot read {path}: {error}")))?;
            let before = anchors.len();
            anchors.extend(find_anchors(&String::from_utf8_lossy(&bytes)));
            if anchors.len() == before {
                return Err(usage(format!(
                    "--anchors: {path} contains no anchor; give a file of --audit-anchor-file, or a log with lines that contain SEQ:HASH"
                )));
            }
        }
        Ok(Self { anchors })
    }
}

pub(super) fn run(config: AdminConfig, expectation: &Expectation) -> Result<(), CliError> {
    let read = with_state(config, StateAccess::Read, async |state| {
        let trail = state.audit_trail().read_all().await;
        let (entries, head) = match trail {
            Err(AuditError::Registry(error @ registry::Error::Tampered { .. })) => {
                return Err(inconsistent(&format!(
                    "its head is not genuine ({error}); a running console records that and continues the trail"
                )));
            }
            Err(error @ AuditError::Damaged { .. }) => return Err(inconsistent(&error)),
            trail => trail?,
        };
        let keys = state
            .secrets()
            .map(|secrets| secrets as &dyn EntryAuthenticator);
        verify(&entries, head.as_ref(), keys, expectation)
    });
    print(&runtime()?.block_on(read)?)
}

/// Verifies a trail, and describes it.
fn verify(
    entries: &[AuditEntry],
    head: Option<&AuditEntry>,
    keys: Option<&dyn EntryAuthenticator>,
    expectation: &Expectation,
) -> Result<String, CliError> {
    let mut verifier = TrailVerifier::new(None, keys);
    entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .map_err(|error| inconsistent(&error))?;
    let verified = verifier.finish();
    if head.map(AuditEntry::anchor) != verified.head {
        return Err(inconsistent(&format!(
            "its head refers to entry {}, but the last one is entry {}",
            head.map_or(0, |head| head.sequence),
            verified.entries
        )));
    }
    if let Some(kid) = &verified.unknown_secret {
        return Err(CliError::new(
            ExitReason::Usage,
            format!(
                "the entries up to {} are sealed with the state secret {kid}, which the file does not have; give the file of the consoles with --state-secret-file",
                verified.entries
            ),
        ));
    }
    let hash_of = |sequence: u64| {
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        entries.get(index).map(|entry| entry.hash.clone())
    };
    let matched = check_anchors(&expectation.anchors, 1, verified.entries, hash_of)
        .map_err(|error| inconsistent(&error))?;
    Ok(describe(&verified, matched))
}

fn inconsistent(why: &dyn Display) -> CliError {
    CliError::new(
        ExitReason::Internal,
        format!(
            "the audit trail is inconsistent: {why}; keep a copy of etcd's data and find out who modified it"
        ),
    )
}

fn describe(verified: &VerifiedTrail, matched: MatchedAnchors) -> String {
    let head = verified.head.as_ref();
    let head = head.map_or_else(|| "none".to_owned(), ToString::to_string);
    let mut text = format!(
        "{} entries verified, the chain is intact. Head: {head}\n",
        verified.entries
    );
    text.push_str(&match (verified.authentic_up_to, verified.sealed_from) {
        (Some(last), Some(first)) if first > 1 => format!(
            "Authenticated by the state secret up to entry {last}; seals begin with entry {first}, and cover those before it as they were by then.\n"
        ),
        (Some(last), _) => format!("Authenticated by the state secret up to entry {last}.\n"),
        (None, _) if verified.entries == 0 => String::new(),
        (None, _) => "Not authenticated: no entry is sealed with a state secret (--state-secret-file), so a client that can write etcd can replace the trail.\n".to_owned(),
    });
    match matched.matching {
        0 => {}
        1 => text.push_str("1 anchor matches.\n"),
        count => text.push_str(&format!("{count} anchors match.\n")),
    }
    for entry in &verified.tampering {
        text.push_str(&format!(
            "Entry {entry} records that the trail was changed outside the console.\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests;
