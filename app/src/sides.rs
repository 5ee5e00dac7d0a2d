//! The sides of a split brain: its Primary components, told apart by letter, color and shape.

use galera::NodeId;
use galera::view::{ClusterStatus, ClusterView, Component, NodeView, VerdictState};

use crate::marks::{StateMark, node_mark};

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

/// How a node is shown: on a side of a split brain in the colors and shape of that side, whatever its state.
pub(crate) fn mark_of(view: &ClusterView, node: &NodeView) -> StateMark {
    let mark = node_mark(node.state);
    match side_of(view, &node.id) {
        Some(side) => StateMark {
            tone: side_tone(side),
            shape: if side == 0 { LEFT_HALF } else { RIGHT_HALF },
            ..mark
        },
        None => mark,
    }
}
