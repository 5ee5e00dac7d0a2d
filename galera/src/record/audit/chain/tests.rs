use super::*;
use crate::Timestamp;
use crate::record::audit::AuditEvent;

fn trail(length: u64) -> Vec<AuditEntry> {
    let mut trail: Vec<AuditEntry> = Vec::new();
    for number in 0..length {
        let record = AuditRecord {
            at: Timestamp::from_unix_millis(i64::try_from(number).unwrap()),
            actor: "ann".to_owned(),
            event: AuditEvent::ACTION_REQUESTED,
            cluster: "lab".parse().ok(),
            subject: Some(format!("a{number}")),
            detail: [("statement".to_owned(), "SET".to_owned())].into(),
        };
        let last = trail.last().map(AuditEntry::anchor);
        trail.push(append(last.as_ref(), record, None));
    }
    trail
}

#[test]
fn i31_an_untouched_trail_verifies() {
    let trail = trail(5);
    let verified = verify(&trail).unwrap();
    assert_eq!(verified.entries, 5);
    assert_eq!(verified.head, Some(trail[4].anchor()));
    assert_eq!(verify(&[]).unwrap().entries, 0);
}

#[test]
fn i31_every_alteration_is_found() {
    let good = trail(4);
    let alterations: [fn(&mut AuditEntry); 7] = [
        |entry| entry.record.actor.push('x'),
        |entry| entry.record.event = AuditEvent::SIGNED_IN,
        |entry| entry.record.at = Timestamp::from_unix_millis(99),
        |entry| entry.record.cluster = None,
        |entry| entry.record.subject = None,
        |entry| _ = entry.record.detail.insert("a".to_owned(), String::new()),
        |entry| _ = entry.record.detail.remove("statement"),
    ];
    for alter in alterations {
        let mut bad = good.clone();
        alter(&mut bad[1]);
        assert_eq!(verify(&bad), Err(AuditChainError::Altered(2)));
        // Fixing the entry's own hash breaks the link of the next entry.
        let fitting = append(Some(&bad[0].anchor()), bad[1].record.clone(), None);
        bad[1] = fitting;
        assert_eq!(verify(&bad), Err(AuditChainError::PreviousHashMismatch(3)));
    }
}

#[test]
fn i31_missing_and_moved_entries_are_found() {
    let good = trail(4);
    let without = [good[0].clone(), good[2].clone(), good[3].clone()];
    assert_eq!(
        verify(&without),
        Err(AuditChainError::Gap {
            expected: 2,
            found: 3
        })
    );
    assert_eq!(
        verify(&good[1..]),
        Err(AuditChainError::Gap {
            expected: 1,
            found: 2
        })
    );
    let mut moved = good.clone();
    moved.swap(1, 2);
    assert!(verify(&moved).is_err());
}

#[test]
fn parts_do_not_run_into_each_other() {
    let record = |actor: &str, event: &str| AuditRecord {
        at: Timestamp::from_unix_millis(0),
        actor: actor.to_owned(),
        event: serde_json::from_value(event.into()).unwrap(),
        cluster: None,
        subject: None,
        detail: std::collections::BTreeMap::new(),
    };
    assert_ne!(
        append(None, record("ab", "c"), None).hash,
        append(None, record("a", "bc"), None).hash
    );
}

#[test]
fn entries_survive_json() {
    let trail = trail(3);
    let text = serde_json::to_string(&trail).unwrap();
    let back: Vec<AuditEntry> = serde_json::from_str(&text).unwrap();
    assert!(verify(&back).is_ok());
}

/// Stands for HMAC: what matters here is which entries are judged, and how.
struct Keys(&'static [&'static str]);

impl EntryAuthenticator for Keys {
    fn seal(&self, message: &[u8]) -> EntrySeal {
        let kid = self.0[0].to_owned();
        let tag = hex(&Sha256::digest([kid.as_bytes(), message].concat()));
        EntrySeal { kid, tag }
    }

    fn verify(&self, message: &[u8], seal: &EntrySeal) -> SealVerdict {
        if !self.0.contains(&seal.kid.as_str()) {
            return SealVerdict::UnknownSecret;
        }
        let tag = hex(&Sha256::digest([seal.kid.as_bytes(), message].concat()));
        if tag == seal.tag {
            SealVerdict::Valid
        } else {
            SealVerdict::Invalid
        }
    }
}

/// Continues `trail` with `count` entries sealed by `keys`.
fn sealed(mut trail: Vec<AuditEntry>, count: u64, keys: &Keys) -> Vec<AuditEntry> {
    for number in 0..count {
        let record = AuditRecord {
            actor: format!("sealed{number}"),
            ..trail[0].record.clone()
        };
        let last = trail.last().map(AuditEntry::anchor);
        trail.push(append(last.as_ref(), record, Some(keys)));
    }
    trail
}

fn verify_with(trail: &[AuditEntry], keys: &Keys) -> Result<VerifiedTrail, AuditChainError> {
    let mut verifier = TrailVerifier::new(None, Some(keys));
    trail.iter().try_for_each(|entry| verifier.push(entry))?;
    Ok(verifier.finish())
}

const KEYS: Keys = Keys(&["new", "old"]);

#[test]
fn a_trail_that_began_without_a_secret_is_authentic_since_it_has_one() {
    let trail = sealed(trail(3), 2, &KEYS);
    let verified = verify_with(&trail, &KEYS).unwrap();
    assert_eq!(verified.sealed_from, Some(4));
    assert_eq!(verified.authentic_up_to, Some(5));
    // Everything before the first seal is covered by it.
    let mut rewritten = trail;
    rewritten[0].record.actor = "mallory".to_owned();
    assert_eq!(
        verify_with(&rewritten, &KEYS),
        Err(AuditChainError::Altered(1))
    );
}

#[test]
fn a_chain_calculated_again_without_the_secret_is_forged() {
    let genuine = sealed(trail(2), 3, &KEYS);
    let mut forged: Vec<AuditEntry> = Vec::new();
    for entry in &genuine {
        let record = AuditRecord {
            actor: "mallory".to_owned(),
            ..entry.record.clone()
        };
        let last = forged.last().map(AuditEntry::anchor);
        let mut next = append(last.as_ref(), record, None);
        next.seal.clone_from(&entry.seal);
        forged.push(next);
    }
    assert!(verify(&forged).is_ok());
    assert_eq!(verify_with(&forged, &KEYS), Err(AuditChainError::Forged(3)));
}

#[test]
fn an_entry_without_a_seal_does_not_follow_one_with_a_seal() {
    let mut trail = sealed(trail(1), 2, &KEYS);
    let record = trail[0].record.clone();
    trail.push(append(Some(&trail[2].anchor()), record, None));
    let fault = AuditChainError::Unsealed {
        entry: 4,
        sealed_from: 2,
    };
    assert_eq!(verify_with(&trail, &KEYS), Err(fault.clone()));
    assert_eq!(verify(&trail), Err(fault));
}

#[test]
fn entries_of_a_forgotten_secret_are_covered_by_a_later_seal() {
    let older = sealed(trail(1), 2, &Keys(&["oldest"]));
    let verified = verify_with(&older, &KEYS).unwrap();
    assert_eq!(verified.authentic_up_to, None);
    assert_eq!(verified.unknown_secret.as_deref(), Some("oldest"));
    let verified = verify_with(&sealed(older, 1, &KEYS), &KEYS).unwrap();
    assert_eq!(verified.authentic_up_to, Some(4));
    assert_eq!(verified.unknown_secret, None);
}
