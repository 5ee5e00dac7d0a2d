mod rotation;

use std::sync::Arc;

use galera::record::audit::AuditEntry;
use registry::memory::MemoryEtcd;
use tempfile::TempDir;

use super::*;
use crate::state_secret::{StateSecretSealer, generate_file};

const PREFIX: &str = "/s";

struct Fixture {
    etcd: MemoryEtcd,
    folder: TempDir,
    secrets: StateSecrets,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secrets = generate_file(&folder.path().join("secret")).unwrap();
        Self {
            etcd: MemoryEtcd::new(),
            folder,
            secrets,
        }
    }

    fn authority(&self) -> RecordAuthority {
        self.with(&self.secrets)
    }

    fn with(&self, secrets: &StateSecrets) -> RecordAuthority {
        let sealer = StateSecretSealer::new(PREFIX, secrets.clone());
        RecordAuthority {
            registry: self.etcd.connect().registry().with_sealer(Arc::new(sealer)),
            state_prefix: PREFIX.to_owned(),
            secrets: secrets.clone(),
            migration: MigrationPolicy::Once,
            secret_file: Some(self.folder.path().join("secret")),
            actor: "r1".to_owned(),
        }
    }

    async fn put_plain(&self, key: &str, value: &str) {
        self.etcd.registry().put(key, value, None).await.unwrap();
    }

    async fn migrations(&self) -> Vec<AuditEntry> {
        let (entries, _) = AuditTrail::new(self.authority().registry, PREFIX)
            .read_all()
            .await
            .unwrap();
        entries
    }
}

/// Records as a console without a state secret writes them.
const RECORDED: [(&str, &str); 9] = [
    (
        "/s/users/ann",
        r#"{"password_hash":"$argon2id$x","credential":"00000000-0000-0000-0000-000000000000","roles":["admin"],"disabled":false,"created_at":"2026-11-27T22:00:00Z","changed_at":"2026-11-27T22:00:00Z"}"#,
    ),
    (
        "/s/keys/session",
        r#"{"hs256":"00","created_at":"2026-11-27T22:00:00Z"}"#,
    ),
    (
        "/s/actions/19d0a6f1e2c3-0badcafe",
        r#"{"id":"19d0a6f1e2c3-0badcafe"}"#,
    ),
    ("/s/open/lab", "19d0a6f1e2c3-0badcafe"),
    (
        "/s/switches/global",
        r#"{"by":"root","at":"2026-11-27T22:00:00Z","reason":"upgrade"}"#,
    ),
    ("/s/positions/lab", r#"{"highest":{}}"#),
    ("/s/notify/targets/1", r#"{"id":"1","secret":"hunter2"}"#),
    ("/s/status/pages/shop", r#"{"slug":"shop"}"#),
    ("/s/status/incidents/7", r#"{"id":"7"}"#),
];

#[tokio::test]
async fn recorded_data_are_sealed_once_and_nothing_is_lost() {
    let fixture = Fixture::new();
    for (key, value) in RECORDED {
        fixture.put_plain(key, value).await;
    }
    fixture.put_plain("/s/leader", "x").await;
    let (one, two) = (fixture.authority(), fixture.authority());
    let (first, second) = tokio::join!(one.establish(), two.establish());
    first.unwrap();
    second.unwrap();
    for authority in [&one, &two] {
        for (key, value) in RECORDED {
            let entry = authority.registry.get(key).await.unwrap().unwrap();
            assert_eq!(String::from_utf8(entry.value).unwrap(), value, "{key}");
        }
        assert_eq!(authority.registry.tampered().count(), 0);
    }
    let stored = fixture.etcd.registry().list("/s/").await.unwrap().entries;
    let text: String = stored
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
        .collect();
    assert!(
        !text.contains("hunter2") && !text.contains("argon2id"),
        "{text}"
    );
    let entries = fixture.migrations().await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].record.event, AuditEvent::RECORDS_SEALED);
    assert_eq!(
        entries[0].record.detail["records"],
        RECORDED.len().to_string()
    );
    // A plain record that appears later is not sealed by the next start.
    fixture.put_plain("/s/users/mallory", "{}").await;
    let later = fixture.authority();
    later.establish().await.unwrap();
    let read = later.registry.get("/s/users/mallory").await;
    assert!(matches!(read, Err(Error::Tampered { .. })), "{read:?}");
}

#[tokio::test]
async fn no_kind_of_record_is_accepted_plain_altered_moved_or_in_an_earlier_state() {
    let fixture = Fixture::new();
    let authority = fixture.authority();
    authority.establish().await.unwrap();
    let (sealed, etcd) = (&authority.registry, fixture.etcd.registry());
    let mut kinds = 0;
    for place in protected_prefixes(PREFIX) {
        let is_folder = place.ends_with('/');
        let key = format!("{place}{}", if is_folder { "one" } else { "" });
        sealed.put(key.as_str(), "1", None).await.unwrap();
        let earlier = etcd.get(key.as_str()).await.unwrap().unwrap().value;
        sealed.put(key.as_str(), "2", None).await.unwrap();
        let current = etcd.get(key.as_str()).await.unwrap().unwrap().value;
        let read = sealed.get(key.as_str()).await.unwrap().unwrap();
        assert_eq!(read.value, b"2", "{key}");

        let mut altered = current.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        let mut forgeries = vec![
            ("plain", key.clone(), b"3".to_vec()),
            ("altered", key.clone(), altered),
            ("in an earlier state", key.clone(), earlier),
        ];
        if is_folder {
            forgeries.push(("moved", format!("{place}another"), current));
        }
        for (how, key, value) in forgeries {
            etcd.put(key.as_str(), value, None).await.unwrap();
            let read = sealed.get(key.as_str()).await;
            assert!(
                matches!(read, Err(Error::Tampered { .. })),
                "{key}, {how}: {read:?}"
            );
        }
        kinds += 1;
    }
    assert!(kinds >= 20, "{kinds}");
}

#[tokio::test]
async fn no_entry_of_a_log_is_accepted_plain_altered_or_moved_and_none_leaves_a_note() {
    let fixture = Fixture::new();
    let authority = fixture.authority();
    authority.establish().await.unwrap();
    let (sealed, etcd) = (&authority.registry, fixture.etcd.registry());
    let is_tampered = async |key: &str| {
        let read = sealed.get(key).await;
        matches!(read, Err(Error::Tampered { .. }))
    };
    let mut kinds = 0;
    for place in log_entry_prefixes(PREFIX) {
        let is_folder = place.ends_with('/');
        let key = format!("{place}{}", if is_folder { "lab/1" } else { "" });
        // JSON, and bytes that are not text.
        for content in [&b"[1]"[..], b"\x00\xff\x00"] {
            sealed.put(key.as_str(), content, None).await.unwrap();
            let stored = etcd.get(key.as_str()).await.unwrap().unwrap().value;
            let mut forgeries = vec![content.to_vec(), b"2".to_vec(), stored[..20].to_vec()];
            forgeries.extend((0..stored.len()).map(|at| {
                let mut altered = stored.clone();
                altered[at] ^= 1;
                altered
            }));
            for forged in forgeries {
                etcd.put(key.as_str(), forged.clone(), None).await.unwrap();
                assert!(is_tampered(&key).await, "{key}: {forged:?}");
                let listed = sealed.list(key.as_str()).await.unwrap();
                assert!(listed.entries.is_empty(), "{key}: {forged:?}");
            }
            assert!(sealed.tampered().below(&key).next().is_some());
            if is_folder {
                let moved = format!("{place}prod/1");
                etcd.put(moved.as_str(), stored.clone(), None)
                    .await
                    .unwrap();
                assert!(is_tampered(&moved).await, "{moved}");
            }
            // The genuine one put back is what it was.
            etcd.put(key.as_str(), stored, None).await.unwrap();
            let read = sealed.get(key.as_str()).await.unwrap().unwrap();
            assert_eq!(read.value, content);
            assert!(sealed.tampered().below(&key).next().is_none());
            let delete = Transaction::new().then([WriteOp::delete(key.as_str())]);
            sealed.transact(&delete).await.unwrap();
            assert!(etcd.get(key.as_str()).await.unwrap().is_none());
            assert!(sealed.get(key.as_str()).await.unwrap().is_none());
        }
        kinds += 1;
    }
    assert_eq!(kinds, 6);
}

/// What a console wrote that sealed records, but not the event history.
async fn put_unsealed_history(fixture: &Fixture) -> Vec<(String, Vec<u8>)> {
    let mut history = vec![
        ("/s/chronicle/live/head/lab".to_owned(), b"{}".to_vec()),
        ("/s/chronicle/live/observed".to_owned(), b"{}".to_vec()),
        ("/s/notify/courses/lab".to_owned(), b"{}".to_vec()),
        (
            "/s/chronicle/blocks/lab/0".to_owned(),
            b"\x1b\xff\x00".to_vec(),
        ),
    ];
    // More than fit into one transaction.
    history.extend((0..150).map(|number| {
        let key = format!("/s/chronicle/live/tail/lab/{number:020}");
        (key, number.to_string().into_bytes())
    }));
    let etcd = fixture.etcd.registry();
    for (key, value) in &history {
        etcd.put(key.as_str(), value.clone(), None).await.unwrap();
    }
    history
}

/// The authority record of such a console.
async fn reduce_scope(fixture: &Fixture) {
    let authority = fixture.authority();
    let entry = authority.registry.get("/s/authority").await.unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&entry.unwrap().value).unwrap();
    let fields = record.as_object_mut().unwrap();
    fields.remove("scope");
    fields.remove("former_scope");
    let written = authority
        .registry
        .put("/s/authority", record.to_string(), None);
    written.await.unwrap();
    let note = fixture.folder.path().join("secret.migrated");
    let noted = std::fs::read_to_string(&note).unwrap_or_default();
    let first: String = noted
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect();
    if !first.is_empty() {
        std::fs::write(note, first).unwrap();
    }
}

#[tokio::test]
async fn an_event_history_that_was_not_sealed_is_sealed_once() {
    let fixture = Fixture::new();
    fixture.put_plain("/s/users/ann", "{}").await;
    fixture.authority().establish().await.unwrap();
    reduce_scope(&fixture).await;
    let history = put_unsealed_history(&fixture).await;
    fixture.put_plain("/s/users/mallory", "{}").await;
    let (one, two) = (fixture.authority(), fixture.authority());
    let (first, second) = tokio::join!(one.establish(), two.establish());
    first.unwrap();
    second.unwrap();
    for authority in [&one, &two] {
        for (key, value) in &history {
            let entry = authority.registry.get(key.as_str()).await.unwrap();
            assert_eq!(entry.unwrap().value, *value, "{key}");
        }
        let ignored = authority.registry.get("/s/users/mallory").await;
        assert!(matches!(ignored, Err(Error::Tampered { .. })));
    }
    let migrations = fixture.migrations().await;
    assert_eq!(migrations.len(), 2, "{migrations:?}");
    let sealed = &migrations.last().unwrap().record.detail["records"];
    assert_eq!(*sealed, history.len().to_string());
    // What appears later is a forgery, also for the next start, and if the authority record is put back.
    for put_back in [false, true] {
        if put_back {
            reduce_scope(&fixture).await;
        }
        let forged = "/s/chronicle/live/tail/lab/00000000000000000999";
        fixture.put_plain(forged, "{}").await;
        let next = fixture.authority();
        next.establish().await.unwrap();
        assert!(next.registry.get(forged).await.is_err(), "{put_back}");
        assert_eq!(fixture.migrations().await.len(), 2);
    }
}

#[tokio::test]
async fn a_lease_stays_with_a_sealed_session() {
    let fixture = Fixture::new();
    let etcd = fixture.etcd.registry();
    let lease = etcd
        .grant_without_keep_alive(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    etcd.create("/s/sessions/1", "{}", Some(lease))
        .await
        .unwrap();
    let authority = fixture.authority();
    authority.establish().await.unwrap();
    let session = authority
        .registry
        .get("/s/sessions/1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (session.value.as_slice(), session.lease),
        (b"{}".as_slice(), lease)
    );
}

#[tokio::test]
async fn an_interrupted_migration_is_continued_without_later_records() {
    let fixture = Fixture::new();
    for (key, value) in RECORDED {
        fixture.put_plain(key, value).await;
    }
    let crashed = fixture.authority();
    // The authority record and some records are written, then the replica ends.
    assert!(!crashed.create("/s/authority").await.unwrap());
    let first = crashed
        .registry
        .unsealed()
        .get("/s/users/ann")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(crashed.registry.seal_in_place(&[first]).await.unwrap(), 1);
    fixture.put_plain("/s/users/mallory", "{}").await;
    let next = fixture.authority();
    next.establish().await.unwrap();
    for (key, value) in RECORDED {
        let entry = next.registry.get(key).await.unwrap().unwrap();
        assert_eq!(entry.value, value.as_bytes(), "{key}");
    }
    assert!(next.registry.get("/s/users/mallory").await.is_err());
    assert_eq!(fixture.migrations().await.len(), 1);
}

#[tokio::test]
async fn an_emptied_etcd_with_forged_accounts_is_not_migrated_again() {
    let mut fixture = Fixture::new();
    fixture.put_plain("/s/users/ann", "{}").await;
    fixture.authority().establish().await.unwrap();
    fixture.etcd = MemoryEtcd::new();
    fixture.put_plain("/s/users/mallory", "{}").await;
    let authority = fixture.authority();
    authority.establish().await.unwrap();
    assert!(authority.registry.get("/s/users/mallory").await.is_err());
    assert!(fixture.migrations().await.is_empty());
}

#[tokio::test]
async fn with_migration_never_plain_records_are_ignored() {
    let fixture = Fixture::new();
    fixture.put_plain("/s/users/ann", "{}").await;
    let authority = RecordAuthority {
        migration: MigrationPolicy::Never,
        ..fixture.authority()
    };
    authority.establish().await.unwrap();
    assert!(authority.registry.get("/s/users/ann").await.is_err());
}

#[tokio::test]
async fn a_missing_or_wrong_secret_is_refused_by_name() {
    let fixture = Fixture::new();
    check_unsealed(&fixture.etcd.registry(), PREFIX)
        .await
        .unwrap();
    fixture.authority().establish().await.unwrap();
    let kid = fixture.secrets.newest().kid();
    let error = check_unsealed(&fixture.etcd.registry(), PREFIX)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("--state-secret-file") && text.contains(kid),
        "{text}"
    );
    let others = generate_file(&fixture.folder.path().join("other")).unwrap();
    for deleted in [false, true] {
        if deleted {
            // Other sealed records need the secret as well.
            let registry = fixture.authority().registry;
            registry.create("/s/users/ann", "{}", None).await.unwrap();
            let delete = Transaction::new().then([WriteOp::delete("/s/authority")]);
            fixture.etcd.registry().transact(&delete).await.unwrap();
        }
        let error = fixture.with(&others).establish().await.unwrap_err();
        let text = error.to_string();
        assert!(!error.is_transient());
        assert!(
            text.contains(kid) && text.contains(others.newest().kid()),
            "{text}"
        );
    }
    fixture.authority().establish().await.unwrap();
    assert!(fixture.migrations().await.is_empty());
}
