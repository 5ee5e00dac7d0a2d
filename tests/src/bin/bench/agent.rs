//! The node agent's resource usage, and the delay from a server notification to the registry.

use std::time::{Duration, Instant};

use acceptance::Lab;
use anyhow::{Context, Result, ensure};
use rand::Rng;
use registry::{KeyChange, WatchEvent, WatchSubscription};

use crate::figures::{DurationSample, MeasuredFigure};
use crate::resident;

/// Changes of state.
const CHANGES: usize = 200;
/// Longest wait for one of them.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of the kernel's processor times (`getconf CLK_TCK`): fixed by its interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// An agent that only watches its server.
pub(crate) struct IdleAgent {
    pid: u32,
    began: Instant,
    ticks: u64,
}

impl IdleAgent {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let pid = lab.agent(1).pid().context("the agent does not run")?;
        Ok(Self {
            pid,
            began: Instant::now(),
            ticks: ticks(pid)?,
        })
    }

    /// Memory now, and the share of one core since the beginning.
    pub(crate) fn figures(self) -> Result<Vec<MeasuredFigure>> {
        let used = f64::from(u32::try_from(ticks(self.pid)? - self.ticks)?) / TICKS_PER_SECOND;
        let share = used / self.began.elapsed().as_secs_f64() * 100.0;
        Ok(vec![
            MeasuredFigure::megabytes("agent, resident", resident(self.pid)?, 15.0),
            MeasuredFigure::percent("agent, share of one core", share, 1.0),
        ])
    }
}

/// Processor time of a process so far, its own and the kernel's for it.
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no name in stat")?;
    let times = rest.split(' ').skip(11).take(2);
    times.map(|time| Ok(time.parse::<u64>()?)).sum()
}

/// Runs wsrep_notify_cmd as the server does on a state change, which real servers only do during state transfers. The
/// agent also probes the server immediately and publishes the real state again.
pub(crate) async fn notified(lab: &Lab) -> Result<Vec<MeasuredFigure>> {
    let node = lab.node(3);
    let key = format!(
        "/galera/{}/{}/wsrep_local_state_comment",
        lab.cluster(),
        key_of(lab)
    );
    let registry = lab.registry()?;
    ensure!(
        registry.get(key.clone()).await?.is_some(),
        "{key} is not there"
    );
    let mut watch = registry.watch(key);
    let mut sample = DurationSample::default();
    for _ in 0..CHANGES {
        let began = Instant::now();
        let seen = async {
            until(&mut watch, "Donor/Desynced").await?;
            let seen = began.elapsed();
            until(&mut watch, "Synced").await?;
            anyhow::Ok(seen)
        };
        let both = async { tokio::try_join!(node.notify("donor"), seen) };
        let ((), seen) = tokio::time::timeout(TIMEOUT, both)
            .await
            .context("a state did not reach the registry")??;
        sample.add(seen);
        let pause = rand::rng().random_range(20..120);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    println!(
        "    {} changes, from starting the command: p50 {:?}, p99 {:?}",
        sample.len(),
        sample.quantile(0.5),
        sample.quantile(0.99)
    );
    let name = "server's notification to registry";
    Ok(vec![
        MeasuredFigure::duration_without_limit(&format!("{name}, p50"), sample.quantile(0.5)),
        MeasuredFigure::duration(
            &format!("{name}, p99"),
            sample.quantile(0.99),
            Duration::from_millis(100),
        ),
    ])
}

/// The node's name in keys: with its port, which is not MariaDB's own.
fn key_of(lab: &Lab) -> String {
    let node = lab.node(3);
    format!("{}:{}", node.address(), node.port())
}

async fn until(watch: &mut WatchSubscription, state: &str) -> Result<()> {
    loop {
        let event = watch.next().await.context("the watch ended")?;
        let WatchEvent::Changes { changes, .. } = event else {
            continue;
        };
        let put = |change: &KeyChange| match change {
            KeyChange::Put(entry) => entry.value == state.as_bytes(),
            KeyChange::Delete { .. } => false,
        };
        if changes.iter().any(put) {
            return Ok(());
        }
    }
}
