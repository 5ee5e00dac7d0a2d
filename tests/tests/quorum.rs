//! Quorum lost and found.

use anyhow::{Result, ensure};
use galera::view::{ClusterStatus, NodeState, ReasonCode, VerdictState};

use crate::shared;
use crate::views::{self, CONSOLE_DELAY, GALERA_TIMEOUT, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_killed_leave_no_primary() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let survivor = lab.lab.node(1).id().clone();
    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    let mut judged = Vec::new();
    let view = live
        .wait_for("no_primary", GALERA_TIMEOUT + CONSOLE_DELAY, |view| {
            judged.push(view.verdict.state);
            views::has_verdict(view, VerdictState::NoPrimary)
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
    ensure!(
        views::state(&view, &survivor) == Some(NodeState::Initialized),
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
    live.wait_for("a Primary component of one", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Degraded)
            && views::state(view, &survivor) == Some(NodeState::Synced)
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
        .wait_for("down", GALERA_TIMEOUT + CONSOLE_DELAY, |view| {
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
            GALERA_TIMEOUT * 2 + CONSOLE_DELAY,
            |view| views::has_verdict(view, VerdictState::Degraded) && view.components.len() == 2,
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
    ensure!(
        views::state(&view, &id) == Some(NodeState::Initialized),
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
