//! The store on real files: restarts, gaps, clocks that are set, old and damaged chunks.

use std::sync::PoisonError;

use console_core::published::Published;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::view::{ClusterView, RegistryHealth, VerdictState};
use recording::BatchWriter;
use rusqlite::params;
use tempfile::TempDir;

use super::*;
use crate::collector::ViewSighting;
use crate::head::SLOT_MS;

/// The start of a slot, in milliseconds since 1970.
const START: i64 = 1_790_000_000_000 / SLOT_MS * SLOT_MS;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

fn view(verdict: VerdictState, at: i64) -> ClusterView {
    let at = Timestamp::from_unix_millis(at);
    let health = RegistryHealth {
        reachable: true,
        since: Timestamp::from_unix_millis(START),
        error: None,
    };
    let evidence = Evidence::new("lab".parse().unwrap(), health);
    let mut view = fold(&evidence, at, &FoldSettings::default(), None);
    view.verdict.state = verdict;
    view
}

fn sighting(verdict: VerdictState, at: i64) -> ViewSighting {
    ViewSighting {
        at: Timestamp::from_unix_millis(at),
        view: Arc::new(Published::new(1, view(verdict, at))),
    }
}

fn open(store: &ViewStore) -> ViewWriter {
    ViewWriter::open(&store.directory, Arc::clone(&store.head)).unwrap()
}

fn write(writer: &mut ViewWriter, sightings: &[(VerdictState, i64)]) {
    for (verdict, at) in sightings {
        writer.write(&[sighting(*verdict, *at)], *at).unwrap();
    }
}

fn lookup(store: &ViewStore, at: i64) -> ViewLookup {
    let cluster = "lab".parse().unwrap();
    reader::view_at(&store.directory, &store.head, &cluster, at).unwrap()
}

/// The verdict at a time and the time of its frame; `None` if it is not known.
fn seen(store: &ViewStore, at: i64) -> Option<(VerdictState, i64)> {
    match lookup(store, at) {
        ViewLookup::Recorded(recorded) => Some((
            recorded.view.verdict.state,
            recorded.at.unix_millis() - START,
        )),
        ViewLookup::Gap { .. } | ViewLookup::NeverRecorded => None,
    }
}

fn gap(before: Option<i64>, after: Option<i64>) -> ViewLookup {
    let time = |offset: i64| Timestamp::from_unix_millis(START + offset);
    ViewLookup::Gap {
        before: before.map(time),
        after: after.map(time),
    }
}

use VerdictState::{Degraded, Healthy, NoPrimary};

#[test]
fn a_time_has_the_view_that_was_seen_then_also_after_a_restart_and_in_chunks() {
    let directory = TempDir::new().unwrap();
    let store = ViewStore::for_directory(directory.path());
    assert_eq!(lookup(&store, START), ViewLookup::NeverRecorded);
    let mut writer = open(&store);
    let frames = [
        (Healthy, START),
        (Degraded, START + 4 * SECOND),
        (Degraded, START + 10 * SECOND),
        (Healthy, START + 10 * SECOND + 1),
        (NoPrimary, START + 20 * SECOND),
    ];
    write(&mut writer, &frames);
    let check = |store: &ViewStore| {
        for (at, expected) in [
            (0, Some((Healthy, 0))),
            (3_999, Some((Healthy, 0))),
            (4_000, Some((Degraded, 4_000))),
            (10_000, Some((Degraded, 10_000))),
            (10_001, Some((Healthy, 10_001))),
            (50_000, Some((NoPrimary, 20_000))),
            (50_001, None),
            (-1, None),
        ] {
            assert_eq!(seen(store, START + at), expected, "{at}");
        }
        assert_eq!(lookup(store, START - 1), gap(None, Some(0)));
        assert_eq!(lookup(store, START + 60 * SECOND), gap(Some(20_000), None));
    };
    check(&store);
    let recorded = match lookup(&store, START + 5 * SECOND) {
        ViewLookup::Recorded(recorded) => recorded.view,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        recorded,
        view(Degraded, START + 4 * SECOND),
        "nothing of the view is lost"
    );

    drop(writer);
    let restarted = ViewStore::for_directory(directory.path());
    let mut writer = open(&restarted);
    check(&restarted);
    writer.write(&[], START + SLOT_MS + 3 * SECOND).unwrap();
    check(&restarted);
    let head = restarted
        .head
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let pending = head.slots(&"lab".parse().unwrap());
    assert!(pending.is_empty(), "the slot is a chunk");
}

/// After a restart the next frame is a whole document: what the view no longer has must not remain from before.
#[test]
fn a_restart_between_two_frames_keeps_nothing_of_the_former_view() {
    let directory = TempDir::new().unwrap();
    let store = ViewStore::for_directory(directory.path());
    let mut failing = view(Healthy, START);
    failing.registry.reachable = false;
    failing.registry.error = Some("connection refused".to_owned());
    let of = |view: &ClusterView, at: i64| ViewSighting {
        at: Timestamp::from_unix_millis(at),
        view: Arc::new(Published::new(1, view.clone())),
    };
    let mut writer = open(&store);
    writer.write(&[of(&failing, START)], START).unwrap();
    drop(writer);
    let mut writer = open(&store);
    let reachable = view(Healthy, START + 5 * SECOND);
    let at = START + 5 * SECOND;
    writer.write(&[of(&reachable, at)], at).unwrap();
    let check = |store: &ViewStore| {
        let ViewLookup::Recorded(recorded) = lookup(store, at) else {
            panic!("recorded");
        };
        assert_eq!(recorded.view, reachable);
        assert!(seen(store, START).is_some());
    };
    check(&store);
    writer.write(&[], START + SLOT_MS + 3 * SECOND).unwrap();
    check(&store);
}

#[test]
fn a_time_in_which_nothing_was_recorded_is_not_known_and_its_neighbors_are_named() {
    let directory = TempDir::new().unwrap();
    let store = ViewStore::for_directory(directory.path());
    let mut writer = open(&store);
    let later = 3 * SLOT_MS;
    write(
        &mut writer,
        &[
            (Healthy, START),
            (Healthy, START + 10 * SECOND),
            (Degraded, START + later),
        ],
    );
    assert_eq!(
        lookup(&store, START + MINUTE),
        gap(Some(10_000), Some(later))
    );
    assert_eq!(seen(&store, START + later), Some((Degraded, later)));
}

/// What was seen twice at a time, because the clock was set back, is answered with what was recorded last.
#[test]
fn a_clock_that_is_set_back_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let store = ViewStore::for_directory(directory.path());
    let mut writer = open(&store);
    write(
        &mut writer,
        &[
            (Healthy, START + 10 * SECOND),
            (Healthy, START + 20 * SECOND),
            (Healthy, START + 12 * SLOT_MS),
            (Degraded, START + 12 * SECOND),
            (NoPrimary, START + 22 * SECOND),
        ],
    );
    assert_eq!(seen(&store, START + 13 * SECOND), Some((Degraded, 12_000)));
    assert_eq!(seen(&store, START + 21 * SECOND), Some((Healthy, 20_000)));
    assert_eq!(seen(&store, START + 23 * SECOND), Some((NoPrimary, 22_000)));
    assert_eq!(
        seen(&store, START + 12 * SLOT_MS),
        Some((Healthy, 12 * SLOT_MS))
    );
}

/// After a day a chunk keeps changes of state and a frame a minute, and a time between two of them is still known.
#[test]
fn old_chunks_are_thinned_and_the_oldest_deleted() {
    let directory = TempDir::new().unwrap();
    let store = ViewStore::for_directory(directory.path());
    let mut writer = open(&store);
    let mut frames: Vec<_> = (0..30)
        .map(|n| (Healthy, START + n * 10 * SECOND))
        .collect();
    frames.insert(16, (Degraded, START + 151 * SECOND));
    for frame in &mut frames[17..] {
        frame.0 = Degraded;
    }
    write(&mut writer, &frames);
    writer.write(&[], START + SLOT_MS + 3 * SECOND).unwrap();
    assert_eq!(seen(&store, START + 128 * SECOND), Some((Healthy, 120_000)));
    let add_slots = |count: i64| {
        let connection = rusqlite::Connection::open(writer_path(&store)).unwrap();
        let changes = connection.unchecked_transaction().unwrap();
        let newest: i64 = changes
            .query_row("SELECT max(id) FROM slot", [], |row| row.get(0))
            .unwrap();
        let mut insert = changes
            .prepare("INSERT INTO slot (id, thinned) VALUES (?1, 0)")
            .unwrap();
        for slot in newest + 1..=newest + count {
            insert.execute(params![slot]).unwrap();
        }
        drop(insert);
        changes.commit().unwrap();
    };
    add_slots(300);
    let far = START + 1_000 * SLOT_MS;
    write(&mut writer, &[(Healthy, far)]);
    writer.write(&[], far + SLOT_MS + 3 * SECOND).unwrap();
    for (second, expected) in [
        (119, (Healthy, 60_000)),
        (150, (Healthy, 120_000)),
        (151, (Degraded, 151_000)),
        (209, (Degraded, 151_000)),
        (212, (Degraded, 211_000)),
    ] {
        let seen = seen(&store, START + second * SECOND).unwrap();
        assert_eq!(seen.0, expected.0, "{second}");
        assert!(seen.1 <= second * SECOND && seen.1 > (second - 61) * SECOND);
    }
    add_slots(26_300);
    write(&mut writer, &[(Healthy, far + 2 * SLOT_MS)]);
    writer.write(&[], far + 3 * SLOT_MS + 3 * SECOND).unwrap();
    assert_eq!(
        lookup(&store, START + 151 * SECOND),
        gap(None, Some(1_000 * SLOT_MS)),
        "the oldest are deleted"
    );
}

fn writer_path(store: &ViewStore) -> std::path::PathBuf {
    store.directory.join(file::FORMAT.name)
}

#[test]
fn a_damaged_chunk_is_a_gap() {
    let directory = TempDir::new().unwrap();
    let store = ViewStore::for_directory(directory.path());
    let mut writer = open(&store);
    write(&mut writer, &[(Healthy, START)]);
    writer.write(&[], START + SLOT_MS + 3 * SECOND).unwrap();
    assert_eq!(seen(&store, START), Some((Healthy, 0)));
    drop(writer);
    let connection = rusqlite::Connection::open(writer_path(&store)).unwrap();
    let body: Vec<u8> = connection
        .query_row("SELECT body FROM chunk", [], |row| row.get(0))
        .unwrap();
    let mut damaged = body.clone();
    damaged[body.len() / 2] ^= 0x40;
    connection
        .execute("UPDATE chunk SET body = ?1", params![damaged])
        .unwrap();
    assert_eq!(seen(&store, START), None);
}

#[tokio::test(start_paused = true)]
async fn every_change_of_state_and_one_view_each_ten_seconds_are_collected() {
    let publisher = Arc::new(monitor::ViewPublisher::new());
    let mut lab = publisher.cluster_publisher("lab".parse().unwrap());
    lab.publish(view(Healthy, START));
    let (frames, mut collected) = mpsc::channel(64);
    let events = publisher.view_events();
    let source = Arc::clone(&publisher);
    let collecting = collector::collect(events, move || source.views(), frames, Arc::default());
    let tasks = tokio_util::task::TaskTracker::new();
    let task = tasks.spawn(collecting);
    let mut verdicts = Vec::new();
    let mut next = async || collected.recv().await.unwrap().view.value.verdict.state;
    verdicts.push(next().await);
    lab.publish(view(Healthy, START + SECOND));
    lab.publish(view(Degraded, START + 2 * SECOND));
    lab.publish(view(Degraded, START + 3 * SECOND));
    lab.publish(view(Healthy, START + 4 * SECOND));
    lab.publish(view(NoPrimary, START + 5 * SECOND));
    while verdicts.last() != Some(&NoPrimary) {
        verdicts.push(next().await);
    }
    verdicts.dedup();
    assert_eq!(verdicts, [Healthy, Degraded, Healthy, NoPrimary]);
    assert_eq!(next().await, NoPrimary, "again after ten seconds");
    task.abort();
}
