//! What floods do to monitoring and to signing in.
//!
//! `FLOOD_PROBES` sets how many probes of each database are measured under each flood.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::time::{interval, timeout};

use super::attack::Flood;
use super::{FloodedConsole, VIEWER};
use crate::etcd::eventually;

/// Where the viewer signs in without its device.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// Databases of other clusters.
const OTHERS: usize = 9;
/// Probes of each database, if the environment does not say otherwise.
const PROBES: usize = 3;
/// The poll interval of the console, by default.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time for the measurement of one flood: monitoring has stopped then.
const DEADLINE: Duration = Duration::from_secs(120);

fn probes_wanted() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is measured is not a setting of the console"
    )]
    let given = std::env::var("FLOOD_PROBES").ok();
    given.and_then(|count| count.parse().ok()).unwrap_or(PROBES)
}

/// The value that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

fn summary(mut values: Vec<Duration>) -> String {
    values.sort();
    format!(
        "p50 {} ms, p99 {} ms, longest {} ms ({} values)",
        percentile(&values, 50).as_millis(),
        percentile(&values, 99).as_millis(),
        values.last().copied().unwrap_or_default().as_millis(),
        values.len()
    )
}

impl FloodedConsole {
    /// How far the times between two probes of a database were from the poll interval, once each was probed often enough.
    async fn probe_deviations(&self) -> Vec<Duration> {
        let (begin, wanted) = (Instant::now(), probes_wanted() + 1);
        let databases = || self.others.iter().chain([&self.database]);
        let mut ticks = interval(Duration::from_millis(50));
        let probed = async {
            while databases().any(|database| database.status_reads(begin).len() < wanted) {
                ticks.tick().await;
            }
        };
        timeout(DEADLINE, probed).await.unwrap();
        let mut deviations = Vec::new();
        for database in databases() {
            for pair in database.status_reads(begin).windows(2) {
                deviations.push((pair[1] - pair[0]).abs_diff(POLL_INTERVAL));
            }
        }
        deviations
    }

    /// Signs the viewer in until `done`, in turn on its known device and elsewhere.
    async fn sign_in_until<T>(&self, done: impl Future<Output = T>) -> (T, [SignInTimes; 2]) {
        let mut known = SignInTimes::default();
        let mut elsewhere = SignInTimes::default();
        let mut ticks = interval(Duration::from_millis(100));
        let mut is_known = false;
        tokio::pin!(done);
        loop {
            tokio::select! {
                result = &mut done => return (result, [known, elsewhere]),
                _ = ticks.tick() => is_known = !is_known,
            }
            let (source, cookies, times) = match is_known {
                true => (VIEWER, self.viewer.as_str(), &mut known),
                false => (ELSEWHERE, "", &mut elsewhere),
            };
            let began = Instant::now();
            match self.sign_in(source, cookies).await {
                Ok(_) => times.taken.push(began.elapsed()),
                Err(_) => times.refused += 1,
            }
        }
    }
}

/// How long sign-ins took.
#[derive(Default)]
struct SignInTimes {
    taken: Vec<Duration>,
    refused: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_keep_their_interval_and_a_named_person_signs_in_under_every_flood() {
    let console = FloodedConsole::start_with(OTHERS).await;
    console.wait_for_node("synced").await;
    for flood in Flood::ALL {
        let attack = flood.start(&console).await;
        let probing = console.probe_deviations();
        let (deviations, [known, elsewhere]) = console.sign_in_until(probing).await;
        eventually("the viewer signs in on its device", async || {
            console.sign_in(VIEWER, &console.viewer).await.is_ok()
        })
        .await;
        drop(attack);
        let refused = console.refusals("wrong_tokens").await;
        eprintln!("{flood:?}: probe interval off by {}", summary(deviations));
        if matches!(flood, Flood::WrongTokens) {
            assert!(refused > 0, "no wrong token was refused");
            eprintln!("  {refused} wrong tokens refused with 429");
        }
        for (device, times) in [("known", &known), ("new", &elsewhere)] {
            let taken = summary(times.taken.clone());
            eprintln!(
                "  sign-in on a {device} device {taken}, {} refused",
                times.refused
            );
        }
    }
}
