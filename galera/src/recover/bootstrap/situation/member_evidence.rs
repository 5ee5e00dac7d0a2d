//! A member's condition as evidence of a check.

use super::{MemberCondition, Situation};
use crate::judge::cluster::node_facts::{NodeFacts, ProbeAnswer, ProbeState};
use crate::recover::plan::digest::fact;
use crate::recover::plan::{CheckEvidence, EvidenceSource};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

impl Situation<'_> {
    /// A node's condition as evidence.
    pub(crate) fn evidence(&self, node: usize) -> CheckEvidence {
        let facts = &self.nodes()[node];
        let (source, at, value) = match self.conditions[node] {
            MemberCondition::Attested(statement) => (
                EvidenceSource::Attestation,
                None,
                statement.as_str().to_owned(),
            ),
            MemberCondition::ReportedStopped => (
                EvidenceSource::Registry,
                facts
                    .registration
                    .as_ref()
                    .and_then(|registered| registered.observation.last_put_at),
                match facts.clean_stop() {
                    Some(_) => "stopped cleanly, as recorded in etcd".to_owned(),
                    None => "stopped, as its agent reports".to_owned(),
                },
            ),
            MemberCondition::Listed(component) => (
                EvidenceSource::Sql,
                None,
                format!(
                    "listed by the component of {}",
                    self.component_name(component)
                ),
            ),
            MemberCondition::Unknown => (
                EvidenceSource::Sql,
                last_probe_at(facts),
                describe_no_answer(facts),
            ),
            _ => match facts.fresh_answer() {
                Some(answer) => (
                    EvidenceSource::Sql,
                    Some(answer.at),
                    describe_answer(&answer),
                ),
                None => (EvidenceSource::Sql, None, "no answer".to_owned()),
            },
        };
        fact(Some(&facts.id), source, at, value)
    }
}

fn last_probe_at(facts: &NodeFacts<'_>) -> Option<Timestamp> {
    let probe = facts.probe?;
    let failed = probe.error.as_ref().map(|(at, _)| *at);
    failed.or_else(|| probe.status.as_ref().map(|(at, _)| *at))
}

/// Coarse on purpose: the exact kind of failure must not change the digest.
fn describe_no_answer(facts: &NodeFacts<'_>) -> String {
    match facts.probe_state {
        ProbeState::Failing { error, .. } if error.kind.proves_running() => {
            format!("running, but rejects the console ({})", error.kind.as_str())
        }
        ProbeState::Failing { error, .. } if error.kind.proves_stopped() => {
            "refuses connections".to_owned()
        }
        ProbeState::Unprobed => match &facts.displaced_by {
            Some(other) => format!("its address leads to the server of {other}"),
            None => "not probed".to_owned(),
        },
        ProbeState::Pending => "not probed yet".to_owned(),
        _ => "no answer".to_owned(),
    }
}

/// What a node reports, as far as a decision depends on it.
fn describe_answer(answer: &ProbeAnswer<'_>) -> String {
    let status = answer.status;
    let cluster_status = match status.cluster_status {
        Some(ClusterStatus::Primary) => "Primary",
        Some(ClusterStatus::NonPrimary) => "non-Primary",
        Some(ClusterStatus::Disconnected) => "Disconnected",
        None => "no cluster status",
    };
    let state = status.local_state_comment.as_deref().unwrap_or("no state");
    // A Primary's position changes with every commit and must not change the digest.
    match status.position() {
        Some(position) if status.cluster_status != Some(ClusterStatus::Primary) => {
            format!("{cluster_status}, {state}, {position}")
        }
        None if status.cluster_status != Some(ClusterStatus::Primary) => {
            format!("{cluster_status}, {state}, position undefined")
        }
        _ => format!("{cluster_status}, {state}"),
    }
}
