use console_core::clock::now;
use console_core::state_secret::StateSecrets;
use galera::record::audit::{AuditEvent, AuditRecord, append};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn secrets(newest: &str) -> StateSecrets {
    StateSecrets::derive(newest, None).unwrap()
}

/// Entries of `actor`, sealed with `secret` if there is one.
fn trail(actor: &str, count: u64, secret: Option<&str>) -> Vec<AuditEntry> {
    let secrets = secret.map(secrets);
    let keys = secrets.as_ref().map(|keys| keys as &dyn EntryAuthenticator);
    let mut trail: Vec<AuditEntry> = Vec::new();
    for _ in 0..count {
        let record = AuditRecord {
            at: now(),
            actor: actor.to_owned(),
            event: AuditEvent::SIGNED_IN,
            cluster: None,
            subject: None,
            detail: Default::default(),
        };
        let last = trail.last().map(AuditEntry::anchor);
        trail.push(append(last.as_ref(), record, keys));
    }
    trail
}

fn check(entries: &[AuditEntry], secret: &str, anchors: &[AuditAnchor]) -> (ExitReason, String) {
    let secrets = secrets(secret);
    let expectation = ExpectedTrail {
        anchors: anchors.to_vec(),
        archived: Vec::new(),
    };
    verdict(&live(entries), &secrets, &expectation)
}

fn live(entries: &[AuditEntry]) -> LiveTrail {
    LiveTrail {
        entries: entries.to_vec(),
        head: entries.last().cloned(),
        start: entries.first().and_then(before),
    }
}

fn verdict(
    live: &LiveTrail,
    secrets: &StateSecrets,
    expectation: &ExpectedTrail,
) -> (ExitReason, String) {
    match verify(live, Some(secrets), expectation) {
        Ok(text) => (ExitReason::Success, text),
        Err(error) => (error.exit, error.message),
    }
}

#[test]
fn every_verdict_has_its_exit_code_and_word() {
    let good = trail("ann", 5, Some(SECRET));
    let forged = trail("mallory", 5, None);
    let anchor = |index: usize| good[index].anchor();
    let other = |index: usize| forged[index].anchor();
    let mut rewritten = good.clone();
    rewritten[1].record.actor = "mallory".to_owned();
    for (entries, secret, anchors, exit, word) in [
        (
            &good[..],
            SECRET,
            vec![],
            ExitReason::Success,
            "up to entry 5.",
        ),
        (
            &good,
            SECRET,
            vec![anchor(1), anchor(4)],
            ExitReason::Success,
            "2 anchors match.",
        ),
        (
            &good[..3],
            SECRET,
            vec![anchor(1), anchor(4)],
            ExitReason::Internal,
            "cut: the trail ends at entry 3",
        ),
        (
            &[],
            SECRET,
            vec![anchor(0)],
            ExitReason::Internal,
            "cut: the trail ends at entry 0",
        ),
        (
            &good,
            SECRET,
            vec![anchor(1), other(3)],
            ExitReason::Internal,
            "rewritten: entry 4",
        ),
        (
            &good,
            SECRET,
            vec![other(3)],
            ExitReason::Internal,
            "replaced: entry 4",
        ),
        (
            &good,
            SECRET,
            vec![anchor(3), other(3)],
            ExitReason::Internal,
            "contradict each other",
        ),
        (
            &forged,
            SECRET,
            vec![],
            ExitReason::Success,
            "Not authenticated",
        ),
        (
            &forged,
            SECRET,
            vec![anchor(1)],
            ExitReason::Internal,
            "replaced: entry 2",
        ),
        (
            &rewritten,
            SECRET,
            vec![],
            ExitReason::Internal,
            "entry 2 was altered",
        ),
        (
            &good,
            OTHER,
            vec![],
            ExitReason::Usage,
            "--state-secret-file",
        ),
    ] {
        let (found, text) = check(entries, secret, &anchors);
        assert_eq!((found, text.contains(word)), (exit, true), "{word}: {text}");
    }
}

#[test]
fn a_head_that_refers_to_another_entry_is_inconsistent() {
    let entries = trail("ann", 3, None);
    let trail = LiveTrail {
        head: Some(entries[1].clone()),
        ..live(&entries)
    };
    let expectation = ExpectedTrail {
        anchors: Vec::new(),
        archived: Vec::new(),
    };
    let (exit, text) = verdict(&trail, &secrets(SECRET), &expectation);
    assert_eq!(exit, ExitReason::Internal);
    assert!(text.contains("its head refers to entry 2"), "{text}");
}

#[test]
fn the_live_trail_continues_the_archive() {
    let whole = trail("ann", 9, Some(SECRET));
    let forged = trail("mallory", 9, None);
    let archived_to = |live: &[AuditEntry], archived: &[AuditEntry], anchors: Vec<AuditAnchor>| {
        let expectation = ExpectedTrail {
            anchors,
            archived: archived.to_vec(),
        };
        verdict(&self::live(live), &secrets(SECRET), &expectation)
    };
    for (live, archived, anchor, exit, word) in [
        (
            &whole[5..],
            &whole[..5],
            2,
            ExitReason::Success,
            "9 entries verified",
        ),
        // Entries that were exported, and not removed.
        (
            &whole[..],
            &whole[..5],
            2,
            ExitReason::Success,
            "9 entries verified",
        ),
        (
            &whole[3..],
            &whole[..5],
            2,
            ExitReason::Success,
            "1 anchor matches",
        ),
        (
            &whole[5..],
            &whole[3..5],
            4,
            ExitReason::Success,
            "Begins with entry 4",
        ),
        (
            &whole[5..],
            &[],
            2,
            ExitReason::Success,
            "1 of the anchors are of archived",
        ),
        (
            &whole[6..],
            &whole[..5],
            2,
            ExitReason::Internal,
            "entry 6 is missing",
        ),
        (
            &whole[5..],
            &forged[..5],
            2,
            ExitReason::Internal,
            "entry 6",
        ),
        (
            &whole[..],
            &forged[..5],
            2,
            ExitReason::Internal,
            "entry 1 is another one",
        ),
        (
            &whole[..3],
            &whole[..5],
            2,
            ExitReason::Internal,
            "cut: the trail ends before entry 5",
        ),
        (
            &[],
            &whole[..5],
            2,
            ExitReason::Internal,
            "its head refers to entry 0",
        ),
    ] {
        let (found, text) = archived_to(live, archived, vec![whole[anchor].anchor()]);
        assert_eq!((found, text.contains(word)), (exit, true), "{word}: {text}");
    }
}
