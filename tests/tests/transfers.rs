//! State transfers of real servers, as agents report them and the console shows them.

use std::fs;
use std::time::{Duration, Instant};

use acceptance::api::{self, ConsoleClient};
use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use anyhow::{Context, Result, bail, ensure};
use galera::NodeId;
use galera::view::{CompletedTransfer, NodeState, TransferKind, TransferState, TransferView};
use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a transfer, or for nodes to form a cluster.
const PATIENCE: Duration = Duration::from_secs(240);

/// Bytes that a sender has sent when it is suspended, and how many more until the next time.
const STEP: u64 = 4 << 20;

/// The programs that send a full state transfer. Dropping it lets none of them hang.
#[derive(Default)]
struct SuspendedSender(Option<Pid>);

impl SuspendedSender {
    /// Suspends the program that sends the database `bulk` after it has sent [`STEP`] more bytes.
    async fn suspend(&mut self) -> Result<()> {
        let known = self.0;
        let suspended = tokio::task::spawn_blocking(move || suspend_sender(known));
        self.0 = Some(suspended.await??);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.0.context("no sender")?;
        kill_process(pid, signal).context("a signal to the sender")
    }
}

impl Drop for SuspendedSender {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.signal(Signal::CONT);
    }
}

fn suspend_sender(known: Option<Pid>) -> Result<Pid> {
    let deadline = Instant::now() + PATIENCE;
    let sent_before = known.and_then(written).unwrap_or_default();
    if let Some(pid) = known {
        kill_process(pid, Signal::CONT)?;
    }
    while Instant::now() < deadline {
        if let Some(pid) = known.or_else(sender)
            && written(pid).is_some_and(|sent| sent >= sent_before + STEP)
        {
            kill_process(pid, Signal::STOP)?;
            return Ok(pid);
        }
        std::thread::yield_now();
    }
    bail!("no rsync sends the database bulk")
}

/// The rsync that sends the database `bulk`.
fn sender() -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.find(|pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        arguments.starts_with("rsync\0--owner") && arguments.contains("/bulk")
    });
    Pid::from_raw(found?)
}

/// Bytes that a process has written.
fn written(pid: Pid) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero())).ok()?;
    let mut lines = io.lines();
    lines.find_map(|line| line.strip_prefix("wchar: ")?.parse().ok())
}

/// A database of 128 MB.
async fn fill(node: &HomogeneousNode) -> Result<()> {
    node.execute("CREATE DATABASE bulk").await?;
    node.execute("CREATE TABLE bulk.t (id INT AUTO_INCREMENT PRIMARY KEY, data LONGBLOB)")
        .await?;
    node.execute("INSERT INTO bulk.t (data) VALUES (REPEAT('x', 1000000))")
        .await?;
    for _ in 0..7 {
        node.execute("INSERT INTO bulk.t (data) SELECT data FROM bulk.t")
            .await?;
    }
    Ok(())
}

/// The node's id as the console shows it: without the port, which all have.
fn shown_id(node: &HomogeneousNode) -> Result<NodeId> {
    Ok(NodeId::new(node.id()?.host(), None)?)
}

/// The first transfer that `node` shows and `accepts`.
async fn transfer(
    what: &str,
    viewer: &ConsoleClient,
    node: &HomogeneousNode,
    accepts: impl Fn(&TransferView) -> bool,
) -> Result<TransferView> {
    let id = shown_id(node)?;
    eventually(what, PATIENCE, async || {
        let view = viewer.cluster(CLUSTER).await?;
        let node = api::node(&view, &id)?;
        let transfer = node.transfer.clone();
        let transfer = transfer.with_context(|| format!("no transfer: {:?}", node.state))?;
        ensure!(accepts(&transfer), "{transfer:?}");
        Ok(transfer)
    })
    .await
}

/// Waits until no agent reports a transfer.
async fn no_transfer_keys(lab: &HomogeneousLab) -> Result<()> {
    eventually("no report of a transfer", PATIENCE, async || {
        let keys = lab.keys().await?.into_keys();
        let left: Vec<String> = keys.filter(|key| key.ends_with("/transfer")).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_transfer_shows_its_progress_and_how_it_ended() -> Result<()> {
    let lab = HomogeneousLab::prepare(3).await?;
    let console = LabConsole::start(lab.console_settings()).await?;
    let viewer = console.sign_in("viewer").await?;
    let joiner = lab.node(3);
    for (number, members) in [(1, &[1][..]), (2, &[1, 2])] {
        lab.node(number).start()?;
        lab.wait_until_synced(members, PATIENCE).await?;
    }
    no_transfer_keys(&lab).await?;
    fill(lab.node(1)).await?;
    lab.wait_until_applied(&[1, 2]).await?;

    let mut sender = SuspendedSender::default();
    joiner.start()?;
    sender.suspend().await?;
    let first = transfer("bytes to arrive", &viewer, joiner, |transfer| {
        transfer.state == TransferState::Running
            && transfer.total.is_some()
            && transfer.peer.is_some()
    })
    .await?;
    println!("first: {first:?}");
    ensure!(first.kind == TransferKind::Sst && first.method.as_deref() == Some("rsync"));
    let stalled = transfer("no more bytes", &viewer, joiner, |transfer| {
        transfer.rate == Some(0) && transfer.seconds_left.is_none()
    })
    .await?;
    println!("stalled: {}", stalled.summary);
    ensure!(stalled.state == TransferState::Running, "{stalled:?}");
    sender.suspend().await?;
    let more = transfer("more bytes to arrive", &viewer, joiner, |transfer| {
        transfer.done > stalled.done && transfer.seconds_left.is_some()
    })
    .await?;
    println!("then: {}", more.summary);
    ensure!(
        more.since == first.since && more.peer == first.peer,
        "{more:?}"
    );
    let donors = lab.nodes()[..2].iter();
    let mut donors = donors.filter(|node| shown_id(node).ok() == first.peer);
    let donor = donors.next().context("an unknown donor")?;
    let sent = transfer("the donor's side", &viewer, donor, |_| true).await?;
    println!("donor: {}", sent.summary);
    ensure!(sent.peer == Some(shown_id(joiner)?), "{sent:?}");

    sender.signal(Signal::CONT)?;
    lab.wait_until_synced(&[1, 2, 3], PATIENCE).await?;
    let last: CompletedTransfer = eventually("the end of the transfer", PATIENCE, async || {
        let view = viewer.cluster(CLUSTER).await?;
        let transfers = view.nodes.iter().filter_map(|node| node.transfer.as_ref());
        let left: Vec<_> = transfers.collect();
        ensure!(left.is_empty(), "{left:?}");
        let last = view.last_transfer.context("no completed transfer")?;
        ensure!(last.node == shown_id(joiner)?, "{last:?}");
        Ok(last)
    })
    .await?;
    println!("completed: {last:?}");
    no_transfer_keys(&lab).await?;
    ensure!(Some(last.bytes) >= more.done, "{last:?}");

    // The next time its donor is killed.
    joiner.stop().await?;
    joiner.set_data_aside()?;
    let mut sender = SuspendedSender::default();
    joiner.start()?;
    sender.suspend().await?;
    let again = transfer("bytes to arrive again", &viewer, joiner, |transfer| {
        transfer.state == TransferState::Running && transfer.peer.is_some()
    })
    .await?;
    let mut donors = lab.nodes()[..2].iter();
    let donor = donors.find(|node| shown_id(node).ok() == again.peer);
    donor.context("an unknown donor")?.kill().await?;
    // Its program may have ended with it.
    let _ = sender.signal(Signal::KILL);
    let failed = transfer("the failure to be shown", &viewer, joiner, |transfer| {
        transfer.state == TransferState::Failed
    })
    .await?;
    println!("failed: {}", failed.summary);
    ensure!(
        failed.rate.is_none() && failed.seconds_left.is_none(),
        "{failed:?}"
    );
    let view = viewer.cluster(CLUSTER).await?;
    let state = api::node(&view, &shown_id(joiner)?)?.state;
    ensure!(state != NodeState::Synced, "{state:?}");
    ensure!(view.last_transfer == Some(last), "{:?}", view.last_transfer);
    Ok(())
}
