//! Entries that leave etcd for an archive.

use super::*;

/// A condition that holds.
fn no_fence() -> Precondition {
    Precondition::Absent(b"/s/none".to_vec())
}

/// Verifies the archive together with the live trail.
async fn verify_archived(trail: &AuditTrail, folder: &std::path::Path) -> VerifiedTrail {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut entries: Vec<AuditEntry> = Vec::new();
    for path in paths {
        entries.extend(read_archive_file(&path).unwrap());
    }
    let archived = entries.last().map_or(0, |entry| entry.sequence);
    let (live, _) = trail.read_all().await.unwrap();
    entries.extend(live.into_iter().filter(|entry| entry.sequence > archived));
    let secrets = secrets();
    let mut verifier = TrailVerifier::new(None, Some(&secrets));
    entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .unwrap();
    verifier.finish()
}

#[tokio::test]
async fn old_entries_leave_etcd_for_an_archive_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let archive = AuditArchive::open(folder.path()).unwrap();
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_old(&trail, 250).await;
    let anchor = trail.last_seen().unwrap();
    append_entries(&trail, 60).await;
    // The last entries may have been appended within this millisecond.
    let later = galera::Timestamp::from_unix_millis(now().unix_millis() + 1_000);
    let archived = trail.archive_before(&archive, later, no_fence()).await;
    assert!(archived.unwrap());
    // Blocks are whole, and the newest one stays: of 310 entries those up to 299 are in older blocks.
    let cut = trail.cut().await.unwrap().unwrap();
    assert_eq!(cut.first, 300);
    let (live, _) = trail.read_all().await.unwrap();
    assert_eq!(live.first().unwrap().sequence, 300);
    assert_eq!(live.first().unwrap().previous, cut.previous);
    assert_eq!(
        live.last().unwrap().record.event,
        AuditEvent::AUDIT_TRAIL_ARCHIVED
    );
    let stored = fixture.intruder.list(ENTRIES).await.unwrap().entries.len();
    assert_eq!(stored, live.len());
    assert_eq!(verify_archived(&trail, folder.path()).await.entries, 311);
    let page = trail
        .page(&AuditTrailFilter {
            limit: 1_000,
            ..AuditTrailFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(
        (page.begins_at, page.next_before, page.entries.len()),
        (Some(300), None, 12)
    );
    // An anchor of an archived entry is no alarm.
    let started = fixture.replica();
    started.check_anchor(&anchor).await.unwrap();
    assert_eq!(alarms(&started), 0);
    // The trail continues, and what is too new stays.
    append_entries(&trail, 100).await;
    let hour_ago = galera::Timestamp::from_unix_millis(now().unix_millis() - 3_600_000);
    assert!(
        !trail
            .archive_before(&archive, hour_ago, no_fence())
            .await
            .unwrap()
    );
    assert_eq!(alarms(&trail), 0);
    // A damaged end is still told apart from what was archived.
    fixture.delete(HEAD).await;
    let fresh = fixture.replica();
    append_entries(&fresh, 1).await;
    let (entries, _) = fresh.read_all().await.unwrap();
    let tampering = entries
        .iter()
        .find(|entry| entry.record.event == AuditEvent::AUDIT_TRAIL_TAMPERED);
    assert!(!tampering.unwrap().record.detail.contains_key("missing"));
}

#[tokio::test]
async fn archiving_continues_after_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let archive = AuditArchive::open(folder.path()).unwrap();
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_old(&trail, 250).await;
    let before = fixture.stored().await;
    // Written, but another replica leads by then: nothing left etcd.
    let lost = Precondition::Exists(b"/s/none".to_vec());
    assert!(!trail.archive_before(&archive, now(), lost).await.unwrap());
    assert_eq!(fixture.stored().await, before);
    assert!(
        trail
            .archive_before(&archive, now(), no_fence())
            .await
            .unwrap()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // Entries that the interrupted process had not deleted.
    for entry in &before[..50] {
        if entry.key.starts_with(ENTRIES.as_bytes()) {
            fixture.put(entry.key.clone(), entry.value.clone()).await;
        }
    }
    trail
        .archive_before(&archive, now(), no_fence())
        .await
        .unwrap();
    assert_eq!(verify_archived(&trail, folder.path()).await.entries, 251);
}

#[tokio::test]
async fn nothing_leaves_etcd_unverified_or_into_an_archive_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let archive = AuditArchive::open(folder.path()).unwrap();
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_old(&trail, 250).await;
    let whole = fixture.stored().await;
    // An altered entry.
    let mut entry = trail.entry(7).await.unwrap().unwrap();
    entry.record.actor = "mallory".to_owned();
    let altered = serde_json::to_vec(&entry).unwrap();
    fixture
        .put(keyspace::audit_entry(PREFIX, 0, 7), altered.clone())
        .await;
    let refused = trail.archive_before(&archive, now(), no_fence()).await;
    assert!(matches!(
        refused,
        Err(RetentionError::Chain(AuditChainError::Altered(7)))
    ));
    fixture.restore(&whole).await;
    // A file of another trail with the same numbers.
    let other = tempfile::tempdir().unwrap();
    let other = AuditArchive::open(other.path()).unwrap();
    let (mut entries, _) = trail.read_all().await.unwrap();
    entries[6] = entry;
    other.store(&entries).unwrap();
    let fresh = fixture.replica();
    let refused = fresh.archive_before(&other, now(), no_fence()).await;
    assert!(
        matches!(
            refused,
            Err(RetentionError::Archive(ArchiveError::Differs {
                sequence: 7,
                ..
            }))
        ),
        "{refused:?}"
    );
    let kept = fixture.intruder.list(ENTRIES).await.unwrap().entries.len();
    assert_eq!(kept, 250);
    assert_eq!(fresh.cut().await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_or_altered_cut_is_restored_from_the_archive() {
    const CUT: &str = "/s/audit/cut";
    for altered in [
        None,
        Some(r#"{"first":1,"previous":"","at":"2026-11-28T00:00:00Z"}"#),
    ] {
        for fresh in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let archive = AuditArchive::open(folder.path()).unwrap();
            let fixture = Fixture::new();
            let trail = fixture.replica();
            append_old(&trail, 250).await;
            assert!(
                trail
                    .archive_before(&archive, now(), no_fence())
                    .await
                    .unwrap()
            );
            match altered {
                None => fixture.delete(CUT).await,
                Some(value) => fixture.put(CUT, value).await,
            }
            let trail = if fresh { fixture.replica() } else { trail };
            assert!(
                trail
                    .archive_before(&archive, now(), no_fence())
                    .await
                    .unwrap()
            );
            assert_eq!(trail.cut().await.unwrap().unwrap().first, 200);
            let verified = verify_archived(&trail, folder.path()).await;
            assert_eq!((verified.entries, verified.tampering), (252, vec![252]));
            // Without the archive nothing is assumed.
            fixture.delete(CUT).await;
            let empty = tempfile::tempdir().unwrap();
            let empty = AuditArchive::open(empty.path()).unwrap();
            let refused = fixture
                .replica()
                .archive_before(&empty, now(), no_fence())
                .await;
            assert!(
                matches!(refused, Ok(false) | Err(RetentionError::Chain(_))),
                "{refused:?}"
            );
        }
    }
}
