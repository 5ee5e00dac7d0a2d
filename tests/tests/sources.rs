//! Evidence from SQL and from the registry is shown separately.

use std::time::Duration;

use acceptance::eventually;
use anyhow::{Context, Result, ensure};
use galera::id::NodeId;
use galera::view::{NodeState, ReasonCode, SourceKind, VerdictState};
use registry::{Transaction, WriteOp};

use crate::shared;
use crate::views::{self, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_known_to_etcd_only_and_a_registration_without_a_node() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let registry = lab.lab.registry()?;
    let lease = registry.grant(Duration::from_secs(60)).await?;
    let reported: NodeId = "127.0.0.77".parse()?;
    let forgotten: NodeId = "127.0.0.88".parse()?;
    let put = |node: &NodeId, field: &str, value: &str, lease| {
        WriteOp::put(
            format!("/galera/lab/{node}/{field}"),
            value.to_owned(),
            lease,
        )
    };
    let report = Transaction::new().then([
        put(
            &reported,
            "wsrep_local_state_comment",
            "Synced",
            Some(lease.id()),
        ),
        put(
            &reported,
            "wsrep_cluster_status",
            "Primary",
            Some(lease.id()),
        ),
        put(&reported, "wsrep_last_committed", "7", Some(lease.id())),
        put(
            &forgotten,
            "registered",
            r#"{"first_seen":"2026-01-01T00:00:00Z"}"#,
            None,
        ),
    ]);
    registry.transact(&report).await?;

    let view = live
        .wait_for("both to appear", PATIENCE, |view| {
            views::reason_names(view, ReasonCode::RegistrationWithoutNode, &forgotten)
                && views::node(view, &reported).is_some()
                && views::source(view, &reported, SourceKind::Sql)
                    .is_some_and(|sql| sql.error.is_some())
        })
        .await?;
    // No member lists them: neither counts.
    ensure!(
        view.unconfirmed_nodes().count() == 2 && view.expected_members.len() == 3,
        "{}",
        views::describe(&view)
    );
    ensure!(
        views::is_fresh(&view, &reported, SourceKind::Registry),
        "{}",
        views::describe(&view)
    );
    ensure!(
        !views::is_fresh(&view, &reported, SourceKind::Sql),
        "{}",
        views::describe(&view)
    );
    ensure!(
        !views::is_fresh(&view, &forgotten, SourceKind::Sql),
        "{}",
        views::describe(&view)
    );
    ensure!(
        views::state(&view, &forgotten) != Some(NodeState::Synced),
        "{}",
        views::describe(&view)
    );
    let seqno =
        views::source(&view, &reported, SourceKind::Registry).and_then(|source| source.seqno);
    ensure!(seqno == Some(7), "the registry's own figure is {seqno:?}");

    let keys = lab.viewer().await?.registry("lab").await?;
    let key = keys
        .keys
        .iter()
        .find(|key| key.key.ends_with("127.0.0.88/registered"))
        .context("no key")?;
    ensure!(
        key.stale && key.reason.is_some() && key.lease.is_none(),
        "{key:?}"
    );
    let key = keys
        .keys
        .iter()
        .find(|key| key.key.ends_with("127.0.0.77/wsrep_last_committed"))
        .context("no key")?;
    ensure!(
        key.ttl.is_some_and(|ttl| ttl <= 60) && key.lease.is_some(),
        "{key:?}"
    );

    lease.revoke().await?;
    registry
        .transact(&Transaction::new().then([WriteOp::delete("/galera/lab/127.0.0.88/registered")]))
        .await?;
    live.wait_for("both to be forgotten by the registry", PATIENCE, |view| {
        let registered = |id| views::node(view, id).is_some_and(|node| node.registered);
        views::has_verdict(view, VerdictState::Healthy)
            && view.expected_members.len() == 3
            && !registered(&reported)
            && !registered(&forgotten)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_known_to_sql_only() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(2).id().clone();
    // A clean shutdown of its agent revokes the lease immediately; the durable key is removed by decommissioning.
    lab.lab.agent(2).stop().await?;
    let registry = lab.lab.registry()?;
    let listed = registry.list(format!("/galera/lab/{id}")).await?;
    ensure!(
        listed.entries.iter().all(|entry| entry.lease == 0),
        "leased keys outlive the agent"
    );
    let deletions = listed
        .entries
        .into_iter()
        .map(|entry| WriteOp::delete(entry.key));
    registry
        .transact(&Transaction::new().then(deletions))
        .await?;
    let view = live
        .wait_for("a node without registration", PATIENCE, |view| {
            views::node(view, &id).is_some_and(|node| !node.registered)
                && views::reason_names(view, ReasonCode::NodeWithoutRegistration, &id)
        })
        .await?;
    ensure!(
        views::is_fresh(&view, &id, SourceKind::Sql),
        "{}",
        views::describe(&view)
    );
    ensure!(
        !views::is_fresh(&view, &id, SourceKind::Registry),
        "{}",
        views::describe(&view)
    );
    ensure!(
        views::state(&view, &id) == Some(NodeState::Synced),
        "{}",
        views::describe(&view)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_password_is_reported_without_blaming_nodes() -> Result<()> {
    let lab = shared::lab().await?;
    let mut settings = lab.lab.console_settings();
    "not-the-password".clone_into(&mut settings.mysql_password);
    let console = acceptance::lab::console::LabConsole::start(settings).await?;
    let api = console.sign_in("viewer").await?;
    let node = lab.lab.node(1).id();
    // Nodes are read one by one: the reason may be another node's.
    let (view, error) = eventually("the refusal to be shown", PATIENCE, async || {
        let view = api.cluster("lab").await?;
        let sql = views::source(&view, node, SourceKind::Sql).context("no SQL source")?;
        let error = sql.error.clone().unwrap_or_default();
        ensure!(
            views::has_reason(&view, ReasonCode::AccessDenied)
                && error.to_lowercase().contains("denied"),
            "{error:?}: {}",
            views::describe(&view)
        );
        Ok((view, error))
    })
    .await?;
    ensure!(
        !matches!(
            view.verdict.state,
            VerdictState::Down | VerdictState::NoPrimary
        ),
        "{}",
        views::describe(&view)
    );
    ensure!(error.contains("console"), "the error is {error:?}");
    ensure!(!error.contains("not-the-password"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_database_does_not_affect_other_nodes() -> Result<()> {
    let lab = shared::lab().await?;
    let target = (lab.lab.node(1).address(), lab.lab.node(1).port());
    let silent = acceptance::proxy::ChaosProxy::start(lab.lab.node(1).address(), target.into())?;
    silent.blackhole();
    let id: NodeId = silent.address().to_string().parse()?;
    let mut settings = lab.lab.console_settings();
    settings.clusters[0] = format!("{},{id}", settings.clusters[0]);
    let console = acceptance::lab::console::LabConsole::start(settings).await?;
    let api = console.sign_in("viewer").await?;
    let mut live = api.live().await?;
    live.subscribe(&[views::TOPIC]).await?;
    let view = live
        .wait_for("the silent one to be unreachable", PATIENCE, |view| {
            views::state(view, &id) == Some(NodeState::Unreachable)
        })
        .await?;
    let error = views::source(&view, &id, SourceKind::Sql).and_then(|source| source.error.clone());
    let error = error.unwrap_or_default();
    ensure!(
        error.contains("answer") || error.contains("timed out"),
        "the reason is {error:?}"
    );
    for other in lab.lab.ids() {
        ensure!(
            views::state(&view, &other) == Some(NodeState::Synced),
            "{}",
            views::describe(&view)
        );
    }
    Ok(())
}
