//! State transfers of real servers, as agents report them and the console shows them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use acceptance::api::{self, ConsoleClient};
use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::observe::registration::TransferKind;
use galera::view::{CompletedTransfer, NodeState, TransferState, TransferView};

/// Longest wait for a transfer, or for nodes to form a cluster.
const PATIENCE: Duration = Duration::from_secs(240);

/// rsync at 2 MiB/s, found before the installed one.
const SLOW_RSYNC: &str = "#!/bin/sh\nexec /usr/bin/rsync --bwlimit=2048 \"$@\"\n";

/// `PATH` with a slow rsync.
fn slow_path(lab: &HomogeneousLab) -> Result<String> {
    let directory = lab.directory().join("slow");
    fs::create_dir(&directory)?;
    let program = directory.join("rsync");
    fs::write(&program, SLOW_RSYNC)?;
    for path in [&directory, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let path = std::env::var("PATH").context("no PATH")?;
    Ok(format!("{}:{path}", directory.display()))
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
    let path = slow_path(&lab)?;
    let console = LabConsole::start(lab.console_settings()).await?;
    let viewer = console.sign_in("viewer").await?;
    let joiner = lab.node(3);
    for (number, members) in [(1, &[1][..]), (2, &[1, 2])] {
        lab.node(number).start_with(&[("PATH", &path)])?;
        lab.wait_until_synced(members, PATIENCE).await?;
    }
    no_transfer_keys(&lab).await?;

    joiner.start()?;
    let first = transfer("bytes to arrive", &viewer, joiner, |transfer| {
        transfer.state == TransferState::Running
            && transfer.total.is_some()
            && transfer.peer.is_some()
    })
    .await?;
    println!("first: {first:?}");
    ensure!(first.kind == TransferKind::Sst && first.method.as_deref() == Some("rsync"));
    let more = transfer("more bytes to arrive", &viewer, joiner, |transfer| {
        transfer.done > first.done && transfer.seconds_left.is_some()
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

    lab.wait_until_synced(&[1, 2, 3], PATIENCE).await?;
    let last: CompletedTransfer = eventually("the end of the transfer", PATIENCE, async || {
        let view = viewer.cluster(CLUSTER).await?;
        let transfers = view.nodes.iter().filter_map(|node| node.transfer.as_ref());
        let left: Vec<_> = transfers.collect();
        ensure!(left.is_empty(), "{left:?}");
        view.last_transfer.context("no completed transfer")
    })
    .await?;
    println!("completed: {last:?}");
    no_transfer_keys(&lab).await?;
    ensure!(
        last.node == shown_id(joiner)? && Some(last.bytes) >= more.done,
        "{last:?}"
    );

    // The next time its donor is killed.
    joiner.stop().await?;
    joiner.set_data_aside()?;
    joiner.start()?;
    let again = transfer("bytes to arrive again", &viewer, joiner, |transfer| {
        transfer.state == TransferState::Running && transfer.peer.is_some()
    })
    .await?;
    let mut donors = lab.nodes()[..2].iter();
    let donor = donors.find(|node| shown_id(node).ok() == again.peer);
    donor.context("an unknown donor")?.kill().await?;
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
