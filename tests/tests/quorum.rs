//! Quorum lost and found.

use acceptance::lab::node::NodeStart;
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::observe::fork::{ForkRecord, OBSERVED};
use galera::view::{ClusterStatus, NodeState, ReasonCode, VerdictState};

use mysql_async::prelude::Queryable;

use crate::shared;
use crate::views::{self, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_killed_leave_no_primary() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let survivor = lab.lab.node(1).id().clone();
    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    let mut judged = Vec::new();
    // The server updates its own state after that of its component.
    let view = live
        .wait_for("no_primary", PATIENCE, |view| {
            judged.push(view.verdict.state);
            views::has_verdict(view, VerdictState::NoPrimary)
                && views::state(view, &survivor) == Some(NodeState::Initialized)
        })
        .await?;
    ensure!(
        !judged.contains(&VerdictState::Down),
        "seen on the way: {judged:?}"
    );
    ensure!(
        views::has_reason(&view, ReasonCode::NobodyPrimary),
        "{}",
        views::describe(&view)
    );
    let survivor_status = views::node(&view, &survivor).and_then(|node| node.cluster_status);
    ensure!(
        survivor_status == Some(ClusterStatus::NonPrimary),
        "{survivor_status:?}"
    );
    ensure!(
        view.components
            .iter()
            .all(|component| component.status != ClusterStatus::Primary)
    );
    ensure!(
        view.expected_members.len() == 3,
        "{:?}",
        view.expected_members
    );

    // What an operator does; the console must follow.
    lab.lab.node(1).bootstrap().await?;
    live.wait_for(
        "a Primary component of one, and the alarm",
        PATIENCE,
        |view| {
            views::has_verdict(view, VerdictState::Degraded)
                && views::state(view, &survivor) == Some(NodeState::Synced)
                && views::has_reason(view, ReasonCode::HistoryAlarm)
        },
    )
    .await?;
    Ok(())
}

/// It loses its quorum in the view change in which another one joins, and continues in the same: the specification of the
/// simulation rests on that.
#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrapped_member_without_votes_continues_when_another_joins() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let one = lab.lab.node(1);
    one.execute("SET GLOBAL wsrep_provider_options='pc.weight=0'")
        .await?;
    for number in [2, 3] {
        lab.lab.node(number).kill();
    }
    live.wait_for("no_primary", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::NoPrimary)
    })
    .await?;
    one.bootstrap().await?;
    live.wait_for("a Primary component of one", PATIENCE, |view| {
        views::state(view, one.id()) == Some(NodeState::Synced)
    })
    .await?;
    lab.lab.node(2).start(NodeStart::Join).await?;
    let reported = one.wsrep().await?;
    ensure!(
        reported["wsrep_cluster_status"] == "Primary" && reported["wsrep_cluster_size"] == "2",
        "{reported:?}"
    );
    one.execute("SET GLOBAL wsrep_provider_options='pc.weight=1'")
        .await?;
    lab.lab.node(3).start(NodeStart::Join).await?;
    Ok(())
}

/// A bootstrap by hand is proven by what the node reports, recorded as a fork, and an alarm until it is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn i46_a_bootstrap_by_hand_is_recorded_as_a_fork() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let survivor = lab.lab.node(1).id().clone();
    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    live.wait_for("no_primary", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::NoPrimary)
    })
    .await?;
    let lost = lab.lab.node(1).wsrep().await?;
    lab.lab.node(1).bootstrap().await?;
    let view = live
        .wait_for("the alarm", PATIENCE, |view| {
            views::has_reason(view, ReasonCode::HistoryAlarm)
        })
        .await?;
    let registry = lab.lab.registry()?;
    let prefix = format!("/galera/{}/forks/", lab.lab.cluster());
    let listing = registry.list(prefix).await?;
    let forks: Vec<ForkRecord> = listing
        .entries
        .iter()
        .filter_map(|entry| ForkRecord::parse(&entry.value))
        .collect();
    let fork = forks.last().with_context(|| views::describe(&view))?;
    ensure!(fork.action_id == OBSERVED, "{fork:?}");
    ensure!(
        fork.seqno.to_string() == lost["wsrep_last_committed"],
        "{fork:?} {lost:?}"
    );
    let members: Vec<&str> = fork.members.iter().map(NodeId::host).collect();
    ensure!(members == [survivor.host()], "{fork:?}");
    // It stays when every member is back.
    for number in [2, 3] {
        lab.lab.node(number).start(NodeStart::Join).await?;
    }
    live.wait_for("all Synced, and the alarm", PATIENCE, |view| {
        let ids = lab.lab.ids();
        let mut states = ids.iter().map(|id| views::state(view, id));
        states.all(|state| state == Some(NodeState::Synced))
            && views::has_verdict(view, VerdictState::Degraded)
            && views::has_reason(view, ReasonCode::HistoryAlarm)
    })
    .await?;
    let operator = lab.console.sign_in("operator").await?;
    operator.acknowledge_alarms(lab.lab.cluster()).await?;
    live.wait_for("healthy", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Healthy)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_killed_is_down() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    for node in lab.lab.nodes() {
        node.kill();
    }
    let view = live
        .wait_for("down", PATIENCE, |view| {
            views::has_verdict(view, VerdictState::Down)
        })
        .await?;
    ensure!(
        views::has_reason(&view, ReasonCode::EverybodyDown),
        "{}",
        views::describe(&view)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_node_is_distinguished_from_a_dead_one() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).isolate(true).await?;
    let view = live
        .wait_for(
            "two components, one of them Primary",
            PATIENCE,
            // The server updates its own state after that of its component.
            |view| {
                views::has_verdict(view, VerdictState::Degraded)
                    && view.components.len() == 2
                    && views::state(view, &id) == Some(NodeState::Initialized)
            },
        )
        .await?;
    ensure!(
        view.components[0].status == ClusterStatus::Primary,
        "{:?}",
        view.components
    );
    ensure!(
        view.components[1].members == [id.clone()],
        "{:?}",
        view.components
    );
    ensure!(
        views::reason_names(&view, ReasonCode::MemberNotPrimary, &id),
        "{}",
        views::describe(&view)
    );
    lab.lab.node(3).isolate(false).await?;
    live.wait_for("one component again", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Healthy)
    })
    .await?;
    Ok(())
}

/// The status of a server that waits for a lock stays as it was before its peers were killed.
#[tokio::test(flavor = "multi_thread")]
async fn i42_a_survivor_held_by_a_lock_is_not_primary() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let survivor = lab.lab.node(1).id().clone();
    let mut session = lab.lab.node(1).root().await?;
    session.query_drop("FLUSH TABLES WITH READ LOCK").await?;
    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    let frozen = |view: &galera::view::ClusterView| {
        views::reason_names(view, ReasonCode::StatusFrozen, &survivor)
    };
    let view = live
        .wait_for("the frozen status", PATIENCE, |view| {
            frozen(view) && views::has_verdict(view, VerdictState::NoPrimary)
        })
        .await?;
    ensure!(
        views::state(&view, &survivor) == Some(NodeState::Initialized),
        "{}",
        views::describe(&view)
    );
    let reported = lab.lab.node(1).wsrep().await?;
    for name in [
        "wsrep_cluster_status",
        "wsrep_cluster_weight",
        "wsrep_cluster_size",
        "wsrep_local_state_comment",
        "wsrep_local_recv_queue",
        "wsrep_desync_count",
        "wsrep_evs_state",
    ] {
        println!("{name} {}", reported.get(name).context(name)?);
    }
    ensure!(
        reported["wsrep_cluster_status"] == "Primary" && reported["wsrep_cluster_weight"] == "0",
        "{reported:?}"
    );

    session.query_drop("UNLOCK TABLES").await?;
    live.wait_for("no Primary, as it reports itself", PATIENCE, |view| {
        !frozen(view)
            && views::has_verdict(view, VerdictState::NoPrimary)
            && views::node(view, &survivor).is_some_and(|node| {
                node.sources[0].cluster_status.as_deref() == Some("non-Primary")
            })
    })
    .await?;
    session.disconnect().await?;
    lab.lab.node(1).bootstrap().await?;
    live.wait_for(
        "a Primary component of one, and the alarm",
        PATIENCE,
        |view| {
            views::has_verdict(view, VerdictState::Degraded)
                && views::state(view, &survivor) == Some(NodeState::Synced)
                && views::has_reason(view, ReasonCode::HistoryAlarm)
        },
    )
    .await?;
    Ok(())
}
