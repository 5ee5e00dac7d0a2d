//! A member is its data, not its address: what starts under a member's address says nothing about the member, and data
//! that a bootstrap continued without never join it.

use std::fs;
use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use acceptance::observer::ClusterObserver;
use acceptance::recovery_team::RecoveryTeam;
use anyhow::{Context, Result, ensure};
use galera::Position;
use galera::observe::fork::{ForkRecord, OBSERVED};
use galera::recover::action::ActionState;

use crate::homogeneous::signed_order;

/// Longest wait for nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for a node to react.
const SOON: Duration = Duration::from_secs(120);

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

    // The host of 2 and 3 is cut off: they live on as Primary, out of sight of etcd and of 1, which is then restarted.
    for number in [2, 3] {
        lab.node(number).kill_agent()?;
    }
    let registered = |number: usize| key(&lab, lab.node(number), "registered");
    let before = [registered(2).await?, registered(3).await?];
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

#[tokio::test(flavor = "multi_thread")]
async fn i35_a_node_ahead_of_a_bootstrap_never_joins_by_an_incremental_transfer() -> Result<()> {
    let lab = HomogeneousLab::prepare(3).await?.without_auto_bootstrap();
    for node in lab.nodes() {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    lab.node(1)
        .execute(
            "CREATE TABLE mysql.kept (id INT AUTO_INCREMENT PRIMARY KEY, node INT) ENGINE=InnoDB",
        )
        .await?;
    lab.wait_until_applied(&[1, 2, 3]).await?;
    // 2 and 3 leave; 1 continues alone and then dies.
    for number in [3, 2] {
        lab.node(number).stop().await?;
    }
    lab.wait_until_synced(&[1], SOON).await?;
    let insert = async |number: usize| {
        let statement = format!("INSERT INTO mysql.kept (node) VALUES ({number})");
        lab.node(number).execute(&statement).await
    };
    for _ in 0..10 {
        insert(1).await?;
    }
    let ahead = lab.node(1).position().await?;
    lab.node(1).kill().await?;

    // Operators decide to continue without it, from 2.
    for number in [2, 3] {
        lab.node(number).start()?;
        lab.node(number)
            .wait_for_log("for an approved bootstrap order", SOON)
            .await?;
    }
    let two = lab.node(2);
    let read = async |field: &str| {
        let what = format!("{field} of 2");
        eventually(&what, SOON, async || {
            key(&lab, two, field).await?.context("it is not published")
        })
        .await
    };
    let position: Position = read("recovered_position").await?.parse()?;
    ensure!(position.seqno < ahead.seqno, "{position} {ahead}");
    let fork = read("fork_epoch").await?.parse()?;
    let order = signed_order(&lab, two, &position, read("data_id").await?, fork)?;
    let registry = lab.registry()?;
    let lease = registry
        .grant_without_keep_alive(Duration::from_secs(60))
        .await?;
    let order_key = format!("/galera/{CLUSTER}/bootstrap");
    registry
        .create(order_key, order.to_value(), Some(lease))
        .await?;
    lab.wait_until_synced(&[2, 3], FORMATION_TIMEOUT).await?;
    eventually("both to publish the fork", SOON, async || {
        for number in [2, 3] {
            let epoch = key(&lab, lab.node(number), "fork_epoch").await?;
            ensure!(epoch == Some((fork + 1).to_string()), "{number}: {epoch:?}");
        }
        Ok(())
    })
    .await?;

    // The cluster passes the position of 1, which used to join by IST then.
    while two.position().await?.seqno <= ahead.seqno {
        insert(2).await?;
    }
    lab.node(1).start()?;
    let range = format!(
        "Transactions {} to {} of {} on",
        position.seqno + 1,
        ahead.seqno,
        ahead.uuid
    );
    lab.node(1).wait_for_log(&range, SOON).await?;
    eventually("the reason in the registry", SOON, async || {
        let reason = key(&lab, lab.node(1), "waiting_for").await?;
        ensure!(
            reason.as_ref().is_some_and(|text| text.starts_with(&range)),
            "{reason:?}"
        );
        Ok(())
    })
    .await?;
    insert(2).await?;
    lab.wait_until_synced(&[2, 3], SOON).await?;
    ensure!(lab.node(1).servers().is_empty(), "it started");

    // The way out: two people agree, its agent keeps the directory aside, and it joins empty.
    let before = key(&lab, lab.node(1), "data_id").await?;
    let console = LabConsole::start(lab.console_settings()).await?;
    let team = RecoveryTeam::sign_in_for(&console, CLUSTER).await?;
    let plan = team
        .executable_plan_within(FORMATION_TIMEOUT, "rejoin", &[])
        .await?;
    ensure!(
        plan.loss.transactions == Some(ahead.seqno - position.seqno),
        "{:?}",
        plan.loss
    );
    let action = team.request("rejoin", &plan, &[]).await?;
    team.act(&team.approver, &action, "approve").await?;
    let ended = team.wait_for_end(&action).await?.action;
    ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    ensure!(before != key(&lab, lab.node(1), "data_id").await?);
    let kept = fs::read_dir(lab.directory().join("same1/data.kept"))?;
    let kept: Vec<_> = kept.collect::<std::io::Result<_>>()?;
    ensure!(kept.len() == 1, "{kept:?}");
    for name in ["ibdata1", "mysql", ".galera-agent.json"] {
        let path = kept[0].path().join(name);
        ensure!(path.exists(), "{} is gone", path.display());
    }
    let rows = async |number: usize| -> Result<Vec<(u64, u64)>> {
        let node = lab.node(number);
        node.query("root", "SELECT id, node FROM mysql.kept ORDER BY id")
            .await
    };
    lab.wait_until_applied(&[1, 2, 3]).await?;
    let kept = rows(2).await?;
    ensure!(!kept.is_empty() && kept == rows(1).await? && kept == rows(3).await?);
    ensure!(kept.iter().all(|(_, node)| *node == 2), "{kept:?}");
    Ok(())
}

/// Galera takes a server that runs into a bootstrapped component, whatever its agent decides.
#[tokio::test(flavor = "multi_thread")]
async fn i35_a_running_server_ahead_of_a_bootstrap_leaves_its_component() -> Result<()> {
    let lab = HomogeneousLab::prepare(3).await?.without_auto_bootstrap();
    for node in lab.nodes() {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    lab.node(1)
        .execute("CREATE TABLE mysql.kept (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await?;
    lab.wait_until_applied(&[1, 2, 3]).await?;
    let status = async |number: usize, status: &str, size: &str| {
        eventually("the component", SOON, async || {
            let found = lab.node(number).wsrep().await?;
            let read = |name: &str| found.get(name).map(String::as_str);
            ensure!(
                read("wsrep_cluster_status") == Some(status)
                    && read("wsrep_cluster_size") == Some(size),
                "{number}: {found:?}"
            );
            Ok(())
        })
        .await
    };
    // 2 and 3 commit without 1, then all lose each other.
    lab.node(1).isolate(true).await?;
    status(2, "Primary", "2").await?;
    lab.node(2)
        .execute("INSERT INTO mysql.kept VALUES (-1)")
        .await?;
    lab.wait_until_applied(&[2, 3]).await?;
    for number in [2, 3] {
        lab.node(number).isolate(true).await?;
        status(number, "non-Primary", "1").await?;
    }
    status(1, "non-Primary", "1").await?;
    let (own, ahead) = (lab.node(1).position().await?, lab.node(2).position().await?);
    ensure!(own.seqno < ahead.seqno, "{own} {ahead}");

    // 1 is bootstrapped, as a console records it, and passes them.
    let record = ForkRecord {
        state_uuid: own.uuid,
        seqno: own.seqno,
        members: [lab.node(1).id()?].into(),
        action_id: OBSERVED.to_owned(),
        parent: 0,
        at: None,
    };
    let fork = format!("/galera/{CLUSTER}/forks/1");
    let registry = lab.registry()?;
    registry.create(fork, record.to_value(), None).await?;
    lab.node(1).isolate(false).await?;
    lab.node(1)
        .execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
        .await?;
    status(1, "Primary", "1").await?;
    for row in 0.. {
        if lab.node(1).position().await?.seqno > ahead.seqno + 5 {
            break;
        }
        lab.node(1)
            .execute(&format!("INSERT INTO mysql.kept VALUES ({row})"))
            .await?;
    }

    let stops = format!(
        "Stopping the server: transactions {} to {} of {}",
        own.seqno + 1,
        ahead.seqno,
        own.uuid
    );
    // Together with 3 it would be Primary again without 1.
    lab.node(3).kill().await?;
    let node = lab.node(2);
    node.isolate(false).await?;
    let address = lab.node(1).group_address();
    // It may have forgotten the address of 1; the server continues to run.
    node.execute(&format!(
        "SET GLOBAL wsrep_cluster_address = 'gcomm://{address}'"
    ))
    .await?;
    node.wait_for_log(&stops, SOON).await?;
    node.wait_for_log("are not those of cluster", SOON).await?;
    ensure!(node.servers().is_empty(), "it started again");
    eventually("the reason in the registry", SOON, async || {
        let held = key(&lab, node, "held").await?;
        held.map(drop).context("it is not held back")
    })
    .await?;
    // The component that was bootstrapped continues.
    lab.node(1)
        .execute("INSERT INTO mysql.kept VALUES (-2)")
        .await?;
    lab.wait_until_synced(&[1], SOON).await
}
