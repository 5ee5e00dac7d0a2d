//! Replicas whose secrets differ, as in a rotation that is not complete, and what a client that can write etcd makes of that.

use registry::{CreateOutcome, KeyChange, WatchEvent};

use super::*;

const KEY: &str = "/s/keys/session";
const POSITIONS: &str = "/s/positions/lab";

fn secrets(newest: &str, previous: Option<&str>) -> StateSecrets {
    StateSecrets::derive(newest, previous).unwrap()
}

fn kid(text: &str) -> String {
    secrets(text, None).newest().kid().to_owned()
}

impl Fixture {
    fn has(&self, newest: &str, previous: Option<&str>) -> RecordAuthority {
        self.with(&secrets(newest, previous))
    }

    async fn established(&self, newest: &str, previous: Option<&str>) -> RecordAuthority {
        let authority = self.has(newest, previous);
        authority.establish().await.unwrap();
        authority
    }

    async fn stored(&self, key: &str) -> Vec<u8> {
        self.etcd.registry().get(key).await.unwrap().unwrap().value
    }

    async fn audited(&self, with: &RecordAuthority) -> Vec<AuditEvent> {
        let trail = AuditTrail::new(with.registry.clone(), PREFIX);
        let (entries, _) = trail.read_all().await.unwrap();
        let events = entries.into_iter().map(|entry| entry.record.event);
        events.collect()
    }
}

async fn create(authority: &RecordAuthority, key: &str) {
    let created = authority.registry.create(key, "{}", None).await.unwrap();
    assert!(matches!(created, CreateOutcome::Created { .. }), "{key}");
}

async fn reads(authority: &RecordAuthority, key: &str) -> bool {
    matches!(authority.registry.get(key).await, Ok(Some(_)))
}

/// Asserts that `error` names the secret `needed` and the remedy.
fn assert_outdated(error: &Error, needed: &str) {
    let text = error.to_string();
    assert!(matches!(error, Error::OutdatedSecret { .. }), "{text}");
    assert!(
        text.contains(&kid(needed)) && text.contains("copy the file of the other replicas"),
        "{text}"
    );
}

async fn assert_cannot_start(authority: &RecordAuthority, needed: &str) {
    match authority.establish().await {
        Err(AuthorityError::Registry(error)) => assert_outdated(&error, needed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_replica_without_the_secret_in_use_replaces_nothing() {
    let fixture = Fixture::new();
    let former = fixture.established("one", None).await;
    create(&former, KEY).await;
    create(&former, POSITIONS).await;
    let newer = fixture.established("two", Some("one")).await;
    assert_eq!(newer.registry.reseal("/s/keys/").await.unwrap(), 1);
    let sealed = fixture.stored(KEY).await;
    let read = former.registry.get(KEY).await;
    assert!(matches!(read, Err(Error::Tampered { .. })), "{read:?}");
    // As a replica that finds no key of sessions.
    let replaced = former.registry.create(KEY, "{}", None).await;
    assert_outdated(&replaced.unwrap_err(), "two");
    // From now on also what it can read: another replica seals it again at any time.
    let written = former.registry.put(POSITIONS, "{}", None).await;
    assert_outdated(&written.unwrap_err(), "two");
    assert_eq!(fixture.stored(KEY).await, sealed);
    assert_eq!(former.registry.tampered().count(), 0, "it cannot tell");
    assert!(reads(&newer, KEY).await);
    assert_eq!(newer.registry.outdated_secret(), None);
    assert_cannot_start(&fixture.has("one", None), "two").await;
}

#[tokio::test]
async fn a_replica_without_the_secret_in_use_leaves_the_audit_trail_alone() {
    let fixture = Fixture::new();
    let former = fixture.established("one", None).await;
    let trail = AuditTrail::new(former.registry.clone(), PREFIX);
    let record = |number: u32| AuditRecord {
        at: now(),
        actor: "root".to_owned(),
        event: AuditEvent::SIGNED_IN,
        cluster: None,
        subject: Some(number.to_string()),
        detail: BTreeMap::new(),
    };
    trail.record(record(1)).await.unwrap();
    let newer = fixture.established("two", Some("one")).await;
    let newer_trail = AuditTrail::new(newer.registry.clone(), PREFIX);
    newer_trail.record(record(2)).await.unwrap();
    let written = newer_trail.newest_sequence().await.unwrap();
    for _ in 0..2 {
        let checked = trail.check_head().await;
        assert!(
            matches!(checked, Err(AuditError::Registry(ref error)) if matches!(error, Error::OutdatedSecret { .. })),
            "{checked:?}"
        );
        assert!(trail.record(record(3)).await.is_err());
    }
    assert_eq!(trail.watch_alarms().borrow().count, 0);
    assert!(newer_trail.check_head().await.unwrap());
    assert_eq!(newer_trail.newest_sequence().await.unwrap(), written);
    let events = fixture.audited(&newer).await;
    assert!(events.contains(&AuditEvent::STATE_SECRET_REPLACED));
    assert!(!events.contains(&AuditEvent::AUDIT_TRAIL_TAMPERED));
}

/// Every forgery that names a secret of the intruder's choice.
#[tokio::test]
async fn a_forged_secret_freezes_no_replica() {
    let fixture = Fixture::new();
    let console = fixture.established("one", None).await;
    create(&console, KEY).await;
    // What another console has, under another prefix of the same etcd: genuine there.
    let elsewhere = Fixture::new();
    elsewhere.established("mine", None).await;
    create(&elsewhere.established("other", Some("mine")).await, KEY).await;
    let own = secrets("mine", None);
    let note = |prefix: &str| {
        own.note_succession(prefix, &kid("mine"), &kid("other"))
            .unwrap()
            .1
    };
    let place = keyspace::secret_succession(PREFIX, &kid("one"));
    let intruder = fixture.etcd.registry();
    let forged = [
        serde_json::to_vec(&serde_json::json!({"next": kid("other"), "tag": "00"})).unwrap(),
        b"{}".to_vec(),
        note(PREFIX),
        note("/other"),
    ];
    for note in forged {
        intruder.put(place.as_str(), note, None).await.unwrap();
        for key in [KEY, "/s/authority", "/s/audit/head"] {
            let value = elsewhere.etcd.registry().get(key).await.unwrap();
            let value = value.map_or_else(|| b"x".to_vec(), |entry| entry.value);
            intruder.put(key, value, None).await.unwrap();
        }
        console.registry.check_secret().await.unwrap();
        create(&console, KEY).await;
        assert!(reads(&console, KEY).await);
        assert!(!reads(&console, "/s/authority").await);
        assert!(console.registry.tampered().count() > 0, "it is named");
        fixture.has("one", None).establish().await.unwrap();
    }
    assert_eq!(console.registry.outdated_secret(), None);
}

/// A note of another rotation, or of the same secret under another prefix, proves nothing.
#[tokio::test]
async fn a_genuine_note_counts_for_its_secret_and_prefix_only() {
    let fixture = Fixture::new();
    fixture.established("one", None).await;
    let intruder = fixture.etcd.registry();
    let (one, two, three) = (kid("one"), kid("two"), kid("three"));
    let both = secrets("two", Some("one"));
    let (_, of_other_prefix) = both.note_succession("/other", &one, &three).unwrap();
    let (_, of_other_secret) = both.note_succession(PREFIX, &two, &three).unwrap();
    let (_, to_itself) = both.note_succession(PREFIX, &one, &one).unwrap();
    for note in [of_other_prefix, of_other_secret, to_itself] {
        let place = keyspace::secret_succession(PREFIX, &one);
        intruder.put(place, note, None).await.unwrap();
        fixture
            .established("one", None)
            .await
            .registry
            .check_secret()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn lines_that_were_swapped_first_interrupt_nothing() {
    let fixture = Fixture::new();
    fixture.established("one", None).await;
    let swapped = fixture.established("one", Some("two")).await;
    create(&swapped, KEY).await;
    assert!(!swapped.has_former_secret_first().await.unwrap(), "in use");
    let newer = fixture.established("two", Some("one")).await;
    newer.registry.reseal("/s/").await.unwrap();
    // The replicas that are restarted last, or again, in the first step.
    for replica in [&swapped, &fixture.established("one", Some("two")).await] {
        assert!(reads(replica, KEY).await);
        replica.registry.put(POSITIONS, "{}", None).await.unwrap();
        replica.registry.check_secret().await.unwrap();
        assert!(replica.has_former_secret_first().await.unwrap());
    }
    newer.registry.reseal("/s/").await.unwrap();
    // After a leak the former secret is removed.
    let alone = fixture.established("two", None).await;
    assert!(reads(&alone, KEY).await && reads(&alone, POSITIONS).await);
    alone.registry.put(POSITIONS, "{}", None).await.unwrap();
    alone.registry.check_secret().await.unwrap();
    let events = fixture.audited(&newer).await;
    let replaced = |event: &&AuditEvent| **event == AuditEvent::STATE_SECRET_REPLACED;
    assert_eq!(events.iter().filter(replaced).count(), 1, "{events:?}");
}

#[tokio::test]
async fn of_replicas_that_begin_together_one_does() {
    let fixture = Fixture::new();
    fixture.established("one", None).await;
    let replicas = [(); 4].map(|()| fixture.has("two", Some("one")));
    let [a, b, c, d] = &replicas;
    let begun = tokio::join!(a.establish(), b.establish(), c.establish(), d.establish());
    for begun in [begun.0, begun.1, begun.2, begun.3] {
        begun.unwrap();
    }
    let events = fixture.audited(a).await;
    assert_eq!(events, [AuditEvent::STATE_SECRET_REPLACED]);
}

/// `secret rotate` on each host, instead of a copy of the file: the first one counts, and the other one is refused.
#[tokio::test]
async fn files_that_were_rotated_separately_do_not_fight() {
    let fixture = Fixture::new();
    fixture.established("one", None).await;
    let first = fixture.established("two", Some("one")).await;
    create(&first, KEY).await;
    assert_cannot_start(&fixture.has("three", Some("one")), "two").await;
    assert!(reads(&first, KEY).await);
    assert_eq!(first.registry.tampered().count(), 0);
}

/// Later rotations, and each file that one of them left behind.
#[tokio::test]
async fn every_older_file_is_refused_after_further_rotations() {
    let fixture = Fixture::new();
    let files = [
        ("one", None),
        ("two", Some("one")),
        ("three", Some("two")),
        ("four", Some("three")),
    ];
    for (newest, previous) in files {
        let authority = fixture.established(newest, previous).await;
        authority.registry.reseal("/s/").await.unwrap();
    }
    for (newest, previous, needed) in [
        ("one", None, "two"),
        ("two", Some("one"), "three"),
        ("two", None, "three"),
        ("three", Some("two"), "four"),
        ("one", Some("two"), "three"),
    ] {
        assert_cannot_start(&fixture.has(newest, previous), needed).await;
    }
    fixture.established("four", None).await;
}

/// The way out of a secret that was lost after the rotation: the state begins again, and the note, which is genuine for good, is
/// put back. A file with a new secret is not concerned by it.
#[tokio::test]
async fn an_old_note_that_is_put_back_does_not_freeze_a_further_secret() {
    let fixture = Fixture::new();
    fixture.established("one", None).await;
    fixture.established("two", Some("one")).await;
    let place = keyspace::secret_succession(PREFIX, &kid("one"));
    let note = fixture.stored(&place).await;
    let emptied = Fixture::new();
    emptied
        .etcd
        .registry()
        .put(place, note, None)
        .await
        .unwrap();
    for previous in [Some("one"), None] {
        let further = emptied.established("three", previous).await;
        further.registry.check_secret().await.unwrap();
        further.registry.put(KEY, "{}", None).await.unwrap();
    }
}

#[tokio::test]
async fn removed_and_altered_notes_are_written_again() {
    let fixture = Fixture::new();
    let former = fixture.established("one", None).await;
    let swapped = fixture.established("one", Some("two")).await;
    let newer = fixture.established("two", Some("one")).await;
    let place = keyspace::secret_succession(PREFIX, &kid("one"));
    let note = fixture.stored(&place).await;
    let intruder = fixture.etcd.registry();
    for replica in [&newer, &swapped] {
        let deletion = Transaction::new().then([WriteOp::delete(place.as_str())]);
        intruder.transact(&deletion).await.unwrap();
        replica.restore_successions().await.unwrap();
        assert_eq!(fixture.stored(&place).await, note);
        intruder.put(place.as_str(), "{}", None).await.unwrap();
        replica.restore_successions().await.unwrap();
        assert_eq!(fixture.stored(&place).await, note);
    }
    let seen = intruder.get(place.as_str()).await.unwrap().unwrap();
    newer.restore_successions().await.unwrap();
    let again = intruder.get(place.as_str()).await.unwrap().unwrap();
    assert_eq!(again.mod_revision, seen.mod_revision, "nothing to write");
    assert!(former.registry.check_secret().await.is_err());
}

/// Rotations before the version that notes them: by the first secret, and the one that seals the record.
#[tokio::test]
async fn an_authority_record_of_an_earlier_version_is_continued() {
    for earlier in [&["one"][..], &["one", "two"]] {
        let fixture = Fixture::new();
        let former = fixture.established("one", None).await;
        let key = keyspace::authority(PREFIX);
        let plain = former.registry.get(key.as_str()).await.unwrap().unwrap();
        let mut record: AuthorityRecord = serde_json::from_slice(&plain.value).unwrap();
        record.secrets.clear();
        let writer = match earlier {
            [_, two] => fixture.has(two, Some("one")),
            _ => fixture.has("one", None),
        };
        let written = encode(&record).unwrap();
        writer.registry.put(key, written, None).await.unwrap();
        fixture.established("two", Some("one")).await;
        assert_cannot_start(&fixture.has("one", None), "two").await;
        let events = fixture.audited(&fixture.has("two", Some("one"))).await;
        let begun = events.contains(&AuditEvent::STATE_SECRET_REPLACED);
        assert_eq!(begun, earlier.len() == 1, "{events:?}");
    }
}

/// A file that was rotated before the consoles are restarted with it: `galera-console user add` on that host.
#[tokio::test]
async fn a_secret_that_no_console_uses_is_recognized() {
    let fixture = Fixture::new();
    let console = fixture.established("one", None).await;
    let command = fixture.has("two", Some("one"));
    assert!(command.has_unused_secret().await.unwrap());
    let in_use = fixture.with(&command.secrets.with_previous_first());
    assert!(!in_use.has_unused_secret().await.unwrap());
    in_use.establish().await.unwrap();
    create(&in_use, KEY).await;
    assert!(reads(&console, KEY).await);
    console.registry.check_secret().await.unwrap();
    command.establish().await.unwrap();
    assert!(!command.has_unused_secret().await.unwrap());
}

/// Watches show a record of a secret that is missing as removed, as they show one that is not genuine.
#[tokio::test]
async fn a_watch_of_an_outdated_replica_shows_no_record_that_it_cannot_read() {
    let fixture = Fixture::new();
    let former = fixture.established("one", None).await;
    create(&former, KEY).await;
    let mut watch = former.registry.watch(KEY);
    assert!(
        matches!(watch.next().await, Some(WatchEvent::Reset { entries, .. }) if entries.len() == 1)
    );
    let newer = fixture.established("two", Some("one")).await;
    newer.registry.put(KEY, "{}", None).await.unwrap();
    match watch.next().await {
        Some(WatchEvent::Changes { changes, .. }) => {
            assert!(
                matches!(changes[..], [KeyChange::Delete { .. }]),
                "{changes:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_outdated(&former.registry.check_secret().await.unwrap_err(), "two");
}
