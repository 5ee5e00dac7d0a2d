//! Measures what recording views costs: `cargo run --release --package recorded-views --example view_cost [-- CLUSTERS HOURS]`.
//!
//! Writes made-up views of CLUSTERS clusters of three nodes every ten seconds for HOURS as the recorder would, without
//! waiting, and prints processor time, memory and bytes; then reads views of times at random.

use std::sync::Arc;
use std::time::{Duration, Instant};

use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::view::{
    ClusterStatus, ClusterView, NodeState, NodeView, RegistryHealth, SourceKind, SourceView,
};
use galera::{Position, Timestamp};
use recorded_views::ViewLookup;
use recorded_views::measuring::MeasuredStore;

const START: i64 = 1_790_000_000_000 / 3_600_000 * 3_600_000;
const INTERVAL_MS: i64 = 10_000;
const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

/// A pseudo-random number below `below`.
fn noise(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below.max(1)
}

fn source(kind: SourceKind, at: Timestamp, seqno: u64) -> SourceView {
    SourceView {
        kind,
        observed_at: Some(at),
        stale: false,
        error: None,
        error_code: None,
        failing_since: None,
        state: Some("Synced".to_owned()),
        cluster_status: Some("Primary".to_owned()),
        seqno: Some(seqno),
        phase: (kind == SourceKind::Registry).then(|| "running".to_owned()),
    }
}

fn node(number: usize, at: Timestamp, seqno: u64, state: &mut u64) -> NodeView {
    let uuid = HISTORY.parse().unwrap_or_else(|_| unreachable!());
    NodeView {
        id: format!("10.0.0.{number}")
            .parse()
            .unwrap_or_else(|_| unreachable!()),
        name: Some(format!("n{number}")),
        state: NodeState::Synced,
        state_comment: Some("Synced".to_owned()),
        cluster_status: Some(ClusterStatus::Primary),
        position: Some(Position { uuid, seqno }),
        position_fresh: true,
        behind: Some(noise(state, 3)),
        commit_rate: Some(300.0 + noise(state, 2_000) as f64 / 10.0),
        recent_rates: vec![1.0; 60],
        recv_queue: Some(noise(state, 4) / 2),
        send_queue: Some(0),
        flow_control_paused: Some(0.0),
        ready: Some(true),
        connected: Some(true),
        segment: Some(0),
        votes: Some(1),
        cached_from: Some(seqno / 1_000 * 1_000),
        version: Some("10.11.19-MariaDB-deb12-log".to_owned()),
        gcomm_uuid: Some(format!("0000000{number}-0001-11ef-a1b2-c3d4e5f60718")),
        evs_state: Some("OPERATIONAL".to_owned()),
        expected: true,
        registered: true,
        unconfirmed: false,
        names: Vec::new(),
        findings: Vec::new(),
        transfer: None,
        sources: vec![
            source(SourceKind::Sql, at, seqno),
            source(
                SourceKind::Registry,
                at.shifted(-700),
                seqno - seqno % 3_000,
            ),
        ],
    }
}

fn view(cluster: usize, at: i64, seqno: u64, state: &mut u64) -> ClusterView {
    let name = format!("c{cluster}")
        .parse()
        .unwrap_or_else(|_| unreachable!());
    let health = RegistryHealth {
        reachable: true,
        since: Timestamp::from_unix_millis(START),
        error: None,
    };
    let observed_at =
        Timestamp::from_unix_millis(at - i64::try_from(noise(state, 900)).unwrap_or(0));
    let mut view = fold(
        &Evidence::new(name, health),
        observed_at,
        &FoldSettings::default(),
        None,
    );
    let nodes = 1..=3;
    view.nodes = nodes
        .map(|number| node(number, observed_at.shifted(-400), seqno, state))
        .collect();
    view
}

/// User and system time of this process.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|index| fields.get(*index)?.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096 / 1_000_000
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let clusters: usize = arguments.next().map_or(Ok(333), |text| text.parse())?;
    let hours: i64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let mut store = MeasuredStore::open(directory.path())?;
    let mut state = 7;
    let mut seqno = 1_000_000;
    let (mut longest, mut bytes) = (Duration::ZERO, 0);
    let mut writing = Duration::ZERO;
    let mut busy = Duration::ZERO;
    let steps = hours * 3_600_000 / INTERVAL_MS;
    for step in 0..steps {
        seqno += 3_000 + noise(&mut state, 500);
        let at = START + step * INTERVAL_MS;
        let views: Vec<_> = (0..clusters)
            .map(|cluster| Arc::new(view(cluster, at, seqno, &mut state)))
            .collect();
        let (started, used) = (Instant::now(), processor_time());
        bytes = store.write(&views, at)?;
        longest = longest.max(started.elapsed());
        writing += started.elapsed();
        busy += processor_time() - used;
    }
    let seconds = (hours * 3_600) as f64;
    println!("{clusters} clusters of three nodes for {hours} h");
    println!(
        "processor time: {:.2} % of one core; with waiting for the disk {:.2} %; longest write {:.2} s",
        busy.as_secs_f64() / seconds * 100.0,
        writing.as_secs_f64() / seconds * 100.0,
        longest.as_secs_f64()
    );
    println!("resident memory: {} MB", resident_mb());
    let frames = clusters as f64 * steps as f64;
    println!(
        "file: {:.1} MB, {:.0} bytes a frame, {:.2} GB a day",
        bytes as f64 / 1e6,
        bytes as f64 / frames,
        bytes as f64 / seconds * 86_400.0 / 1e9
    );
    let mut times = Vec::new();
    for _ in 0..200 {
        let cluster = format!("c{}", noise(&mut state, clusters as u64)).parse()?;
        let offset = noise(&mut state, (hours * 3_600_000) as u64);
        let at = START + i64::try_from(offset)?;
        let started = Instant::now();
        let found = store.read(&cluster, at)?;
        times.push(started.elapsed());
        if !matches!(found, ViewLookup::Recorded(_)) {
            return Err(format!("nothing at {at}: {found:?}").into());
        }
    }
    times.sort();
    println!(
        "a view of any time: median {:.1} ms, longest of 200 {:.1} ms",
        times[100].as_secs_f64() * 1e3,
        times[199].as_secs_f64() * 1e3
    );
    Ok(())
}
