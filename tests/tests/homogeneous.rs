//! Identical nodes that start together, crash, stop and return: always one cluster, never two.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acceptance::eventually;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use acceptance::observer::ClusterObserver;
use anyhow::{Context, Result, ensure};
use galera::observe::registration::{AgentPhase, BootstrapOrder, OrderSignature};
use galera::{Position, Timestamp};
use registry::{Transaction, WriteOp};

/// Longest wait for nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for an agent to restart a server that is not Primary.
const APART_TIMEOUT: Duration = Duration::from_secs(240);
/// Longest wait for a node to react.
const SOON: Duration = Duration::from_secs(120);

fn observer(lab: &HomogeneousLab) -> Result<ClusterObserver> {
    ClusterObserver::start(lab.observed_nodes("console"))
}

async fn founder(lab: &HomogeneousLab) -> Result<serde_json::Value> {
    let keys = lab.keys().await?;
    let founder = keys.get("founder").context("no founder")?;
    Ok(serde_json::from_str(founder)?)
}

async fn key(lab: &HomogeneousLab, node: &HomogeneousNode, field: &str) -> Result<Option<String>> {
    Ok(lab.keys().await?.remove(&format!("{}/{field}", node.id()?)))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_started_at_once_form_one_cluster() -> Result<()> {
    let lab = HomogeneousLab::prepare(4).await?;
    let observer = observer(&lab)?;

    // Without etcd the data is not touched.
    lab.etcd().kill_all();
    for node in &lab.nodes()[..3] {
        node.start()?;
    }
    for node in &lab.nodes()[..3] {
        node.wait_for_log("is unreachable; waiting for it", SOON)
            .await?;
        let (status, body) = node.health("/").await?;
        ensure!(status == 503 && body.contains("etcd"), "{status} {body}");
        ensure!(node.health("/live").await?.0 == 200);
        let files = std::fs::read_dir(node.data())?.flatten();
        let files: Vec<_> = files.map(|file| file.file_name()).collect();
        ensure!(files == [".galera-agent.lock"], "{files:?}");
    }
    let began = Instant::now();
    lab.etcd().start_all().await?;
    let recorder = lab.recorder()?;
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    println!(
        "three nodes from nothing to one cluster: {:?}",
        began.elapsed()
    );
    let first = founder(&lab).await?;
    let founded = lab
        .nodes()
        .iter()
        .filter(|node| node.count_log_lines("as the first member") > 0);
    ensure!(founded.count() == 1, "one of them founded");
    ensure!(
        lab.nodes()[..3]
            .iter()
            .map(|node| node.count_log_lines("Initialized "))
            .sum::<usize>()
            == 1
    );

    // The registry is emptied by hand at the very moment when an empty node starts.
    let wipe = async || {
        let registry = lab.registry()?;
        let entries = registry.list("/galera/").await?.entries;
        let deletions = entries.into_iter().map(|entry| WriteOp::delete(entry.key));
        registry
            .transact(&Transaction::new().then(deletions))
            .await?;
        anyhow::Ok(())
    };
    wipe().await?;
    lab.node(4).start()?;
    wipe().await?;
    lab.wait_until_synced(&[1, 2, 3, 4], FORMATION_TIMEOUT)
        .await?;
    ensure!(
        lab.node(4).count_log_lines("as the first member") == 0,
        "it founded"
    );
    let second = founder(&lab).await?;
    ensure!(
        second["state_uuid"] == first["state_uuid"],
        "{first} {second}"
    );
    eventually("all nodes to be registered again", SOON, async || {
        for node in lab.nodes() {
            let registered = key(&lab, node, "registered").await?;
            ensure!(registered.is_some(), "{} is not", node.id()?);
        }
        Ok(())
    })
    .await?;
    // A state transfer copies no identity, and removes none for good.
    let mut identities = BTreeSet::new();
    for node in lab.nodes() {
        let file = std::fs::read(node.data().join(".galera-agent.json"))?;
        let file: serde_json::Value = serde_json::from_slice(&file)?;
        let published = key(&lab, node, "data_id").await?.context("no data_id")?;
        ensure!(file["id"] == published.as_str(), "{file} {published}");
        ensure!(file["founding"] == false, "{file}");
        identities.insert(published);
    }
    ensure!(identities.len() == lab.nodes().len(), "{identities:?}");
    // States that are over within milliseconds reach the registry through the notification.
    let states = recorder.values("/wsrep_local_state_comment");
    for state in ["Joined", "Donor/Desynced", "Synced"] {
        ensure!(states.contains(state), "no node was {state}: {states:?}");
    }

    // Etcd lost later is no trouble of the database.
    lab.etcd().kill_all();
    lab.node(2)
        .wait_for_log("the database is unaffected", SOON)
        .await?;
    lab.wait_until_synced(&[1, 2, 3, 4], SOON).await?;
    ensure!(lab.node(2).health("/").await?.0 == 200);
    lab.etcd().start_all().await?;
    lab.node(2)
        .wait_for_log("etcd is reachable again", SOON)
        .await?;

    // The accounts, and no others.
    let accounts: Vec<String> = lab
        .node(4)
        .query(
            "root",
            "SELECT CONCAT(User, '@', Host) FROM mysql.global_priv ORDER BY 1",
        )
        .await?;
    let expected = [
        "console@%",
        "mariadb.sys@localhost",
        // The agent's own: the system user, without a password.
        "mysql@localhost",
        "recovery@%",
        "root@localhost",
        "xtrabackup@localhost",
    ];
    ensure!(accounts == expected, "{accounts:?}");
    let statement = "SET GLOBAL wsrep_provider_options = 'evs.info_log_mask=0'";
    ensure!(
        lab.node(1)
            .query::<mysql_async::Row>("console", statement)
            .await
            .is_err()
    );
    lab.node(1)
        .query::<mysql_async::Row>("recovery", statement)
        .await?;

    ensure!(lab.node(4).health("/").await?.0 == 200);

    // A killed server takes its agent along, and leaves a registry that claims nothing.
    let code = lab.node(4).kill_server().await?;
    ensure!(code == Some(137), "{code:?}");
    let id = lab.node(4).id()?.to_string();
    let durable = ["highest_position", "registered"].map(|field| format!("{id}/{field}"));
    // Immediately; with the lost lease if etcd was unreachable shortly before.
    eventually("its status to be gone", SOON, async || {
        let mut keys = lab.keys().await?;
        keys.retain(|key, _| key.starts_with(&id));
        let left: Vec<_> = keys.keys().collect();
        ensure!(left == durable.iter().collect::<Vec<_>>(), "{left:?}");
        ensure!(!keys[&durable[1]].contains("stopped"), "{keys:?}");
        Ok(())
    })
    .await?;

    // Without etcd it joins the configured members and publishes nothing.
    let members = format!("{},{}", lab.node(1).id()?, lab.node(2).id()?);
    lab.node(4)
        .start_with(&[("DISCOVERY_SERVICE", ""), ("CLUSTER_JOIN", &members)])?;
    lab.wait_until_synced(&[1, 2, 3, 4], FORMATION_TIMEOUT)
        .await?;
    ensure!(lab.node(4).count_log_lines("without etcd") == 1);
    eventually("its health", SOON, async || {
        ensure!(lab.node(4).health("/").await?.0 == 200);
        Ok(())
    })
    .await?;
    ensure!(key(&lab, lab.node(4), "phase").await?.is_none());
    let code = lab.node(4).stop().await?;
    ensure!(code == Some(0), "{code:?}");

    // A killed agent leaves its server running; its report expires with the lease.
    lab.node(3).kill_agent()?;
    eventually("the dead agent's word to expire", SOON, async || {
        let state = key(&lab, lab.node(3), "wsrep_local_state_comment").await?;
        ensure!(state.is_none(), "{state:?}");
        Ok(())
    })
    .await?;
    let status = lab.node(3).wsrep().await?;
    ensure!(
        status["wsrep_local_state_comment"] == "Synced",
        "{status:?}"
    );
    ensure!(key(&lab, lab.node(3), "registered").await?.is_some());

    // The next agent adopts that server: it starts none, receives its notifications, and shuts it down cleanly.
    let started = lab.node(3).count_log_lines("Server started");
    lab.node(3).start()?;
    lab.node(3)
        .wait_for_log("a server that an earlier agent started", SOON)
        .await?;
    eventually("its word to be back", SOON, async || {
        let reported = key(&lab, lab.node(3), "wsrep_local_state_comment").await?;
        ensure!(reported.as_deref() == Some("Synced"), "{reported:?}");
        Ok(())
    })
    .await?;
    let phase = key(&lab, lab.node(3), "phase").await?;
    ensure!(
        phase.as_deref() == Some(AgentPhase::Running.as_str()),
        "{phase:?}"
    );
    ensure!(lab.node(3).health("/").await?.0 == 200);
    ensure!(
        lab.node(3).count_log_lines("falling back to polling") == 0,
        "another place"
    );
    let code = lab.node(3).stop().await?;
    ensure!(code == Some(0), "{code:?}");
    ensure!(
        lab.node(3).count_log_lines("Server started") == started,
        "a second server"
    );
    let registered = key(&lab, lab.node(3), "registered").await?;
    ensure!(
        registered
            .as_ref()
            .is_some_and(|text| text.contains("stopped")),
        "no final position: {registered:?}"
    );
    ensure!(key(&lab, lab.node(3), "phase").await?.is_none());
    lab.wait_until_synced(&[1, 2], SOON).await?;
    observer.verify().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_apart_that_the_others_wait_for_is_restarted() -> Result<()> {
    let lab = HomogeneousLab::prepare(3).await?;
    let observer = observer(&lab)?;
    for node in lab.nodes() {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    lab.wait_until_applied(&[1, 2, 3]).await?;
    lab.node(3).isolate(true).await?;
    lab.wait_until_synced(&[1, 2], FORMATION_TIMEOUT).await?;
    lab.node(1)
        .execute("CREATE TABLE mysql.kept (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await?;
    lab.node(1)
        .execute("INSERT INTO mysql.kept VALUES (1)")
        .await?;
    // As an orchestrator that replaces the two on reconnection.
    for number in [2, 1] {
        let code = lab.node(number).stop().await?;
        ensure!(code == Some(0), "{code:?}");
    }
    lab.node(1).start()?;
    lab.node(2).start()?;
    let named = format!("restart the container or service of {}", lab.node(3).id()?);
    lab.node(1).wait_for_log(&named, SOON).await?;
    lab.node(3)
        .wait_for_log("as long as it runs the others wait for it", APART_TIMEOUT)
        .await?;
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    ensure!(
        lab.node(3).count_log_lines("Server started") == 2,
        "not by its agent"
    );
    for node in lab.nodes() {
        let rows: Vec<u64> = node
            .query("root", "SELECT COUNT(*) FROM mysql.kept")
            .await?;
        ensure!(rows == [1], "{}: {rows:?}", node.id()?);
    }
    observer.verify().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_killed_recover_as_one_cluster_without_loss() -> Result<()> {
    let lab = HomogeneousLab::prepare(3).await?;
    let observer = observer(&lab)?;
    for node in lab.nodes() {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    lab.node(1)
        .execute("CREATE TABLE mysql.kept (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await?;
    for row in 0..20 {
        let node = &lab.nodes()[row % 3];
        node.execute(&format!("INSERT INTO mysql.kept VALUES ({row})"))
            .await?;
    }
    let before = lab.node(1).position().await?;

    // One is killed earlier than the others and so lags behind; all are down.
    lab.node(2).kill().await?;
    lab.wait_until_synced(&[1, 3], FORMATION_TIMEOUT).await?;
    for row in 20..30 {
        lab.node(1)
            .execute(&format!("INSERT INTO mysql.kept VALUES ({row})"))
            .await?;
    }
    let (one, three) = (lab.node(1).kill(), lab.node(3).kill());
    let (one, three) = tokio::join!(one, three);
    one.and(three)?;

    // While the most advanced node is missing, the others wait and name it.
    lab.node(2).start()?;
    let absent = format!(
        "Waiting for {} and {}",
        lab.node(1).id()?,
        lab.node(3).id()?
    );
    lab.node(2).wait_for_log(&absent, SOON).await?;
    lab.node(3).start()?;
    let absent = format!(
        "Waiting for {}: it is registered and has not come back",
        lab.node(1).id()?
    );
    for number in [2, 3] {
        lab.node(number).wait_for_log(&absent, SOON).await?;
        let (status, body) = lab.node(number).health("/").await?;
        ensure!(
            status == 503 && body.contains(&absent) && body.contains("since"),
            "{body}"
        );
        // Its log is ahead of its registration.
        eventually("the node to be registered as waiting", SOON, async || {
            let phase = key(&lab, lab.node(number), "phase").await?;
            ensure!(
                phase.as_deref() == Some(AgentPhase::Waiting.as_str()),
                "{phase:?}"
            );
            let position = key(&lab, lab.node(number), "recovered_position").await?;
            ensure!(position.is_some_and(|text| text.starts_with(&before.uuid.to_string())));
            Ok(())
        })
        .await?;
    }
    let began = Instant::now();
    lab.node(1).start()?;
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    println!(
        "all killed, from the last one's start to one cluster: {:?}",
        began.elapsed()
    );
    ensure!(
        lab.node(2).count_log_lines("as the first member") == 0
            || lab.node(2).count_log_lines("Initialized") > 0
    );
    for node in lab.nodes() {
        let rows: Vec<u64> = node
            .query("root", "SELECT COUNT(*) FROM mysql.kept")
            .await?;
        ensure!(rows == [30], "{}: {rows:?}", node.id()?);
    }
    ensure!(
        !lab.keys().await?.contains_key("bootstrap"),
        "the order is left"
    );

    // Stopped in turn and started together: the last one stopped leads.
    for number in [3, 1, 2] {
        let code = lab.node(number).stop().await?;
        ensure!(code == Some(0), "{code:?}");
        let registered = key(&lab, lab.node(number), "registered").await?;
        ensure!(
            registered.is_some_and(|text| text.contains("stopped")),
            "no final position"
        );
        ensure!(key(&lab, lab.node(number), "phase").await?.is_none());
    }
    for node in lab.nodes() {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    let after = lab.node(1).position().await?;
    ensure!(
        after.uuid == before.uuid && after.seqno > before.seqno,
        "{before} {after}"
    );

    // Without automatic bootstrap, an approved order to one of them brings all of them back.
    let (one, two, three) = (lab.node(1).kill(), lab.node(2).kill(), lab.node(3).kill());
    let (one, two, three) = tokio::join!(one, two, three);
    one.and(two).and(three)?;
    for node in lab.nodes() {
        node.start_with(&[("AUTO_BOOTSTRAP", "never")])?;
    }
    let mut positions = Vec::new();
    for node in lab.nodes() {
        node.wait_for_log("for an approved bootstrap order", SOON)
            .await?;
        let position = eventually("the position to be registered", SOON, async || {
            let position = key(&lab, node, "recovered_position").await?;
            position.context("no position")
        })
        .await?;
        positions.push(position.parse::<Position>()?);
    }
    let best = (0..3)
        .max_by_key(|index| positions[*index].seqno)
        .context("no node")?;
    let node = &lab.nodes()[best];
    let data = key(&lab, node, "data_id").await?.context("no data_id")?;
    let fork = key(&lab, node, "fork_epoch")
        .await?
        .context("no fork_epoch")?;
    let order = signed_order(&lab, node, &positions[best], data, fork.parse()?)?;
    let registry = lab.registry()?;
    let lease = registry
        .grant_without_keep_alive(Duration::from_secs(60))
        .await?;
    let key = format!("/galera/{CLUSTER}/bootstrap");
    // A copy without its signature, by a client of etcd, starts nothing.
    let forged = BootstrapOrder {
        signed: None,
        ..order.clone()
    };
    registry
        .create(key.clone(), forged.to_value(), Some(lease))
        .await?;
    node.wait_for_log("it is not signed", SOON).await?;
    ensure!(node.servers().is_empty(), "the forged order was obeyed");
    registry
        .put(key.clone(), order.to_value(), Some(lease))
        .await?;
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    lab.nodes()[best]
        .wait_for_log("Action approved orders", SOON)
        .await?;
    ensure!(registry.get(key).await?.is_none(), "the order is left");
    observer.verify().map(drop)
}

/// What the console with the lab's key writes for `node`.
pub(crate) fn signed_order(
    lab: &HomogeneousLab,
    node: &HomogeneousNode,
    position: &Position,
    data_id: String,
    fork_epoch: u64,
) -> Result<BootstrapOrder> {
    let console = order_signature::read_key_file(&lab.order_key_file())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now = Timestamp::from_unix_millis(i64::try_from(now)?);
    let mut order = BootstrapOrder {
        node: node.id()?,
        position: position.to_string(),
        action_id: Some("approved".to_owned()),
        data_id: Some(data_id),
        signed: Some(Box::new(OrderSignature {
            registry: "/galera/".to_owned(),
            cluster: CLUSTER.to_owned(),
            not_before: now.minus(Duration::from_secs(60)),
            expires_at: now.plus(Duration::from_secs(60)),
            fork_epoch,
            key_id: console.public().id().to_owned(),
            signature: String::new(),
        })),
    };
    let claims = order.claims().context("it has no claims")?;
    if let Some(signed) = &mut order.signed {
        signed.signature = console.sign(&claims);
    }
    Ok(order)
}
