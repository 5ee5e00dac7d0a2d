//! Two clusters under one name: never healthy.

use acceptance::lab::node::NodeStart;
use anyhow::{Result, ensure};
use galera::view::{ClusterStatus, ReasonCode, VerdictState};

use crate::shared;
use crate::views::{self, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn two_founders_are_never_healthy() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).kill();
    live.wait_for("the node to be missed", PATIENCE, |view| {
        views::any_reason_names(view, &id)
    })
    .await?;
    lab.lab.node(3).initialise().await?;
    lab.lab.node(3).launch(NodeStart::FoundSeparately).await?;
    let view = live
        .wait_for("two histories", PATIENCE, |view| {
            assert!(
                !views::has_verdict(view, VerdictState::Healthy),
                "{}",
                views::describe(view)
            );
            matches!(
                view.verdict.state,
                VerdictState::Diverged | VerdictState::SplitBrain
            )
        })
        .await?;
    let codes = [ReasonCode::RivalPrimaries, ReasonCode::StateUuidsDiffer];
    ensure!(
        codes.iter().any(|code| views::has_reason(&view, *code)),
        "{}",
        views::describe(&view)
    );
    // The verdict must not change.
    let mut views_seen = 0;
    live.wait_for("ten more views", PATIENCE, |view| {
        views_seen += 1;
        let rivals = matches!(
            view.verdict.state,
            VerdictState::Diverged | VerdictState::SplitBrain
        );
        assert!(rivals, "{}", views::describe(view));
        views_seen == 10
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_primaries_of_one_history_are_a_split_brain() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).isolate(true).await?;
    // A separate non-Primary component: an earlier bootstrap would be ignored, yet reported as successful.
    live.wait_for("the split", PATIENCE, |view| {
        view.components.iter().any(|component| {
            component.status == ClusterStatus::NonPrimary && component.members == [id.clone()]
        }) && view.components.iter().any(|component| {
            component.status == ClusterStatus::Primary && component.members.len() == 2
        })
    })
    .await?;
    // Same state UUID and conf_id: only the member lists differ.
    lab.lab.node(3).bootstrap().await?;
    let view = live
        .wait_for("split_brain", PATIENCE, |view| {
            assert!(
                !views::has_verdict(view, VerdictState::Healthy),
                "{}",
                views::describe(view)
            );
            views::has_verdict(view, VerdictState::SplitBrain)
        })
        .await?;
    ensure!(
        views::has_reason(&view, ReasonCode::RivalPrimaries),
        "{}",
        views::describe(&view)
    );
    let primary = view
        .components
        .iter()
        .filter(|c| c.status == ClusterStatus::Primary)
        .collect::<Vec<_>>();
    ensure!(
        primary.len() == 2 && primary[0].state_uuid == primary[1].state_uuid,
        "{:?}",
        view.components
    );
    // Healing two Primaries makes one of them abort: the repair before the next test wipes it.
    lab.lab.node(3).kill();
    Ok(())
}
