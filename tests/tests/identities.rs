//! A member is its data, not its address: what starts under a member's address says nothing about the member.

use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::homogeneous::{HomogeneousLab, HomogeneousNode};
use acceptance::observer::ClusterObserver;
use anyhow::{Context, Result, ensure};

/// Longest wait for nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a node to react.
const SOON: Duration = Duration::from_secs(20);

async fn key(lab: &HomogeneousLab, node: &HomogeneousNode, field: &str) -> Result<Option<String>> {
    Ok(lab.keys().await?.remove(&format!("{}/{field}", node.id()?)))
}

#[tokio::test(flavor = "multi_thread")]
async fn i34_empty_containers_under_members_addresses_start_no_second_cluster() -> Result<()> {
    let lab = HomogeneousLab::prepare(5).await?;
    let observer = ClusterObserver::start(lab.observed_nodes("console"))?;
    for node in &lab.nodes()[..3] {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    lab.node(1)
        .execute("CREATE TABLE mysql.kept (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await?;
    lab.wait_until_applied(&[1, 2, 3]).await?;
    let registered = |number: usize| key(&lab, lab.node(number), "registered");
    let before = [registered(2).await?, registered(3).await?];

    // The host of 2 and 3 is cut off: they live on as Primary, out of sight of etcd and of 1, which is then restarted.
    for number in [2, 3] {
        lab.node(number).kill_agent()?;
    }
    lab.node(1).isolate(true).await?;
    eventually("2 and 3 to be Primary without 1", SOON, async || {
        let status = lab.node(2).wsrep().await?;
        let read = |name: &str| status.get(name).map(String::as_str);
        ensure!(
            read("wsrep_cluster_status") == Some("Primary")
                && read("wsrep_cluster_size") == Some("2"),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    for row in 0..10 {
        lab.node(2)
            .execute(&format!("INSERT INTO mysql.kept VALUES ({row})"))
            .await?;
    }
    lab.node(1).kill().await?;
    eventually("the leases of 2 and 3 to expire", SOON, async || {
        for number in [2, 3] {
            let phase = key(&lab, lab.node(number), "phase").await?;
            ensure!(phase.is_none(), "{number}: {phase:?}");
        }
        Ok(())
    })
    .await?;

    // The scheduler starts empty containers under their addresses.
    let addresses = [2, 3].map(|number| lab.node(number).address().to_string());
    for (number, address) in [4, 5].into_iter().zip(&addresses) {
        lab.node(number).start_with(&[("NODE_ADDRESS", address)])?;
    }
    lab.node(1).start()?;
    let waits = format!(
        "Waiting for {} and {}: the address of {} is used by other, empty data",
        lab.node(2).id()?,
        lab.node(3).id()?,
        lab.node(2).id()?
    );
    lab.node(1).wait_for_log(&waits, SOON).await?;
    let reason = eventually("the reason in the registry", SOON, async || {
        let reason = key(&lab, lab.node(1), "waiting_for").await?;
        reason
            .filter(|reason| reason.contains("is used by other"))
            .context("no reason")
    })
    .await?;
    ensure!(
        reason.contains("have not been reported stopped"),
        "{reason}"
    );
    ensure!(before == [registered(2).await?, registered(3).await?]);
    lab.node(2)
        .execute("INSERT INTO mysql.kept VALUES (10)")
        .await?;
    for number in [1, 4, 5] {
        ensure!(lab.node(number).servers().is_empty(), "{number} started");
    }

    // The host is back: 1 joins its two members, and nothing is lost.
    for number in [4, 5] {
        let code = lab.node(number).stop().await?;
        ensure!(code == Some(0), "{code:?}");
    }
    for number in [2, 3] {
        lab.node(number).start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    for node in &lab.nodes()[..3] {
        let rows: Vec<u64> = node
            .query("root", "SELECT COUNT(*) FROM mysql.kept")
            .await?;
        ensure!(rows == [11], "{}: {rows:?}", node.id()?);
    }
    observer.verify().map(drop)
}
