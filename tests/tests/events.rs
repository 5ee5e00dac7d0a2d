//! The event history of a cluster.

use acceptance::lab::node::NodeStart;
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::publish::api::HistoryPage;
use galera::record::history::{HistoryEvent, StateChange};
use galera::view::{NodeState, VerdictState};

use crate::shared;
use crate::views::{self, PATIENCE};

/// The events of the lab, oldest first.
async fn events(api: &acceptance::api::ConsoleClient) -> Result<Vec<HistoryEvent>> {
    let mut page: HistoryPage = api.get("/api/v1/clusters/lab/events?limit=1000").await?;
    page.events.reverse();
    Ok(page.events)
}

/// The states that `node` entered, oldest first.
fn states_of(recorded: &[HistoryEvent], node: &NodeId) -> Vec<Option<NodeState>> {
    recorded
        .iter()
        .filter(|event| event.change.node() == Some(node))
        .filter_map(|event| match event.change {
            StateChange::Node { to, .. } => Some(to),
            StateChange::Verdict { .. } => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_and_its_return_are_recorded() -> Result<()> {
    let lab = shared::lab().await?;
    let (api, mut live) = (lab.viewer().await?, lab.live().await?);
    let id = lab.lab.node(3).id().clone();
    let before = events(&api).await?.last().map_or(0, |event| event.sequence);
    lab.lab.node(3).kill();
    live.wait_for("degraded", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Degraded)
    })
    .await?;
    lab.lab.node(3).start(NodeStart::Join).await?;
    live.wait_for("healthy", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Healthy)
    })
    .await?;
    let recorded = acceptance::eventually("both in the events", PATIENCE, async || {
        let mut recorded = events(&api).await?;
        recorded.retain(|event| event.sequence > before);
        let last = recorded.iter().rev().find_map(|event| match event.change {
            StateChange::Verdict { to, .. } => Some(to),
            StateChange::Node { .. } => None,
        });
        ensure!(last == Some(VerdictState::Healthy), "{recorded:?}");
        // A late notification of Joined may follow the SQL answer that made the cluster healthy.
        let states = states_of(&recorded, &id);
        ensure!(
            states.last() == Some(&Some(NodeState::Synced)),
            "{states:?}"
        );
        Ok(recorded)
    })
    .await?;
    ensure!(
        recorded
            .iter()
            .zip(before + 1..)
            .all(|(event, number)| event.sequence == number)
    );
    ensure!(recorded.is_sorted_by_key(|event| event.at));
    let states = states_of(&recorded, &id);
    let gone = states
        .iter()
        .position(|state| *state == Some(NodeState::Unreachable));
    let gone = gone.with_context(|| format!("it is never unreachable: {states:?}"))?;
    ensure!(gone + 1 < states.len(), "{states:?}");
    let degraded = recorded.iter().find_map(|event| match &event.change {
        StateChange::Verdict {
            to: VerdictState::Degraded,
            reasons,
            ..
        } => Some(reasons),
        _ => None,
    });
    let reasons = degraded.context("no degraded verdict")?;
    ensure!(
        reasons
            .iter()
            .any(|reason| reason.node.as_ref() == Some(&id)),
        "{reasons:?}"
    );

    // The page shows the same event, and finds it with a filter.
    let page = api
        .get_text(&format!("/clusters/lab/events?node={id}&state=unreachable"))
        .await?;
    for expected in ["Unreachable", "was Synced", &id.to_string()] {
        ensure!(page.contains(expected), "{expected} is not in {page}");
    }
    let page = api.get_text("/clusters/lab/events").await?;
    for expected in ["Degraded", "Healthy", "was Degraded"] {
        ensure!(page.contains(expected), "{expected} is not in {page}");
    }
    Ok(())
}
