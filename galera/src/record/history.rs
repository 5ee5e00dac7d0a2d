//! The history of a cluster: every change of its verdict and of its nodes' states, in order, numbered without gaps.
//!
//! A replica's [`change_tracker::ChangeTracker`] turns views into [`StateChange`]s; recorded, they are
//! [`HistoryEvent`]s. Along the sequence numbers, time never runs backwards.

pub mod change_tracker;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, ReasonCode, VerdictReason, VerdictState};

/// A recorded change, with its number in the history of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryEvent {
    /// Counts from 1, without gaps.
    pub sequence: u64,
    /// When the console observed it.
    pub at: Timestamp,
    #[serde(flatten)]
    pub change: StateChange,
}

/// A change of one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StateChange {
    /// The verdict of the cluster.
    Verdict {
        /// `null` for the first verdict.
        from: Option<VerdictState>,
        to: VerdictState,
        /// Most important first.
        reasons: Vec<VerdictReason>,
    },
    /// The state of a node.
    Node {
        node: NodeId,
        /// `wsrep_node_name`, if known.
        name: Option<String>,
        /// `null` for a new node.
        from: Option<NodeState>,
        /// `null` when the node is no longer known.
        to: Option<NodeState>,
    },
}

/// The kind of a [`StateChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Verdict,
    Node,
}

impl ChangeKind {
    pub const ALL: [Self; 2] = [Self::Verdict, Self::Node];

    /// The kind as in JSON and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Node => "node",
        }
    }
}

/// The state of a node that is no longer known, as text.
pub const GONE: &str = "gone";

impl StateChange {
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        match self {
            Self::Verdict { .. } => ChangeKind::Verdict,
            Self::Node { .. } => ChangeKind::Node,
        }
    }

    /// The node whose state changed.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Verdict { .. } => None,
            Self::Node { node, .. } => Some(node),
        }
    }

    /// The new state as text.
    #[must_use]
    pub const fn new_state_str(&self) -> &'static str {
        match self {
            Self::Verdict { to, .. } => to.as_str(),
            Self::Node { to: Some(to), .. } => to.as_str(),
            Self::Node { to: None, .. } => GONE,
        }
    }

    /// The subject and its new state.
    #[must_use]
    pub fn subject_and_state(&self) -> (HistorySubject, SubjectState) {
        match self {
            Self::Verdict { to, .. } => (HistorySubject::Verdict, SubjectState::Verdict(*to)),
            Self::Node { node, to, .. } => {
                (HistorySubject::Node(node.clone()), SubjectState::Node(*to))
            }
        }
    }

    /// The same change with its `from` taken from `states`.
    #[must_use]
    pub fn rebased_onto(self, states: &ClusterStates) -> Self {
        match self {
            Self::Verdict { to, reasons, .. } => Self::Verdict {
                from: states.verdict,
                to,
                reasons,
            },
            Self::Node { node, name, to, .. } => Self::Node {
                from: states.nodes.get(&node).copied(),
                node,
                name,
                to,
            },
        }
    }

    /// The verdict becomes unknown because no replica was observing the cluster.
    #[must_use]
    pub fn observation_gap(since: Timestamp) -> Self {
        let message = format!("No replica was observing since {since}.");
        Self::unknown(ReasonCode::ConsoleBlind, message)
    }

    /// The verdict becomes unknown because the cluster is no longer configured or registered.
    #[must_use]
    pub fn cluster_removed() -> Self {
        let message = "The cluster is no longer configured or in the registry.";
        Self::unknown(ReasonCode::NoEvidence, message.to_owned())
    }

    fn unknown(code: ReasonCode, message: String) -> Self {
        Self::Verdict {
            from: None,
            to: VerdictState::Unknown,
            reasons: vec![VerdictReason {
                code,
                node: None,
                message,
            }],
        }
    }
}

/// What has a state in the history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistorySubject {
    Node(NodeId),
    Verdict,
}

/// The state of a [`HistorySubject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectState {
    Verdict(VerdictState),
    /// `None` for a node that is not known.
    Node(Option<NodeState>),
}

/// The verdict and every node's state at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStates {
    /// `None` before the first verdict.
    pub verdict: Option<VerdictState>,
    pub nodes: BTreeMap<NodeId, NodeState>,
}

impl ClusterStates {
    /// The states in `view`.
    #[must_use]
    pub fn of(view: &ClusterView) -> Self {
        let nodes = view.members().map(|node| (node.id.clone(), node.state));
        Self {
            verdict: Some(view.verdict.state),
            nodes: nodes.collect(),
        }
    }

    pub fn apply(&mut self, change: &StateChange) {
        match change {
            StateChange::Verdict { to, .. } => self.verdict = Some(*to),
            StateChange::Node { node, to, .. } => match to {
                Some(to) => drop(self.nodes.insert(node.clone(), *to)),
                None => drop(self.nodes.remove(node)),
            },
        }
    }

    /// The state of `subject`; `None` for the verdict before the first one.
    #[must_use]
    pub fn get(&self, subject: &HistorySubject) -> Option<SubjectState> {
        match subject {
            HistorySubject::Verdict => self.verdict.map(SubjectState::Verdict),
            HistorySubject::Node(node) => Some(SubjectState::Node(self.nodes.get(node).copied())),
        }
    }
}

/// The changes from `before` to `view`: nodes first, because the verdict follows from them. Unconfirmed nodes have no
/// history.
#[must_use]
pub fn diff_states(before: &ClusterStates, view: &ClusterView) -> Vec<StateChange> {
    let mut changes = Vec::new();
    for node in view.members() {
        let from = before.nodes.get(&node.id).copied();
        if from != Some(node.state) {
            changes.push(StateChange::Node {
                node: node.id.clone(),
                name: node.name.clone(),
                from,
                to: Some(node.state),
            });
        }
    }
    for (node, state) in &before.nodes {
        if !view.members().any(|shown| shown.id == *node) {
            changes.push(StateChange::Node {
                node: node.clone(),
                name: None,
                from: Some(*state),
                to: None,
            });
        }
    }
    if before.verdict != Some(view.verdict.state) {
        changes.push(StateChange::Verdict {
            from: before.verdict,
            to: view.verdict.state,
            reasons: view.verdict.reasons.clone(),
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_contracts_shape() {
        let event = HistoryEvent {
            sequence: 7,
            at: Timestamp::from_unix_millis(1_795_420_800_123),
            change: StateChange::Node {
                node: "db1:3307".parse().unwrap(),
                name: Some("n1".to_owned()),
                from: Some(NodeState::Synced),
                to: None,
            },
        };
        let json = r#"{"sequence":7,"at":"2026-11-23T08:00:00.123Z","kind":"node","node":"db1:3307","name":"n1","from":"synced","to":null}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        assert_eq!(serde_json::from_str::<HistoryEvent>(json).unwrap(), event);
        let verdict = HistoryEvent {
            sequence: 8,
            at: event.at,
            change: StateChange::observation_gap(event.at),
        };
        let json = serde_json::to_string(&verdict).unwrap();
        assert!(
            json.contains(
                r#""kind":"verdict","from":null,"to":"unknown","reasons":[{"code":"console_blind""#
            ),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<HistoryEvent>(&json).unwrap(),
            verdict
        );
    }

    #[test]
    fn changes_follow_on_what_was_before() {
        let mut states = ClusterStates::default();
        let change = |from, to| StateChange::Node {
            node: "db1".parse().unwrap(),
            name: None,
            from,
            to,
        };
        let appears = change(None, Some(NodeState::Joining)).rebased_onto(&states);
        states.apply(&appears);
        let joins = change(None, Some(NodeState::Synced)).rebased_onto(&states);
        assert_eq!(
            joins,
            change(Some(NodeState::Joining), Some(NodeState::Synced))
        );
        states.apply(&joins);
        states.apply(&change(None, None));
        assert_eq!(states, ClusterStates::default());
    }
}
