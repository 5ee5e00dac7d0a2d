//! A client with write access to etcd changes the trail in every way that it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use galera::record::audit::{
    AnchorMismatch, AuditChainError, AuditEvent, TrailVerifier, VerifiedTrail, check_anchors,
};
use registry::memory::MemoryEtcd;
use registry::{Registry, RegistryEntry};

use super::*;
use crate::clock::now;
use crate::state_secret::StateSecretSealer;

const PREFIX: &str = "/s";
const HEAD: &str = "/s/audit/head";
const ENTRIES: &str = "/s/audit/entries/";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn secrets() -> StateSecrets {
    StateSecrets::derive(SECRET, None).unwrap()
}

fn record(actor: &str) -> AuditRecord {
    AuditRecord {
        at: now(),
        actor: actor.to_owned(),
        event: AuditEvent::SIGNED_IN,
        cluster: None,
        subject: None,
        detail: Default::default(),
    }
}

/// One etcd, the consoles on it, and the intruder.
struct Fixture {
    etcd: MemoryEtcd,
    intruder: Registry,
}

impl Fixture {
    fn new() -> Self {
        let etcd = MemoryEtcd::new();
        let intruder = etcd.registry();
        Self { etcd, intruder }
    }

    /// A process with a state secret that has read nothing yet.
    fn replica(&self) -> AuditTrail {
        self.replica_with(&secrets())
    }

    fn replica_with(&self, secrets: &StateSecrets) -> AuditTrail {
        let sealer = StateSecretSealer::new(PREFIX, secrets.clone());
        let registry = self.etcd.connect().registry().with_sealer(Arc::new(sealer));
        AuditTrail::new(registry, PREFIX)
    }

    /// A process without a state secret.
    fn open_replica(&self) -> AuditTrail {
        AuditTrail::new(self.etcd.connect().registry(), PREFIX)
    }

    async fn stored(&self) -> Vec<RegistryEntry> {
        self.intruder.list("/s/audit/").await.unwrap().entries
    }

    /// Puts the stored trail back to what it was.
    async fn restore(&self, stored: &[RegistryEntry]) {
        for entry in self.stored().await {
            self.delete(entry.key).await;
        }
        for entry in stored {
            self.put(entry.key.clone(), entry.value.clone()).await;
        }
    }

    async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.intruder.put(key, value, None).await.unwrap();
    }

    async fn delete(&self, key: impl Into<Vec<u8>>) {
        let deletion = Transaction::new().then([WriteOp::delete(key)]);
        self.intruder.transact(&deletion).await.unwrap();
    }

    async fn delete_entries(&self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.delete(keyspace::audit_entry(PREFIX, number / 100, number))
                .await;
        }
    }
}

/// Appends `count` entries, each with a time of its own: a rewritten trail whose entries are equal in every field is the
/// same trail.
async fn append_entries(trail: &AuditTrail, count: usize) {
    static TIME: AtomicI64 = AtomicI64::new(946_684_800_000);
    for number in 0..count {
        let at = TIME.fetch_add(1, Ordering::Relaxed);
        let entry = AuditRecord {
            at: galera::Timestamp::from_unix_millis(at),
            ..record(&format!("a{number}"))
        };
        trail.record(entry).await.unwrap();
    }
}

/// Appends `count` entries of the year 2000 in transactions of many.
async fn append_old(trail: &AuditTrail, count: usize) {
    let old = AuditRecord {
        at: galera::Timestamp::from_unix_millis(946_684_800_000),
        ..record("ann")
    };
    for _ in 0..count {
        trail.record(old.clone()).await.unwrap();
    }
}

fn alarms(trail: &AuditTrail) -> u64 {
    trail.watch_alarms().borrow().count
}

async fn verified(trail: &AuditTrail) -> Result<VerifiedTrail, AuditChainError> {
    let secrets = secrets();
    let (entries, head) = trail.read_all().await.unwrap();
    let mut verifier = TrailVerifier::new(None, Some(&secrets));
    entries.iter().try_for_each(|entry| verifier.push(entry))?;
    let verified = verifier.finish();
    assert_eq!(verified.head, head.map(|head| head.anchor()));
    Ok(verified)
}

async fn newest(trail: &AuditTrail) -> AuditEntry {
    trail.read_all().await.unwrap().0.pop().unwrap()
}

#[tokio::test]
async fn entries_are_sealed_and_two_replicas_write_one_chain() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.replica(), fixture.replica());
    for _ in 0..5 {
        append_entries(&one, 1).await;
        append_entries(&two, 1).await;
    }
    let verified = verified(&fixture.replica()).await.unwrap();
    assert_eq!(verified.entries, 10);
    assert_eq!(verified.authentic_up_to, Some(10));
    assert_eq!(alarms(&one) + alarms(&two), 0);
}

#[tokio::test]
async fn a_deleted_or_forged_head_is_recorded_and_the_trail_continues() {
    let forged = serde_json::to_vec(&append(None, record("mallory"), None)).unwrap();
    for head in [None, Some(forged), Some(b"{}".to_vec()), Some(vec![0xff])] {
        // The process that wrote the trail, and one that knows nothing.
        for fresh in [false, true] {
            let fixture = Fixture::new();
            let trail = fixture.replica();
            append_entries(&trail, 3).await;
            match &head {
                None => fixture.delete(HEAD).await,
                Some(head) => fixture.put(HEAD, head.clone()).await,
            }
            let trail = if fresh { fixture.replica() } else { trail };
            append_entries(&trail, 1).await;
            assert_eq!(alarms(&trail), 1, "{head:?}");
            let verified = verified(&trail).await.unwrap();
            assert_eq!((verified.entries, verified.tampering), (5, vec![4]));
        }
    }
}

#[tokio::test]
async fn a_trail_cut_at_its_end_is_noticed_by_a_process_that_saw_it() {
    for with_secret in [true, false] {
        let fixture = Fixture::new();
        let trail = match with_secret {
            true => fixture.replica(),
            false => fixture.open_replica(),
        };
        append_entries(&trail, 3).await;
        let earlier = fixture.stored().await;
        append_entries(&trail, 3).await;
        let seen = trail.last_seen().unwrap();
        fixture.restore(&earlier).await;
        trail.check_head().await.unwrap();
        assert_eq!(alarms(&trail), 1);
        let entry = newest(&trail).await;
        assert_eq!(entry.record.event, AuditEvent::AUDIT_TRAIL_TAMPERED);
        assert_eq!(entry.record.detail["missing"], "4 to 6");
        assert_eq!((entry.sequence, entry.previous), (7, seen.hash));
        let gap = AuditChainError::Gap {
            expected: 4,
            found: 7,
        };
        assert_eq!(verified(&trail).await, Err(gap));
        // The alarm ends with the repair; the trail continues.
        append_entries(&trail, 1).await;
        assert_eq!(alarms(&trail), 1);
    }
}

#[tokio::test]
async fn a_trail_cut_while_no_console_ran_is_noticed_by_its_anchor() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 3).await;
    let earlier = fixture.stored().await;
    append_entries(&trail, 3).await;
    let anchor = trail.last_seen().unwrap();
    fixture.restore(&earlier).await;
    // What etcd holds is consistent and authentic: only what is kept outside tells.
    let unaware = fixture.replica();
    unaware.check_head().await.unwrap();
    assert_eq!(alarms(&unaware), 0);
    let verdict = check_anchors(std::slice::from_ref(&anchor), 1, 3, |_| None);
    assert!(matches!(verdict, Err(AnchorMismatch::Cut { end: 3, .. })));
    let aware = fixture.replica();
    aware.check_anchor(&anchor).await.unwrap();
    assert_eq!(alarms(&aware), 1);
    assert_eq!(newest(&aware).await.sequence, 7);
}

#[tokio::test]
async fn a_trail_that_was_replaced_by_a_longer_one_is_noticed() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 3).await;
    let anchor = trail.last_seen().unwrap();
    // Calculated without the secret, and with every link right.
    fixture.restore(&[]).await;
    let forger = fixture.open_replica();
    append_old(&forger, 8).await;
    let fresh = fixture.replica();
    append_entries(&fresh, 1).await;
    assert_eq!(alarms(&fresh), 1);
    let verified = verified(&fresh).await.unwrap();
    assert_eq!(
        (verified.sealed_from, verified.tampering),
        (Some(9), vec![9])
    );
    // The anchor tells that the entries before are not those that were written.
    let aware = fixture.replica();
    aware.check_anchor(&anchor).await.unwrap();
    assert_eq!(alarms(&aware), 1);
    let reason = &newest(&aware).await.record.detail["reason"];
    assert!(
        reason.contains("entry 3") && reason.contains("replaced"),
        "{reason}"
    );
}

#[tokio::test]
async fn authentic_entries_outlive_a_replaced_head_that_this_replica_did_not_see() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.replica(), fixture.replica());
    append_entries(&one, 2).await;
    append_entries(&other, 3).await;
    fixture.put(HEAD, "{}").await;
    append_entries(&one, 1).await;
    let verified = verified(&one).await.unwrap();
    assert_eq!((verified.entries, verified.tampering), (7, vec![6]));
}

#[tokio::test]
async fn an_entry_put_in_the_place_of_the_next_one_stops_nothing() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 2).await;
    let next = append(trail.last_seen().as_ref(), record("mallory"), None);
    for (number, value) in [(3, serde_json::to_vec(&next).unwrap()), (4, b"x".to_vec())] {
        fixture
            .put(keyspace::audit_entry(PREFIX, 0, number), value)
            .await;
    }
    append_entries(&trail, 2).await;
    let tampering = trail.entry(3).await.unwrap().unwrap();
    assert_eq!(tampering.record.detail["removed"], "2");
    let verified = verified(&trail).await.unwrap();
    assert_eq!((verified.entries, verified.tampering), (5, vec![3]));
    assert_eq!(alarms(&trail), 1);
}

#[tokio::test]
async fn a_number_without_a_successor_is_removed() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 1).await;
    let mut last = append(trail.last_seen().as_ref(), record("mallory"), None);
    last.sequence = u64::MAX;
    let value = serde_json::to_vec(&last).unwrap();
    fixture
        .put(format!("{ENTRIES}999999999999/999999999999"), value)
        .await;
    fixture.delete(HEAD).await;
    append_entries(&fixture.replica(), 1).await;
    assert_eq!(verified(&fixture.replica()).await.unwrap().entries, 3);
}

#[tokio::test]
async fn deleted_and_rewritten_entries_do_not_verify() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 5).await;
    let whole = fixture.stored().await;
    fixture.delete_entries(2..=2).await;
    assert!(matches!(
        verified(&trail).await,
        Err(AuditChainError::Gap { .. })
    ));
    fixture.restore(&whole).await;
    let mut entry = trail.entry(2).await.unwrap().unwrap();
    entry.record.actor = "mallory".to_owned();
    let key = keyspace::audit_entry(PREFIX, 0, 2);
    fixture.put(key, serde_json::to_vec(&entry).unwrap()).await;
    assert_eq!(verified(&trail).await, Err(AuditChainError::Altered(2)));
}

#[tokio::test]
async fn entries_written_before_the_secret_are_covered_by_the_first_seal() {
    let fixture = Fixture::new();
    append_entries(&fixture.open_replica(), 3).await;
    let sealed = fixture.replica();
    let head = fixture.intruder.get(HEAD).await.unwrap().unwrap();
    // As the first start with a secret does.
    assert_eq!(sealed.registry.seal_in_place(&[head]).await.unwrap(), 1);
    append_entries(&sealed, 2).await;
    let verified = verified(&sealed).await.unwrap();
    assert_eq!(
        (verified.sealed_from, verified.authentic_up_to),
        (Some(4), Some(5))
    );
    assert_eq!(alarms(&sealed), 0);
}

#[tokio::test]
async fn a_rotated_secret_keeps_the_trail_verifiable() {
    let fixture = Fixture::new();
    append_entries(&fixture.replica(), 2).await;
    let newer = "new-0123456789abcdef0123456789abcdef";
    let rotated = StateSecrets::derive(newer, Some(SECRET)).unwrap();
    let trail = fixture.replica_with(&rotated);
    assert_eq!(trail.registry.reseal(HEAD).await.unwrap(), 1);
    append_entries(&trail, 1).await;
    assert_eq!(alarms(&trail), 0);
    // The first secret is forgotten: its entries are covered by the newer ones.
    let later = StateSecrets::derive(newer, None).unwrap();
    let (entries, _) = fixture.replica_with(&later).read_all().await.unwrap();
    let mut verifier = TrailVerifier::new(None, Some(&later));
    entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .unwrap();
    assert_eq!(verifier.finish().authentic_up_to, Some(3));
}

#[tokio::test(start_paused = true)]
async fn every_replica_raises_the_alarm_and_takes_anchors() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let (one, other) = (fixture.replica(), fixture.replica());
    append_entries(&one, 1).await;
    let settings = AnchorSettings {
        entries: 1,
        interval: Duration::from_secs(3600),
    };
    let path = folder.path().join("anchors");
    let outputs = AnchorOutputs {
        file: Some(AnchorFile::open(&path).unwrap()),
        ..AnchorOutputs::default()
    };
    let newest = outputs.newest.subscribe();
    let watched = async {
        fixture.delete(HEAD).await;
        for trail in [&one, &other] {
            let mut alarms = trail.watch_alarms();
            alarms.wait_for(|alarms| alarms.count == 1).await.unwrap();
        }
        // Both have read the entry about it, and neither another one.
        while !std::fs::read_to_string(&path).unwrap().contains(" 2:") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let watched = tokio::time::timeout(Duration::from_secs(600), watched);
    tokio::select! {
        done = watched => done.unwrap(),
        () = one.follow(settings, outputs, None) => unreachable!(),
        () = other.follow(settings, AnchorOutputs::default(), None) => unreachable!(),
    }
    assert_eq!(verified(&one).await.unwrap().tampering, [2]);
    let newest = newest.borrow().clone().unwrap();
    assert_eq!(newest.sequence, 2, "published as well");
}

#[tokio::test]
async fn many_changes_of_the_head_do_not_fill_the_trail() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 2).await;
    for number in 0..100 {
        match number % 2 {
            0 => fixture.delete(HEAD).await,
            _ => fixture.put(HEAD, "{}").await,
        }
        trail.check_head().await.unwrap();
    }
    assert_eq!(alarms(&trail), 100);
    append_entries(&trail, 1).await;
    assert_eq!(verified(&trail).await.unwrap().entries, 63);
}

#[tokio::test]
async fn reading_on_passes_entries_that_are_missing_or_damaged() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 205).await;
    fixture.delete_entries(3..=103).await;
    fixture
        .put(keyspace::audit_entry(PREFIX, 1, 104), "x")
        .await;
    let after = async |sequence| {
        let entry = trail.entry_after(sequence).await.unwrap();
        entry.map(|entry| entry.sequence)
    };
    assert_eq!(after(1).await, Some(2));
    assert_eq!(after(2).await, Some(105));
    assert_eq!(after(204).await, Some(205));
    assert_eq!(after(205).await, None);
    assert_eq!(after(300).await, None);
}

mod retention;
mod variants;
