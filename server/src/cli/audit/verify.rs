//! `audit verify`: the chain, the seals and the anchors of the trail.

use std::fmt::Display;
use std::path::Path;

use clap::ArgMatches;
use console_core::audit::{AuditError, read_archive_file};
use galera::record::audit::{
    AuditAnchor, AuditEntry, EntryAuthenticator, MatchedAnchors, TrailVerifier, VerifiedTrail,
    check_anchors, find_anchors,
};

use crate::cli::connect::{StateAccess, with_state};
use crate::cli::{CliError, ExitReason, print, runtime};
use crate::config::AdminConfig;

/// What the trail must contain.
pub(super) struct ExpectedTrail {
    anchors: Vec<AuditAnchor>,
    /// The entries of archive files, oldest first.
    archived: Vec<AuditEntry>,
}

impl ExpectedTrail {
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
        let mut files = Vec::new();
        for path in given("archive") {
            let entries = read_archive_file(Path::new(path))
                .map_err(|error| usage(format!("--archive: {error}")))?;
            files.push(entries);
        }
        files.sort_by_key(|entries| entries.first().map_or(0, |entry| entry.sequence));
        Ok(Self {
            anchors,
            archived: files.concat(),
        })
    }
}

pub(super) fn run(config: AdminConfig, expectation: &ExpectedTrail) -> Result<(), CliError> {
    let read = with_state(config, StateAccess::Read, async |state| {
        let trail = state.audit_trail().read_all().await;
        let (entries, head) = match trail {
            Err(AuditError::Registry(error @ registry::Error::Tampered { .. })) => {
                return Err(inconsistent(&format!(
                    "its head, or the record of where it begins, is not genuine ({error}); a running console records a changed head and continues the trail"
                )));
            }
            Err(error @ AuditError::Damaged { .. }) => return Err(inconsistent(&error)),
            trail => trail?,
        };
        let keys = state
            .secrets()
            .map(|secrets| secrets as &dyn EntryAuthenticator);
        let live = LiveTrail {
            entries,
            head,
            start: state.audit_trail().cut().await?.map(|cut| cut.anchor()),
        };
        verify(&live, keys, expectation)
    });
    print(&runtime()?.block_on(read)?)
}

/// What etcd holds.
struct LiveTrail {
    entries: Vec<AuditEntry>,
    head: Option<AuditEntry>,
    /// The last archived entry.
    start: Option<AuditAnchor>,
}

/// Verifies that `entries` are a chain.
pub(super) fn check_chain(entries: &[AuditEntry]) -> Result<(), CliError> {
    let start = entries.first().and_then(before);
    let mut verifier = TrailVerifier::new(start, None);
    entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .map_err(|error| inconsistent(&error))
}

/// The place before `entry`; `None` for the first entry of a trail.
fn before(entry: &AuditEntry) -> Option<AuditAnchor> {
    let sequence = entry.sequence.checked_sub(1).filter(|before| *before > 0)?;
    Some(AuditAnchor {
        sequence,
        hash: entry.previous.clone(),
    })
}

/// Verifies the archives and the live trail, and describes them.
fn verify(
    live: &LiveTrail,
    keys: Option<&dyn EntryAuthenticator>,
    expectation: &ExpectedTrail,
) -> Result<String, CliError> {
    let archived = &expectation.archived;
    let start = match archived.first() {
        Some(first) => before(first),
        None => live.start.clone(),
    };
    let first = start.as_ref().map_or(1, |start| start.sequence + 1);
    let archived_up_to = archived.last().map_or(0, |entry| entry.sequence);
    for entry in &live.entries {
        let index = entry.sequence.checked_sub(first).map(usize::try_from);
        let other = index.and_then(|index| archived.get(index.ok()?));
        if other.is_some_and(|other| other != entry) {
            return Err(inconsistent(&format!(
                "entry {} is another one in the archive",
                entry.sequence
            )));
        }
    }
    let rest = live.entries.iter();
    let rest = rest.filter(|entry| entry.sequence > archived_up_to);
    let entries: Vec<&AuditEntry> = archived.iter().chain(rest).collect();
    let mut verifier = TrailVerifier::new(start, keys);
    entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .map_err(|error| inconsistent(&error))?;
    let verified = verifier.finish();
    let end = verified.head.as_ref().map_or(0, |head| head.sequence);
    let head = live.head.as_ref().map(AuditEntry::anchor);
    if head.is_some() && end > archived_up_to && head != verified.head
        || head.is_none() && !entries.is_empty()
    {
        return Err(inconsistent(&format!(
            "its head refers to entry {}, but the last one is entry {end}",
            head.map_or(0, |head| head.sequence),
        )));
    }
    if head.is_some_and(|head| head.sequence < archived_up_to) {
        return Err(inconsistent(&format!(
            "cut: the trail ends before entry {archived_up_to}, which is in the archive"
        )));
    }
    if let Some(kid) = &verified.unknown_secret {
        return Err(CliError::new(
            ExitReason::Usage,
            format!(
                "the entries up to {end} are sealed with the state secret {kid}, which the file does not have; give the file of the consoles with --state-secret-file"
            ),
        ));
    }
    let hash_of = |sequence: u64| {
        let index = usize::try_from(sequence.checked_sub(first)?).ok()?;
        entries.get(index).map(|entry| entry.hash.clone())
    };
    let matched = check_anchors(&expectation.anchors, first, end, hash_of)
        .map_err(|error| inconsistent(&error))?;
    Ok(describe(&verified, first, matched))
}

fn inconsistent(why: &dyn Display) -> CliError {
    CliError::new(
        ExitReason::Internal,
        format!(
            "the audit trail is inconsistent: {why}; keep a copy of etcd's data and find out who modified it"
        ),
    )
}

fn describe(verified: &VerifiedTrail, first: u64, matched: MatchedAnchors) -> String {
    let head = verified.head.as_ref();
    let head = head.map_or_else(|| "none".to_owned(), ToString::to_string);
    let mut text = format!(
        "{} entries verified, the chain is intact. Head: {head}\n",
        verified.entries
    );
    if first > 1 {
        text.push_str(&format!(
            "Begins with entry {first}; give the archive files of the entries before it with --archive.\n"
        ));
    }
    text.push_str(&match (verified.authentic_up_to, verified.sealed_from) {
        (Some(last), Some(sealed)) if sealed > first => format!(
            "Authenticated by the state secret up to entry {last}; seals begin with entry {sealed}, and cover those before it as they were by then.\n"
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
    if matched.before_start > 0 {
        text.push_str(&format!(
            "{} of the anchors are of archived entries and were not compared; give the archive files with --archive.\n",
            matched.before_start
        ));
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
