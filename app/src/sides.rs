//! The sides of a split brain: its Primary components, told apart by letter, color and shape.

use galera::NodeId;
use galera::view::{ClusterStatus, ClusterView, Component, NodeState, NodeView, VerdictState};

use crate::marks::{StateMark, node_mark, verdict_mark};

const LETTERS: [&str; 4] = ["side A", "side B", "side C", "side D"];
const LEFT_HALF: &str = "M8 2v12a6 6 0 0 1 0-12z";
const RIGHT_HALF: &str = "M8 2a6 6 0 0 1 0 12z";

/// The rival components; none unless the verdict is a split brain.
pub(crate) fn sides(view: &ClusterView) -> Vec<&Component> {
    let torn = view.verdict.state == VerdictState::SplitBrain;
    let components = view.components.iter().filter(|_| torn);
    components
        .filter(|component| component.status == ClusterStatus::Primary)
        .collect()
}

/// The index of the side that a node is on.
pub(crate) fn side_of(view: &ClusterView, node: &NodeId) -> Option<usize> {
    let mut sides = sides(view).into_iter();
    sides.position(|side| side.members.contains(node))
}

pub(crate) fn side_label(side: usize) -> &'static str {
    LETTERS.get(side).copied().unwrap_or("another side")
}

/// The tone of a side: never that of a healthy node.
pub(crate) fn side_tone(side: usize) -> &'static str {
    if side == 0 { "bad" } else { "rival" }
}

/// Whether `Synced` would look healthy although the cluster has more than one history.
pub(crate) fn is_overruled(verdict: VerdictState, state: NodeState) -> bool {
    verdict >= VerdictState::Diverged && state == NodeState::Synced
}

/// How a node of a cluster with this verdict is shown where its side is not known.
pub(crate) fn mark_under(verdict: VerdictState, state: NodeState) -> StateMark {
    let mark = node_mark(state);
    if is_overruled(verdict, state) {
        StateMark {
            label: mark.label,
            ..verdict_mark(verdict)
        }
    } else {
        mark
    }
}

/// How a node is shown: on a side of a split brain in the colors and shape of that side, whatever its state.
pub(crate) fn mark_of(view: &ClusterView, node: &NodeView) -> StateMark {
    let mark = mark_under(view.verdict.state, node.state);
    match side_of(view, &node.id) {
        Some(side) => StateMark {
            tone: side_tone(side),
            shape: if side == 0 { LEFT_HALF } else { RIGHT_HALF },
            ..mark
        },
        None => mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn synced_is_not_green_while_the_histories_of_the_cluster_differ() {
        for verdict in VerdictState::ALL {
            let torn = verdict >= VerdictState::Diverged;
            assert_eq!(mark_under(verdict, NodeState::Synced).tone == "ok", !torn);
            let mut view = fixtures::healthy("lab", 90_000);
            view.verdict.state = verdict;
            for node in &view.nodes {
                let mark = mark_of(&view, node);
                assert_eq!(
                    (mark.label, mark.tone == "ok"),
                    ("Synced", !torn),
                    "{verdict:?}"
                );
            }
            let gone = mark_under(verdict, NodeState::Unreachable);
            assert_eq!(gone, node_mark(NodeState::Unreachable));
        }
    }
}
