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
