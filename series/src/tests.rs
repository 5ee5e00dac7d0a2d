//! The store on real files: restarts, killed processes, clocks that are set, and files that cannot be used.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use galera::Timestamp;
use galera::record::series::{FIGURES, Figure, NodeFigures, SeriesMetric};
use monitor::{NodeReading, ViewPublisher};
use tempfile::TempDir;

use super::*;
use recording::BatchWriter;

use crate::file::FORMAT;
use crate::writer::SeriesWriter;

/// A whole hour, in milliseconds since 1970.
const START: i64 = 1_790_000_000_000 / 3_600_000 * 3_600_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn reading(node: usize, at: i64, seqno: i64) -> NodeReading {
    let mut figures = NodeFigures([Some(0); FIGURES]);
    figures.0[Figure::LastCommitted as usize] = Some(seqno.cast_unsigned());
    figures.0[Figure::RecvQueue as usize] = Some(7);
    NodeReading {
        cluster: "lab".parse().unwrap(),
        node: format!("10.0.0.{node}").parse().unwrap(),
        at: Timestamp::from_unix_millis(at),
        figures,
    }
}

fn store(directory: &TempDir) -> SeriesStore {
    SeriesStore::for_directory(directory.path(), Duration::from_secs(1))
}

fn open(store: &SeriesStore) -> SeriesWriter {
    try_open(store).unwrap()
}

fn try_open(store: &SeriesStore) -> Result<SeriesWriter, RecordingError> {
    SeriesWriter::open(&store.directory, Arc::clone(&store.head), store.retention)
}

/// Writes a reading each second of `times`, ten commits apart.
fn write(writer: &mut SeriesWriter, times: std::ops::Range<i64>, first_seqno: i64) {
    let seconds: Vec<i64> = times.step_by(1000).collect();
    for (batch, times) in seconds.chunks(60).enumerate() {
        let seqno = |index: usize| first_seqno + i64::try_from((batch * 60 + index) * 10).unwrap();
        let readings = times.iter().enumerate();
        let readings: Vec<_> = readings
            .map(|(index, at)| reading(1, *at, seqno(index)))
            .collect();
        writer.write(&readings, *times.last().unwrap()).unwrap();
    }
}

fn read(
    store: &SeriesStore,
    metric: SeriesMetric,
    from: i64,
    step: i64,
    count: usize,
) -> SeriesAnswer {
    let request = SeriesRequest {
        cluster: "lab".parse().unwrap(),
        nodes: vec!["10.0.0.1".parse().unwrap()],
        metrics: vec![metric],
        from,
        step,
        count,
    };
    reader::read(
        &store.directory,
        &store.head,
        store.retention.gap_max(),
        &request,
    )
    .unwrap()
}

fn means(
    store: &SeriesStore,
    metric: SeriesMetric,
    from: i64,
    step: i64,
    count: usize,
) -> Vec<Option<f64>> {
    let answer = read(store, metric, from, step, count);
    let values = answer.nodes[0].values()[0].iter();
    values
        .map(|value| value.get().map(|[_, mean, _]| mean))
        .collect()
}

#[test]
fn readings_are_the_same_from_head_chunks_and_minutes() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let mut writer = open(&store);
    write(&mut writer, START..START + 10 * MINUTE, 0);
    let rates = |store: &SeriesStore| means(store, SeriesMetric::CommitRate, START, MINUTE, 10);
    let expected = vec![Some(10.0); 10];
    assert_eq!(rates(&store), expected, "head and chunks");
    write(&mut writer, START + 10 * MINUTE..START + 2 * HOUR, 6_000);
    assert_eq!(rates(&store), expected, "minutes");
    let queue = means(&store, SeriesMetric::RecvQueue, START - MINUTE, MINUTE, 122);
    assert_eq!(
        (queue[0], queue[1], queue[120], queue[121]),
        (None, Some(7.0), Some(7.0), None)
    );
    let seconds = means(
        &store,
        SeriesMetric::CommitRate,
        START + 30 * MINUTE,
        SECOND,
        60,
    );
    assert_eq!(seconds, [Some(10.0); 60], "single readings are kept too");
    assert_eq!(
        read(&store, SeriesMetric::CommitRate, START, MINUTE, 1).recorded_since,
        Some(START)
    );
}

#[test]
fn single_readings_are_deleted_and_minutes_stay() {
    let directory = TempDir::new().unwrap();
    let mut store = store(&directory);
    store.retention.reading_slots = 12;
    let mut writer = open(&store);
    write(&mut writer, START..START + 4 * HOUR, 0);
    let at = START + HOUR;
    assert_eq!(
        means(&store, SeriesMetric::CommitRate, at, SECOND, 10),
        [None; 10]
    );
    assert_eq!(
        means(&store, SeriesMetric::CommitRate, at, MINUTE, 10),
        [Some(10.0); 10]
    );
    let recent = START + 3 * HOUR + 30 * MINUTE;
    assert_eq!(
        means(&store, SeriesMetric::CommitRate, recent, SECOND, 9),
        [Some(10.0); 9]
    );
}

#[test]
fn a_restart_loses_nothing_and_its_gap_has_no_values() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    for (begin, end) in [(0, 7), (9, 12)] {
        let mut writer = open(&store);
        write(
            &mut writer,
            START + begin * MINUTE..START + end * MINUTE,
            begin * 600,
        );
        assert!(
            matches!(try_open(&store), Err(RecordingError::InUse { .. })),
            "one writer at a time"
        );
    }
    drop(open(&store));
    let queue = means(&store, SeriesMetric::RecvQueue, START, MINUTE, 12);
    let rates = means(&store, SeriesMetric::CommitRate, START, MINUTE, 12);
    for minute in 0..12 {
        let recorded = !(7..9).contains(&minute);
        assert_eq!(queue[minute].is_some(), recorded, "{queue:?}");
        assert_eq!(rates[minute], recorded.then_some(10.0));
    }
}

#[test]
fn a_clock_that_is_set_changes_nothing_that_was_written() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let mut store = store;
    store.retention.minute_slots = 8;
    let mut writer = open(&store);
    write(
        &mut writer,
        START + 2 * HOUR..START + 3 * HOUR + 7 * MINUTE,
        1_000_000,
    );
    let metric = SeriesMetric::LastCommitted;
    let before = means(&store, metric, START + 2 * HOUR, MINUTE, 60);
    // Back into an hour that is in minutes already, years ahead for a moment, and back again.
    write(
        &mut writer,
        START + 2 * HOUR + 500..START + 2 * HOUR + 12 * MINUTE,
        50,
    );
    write(
        &mut writer,
        START + 90_000 * HOUR..START + 90_000 * HOUR + 12 * MINUTE,
        2_000_000,
    );
    write(
        &mut writer,
        START + 4 * HOUR..START + 5 * HOUR + 12 * MINUTE,
        1_900_000,
    );
    let answer = read(&store, metric, START + 2 * HOUR, MINUTE, 60);
    let values: Vec<_> = answer.nodes[0].values()[0]
        .iter()
        .map(IntervalValue::get)
        .collect();
    for (minute, before) in before.iter().enumerate() {
        let [_, mean, max] = values[minute].unwrap();
        let before = before.unwrap();
        assert!(
            (before..before + 400.0).contains(&max),
            "{minute}: {max} of {before}"
        );
        assert_eq!(
            mean < before,
            minute < 12,
            "{minute}: both readings are kept"
        );
    }
    let rates = read(&store, SeriesMetric::CommitRate, START, MINUTE, 400);
    let lowest = rates.nodes[0].values()[0]
        .iter()
        .filter_map(IntervalValue::get);
    assert!(lowest.map(|[min, ..]| min).all(|min| min >= 0.0));
    let later = means(&store, metric, START + 4 * HOUR, MINUTE, 70);
    assert!(later.iter().all(Option::is_some), "{later:?}");
    let ahead = means(&store, metric, START + 90_000 * HOUR, MINUTE, 10);
    assert!(ahead.iter().all(Option::is_some), "{ahead:?}");
}

#[test]
fn readings_besides_the_schedule_are_left_out() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let mut writer = open(&store);
    let batch = [0, 100, 499, 1_000].map(|at| reading(1, START + at, at));
    assert_eq!(writer.write(&batch, START).unwrap().recorded, 2);
    let absurd = [reading(1, i64::MAX, 0), reading(1, -5, 0)];
    assert_eq!(writer.write(&absurd, START).unwrap().lost, 2);
}

/// The writer of the test below, in a process that is killed.
#[test]
fn writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os("SERIES_TEST_DIRECTORY") else {
        return;
    };
    let store = SeriesStore::for_directory(directory.as_ref(), Duration::from_secs(1));
    let mut writer = open(&store);
    let begin: i64 = std::env::var_os("SERIES_TEST_FROM")
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    for second in begin.. {
        let batch: Vec<_> = (1..40)
            .map(|node| reading(node, START + second * SECOND, second * 10))
            .collect();
        writer.write(&batch, START + second * SECOND).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "written {second}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_had_written() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let mut next = 0;
    // The second one is killed around the end of a slot, the third around the end of an hour.
    for until in [40, 301, 3_603] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::writes_until_it_is_killed", "--nocapture"])
            .env("SERIES_TEST_DIRECTORY", directory.path())
            .env("SERIES_TEST_FROM", next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut written = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split_once("written ")?.1.trim().parse::<i64>().ok());
        let reached = written.find(|second| *second >= until).unwrap();
        child.kill().unwrap();
        let last = written.last().unwrap_or(reached);
        child.wait().unwrap();
        let writer = open(&store);
        let state: String = writer
            .file()
            .recording
            .connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(state, "ok");
        let count = usize::try_from(last + 1).unwrap();
        let seqnos = means(&store, SeriesMetric::LastCommitted, START, SECOND, count);
        for (second, seqno) in seqnos.iter().enumerate() {
            assert_eq!(
                *seqno,
                Some(second as f64 * 10.0),
                "second {second} of {count}"
            );
        }
        next = last + 2;
        // The second between the two processes may be missing; it is written here so that all can be compared.
        let mut writer = writer;
        writer
            .write(
                &[reading(1, START + (last + 1) * SECOND, (last + 1) * 10)],
                START + last * SECOND,
            )
            .unwrap();
    }
}

fn fill(store: &SeriesStore) {
    write(&mut open(store), START..START + 20 * MINUTE, 0);
}

#[test]
fn a_truncated_file_is_named_and_left_as_it_is() {
    for keep in [2, 3, 50, 99] {
        let directory = TempDir::new().unwrap();
        let store = store(&directory);
        fill(&store);
        let path = directory.path().join(FORMAT.name);
        let bytes = std::fs::read(&path).unwrap();
        let cut = &bytes[..bytes.len() * keep / 100];
        std::fs::write(&path, cut).unwrap();
        let error = try_open(&store).err().unwrap();
        assert!(
            matches!(error, RecordingError::Damaged { .. }),
            "{keep} %: {error}"
        );
        assert!(
            error.to_string().contains(FORMAT.name)
                && error.to_string().contains("move the file away")
        );
        assert_eq!(std::fs::read(&path).unwrap(), cut, "{keep} %");
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        fill(&store);
    }
}

#[test]
fn a_file_of_another_version_or_program_is_named_and_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    fill(&store);
    let path = directory.path().join(FORMAT.name);
    let set = |name: &str, value: i64| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, name, value).unwrap();
    };
    set("user_version", 2);
    let error = try_open(&store).err().unwrap();
    assert!(
        matches!(
            error,
            RecordingError::OtherVersion {
                found: 2,
                expected: 1,
                ..
            }
        ),
        "{error}"
    );
    set("application_id", 5);
    assert!(matches!(
        try_open(&store),
        Err(RecordingError::Foreign { .. })
    ));
    std::fs::write(&path, "a text that is long enough to be taken for a header of a database, but is none of any kind").unwrap();
    assert!(matches!(
        try_open(&store),
        Err(RecordingError::Damaged { .. })
    ));
}

#[test]
fn any_damage_is_an_error_or_a_gap() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    fill(&store);
    let path = directory.path().join(FORMAT.name);
    let bytes = std::fs::read(&path).unwrap();
    for seed in 0..200_usize {
        let mut damaged = bytes.clone();
        for index in 0..8 {
            let at = (seed * 7_919 + index * 104_729 + seed * seed * 31) % bytes.len();
            damaged[at] ^= 0x55;
        }
        std::fs::write(&path, damaged).unwrap();
        if let Ok(mut writer) = try_open(&store) {
            let _ = writer.write(&[reading(1, START + 30 * MINUTE, 9)], START + 30 * MINUTE);
        }
        let request = SeriesRequest {
            cluster: "lab".parse().unwrap(),
            nodes: vec!["10.0.0.1".parse().unwrap()],
            metrics: SeriesMetric::ALL.to_vec(),
            from: START,
            step: MINUTE,
            count: 30,
        };
        let _ = reader::read(&store.directory, &store.head, 3_500, &request);
    }
}

#[test]
fn a_full_or_read_only_disk_is_named_and_recording_resumes() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let mut writer = open(&store);
    write(&mut writer, START..START + 10 * MINUTE, 0);
    let next = |second: i64| {
        vec![reading(
            1,
            START + 10 * MINUTE + second * SECOND,
            6_000 + second * 10,
        )]
    };
    let now = START + 10 * MINUTE;
    // SQLite returns the error of a full disk when the file may not grow.
    let pages: i64 = writer
        .file()
        .recording
        .connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    writer
        .file()
        .recording
        .connection
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
    let big: Vec<_> = (0..30_000)
        .map(|node| NodeReading {
            node: format!("big{node}").parse().unwrap(),
            ..reading(1, now, 1)
        })
        .collect();
    let error = writer.write(&big, now).unwrap_err();
    assert!(matches!(error, RecordingError::Full { .. }), "{error}");
    assert!(error.to_string().contains("free space"));
    drop(writer);
    let mut writer = open(&store);
    writer
        .file()
        .recording
        .connection
        .pragma_update(None, "query_only", true)
        .unwrap();
    let error = writer.write(&next(0), now).unwrap_err();
    assert!(matches!(error, RecordingError::ReadOnly { .. }), "{error}");
    drop(writer);
    let mut writer = open(&store);
    writer.write(&next(1), now).unwrap();
    writer.write(&next(2), now).unwrap();
    let rates = means(
        &store,
        SeriesMetric::CommitRate,
        START + 9 * MINUTE,
        MINUTE,
        2,
    );
    assert_eq!(rates, [Some(10.0); 2]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_shown_and_recording_begins_when_it_can() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("series");
    std::fs::write(&directory, "in the way").unwrap();
    let views = Arc::new(ViewPublisher::new());
    let tasks = Tasks::default();
    let monitor = Monitor::for_publisher(Arc::clone(&views), tasks.tracker.clone());
    let settings = SeriesSettings {
        directory: directory.clone(),
        poll_interval: Duration::from_secs(1),
    };
    let store = SeriesStore::start(&settings, &monitor, &tasks);
    let notices = || {
        views.publish_overview();
        views.overview().borrow().value.notices.clone()
    };
    let poll = async |reached: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if reached() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not within a minute: {:?}", store.state());
    };
    poll(&|| notices().iter().any(|notice| notice.contains("--data-dir"))).await;
    let state = store.state();
    assert!(!state.recording && state.problem.unwrap().contains("series.db"));
    std::fs::remove_file(&directory).unwrap();
    poll(&|| notices().is_empty()).await;
    assert!(store.state().recording && directory.join(FORMAT.name).exists());
    tasks.shutdown.cancel();
}
