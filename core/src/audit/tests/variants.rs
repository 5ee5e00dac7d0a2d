//! Parts of a trail that are genuine by themselves, in the wrong place or order.

use super::*;

/// The key of entry `number`.
fn place(number: u64) -> String {
    keyspace::audit_entry(PREFIX, number / BLOCK_ENTRIES, number)
}

async fn stored_entry(fixture: &Fixture, number: u64) -> Vec<u8> {
    let entry = fixture.intruder.get(place(number)).await.unwrap();
    entry.unwrap().value
}

/// The end is cut back to exactly where an anchor was taken: that anchor still holds, and every later one shows the cut.
#[tokio::test]
async fn a_trail_cut_exactly_at_an_anchor_is_noticed_by_each_later_one() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 4).await;
    let (earlier, first) = (fixture.stored().await, trail.last_seen().unwrap());
    append_entries(&trail, 1).await;
    let second = trail.last_seen().unwrap();
    fixture.restore(&earlier).await;
    // What cannot be distinguished from a trail that ended there.
    let unaware = fixture.replica();
    unaware.check_anchor(&first).await.unwrap();
    assert_eq!(alarms(&unaware), 0);
    let aware = fixture.replica();
    for anchor in [&first, &second] {
        aware.check_anchor(anchor).await.unwrap();
    }
    assert_eq!(alarms(&aware), 1);
    let entry = newest(&aware).await;
    assert_eq!(entry.record.detail["missing"], "5");
    // The process that wrote it needs no anchor.
    fixture.restore(&earlier).await;
    assert!(!trail.check_head().await.unwrap());
    assert_eq!(alarms(&trail), 1);
}

/// Anchors of a trail that was rolled back do not verify the one that is written in its place.
#[tokio::test]
async fn anchors_of_a_trail_that_was_rolled_back_do_not_hold_for_its_successor() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 2).await;
    let earlier = fixture.stored().await;
    append_entries(&trail, 3).await;
    let lost = trail.last_seen().unwrap();
    fixture.restore(&earlier).await;
    // A console that did not see it continues, past the number of the lost entry.
    let unaware = fixture.replica();
    append_entries(&unaware, 4).await;
    assert_eq!(alarms(&unaware), 0);
    let (entries, _) = unaware.read_all().await.unwrap();
    let anchors = [lost.clone()];
    let count = entries.last().unwrap().sequence;
    let verdict = check_anchors(&anchors, 1, count, |sequence| {
        let entry = entries.iter().find(|entry| entry.sequence == sequence);
        entry.map(|entry| entry.hash.clone())
    });
    assert!(verdict.is_err(), "{verdict:?}");
    let aware = fixture.replica();
    aware.check_anchor(&lost).await.unwrap();
    assert_eq!(alarms(&aware), 1);
    // And the process that wrote it, although the head is authentic and newer than what it saw.
    let mut compared = Some(lost);
    assert!(trail.check_head().await.unwrap());
    trail.check_continuation(&mut compared).await.unwrap();
    assert_eq!(alarms(&trail), 1);
    trail.check_continuation(&mut compared).await.unwrap();
    assert_eq!(alarms(&trail), 1, "once");
    let reason = &newest(&trail).await.record.detail["reason"];
    assert!(reason.contains("does not follow entry 5"), "{reason}");
}

/// What looks like a change and is none: other replicas append, archive and repair.
#[tokio::test]
async fn a_trail_that_another_replica_continues_raises_no_further_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let archive = AuditArchive::open(folder.path()).unwrap();
    let fixture = Fixture::new();
    let (one, other) = (fixture.replica(), fixture.replica());
    let mut compared = None;
    for count in [1, 3, 120] {
        append_old(&other, count).await;
        one.check_continuation(&mut compared).await.unwrap();
        assert_eq!(compared, other.last_seen());
    }
    append_old(&other, 200).await;
    let fence = Precondition::Absent(b"/s/none".to_vec());
    assert!(other.archive_before(&archive, now(), fence).await.unwrap());
    one.check_continuation(&mut compared).await.unwrap();
    assert_eq!(alarms(&one), 0);
    // Another replica that has seen the same end notices the cut first, and continues after it.
    let earlier = fixture.stored().await;
    append_entries(&other, 1).await;
    one.check_continuation(&mut compared).await.unwrap();
    fixture.restore(&earlier).await;
    other.check_head().await.unwrap();
    one.check_continuation(&mut compared).await.unwrap();
    assert_eq!(alarms(&one), 0, "raised by the entry of the other replica");
    let changes = newest(&one).await.record.event;
    assert_eq!(changes, AuditEvent::AUDIT_TRAIL_TAMPERED);
}

#[tokio::test]
async fn reordered_and_repeated_entries_do_not_verify() {
    for (to, from) in [(3, 4), (4, 3), (2, 5), (5, 2)] {
        let fixture = Fixture::new();
        let trail = fixture.replica();
        append_entries(&trail, 6).await;
        let (one, other) = (
            stored_entry(&fixture, to).await,
            stored_entry(&fixture, from).await,
        );
        fixture.put(place(to), other.clone()).await;
        assert!(verified(&trail).await.is_err(), "{from} also at {to}");
        fixture.put(place(from), one).await;
        assert!(verified(&trail).await.is_err(), "{from} and {to}, swapped");
        // The trail continues behind its end, which is genuine.
        append_entries(&trail, 1).await;
        assert_eq!(newest(&trail).await.sequence, 7);
    }
    // A copy behind the end, at the place of the next entry and at that of a later one.
    for free in [7, 9, 107] {
        let fixture = Fixture::new();
        let trail = fixture.replica();
        append_entries(&trail, 6).await;
        fixture
            .put(place(free), stored_entry(&fixture, 6).await)
            .await;
        append_entries(&trail, 3).await;
        let replica = fixture.replica();
        append_entries(&replica, 1).await;
        let (entries, head) = replica.read_all().await.unwrap();
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        let last = head.unwrap().sequence;
        let repeated = numbers.iter().filter(|number| **number == 6).count();
        let verifies = verified(&replica).await.is_ok();
        assert!(
            repeated == 1 || !verifies,
            "{free}: {numbers:?} up to {last}"
        );
    }
}

/// Two consoles with one state secret, each below a prefix: what one wrote is genuine, but of another trail.
#[tokio::test]
async fn the_trail_of_another_prefix_does_not_replace_this_one_unseen() {
    let fixture = Fixture::new();
    let trail = fixture.replica();
    append_entries(&trail, 3).await;
    let other = {
        let sealer = StateSecretSealer::new("/other", secrets());
        let registry = fixture.etcd.connect().registry();
        AuditTrail::new(registry.with_sealer(Arc::new(sealer)), "/other")
    };
    // Entries of the same millisecond with equal fields would be the same bytes.
    for number in 0..5 {
        other.record(record(&format!("b{number}"))).await.unwrap();
    }
    let genuine = fixture.stored().await;
    let moved: Vec<RegistryEntry> = fixture
        .intruder
        .list("/other/audit/")
        .await
        .unwrap()
        .entries;
    let at = |entry: &RegistryEntry| entry.key["/other".len()..].to_vec();
    // All of it, with its head; only its entries; and one of them.
    for (with_head, entries) in [(true, 1..=5), (false, 1..=5), (false, 2..=2)] {
        fixture.restore(&genuine).await;
        for entry in &moved {
            let key = [b"/s".to_vec(), at(entry)].concat();
            let is_moved = entries
                .clone()
                .any(|number| place(number).as_bytes() == key);
            if is_moved || (with_head && key == HEAD.as_bytes()) {
                fixture.put(key, entry.value.clone()).await;
            }
        }
        let fresh = fixture.replica();
        let is_genuine = fresh.check_head().await.unwrap();
        append_entries(&fresh, 1).await;
        if with_head {
            assert!(!is_genuine);
            assert_eq!(alarms(&fresh), 1);
        }
        let verifies = verified(&fresh).await;
        let is_named = verifies
            .as_ref()
            .is_ok_and(|trail| !trail.tampering.is_empty());
        assert!(verifies.is_err() || is_named, "{with_head} {entries:?}");
    }
}

/// The leader moves old entries while another replica appends: no number is lost or used twice.
#[tokio::test]
async fn retention_beside_an_appending_replica_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let archive = AuditArchive::open(folder.path()).unwrap();
    let fixture = Fixture::new();
    let (leader, other) = (fixture.replica(), fixture.replica());
    append_old(&leader, 230).await;
    let fence = || Precondition::Absent(b"/s/none".to_vec());
    let archiving = async {
        for _ in 0..10 {
            leader
                .archive_before(&archive, now(), fence())
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(archiving, append_old(&other, 180));
    let mut entries: Vec<AuditEntry> = Vec::new();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        entries.extend(read_archive_file(&file).unwrap());
    }
    let archived = entries.last().unwrap().sequence;
    let (live, _) = other.read_all().await.unwrap();
    entries.extend(live.into_iter().filter(|entry| entry.sequence > archived));
    let secrets = secrets();
    let mut verifier = TrailVerifier::new(None, Some(&secrets));
    entries
        .iter()
        .try_for_each(|entry| verifier.push(entry))
        .unwrap();
    let written = entries
        .iter()
        .filter(|entry| entry.record.event == AuditEvent::SIGNED_IN);
    assert_eq!(written.count(), 410);
    assert_eq!(alarms(&leader) + alarms(&other), 0);
}

/// Entries of a replica whose clock was set, an hour and a year off in both directions.
#[tokio::test]
async fn clocks_that_are_set_break_no_chain() {
    const HOUR: i64 = 3_600_000;
    let fixture = Fixture::new();
    let (one, other) = (fixture.replica(), fixture.replica());
    for offset in [0, HOUR, -HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR] {
        let at = galera::Timestamp::from_unix_millis(now().unix_millis() + offset);
        for trail in [&one, &other] {
            let set = AuditRecord {
                at,
                ..record("ann")
            };
            trail.record(set).await.unwrap();
        }
    }
    assert_eq!(verified(&one).await.unwrap().entries, 10);
    assert_eq!(alarms(&one) + alarms(&other), 0);
}
