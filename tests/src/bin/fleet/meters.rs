//! Readings of the console's process and of etcd's own metrics.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Of the kernel's processor times (`getconf CLK_TCK`): fixed by its interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// The resources of a process until now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessReading {
    pub(crate) at: Instant,
    /// Processor time in milliseconds, its own and the kernel's for it.
    pub(crate) cpu_ms: f64,
    pub(crate) resident_bytes: u64,
}

impl ProcessReading {
    /// # Errors
    /// If the process does not exist.
    pub(crate) fn take(pid: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(") ").context("no name in stat")?;
        let times = rest.split(' ').skip(11).take(2);
        let ticks: f64 = times
            .map(|time| time.parse::<f64>().unwrap_or_default())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| {
            let text = line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?;
            text.trim().parse::<u64>().ok()
        });
        Ok(Self {
            at: Instant::now(),
            cpu_ms: ticks * 1_000.0 / TICKS_PER_SECOND,
            resident_bytes: resident.context("no VmRSS")? * 1_024,
        })
    }

    /// Processor time in milliseconds a second since `before`.
    pub(crate) fn cpu_rate_since(&self, before: &Self) -> f64 {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        (self.cpu_ms - before.cpu_ms) / seconds
    }
}

/// What etcd has done until now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EtcdReading {
    at: Instant,
    /// Proposals that were committed: transactions that write, and leases granted and revoked.
    proposals: f64,
    puts: f64,
    /// Of the database, without free pages.
    bytes: f64,
}

/// The load of etcd between two readings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EtcdLoad {
    pub(crate) transactions_per_second: f64,
    pub(crate) puts_per_second: f64,
    pub(crate) megabytes_per_hour: f64,
}

impl EtcdReading {
    /// # Errors
    /// If etcd does not answer.
    pub(crate) async fn take(client: &reqwest::Client, endpoint: &str) -> Result<Self> {
        let text = client
            .get(format!("{endpoint}/metrics"))
            .send()
            .await?
            .text()
            .await?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| {
                let rest = line.strip_prefix(name)?;
                rest.strip_prefix(' ')?.trim().parse::<f64>().ok()
            });
            line.with_context(|| format!("etcd has no metric {name}"))
        };
        Ok(Self {
            at: Instant::now(),
            proposals: value("etcd_server_proposals_committed_total")?,
            puts: value("etcd_mvcc_put_total")
                .or_else(|_| value("etcd_debugging_mvcc_put_total"))?,
            bytes: value("etcd_mvcc_db_total_size_in_use_in_bytes")?,
        })
    }

    /// The load since `before`.
    pub(crate) fn since(&self, before: &Self) -> EtcdLoad {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        EtcdLoad {
            transactions_per_second: (self.proposals - before.proposals) / seconds,
            puts_per_second: (self.puts - before.puts) / seconds,
            megabytes_per_hour: (self.bytes - before.bytes) / seconds * 3_600.0 / 1e6,
        }
    }
}

/// Size of a scrape in bytes, and the processor time that one costs in milliseconds.
pub(crate) async fn scrape(
    client: &reqwest::Client,
    console: &str,
    pid: u32,
    idle_rate: f64,
) -> Result<(usize, f64)> {
    const SCRAPES: u32 = 5;
    let before = ProcessReading::take(pid)?;
    let mut size = 0;
    for _ in 0..SCRAPES {
        let answer = client.get(format!("{console}/metrics")).send().await?;
        size = answer.bytes().await?.len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = ProcessReading::take(pid)?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let spent = after.cpu_ms - before.cpu_ms - idle_rate * seconds;
    Ok((size, spent.max(0.0) / f64::from(SCRAPES)))
}
