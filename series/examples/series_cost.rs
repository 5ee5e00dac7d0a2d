//! Measures what recording costs: `cargo run --release --package series --example series_cost [-- NODES HOURS]`.
//!
//! Writes made-up readings of NODES nodes each second for HOURS as the recorder would, without waiting, and prints
//! processor time, memory and bytes; then reads charts of an hour, a day and seven days.

use std::time::{Duration, Instant};

use galera::Timestamp;
use galera::record::series::{FIGURES, Figure, METRICS, NodeFigures, SeriesMetric};
use monitor::NodeReading;
use series::measuring::MeasuredStore;

const START: i64 = 1_790_000_000_000 / 3_600_000 * 3_600_000;

/// A pseudo-random number below `below`.
fn noise(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below.max(1)
}

fn readings(
    nodes: usize,
    second: i64,
    counters: &mut [NodeFigures],
    state: &mut u64,
) -> Vec<NodeReading> {
    let mut all = Vec::with_capacity(nodes);
    for (node, figures) in counters.iter_mut().enumerate() {
        let commits = 300 + noise(state, 200);
        let mut add = |figure: Figure, increase: u64| {
            let value = &mut figures.0[figure as usize];
            *value = Some(value.unwrap_or(0) + increase);
        };
        add(Figure::LastCommitted, commits);
        add(Figure::WrittenBytes, commits * (900 + noise(state, 300)));
        add(
            Figure::FlowControlPausedNs,
            if noise(state, 20) == 0 {
                noise(state, 40_000_000)
            } else {
                0
            },
        );
        add(Figure::CertFailures, u64::from(noise(state, 10) == 0));
        add(Figure::BfAborts, u64::from(noise(state, 30) == 0));
        figures.0[Figure::RecvQueue as usize] = Some(noise(state, 4) / 2);
        figures.0[Figure::SendQueue as usize] = Some(noise(state, 20) / 19);
        if second % 15 == 0 {
            figures.0[Figure::Connections as usize] = Some(80 + noise(state, 12));
        }
        figures.0[Figure::ProbeMicros as usize] = Some(900 + noise(state, 700));
        figures.0[Figure::Process as usize] = Some(node as u64);
        let jitter = i64::try_from(noise(state, 6)).unwrap_or_default();
        all.push(NodeReading {
            cluster: format!("c{}", node / 5)
                .parse()
                .unwrap_or_else(|_| unreachable!()),
            node: format!("node-{node}")
                .parse()
                .unwrap_or_else(|_| unreachable!()),
            at: Timestamp::from_unix_millis(START + second * 1_000 + jitter),
            figures: *figures,
        });
    }
    all
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let nodes = arguments.next().transpose()?.unwrap_or(1_000);
    let hours = arguments.next().transpose()?.unwrap_or(2);
    let directory = std::env::temp_dir().join(format!("series-cost-{}", std::process::id()));
    let mut store = MeasuredStore::open(&directory)?;
    let (mut counters, mut state) = (
        vec![NodeFigures([Some(0); FIGURES]); nodes],
        88_172_645_463_325_252,
    );
    let seconds = i64::try_from(hours * 3_600)? + 10;
    let mut spent = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for second in (0..seconds).step_by(2) {
        let mut batch = readings(nodes, second, &mut counters, &mut state);
        batch.extend(readings(nodes, second + 1, &mut counters, &mut state));
        let began = Instant::now();
        store.write(&batch, START + (second + 1) * 1_000)?;
        spent += began.elapsed();
        longest = longest.max(began.elapsed());
    }
    let share = spent.as_secs_f64() / seconds as f64 * 100.0;
    println!(
        "{nodes} nodes, {hours} h: {share:.2} % of one core (with waiting for the disk), longest write {longest:.0?}"
    );
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    println!("most resident memory of this program: {resident}");
    let [readings, minutes, file] = store.bytes()?;
    let values = nodes as f64 * hours as f64 * 3_600.0 * (FIGURES - 1) as f64;
    let minute_values = nodes as f64 * hours as f64 * 60.0 * (METRICS * 3) as f64;
    println!(
        "readings: {:.2} bytes a value in chunks; minutes: {:.2} bytes a value",
        readings as f64 / values,
        minutes as f64 / minute_values
    );
    let overhead = file as f64 / (readings + minutes) as f64;
    let day = readings as f64 / hours as f64 * 25.0;
    let kept = minutes as f64 / hours as f64 * 24.0 * 91.0;
    println!(
        "file {:.1} MB, {overhead:.2} of its chunks; after 90 days {:.1} GB",
        file as f64 / 1e6,
        (day + kept) * overhead / 1e9
    );
    store.copy_minutes(91 * 24, hours)?;
    for (what, metrics, count, step, many) in [
        (
            "7 days of one node, every metric",
            SeriesMetric::ALL.to_vec(),
            336,
            1_800,
            1,
        ),
        (
            "7 days of five nodes, every metric",
            SeriesMetric::ALL.to_vec(),
            336,
            1_800,
            5,
        ),
        (
            "90 days of one node, every metric",
            SeriesMetric::ALL.to_vec(),
            360,
            21_600,
            1,
        ),
        (
            "1 hour of five nodes, every metric",
            SeriesMetric::ALL.to_vec(),
            240,
            15,
            5,
        ),
    ] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            store.read(
                many,
                &metrics,
                START + seconds * 1_000 - i64::from(count) * step * 1_000,
                step * 1_000,
                usize::try_from(count)?,
            )?;
            times.push(began.elapsed());
        }
        times.sort();
        println!(
            "{what}: median {:.1?}, longest {:.1?}",
            times[10], times[19]
        );
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
