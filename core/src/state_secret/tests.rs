//! What a program with write access to etcd tries on sealed records.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use registry::memory::MemoryEtcd;
use registry::{
    CreateOutcome, KeyChange, Precondition, Registry, RegistryEntry, Transaction,
    TransactionOutcome, WatchEvent, WriteOp,
};

use super::*;

const PREFIX: &str = "/s";
const ANN: &str = "/s/users/ann";
const BOB: &str = "/s/users/bob";
const ACTION: &str = "/s/actions/1-a";
const SWITCH: &str = "/s/switches/global";
const SESSION: &str = "/s/sessions/1";

fn secrets(texts: &[&str]) -> StateSecrets {
    StateSecrets::derive(texts[0], texts.get(1).copied()).unwrap()
}

/// A console's connection, and that of a program that can write etcd.
struct SharedEtcd {
    store: MemoryEtcd,
    console: Registry,
    intruder: Registry,
}

impl SharedEtcd {
    fn new() -> Self {
        let store = MemoryEtcd::new();
        Self {
            console: sealed(&store, &["one"]),
            intruder: store.registry(),
            store,
        }
    }

    async fn stored(&self, key: &str) -> RegistryEntry {
        self.intruder.get(key).await.unwrap().unwrap()
    }

    /// Writes a value as it is.
    async fn forge(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.intruder.put(key, value, None).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        let deletion = Transaction::new().then([WriteOp::delete(key)]);
        self.intruder.transact(&deletion).await.unwrap();
    }

    async fn reason(&self, key: &str) -> String {
        match self.console.get(key).await {
            Err(Error::Tampered { key: named, reason }) => {
                assert_eq!(named, key);
                reason
            }
            other => panic!("{key}: {other:?}"),
        }
    }
}

fn sealed(store: &MemoryEtcd, texts: &[&str]) -> Registry {
    let sealer = StateSecretSealer::new(PREFIX, secrets(texts));
    store.connect().registry().with_sealer(Arc::new(sealer))
}

async fn value(registry: &Registry, key: &str) -> Option<String> {
    let entry = registry.get(key).await.unwrap()?;
    Some(String::from_utf8(entry.value).unwrap())
}

async fn remove(registry: &Registry, key: &str) {
    let seen = registry.get(key).await.unwrap().unwrap().mod_revision;
    registry.delete_if(key, seen).await.unwrap();
}

#[tokio::test]
async fn records_read_as_they_were_written() {
    let etcd = SharedEtcd::new();
    for (key, content) in [
        (ANN, r#"{"password_hash":"$argon2id$…"}"#),
        (ACTION, r#"{"a":1,"record":"x","text":2}"#),
        ("/s/open/lab", "1-a"),
        ("/s/open/shop", " {} "),
        ("/s/audit/entries/000000000000/000000000001", "{}"),
        ("/galera/lab/n1", "x"),
    ] {
        etcd.console.create(key, content, None).await.unwrap();
        assert_eq!(
            value(&etcd.console, key).await.as_deref(),
            Some(content),
            "{key}"
        );
        let other = sealed(&etcd.store, &["one"]);
        assert_eq!(value(&other, key).await.as_deref(), Some(content), "{key}");
        let listed = other.list(key).await.unwrap().entries;
        assert_eq!(listed[0].value, content.as_bytes(), "{key}");
    }
    let stored = String::from_utf8(etcd.stored(ACTION).await.value).unwrap();
    assert!(
        stored.ends_with(r#","record":{"a":1,"record":"x","text":2}}"#),
        "{stored}"
    );
    let stored = String::from_utf8(etcd.stored(ANN).await.value).unwrap();
    assert!(
        !stored.contains("argon2id") && stored.contains("\"encrypted\":"),
        "{stored}"
    );
    assert_eq!(
        etcd.stored("/s/audit/entries/000000000000/000000000001")
            .await
            .value,
        b"{}"
    );
    assert_eq!(etcd.console.tampered().count(), 0);
}

#[tokio::test]
async fn a_forged_record_is_ignored_until_it_is_removed() {
    let etcd = SharedEtcd::new();
    etcd.forge(ANN, "{}").await;
    assert_eq!(etcd.reason(ANN).await, "it is not sealed");
    assert!(
        etcd.console
            .list("/s/users/")
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    let tampered = etcd.console.tampered();
    assert_eq!(tampered.below("/s/users/").count(), 1);
    etcd.delete(ANN).await;
    assert_eq!(value(&etcd.console, ANN).await, None);
    assert_eq!(etcd.console.tampered().count(), 0);
}

#[tokio::test]
async fn a_record_that_was_altered_or_moved_is_not_genuine() {
    let etcd = SharedEtcd::new();
    etcd.console
        .create(ACTION, r#"{"state":"pending"}"#, None)
        .await
        .unwrap();
    etcd.console.create(ANN, "{}", None).await.unwrap();
    let action = String::from_utf8(etcd.stored(ACTION).await.value).unwrap();
    let account = String::from_utf8(etcd.stored(ANN).await.value).unwrap();
    let invalid = "its seal is not valid for this key";
    etcd.forge("/s/actions/1-b", action.as_str()).await;
    assert_eq!(etcd.reason("/s/actions/1-b").await, invalid);
    etcd.forge(BOB, account.as_str()).await;
    assert_eq!(etcd.reason(BOB).await, invalid);
    etcd.forge(BOB, action.as_str()).await;
    assert_eq!(etcd.reason(BOB).await, "it is not encrypted");
    for altered in [
        action.replace("pending", "approved"),
        action.replace("\"version\":1", "\"version\":2"),
        action.replace("\"record\":{\"state\":\"pending\"}", "\"removed\":true"),
        action.replace(",\"tag\":\"", ",\"leased\":true,\"tag\":\""),
    ] {
        assert_ne!(altered, action);
        etcd.forge(ACTION, altered.as_str()).await;
        assert_eq!(etcd.reason(ACTION).await, invalid, "{altered}");
    }
    // As it was: what an operator restores from etcd's history is genuine.
    etcd.forge(ACTION, action).await;
    assert_eq!(
        value(&etcd.console, ACTION).await.as_deref(),
        Some(r#"{"state":"pending"}"#)
    );
    etcd.forge(ANN, sealed_by_another_secret(ANN).as_slice())
        .await;
    let reason = etcd.reason(ANN).await;
    assert!(
        reason.starts_with("it is sealed with the unknown secret "),
        "{reason}"
    );
}

fn sealed_by_another_secret(key: &str) -> Vec<u8> {
    let sealer = StateSecretSealer::new(PREFIX, secrets(&["another"]));
    let record = RecordToSeal {
        key: key.as_bytes(),
        version: u64::MAX / 2,
        leased: false,
        content: Some(b"{}"),
    };
    sealer.seal(&record).unwrap().value
}

#[tokio::test]
async fn an_older_version_put_back_is_a_replay() {
    let etcd = SharedEtcd::new();
    etcd.console
        .create(ANN, r#"{"disabled":false}"#, None)
        .await
        .unwrap();
    let enabled = etcd.stored(ANN).await.value;
    let seen = etcd.console.get(ANN).await.unwrap().unwrap().mod_revision;
    etcd.console
        .update(ANN, seen, r#"{"disabled":true}"#, None)
        .await
        .unwrap();
    etcd.forge(ANN, enabled).await;
    assert_eq!(etcd.reason(ANN).await, "an older version was put back");
    // A writer that holds an earlier revision replaces nothing.
    assert!(etcd.console.update(ANN, seen, "{}", None).await.is_err());
}

#[tokio::test]
async fn a_removed_account_put_back_is_a_replay_even_for_a_new_replica() {
    let etcd = SharedEtcd::new();
    etcd.console.create(ANN, "{}", None).await.unwrap();
    let record = etcd.stored(ANN).await.value;
    remove(&etcd.console, ANN).await;
    assert_eq!(value(&etcd.console, ANN).await, None);
    assert!(
        etcd.console
            .list("/s/users/")
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    let other = sealed(&etcd.store, &["one"]);
    assert_eq!(value(&other, ANN).await, None);
    etcd.forge(ANN, record).await;
    for registry in [&etcd.console, &other] {
        let error = registry.get(ANN).await.unwrap_err();
        assert!(
            error.to_string().contains("an older version was put back"),
            "{error}"
        );
    }
    // The account is added again over the replay.
    let created = etcd
        .console
        .create(ANN, r#"{"new":1}"#, None)
        .await
        .unwrap();
    assert!(matches!(created, CreateOutcome::Created { .. }));
    assert_eq!(value(&other, ANN).await.as_deref(), Some(r#"{"new":1}"#));
    assert_eq!(etcd.console.tampered().count(), 0);
    assert_eq!(other.tampered().count(), 0);
}

#[tokio::test]
async fn a_session_that_ended_cannot_be_put_back() {
    let etcd = SharedEtcd::new();
    let lease = etcd
        .console
        .grant_without_keep_alive(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    etcd.console
        .create(SESSION, "{}", Some(lease))
        .await
        .unwrap();
    let record = etcd.stored(SESSION).await.value;
    assert!(value(&etcd.console, SESSION).await.is_some());
    etcd.console.revoke(lease).await.unwrap();
    assert_eq!(value(&etcd.console, SESSION).await, None);
    assert_eq!(etcd.console.tampered().count(), 0, "its lease ended");
    etcd.forge(SESSION, record).await;
    assert_eq!(
        etcd.reason(SESSION).await,
        "it was put back after it had ended"
    );
}

#[tokio::test]
async fn a_deletion_outside_the_console_is_noticed() {
    let etcd = SharedEtcd::new();
    etcd.console.create(SWITCH, "{}", None).await.unwrap();
    let paused = etcd.stored(SWITCH).await.value;
    etcd.delete(SWITCH).await;
    assert!(
        etcd.console
            .list("/s/switches/")
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    assert_eq!(etcd.console.tampered().below("/s/switches/").count(), 1);
    assert_eq!(etcd.reason(SWITCH).await, "it was deleted");
    // What must not happen while recovery is paused does not.
    let guarded = Transaction::new()
        .when(Precondition::Absent(SWITCH.into()))
        .then([WriteOp::put(ACTION, "{}", None)]);
    assert!(matches!(
        etcd.console.transact(&guarded).await,
        Err(Error::Tampered { .. })
    ));
    // Resumed by an operator, it is.
    let resume = Transaction::new()
        .when(Precondition::Absent(SWITCH.into()))
        .then([WriteOp::delete(SWITCH)]);
    etcd.console.transact(&resume).await.unwrap();
    assert_eq!(etcd.console.tampered().count(), 0);
    let outcome = etcd.console.transact(&guarded).await.unwrap();
    assert!(matches!(outcome, TransactionOutcome::Committed { .. }));
    // And the pause that was lifted cannot be put back, nor the note of that deleted unnoticed by this replica.
    etcd.forge(SWITCH, paused).await;
    assert_eq!(etcd.reason(SWITCH).await, "an older version was put back");
}

#[tokio::test]
async fn replicas_write_concurrently_without_a_false_alarm() {
    let etcd = SharedEtcd::new();
    let other = sealed(&etcd.store, &["one"]);
    let guarded = |key: &str| {
        Transaction::new()
            .when(Precondition::Absent(SWITCH.into()))
            .then([WriteOp::put(key, "{}", None)])
    };
    for round in 0..5 {
        etcd.console.create(SWITCH, "{}", None).await.unwrap();
        let refused = other.transact(&guarded(BOB)).await.unwrap();
        let TransactionOutcome::Refused { current, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(current[0].value, b"{}");
        remove(&other, SWITCH).await;
        // Neither replica has read the note of the removal that the other wrote.
        let action = format!("/s/actions/{round}");
        for (registry, key) in [
            (&etcd.console, format!("{action}a")),
            (&other, format!("{action}b")),
        ] {
            let outcome = registry.transact(&guarded(&key)).await.unwrap();
            assert!(
                matches!(outcome, TransactionOutcome::Committed { .. }),
                "{key}"
            );
        }
    }
    assert_eq!(
        etcd.console.tampered().count() + other.tampered().count(),
        0
    );
}

#[tokio::test]
async fn a_watch_ends_the_record_that_a_forgery_replaced() {
    let etcd = SharedEtcd::new();
    etcd.console.create(ANN, "{}", None).await.unwrap();
    let mut events = etcd.console.watch("/s/users/");
    let Some(WatchEvent::Reset { entries, .. }) = events.next().await else {
        panic!("no listing");
    };
    assert_eq!(entries[0].value, b"{}");
    etcd.forge(ANN, r#"{"roles":["admin"]}"#).await;
    etcd.forge(BOB, r#"{"roles":["admin"]}"#).await;
    let mut deleted = Vec::new();
    while deleted.len() < 2 {
        let Some(WatchEvent::Changes { changes, .. }) = events.next().await else {
            panic!("no change");
        };
        for change in changes {
            let KeyChange::Delete { key, .. } = change else {
                panic!("{change:?}");
            };
            deleted.push(String::from_utf8(key).unwrap());
        }
    }
    assert_eq!(deleted, [ANN, BOB]);
    assert_eq!(etcd.console.tampered().count(), 2);
}

#[tokio::test]
async fn a_plain_record_is_not_replaced_before_records_are_checked() {
    let etcd = SharedEtcd::new();
    etcd.forge(ANN, "of an earlier version").await;
    let starting = etcd.console.clone().hold_writes();
    let refused = starting.create(ANN, "new", None).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    // Other keys are written, as is everything by the one that checks the records.
    starting.create("/s/leader", "replica", None).await.unwrap();
    let plain = etcd.stored(ANN).await;
    assert_eq!(starting.unheld().seal_in_place(&[plain]).await.unwrap(), 1);
    starting.release_writes();
    assert_eq!(
        value(&starting, ANN).await.unwrap(),
        "of an earlier version"
    );
    starting.create(BOB, "new", None).await.unwrap();
    assert_eq!(value(&starting, BOB).await.unwrap(), "new");
}

#[tokio::test]
async fn a_rotated_secret_reads_old_records_and_seals_them_again() {
    let etcd = SharedEtcd::new();
    etcd.console.create(ANN, "{}", None).await.unwrap();
    etcd.console.create(BOB, "{}", None).await.unwrap();
    remove(&etcd.console, BOB).await;
    let rotated = sealed(&etcd.store, &["two", "one"]);
    assert_eq!(value(&rotated, ANN).await.as_deref(), Some("{}"));
    let dropped = sealed(&etcd.store, &["two"]);
    assert!(matches!(
        dropped.get(ANN).await,
        Err(Error::Tampered { .. })
    ));
    assert_eq!(rotated.reseal("/s/users/").await.unwrap(), 2);
    assert_eq!(rotated.reseal("/s/users/").await.unwrap(), 0);
    assert_eq!(value(&dropped, ANN).await.as_deref(), Some("{}"));
    assert_eq!(value(&dropped, BOB).await, None);
    assert_eq!(dropped.tampered().count(), 0);
}

#[test]
fn secret_files_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let good = "a".repeat(64);
    let other = "b".repeat(32);
    let write = |text: &[u8], mode: u32| {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let cases: [(&str, Vec<u8>, u32, &str); 11] = [
        ("empty", b"".to_vec(), 0o600, "is empty"),
        ("blank", b" \n".to_vec(), 0o600, "is empty"),
        ("short", b"secret\n".to_vec(), 0o600, "line 1 of"),
        (
            "a short second line",
            format!("{good}\nx\n").into_bytes(),
            0o600,
            "line 2 of",
        ),
        (
            "a blank second line",
            format!("{good}\n\n").into_bytes(),
            0o600,
            "line 2 of",
        ),
        (
            "three lines",
            format!("{good}\n{other}\n{good}x\n").into_bytes(),
            0o600,
            "more than two lines",
        ),
        (
            "spaces",
            format!("{good} {good}\n").into_bytes(),
            0o600,
            "is malformed",
        ),
        ("no text", vec![0xff; 64], 0o600, "is malformed"),
        (
            "twice the same",
            format!("{good}\n{good}\n").into_bytes(),
            0o600,
            "the same secret",
        ),
        (
            "writable by the group",
            good.clone().into_bytes(),
            0o660,
            "chmod 0600",
        ),
        (
            "readable by all",
            good.clone().into_bytes(),
            0o604,
            "chmod 0600",
        ),
    ];
    for (what, text, mode, expected) in cases {
        write(&text, mode);
        let error = read_file(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(error.contains(path.to_str().unwrap()), "{what}: {error}");
        assert!(!error.contains(&good), "{what}: {error}");
    }
    assert!(matches!(
        read_file(folder.path()),
        Err(StateSecretFileError::NotAFile(_))
    ));
    let missing = folder.path().join("missing");
    let error = read_file(&missing).unwrap_err().to_string();
    assert!(error.contains("galera-console secret new"), "{error}");
    write(format!("{good}\r\n{other}").as_bytes(), 0o400);
    assert_eq!(read_file(&path).unwrap(), secrets(&[&good, &other]));
}

#[test]
fn a_rotation_keeps_the_newest_secret_as_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let first = generate_file(&path).unwrap();
    assert!(matches!(
        generate_file(&path),
        Err(StateSecretFileError::Exists(_))
    ));
    let second = rotate_file(&path).unwrap();
    assert!(second.contains(first.newest().kid()) && second.newest() != first.newest());
    let third = rotate_file(&path).unwrap();
    assert!(third.contains(second.newest().kid()) && !third.contains(first.newest().kid()));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{third:?}").contains(std::fs::read_to_string(&path).unwrap().trim()));
}
