//! One member: all well, killed, back through a state transfer, silent.

use std::collections::BTreeSet;
use std::time::Instant;

use acceptance::lab::node::NodeStart;
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::view::{ClusterView, NodeState, ReasonCode, SourceKind, VerdictState};

use crate::shared;
use crate::views::{self, PATIENCE};

/// What is shown while a node rejoins.
#[derive(Debug)]
struct RejoinTrace {
    id: NodeId,
    /// Its own states, one after the other.
    joiner: Vec<NodeState>,
    /// States of the others.
    others: BTreeSet<NodeState>,
}

impl RejoinTrace {
    fn new(id: NodeId) -> Self {
        Self {
            id,
            joiner: Vec::new(),
            others: BTreeSet::new(),
        }
    }

    fn observe(&mut self, view: &ClusterView) {
        let state = views::state(view, &self.id);
        let news = state.filter(|state| self.joiner.last() != Some(state));
        self.joiner.extend(news);
        self.others.extend(views::others(view, &self.id));
    }

    /// Joining, Joined and Synced were shown in this order, and a donor.
    fn ensure_complete(&self) -> Result<()> {
        println!("shown of the joiner: {:?}", self.joiner);
        let mut states = self.joiner.iter();
        let mut follows = |state| states.any(|shown| *shown == state);
        ensure!(
            [NodeState::Joining, NodeState::Joined, NodeState::Synced]
                .into_iter()
                .all(&mut follows),
            "{self:?}"
        );
        ensure!(self.others.contains(&NodeState::Donor), "{self:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_synced_nodes_show_equal_and_advancing_seqnos() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let mut met = BTreeSet::new();
    live.wait_for(
        "equal sequence numbers, three times, each higher",
        PATIENCE,
        |view| {
            let synced = view
                .nodes
                .iter()
                .filter(|node| node.state == NodeState::Synced)
                .count()
                == 3;
            if let Some(seqnos) = views::seqnos(view)
                && synced
                && views::has_verdict(view, VerdictState::Healthy)
                && seqnos.windows(2).all(|pair| pair[0] == pair[1])
                && view.nodes.iter().all(|node| node.behind == Some(0))
            {
                met.extend(seqnos);
            }
            met.len() >= 3
        },
    )
    .await?;
    let view = lab.viewer().await?.cluster("lab").await?;
    ensure!(
        view.components.len() == 1 && view.components[0].members.len() == 3,
        "{:?}",
        view.components
    );
    ensure!(
        view.nodes
            .iter()
            .any(|node| node.commit_rate.is_some_and(|rate| rate > 0.0)),
        "nothing moves"
    );
    for id in lab.lab.ids() {
        for kind in [SourceKind::Sql, SourceKind::Registry] {
            ensure!(
                views::is_fresh(&view, &id, kind),
                "{kind:?} of {id}: {:?}",
                views::source(&view, &id, kind)
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_and_its_return_are_shown_in_time() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).kill();
    let began = Instant::now();
    let view = live
        .wait_for("degraded, naming the node", PATIENCE, |view| {
            views::has_verdict(view, VerdictState::Degraded) && views::any_reason_names(view, &id)
        })
        .await?;
    println!("named after {:?}", began.elapsed());
    for other in [1, 2] {
        let other = lab.lab.node(other).id();
        ensure!(
            views::state(&view, other) == Some(NodeState::Synced),
            "{}",
            views::describe(&view)
        );
    }

    let mut passage = RejoinTrace::new(id);
    lab.lab.node(3).launch(NodeStart::Join).await?;
    live.wait_for("the node to be Synced again", PATIENCE, |view| {
        passage.observe(view);
        // A report of its agent that arrived late is shown until its next answer.
        views::has_verdict(view, VerdictState::Healthy)
            && views::state(view, &passage.id) == Some(NodeState::Synced)
    })
    .await
    .with_context(|| format!("{passage:?}"))?;
    passage.ensure_complete()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_empty_directory_is_shown_joining_during_its_whole_transfer() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(3).id().clone();
    lab.lab.node(3).kill();
    live.wait_for("the node to be missed", PATIENCE, |view| {
        // By its peers as well: they might take the returning node for the one that is gone.
        views::any_reason_names(view, &id)
            && view.components.len() == 1
            && view.components[0].members.len() == 2
    })
    .await?;
    lab.lab.node(3).wipe()?;
    let mut passage = RejoinTrace::new(id);
    lab.lab.node(3).launch(NodeStart::Join).await?;
    live.wait_for("the node to be Synced again", PATIENCE, |view| {
        passage.observe(view);
        // A report of its agent that arrived late is shown until its next answer.
        views::has_verdict(view, VerdictState::Healthy)
            && views::state(view, &passage.id) == Some(NodeState::Synced)
    })
    .await
    .with_context(|| format!("{passage:?}"))?;
    passage.ensure_complete()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_node_is_unreachable_and_blocks_no_other() -> Result<()> {
    let lab = shared::lab().await?;
    let api = lab.viewer().await?;
    let mut live = lab.live().await?;
    let id = lab.lab.node(2).id().clone();
    let others = [lab.lab.node(1).id().clone(), lab.lab.node(3).id().clone()];
    lab.lab.node(2).pause()?;
    let view = live
        .wait_for("unreachable", PATIENCE, |view| {
            // No other node may be affected at any time.
            let suffering = others
                .iter()
                .find(|other| !views::is_fresh(view, other, SourceKind::Sql));
            assert_eq!(suffering, None, "{}", views::describe(view));
            views::state(view, &id) == Some(NodeState::Unreachable)
                && views::has_verdict(view, VerdictState::Degraded)
        })
        .await?;
    ensure!(
        views::reason_names(&view, ReasonCode::MemberUnreachable, &id),
        "{}",
        views::describe(&view)
    );
    let sql = views::source(&view, &id, SourceKind::Sql).context("no SQL source")?;
    let error = sql.error.as_deref().unwrap_or_default();
    ensure!(
        error.contains("answer") || error.contains("timed out"),
        "the reason is {error:?}"
    );
    ensure!(sql.failing_since.is_some());

    for _ in 0..5 {
        api.cluster("lab").await?;
    }
    let before = views::seqnos(&view).context("no sequence numbers")?[0];
    live.wait_for("the others to go on", PATIENCE, |view| {
        others.iter().all(|id| {
            let position = views::node(view, id).and_then(|node| node.position.as_ref());
            position.is_some_and(|position| position.seqno > before)
        })
    })
    .await?;

    lab.lab.node(2).resume()?;
    live.wait_for("it to rejoin", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Healthy)
    })
    .await?;
    Ok(())
}
