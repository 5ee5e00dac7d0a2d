//! The published view: a three-node cluster whose sequence number is the time of publication.

use std::io::BufRead;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use console_core::clock::now;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::{Evidence, SqlObservation};
use galera::observe::wsrep::WsrepStatus;
use galera::view::{ClusterView, RegistryHealth};

/// Microseconds since the Unix epoch.
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// When a received frame was published.
pub(crate) fn published_at(frame: &str) -> Option<u64> {
    let (_, rest) = frame.split_once("\"seqno\":")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The published cluster.
pub(crate) struct BenchCluster {
    evidence: Evidence,
}

impl BenchCluster {
    pub(crate) fn new() -> Self {
        let health = RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        evidence.configured_members = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            .map(|id| id.parse().unwrap())
            .into();
        let mut cluster = Self { evidence };
        // Fill the rate history, as in a console that has been running for a while.
        for second in (0..30).rev() {
            cluster.record_status(
                now().minus(Duration::from_secs(second)),
                micros() - second * 1_000_000,
            );
        }
        cluster
    }

    /// The current view.
    pub(crate) fn view(&mut self) -> ClusterView {
        self.record_status(now(), micros());
        fold(&self.evidence, now(), &FoldSettings::default(), None)
    }

    fn record_status(&mut self, at: galera::Timestamp, seqno: u64) {
        let seqno = seqno.to_string();
        for (index, id) in self.evidence.configured_members.iter().enumerate() {
            let (index, gcomm) = (
                index.to_string(),
                format!("6f1e27a1-000{index}-11ef-8a3c-1a2b3c4d5e6f"),
            );
            let uuid = "7f1e27a1-0000-11ef-8a3c-1a2b3c4d5e6f";
            let rows = [
                ("wsrep_cluster_status", "Primary"),
                ("wsrep_local_state", "4"),
                ("wsrep_local_state_comment", "Synced"),
                ("wsrep_cluster_state_uuid", uuid),
                ("wsrep_local_state_uuid", uuid),
                ("wsrep_gcomm_uuid", gcomm.as_str()),
                ("wsrep_cluster_conf_id", "17"),
                ("wsrep_cluster_size", "3"),
                ("wsrep_local_index", index.as_str()),
                (
                    "wsrep_incoming_addresses",
                    "127.0.0.1:3306,127.0.0.2:3306,127.0.0.3:3306",
                ),
                ("wsrep_last_committed", seqno.as_str()),
                ("wsrep_local_recv_queue", "0"),
                ("wsrep_local_send_queue", "0"),
                ("wsrep_flow_control_paused_ns", "0"),
                ("wsrep_ready", "ON"),
                ("wsrep_connected", "ON"),
                ("wsrep_evs_state", "OPERATIONAL"),
                ("version", "10.11.19-MariaDB"),
            ];
            let observation: &mut SqlObservation =
                self.evidence.probes.entry(id.clone()).or_default();
            observation.record_success(at, WsrepStatus::from_rows(rows));
        }
    }
}

/// Prints the resident memory of this process for every line read, until standard input closes.
pub(crate) fn report_memory() {
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        println!("{}", resident.trim().trim_end_matches("kB").trim());
    }
    std::process::exit(0);
}
