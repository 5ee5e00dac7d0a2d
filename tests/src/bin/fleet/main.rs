//! What a console costs that monitors many clusters: scripted servers answer its probes at thousands of addresses of
//! loopback, the agent's own reporter writes their keys, and etcd and the console are real processes.
//!
//! Prints one table: processor time and memory of the console, load of etcd, delay of a change, bytes to a viewer of the
//! overview and to a scraper, each for every number of clusters, with the exponent of its growth.

mod change_latency;
mod dead_registrations;
mod faults;
mod growth;
mod measurement;
mod meters;
mod overview_viewer;
mod packets;
mod scripted_agents;
mod scripted_fleet;
mod sql_server;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Measures a console that monitors many clusters.
#[derive(Clone, Debug, Parser)]
#[command(name = "fleet")]
pub(crate) struct FleetSettings {
    /// Numbers of clusters, each measured by a separate run.
    #[arg(long, value_delimiter = ',', default_value = "50,200,1000")]
    clusters: Vec<usize>,
    /// Nodes of each cluster.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=250))]
    nodes: u16,
    /// Commits a second of each cluster.
    #[arg(long, default_value_t = 1.0)]
    commits: f64,
    /// Faults a second in the whole fleet: a node becomes a donor or stops answering, for a few seconds.
    #[arg(long, default_value_t = 0.0)]
    faults: f64,
    /// Durable registrations of nodes that do not exist, 100 in each of as many clusters as needed.
    #[arg(long, default_value_t = 0)]
    dead: usize,
    /// Without agents: the console reads the nodes by SQL only.
    #[arg(long)]
    no_agents: bool,
    /// How long each run is measured, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Further arguments of the console, separated by spaces.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    console_arguments: String,
}

impl FleetSettings {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = FleetSettings::parse();
    let mut measured = Vec::new();
    for clusters in settings.clusters.clone() {
        match Box::pin(measurement::measure(&settings, clusters)).await {
            Ok(figures) => measured.push(figures),
            Err(error) => {
                eprintln!("The fleet of {clusters} clusters failed: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("\n{}", growth::table(&measured));
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_small_fleet_is_measured() {
        let settings = FleetSettings::parse_from([
            "fleet",
            "--clusters=3",
            "--nodes=3",
            "--faults=2",
            "--dead=250",
            "--seconds=4",
        ]);
        let figures = Box::pin(measurement::measure(&settings, 3)).await.unwrap();
        assert_eq!(figures.shown, 6, "three clusters and three dead ones");
        assert!(
            figures.changes.len() > 2,
            "{} changes",
            figures.changes.len()
        );
        assert!(figures.transactions_per_second > 0.5);
        assert!(figures.overview_bytes_per_second > 0.0);
        assert!(figures.patch_bytes_per_second > 0.0);
        assert!(figures.compressed_bytes_per_second > 0.0);
        let table = growth::table(&[figures]);
        assert!(table.contains("change to frame, p99"), "{table}");
    }
}
