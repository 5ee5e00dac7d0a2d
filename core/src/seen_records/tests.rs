use std::os::unix::fs::MetadataExt;

use super::*;
use crate::state_secret::new_secret;

fn secrets() -> StateSecrets {
    StateSecrets::derive(&new_secret().unwrap(), None).unwrap()
}

fn record(key: &str, version: u64) -> SeenRecord {
    SeenRecord {
        key: key.into(),
        version,
        tag: [7; 16],
        revision: 3,
        leased: false,
        removed: false,
        present: true,
    }
}

fn state(revision: i64, records: Vec<SeenRecord>) -> SeenState {
    SeenState {
        records: SeenRecords {
            revision,
            restored: None,
            records,
        },
        anchor: Some(AuditAnchor {
            sequence: version_of(revision),
            hash: "a".repeat(64),
        }),
        reported: BTreeSet::new(),
    }
}

fn version_of(revision: i64) -> u64 {
    u64::try_from(revision).unwrap()
}

#[test]
fn what_was_seen_is_read_again_and_readable_by_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/data").join(FILE_NAME);
    let file = SeenRecordsFile::open(&path, "/s/", secrets()).unwrap();
    assert_eq!(file.read().unwrap(), SeenState::default());
    let mut seen = state(9, vec![record("/s/users/anna", 4)]);
    seen.reported.insert("/s/users/olga".to_owned());
    seen.records.restored = Some(EtcdRestore {
        seen: 12,
        found: 9,
        at: Timestamp::from_unix_millis(5),
    });
    file.merge(&seen).unwrap();
    assert_eq!(file.read().unwrap(), seen);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn processes_that_share_a_file_keep_the_higher_versions() {
    let folder = tempfile::tempdir().unwrap();
    let file = SeenRecordsFile::open(&folder.path().join("f"), "/s", secrets()).unwrap();
    let first = state(20, vec![record("/s/users/a", 5), record("/s/users/b", 2)]);
    let second = state(15, vec![record("/s/users/a", 3), record("/s/users/c", 1)]);
    file.merge(&first).unwrap();
    file.merge(&second).unwrap();
    let read = file.read().unwrap();
    let versions: Vec<u64> = read.records.records.iter().map(|r| r.version).collect();
    assert_eq!((versions, read.records.revision), (vec![5, 2, 1], 20));
    assert_eq!(read.anchor.unwrap().sequence, 20);
}

#[test]
fn ended_sessions_are_bounded_and_the_newest_kept() {
    let ended = |version| SeenRecord {
        leased: true,
        present: false,
        ..record(&format!("/s/sessions/{version:06}"), version)
    };
    let many = (1..=u64::try_from(ENDED_MAX).unwrap() + 500).map(ended);
    let merged = merge(&SeenState::default(), &state(1, many.collect()));
    assert_eq!(merged.records.records.len(), ENDED_MAX);
    assert_eq!(merged.records.records[0].version, 501);
}

#[test]
fn a_file_that_is_not_genuine_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen-records");
    let secrets = secrets();
    let file = SeenRecordsFile::open(&path, "/s", secrets.clone()).unwrap();
    file.merge(&state(9, vec![record("/s/users/anna", 4)]))
        .unwrap();
    let genuine = std::fs::read_to_string(&path).unwrap();
    let error = |text: &str, prefix: &str, secrets: StateSecrets| {
        std::fs::write(&path, text).unwrap();
        let file = SeenRecordsFile::open(&path, prefix, secrets).unwrap();
        let error = file.read().unwrap_err();
        assert!(
            file.merge(&SeenState::default()).is_err(),
            "never overwritten"
        );
        assert!(error.to_string().contains("seen-records"), "{error}");
        error
    };
    let forged = error(&genuine.replace(",4,", ",1,"), "/s", secrets.clone());
    assert!(
        matches!(forged, SeenRecordsError::Forged { .. }),
        "{forged}"
    );
    let other = error(&genuine, "/t", secrets.clone());
    assert!(
        matches!(other, SeenRecordsError::OtherPrefix { .. }),
        "{other}"
    );
    // The prefix in the header alone does not make it a file of that prefix.
    let moved = error(
        &genuine.replacen("\"/s\"", "\"/t\"", 1),
        "/t",
        secrets.clone(),
    );
    assert!(matches!(moved, SeenRecordsError::Forged { .. }), "{moved}");
    let unknown = error(&genuine, "/s", self::secrets());
    assert!(
        matches!(unknown, SeenRecordsError::UnknownSecret { .. }),
        "{unknown}"
    );
    for text in ["", "{}", "{}\n{}", "\u{0}\n", "{\"seen_records\":2}\n{}"] {
        let malformed = error(text, "/s", secrets.clone());
        assert!(
            matches!(malformed, SeenRecordsError::Malformed { .. }),
            "{malformed}"
        );
    }
    let format = genuine.replacen("\"seen_records\":1", "\"seen_records\":2", 1);
    let format = error(&format, "/s", secrets);
    assert!(format.to_string().contains("unknown format 2"), "{format}");
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let blocking = folder.path().join("file");
    std::fs::write(&blocking, "").unwrap();
    let error = SeenRecordsFile::open(&blocking.join(FILE_NAME), "/s", secrets()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("file/seen-records") && text.contains("--data-dir"),
        "{text}"
    );
}

mod continued {
    //! A process that continues with what an earlier one has seen.

    use std::sync::Arc;
    use std::time::Duration;

    use registry::memory::MemoryEtcd;
    use registry::{Error, Registry, RegistryEntry, Transaction, WriteOp};

    use super::secrets;
    use crate::state_secret::{StateSecretSealer, StateSecrets};

    const ANN: &str = "/s/users/ann";
    const SESSION: &str = "/s/sessions/1";

    struct ConsoleHost {
        etcd: MemoryEtcd,
        secrets: StateSecrets,
    }

    impl ConsoleHost {
        fn new() -> Self {
            Self {
                etcd: MemoryEtcd::new(),
                secrets: secrets(),
            }
        }

        /// A process that has seen nothing.
        fn process(&self) -> Registry {
            let sealer = StateSecretSealer::new("/s", self.secrets.clone());
            self.etcd.registry().with_sealer(Arc::new(sealer))
        }

        /// A process that continues after `before`.
        fn after(&self, before: &Registry) -> Registry {
            let process = self.process();
            process.remember_records(&before.seen_records());
            process
        }

        async fn stored(&self, key: &str) -> RegistryEntry {
            self.etcd.registry().get(key).await.unwrap().unwrap()
        }

        /// What a client without the secret does.
        async fn write(&self, write: WriteOp) {
            let writing = Transaction::new().then([write]);
            self.etcd.registry().transact(&writing).await.unwrap();
        }
    }

    async fn reason(registry: &Registry, key: &str) -> String {
        match registry.get(key).await {
            Err(Error::Tampered { reason, .. }) => reason,
            other => panic!("{key}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_older_record_is_recognized_only_by_one_that_has_seen_a_newer() {
        let host = ConsoleHost::new();
        let before = host.process();
        before.put(ANN, "1", None).await.unwrap();
        let older = host.stored(ANN).await.value;
        before.put(ANN, "2", None).await.unwrap();
        host.write(WriteOp::put(ANN, older, None)).await;
        assert_eq!(
            reason(&host.after(&before), ANN).await,
            "an older version was put back"
        );
        let ignorant = host.process().get(ANN).await.unwrap().unwrap();
        assert_eq!(ignorant.value, b"1");
    }

    #[tokio::test]
    async fn a_deleted_record_is_missing_and_a_removed_one_is_not() {
        let host = ConsoleHost::new();
        let before = host.process();
        before.put(ANN, "1", None).await.unwrap();
        before.put("/s/users/bob", "1", None).await.unwrap();
        host.write(WriteOp::delete(ANN)).await;
        let bob = before
            .get("/s/users/bob")
            .await
            .unwrap()
            .unwrap()
            .mod_revision;
        before.delete_if("/s/users/bob", bob).await.unwrap();
        let after = host.after(&before);
        assert_eq!(reason(&after, ANN).await, "it was deleted");
        assert_eq!(after.get("/s/users/bob").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_session_continues_but_one_that_ended_does_not_come_back() {
        let host = ConsoleHost::new();
        let before = host.process();
        let lease = before
            .grant_without_keep_alive(Duration::from_secs(60))
            .await
            .unwrap();
        before.put(SESSION, "anna", Some(lease)).await.unwrap();
        let session = host.stored(SESSION).await;
        assert!(host.after(&before).get(SESSION).await.unwrap().is_some());
        host.write(WriteOp::delete(SESSION)).await;
        assert_eq!(before.get(SESSION).await.unwrap(), None);
        host.write(WriteOp::put(SESSION, session.value, Some(lease)))
            .await;
        let found = reason(&host.after(&before), SESSION).await;
        assert_eq!(found, "it was put back after it had ended");
    }

    #[tokio::test]
    async fn after_a_fall_of_the_revision_only_versions_count() {
        let host = ConsoleHost::new();
        let process = host.process();
        process.put(ANN, "1", None).await.unwrap();
        let older = host.stored(ANN).await.value;
        for _ in 0..5 {
            process.put(ANN, "2", None).await.unwrap();
        }
        host.etcd.wipe();
        host.write(WriteOp::put(ANN, older, None)).await;
        assert_eq!(reason(&process, ANN).await, "an older version was put back");
        let restored = process.restored().unwrap();
        assert!(restored.found < restored.seen, "{restored:?}");
        assert_eq!(process.tampered().restored, Some(restored));
        // What is written now follows what was seen, for every process.
        let write = Transaction::new()
            .when(registry::Precondition::Absent(ANN.into()))
            .then([WriteOp::put(ANN, "3", None)]);
        process.transact(&write).await.unwrap();
        assert_eq!(process.get(ANN).await.unwrap().unwrap().value, b"3");
        process.accept_restore();
        assert_eq!(process.tampered().restored, None);
    }
}
