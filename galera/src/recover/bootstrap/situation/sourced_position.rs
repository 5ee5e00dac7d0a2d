//! The positions of members, with their sources.

use super::{MemberCondition, Situation};
use crate::observe::registration::{self, CleanStop, ReportedData};
use crate::position::Position;
use crate::recover::attestation::AttestedState;
use crate::recover::plan::EvidenceSource;
use crate::timestamp::Timestamp;

/// A position with its source.
#[derive(Clone, Debug)]
pub(crate) struct SourcedPosition {
    pub(crate) position: Position,
    pub(crate) source: EvidenceSource,
    pub(crate) at: Option<Timestamp>,
    /// The flag in grastate.dat, if the file was pasted.
    pub(crate) safe_to_bootstrap: Option<bool>,
}

impl Situation<'_> {
    /// The position of a clean stop that the node's agent recorded, and withdraws before the server starts again. A
    /// record that etcd restored from a backup may be outdated, so it counts only for a node that an operator declares
    /// stopped, or whose port is closed.
    fn recorded_stop(&self, node: usize) -> Option<&CleanStop> {
        let stopped = matches!(
            self.conditions[node],
            MemberCondition::ReportedStopped | MemberCondition::Attested(AttestedState::Stopped)
        );
        self.nodes()[node].clean_stop().filter(|_| stopped)
    }

    /// Where the registered data of a node stopped cleanly that an operator declares permanently removed: they are given up, so
    /// the position is no candidate, but counts as a loss.
    pub(crate) fn given_up_stop(&self, node: usize) -> Option<&CleanStop> {
        let removed = MemberCondition::Attested(AttestedState::Decommissioned);
        self.nodes()[node]
            .clean_stop()
            .filter(|_| self.conditions[node] == removed)
    }

    /// A stopped node's position: recovered by its agent, recorded when it stopped cleanly, or pasted by an operator. Only of
    /// the registered data (I34), or of those that replace them once an operator declares them permanently removed.
    pub(crate) fn stopped_position(&self, node: usize) -> Option<SourcedPosition> {
        let seen = self.nodes()[node].registration.as_ref();
        let sourced = |position| {
            Some(SourcedPosition {
                position,
                source: EvidenceSource::Registry,
                at: seen.and_then(|seen| seen.observation.last_put_at),
                safe_to_bootstrap: None,
            })
        };
        let recovered = seen
            .filter(|_| self.report_counts(node))
            .and_then(|seen| registration::recovered_position(&seen.observation.fields))
            .and_then(sourced);
        let recorded = || sourced(self.recorded_stop(node)?.position.clone());
        recovered.or_else(recorded).or_else(|| {
            let pasted = self.attestations[node]?.parse_saved_state()?.ok()?;
            Some(SourcedPosition {
                position: pasted.position?,
                source: EvidenceSource::Attestation,
                at: None,
                safe_to_bootstrap: pasted.safe_to_bootstrap,
            })
        })
    }

    /// The position in what an operator pasted for a node.
    pub(crate) fn pasted_position(&self, node: usize) -> Option<Position> {
        self.attestations[node]?.parse_saved_state()?.ok()?.position
    }

    /// Whether a stopped node's agent reports, under a live lease, that its data have no position, so that it is never a
    /// candidate (I6). Not if these are other data than the registered ones: what those had is unknown.
    pub(crate) fn has_no_data(&self, node: usize) -> bool {
        let stopped = match self.conditions[node] {
            MemberCondition::ReportedStopped => true,
            MemberCondition::Attested(_) => self.report_counts(node),
            _ => false,
        };
        stopped
            && self.reported_data(node) != Some(ReportedData::Other)
            && self.nodes()[node].clean_stop().is_none()
            && self.nodes()[node]
                .fresh_registration()
                .is_some_and(|seen| registration::reports_no_position(&seen.observation.fields))
    }

    /// The newest fork that the data of a node continued which stopped cleanly, as its agent recorded.
    pub(crate) fn epoch_of_stop(&self, node: usize) -> Option<u64> {
        self.recorded_stop(node)?.fork_epoch
    }

    /// The last position known of a node's data, from any source and time.
    pub(crate) fn last_known_position(&self, node: usize) -> Option<SourcedPosition> {
        let facts = &self.nodes()[node];
        let reported = facts.probe.and_then(|probe| probe.status.as_ref());
        let reported = reported.and_then(|(at, status)| {
            Some(SourcedPosition {
                position: status.position()?,
                source: EvidenceSource::Sql,
                at: Some(*at),
                safe_to_bootstrap: None,
            })
        });
        if facts.fresh_answer().is_some() {
            return reported;
        }
        self.stopped_position(node).or(reported)
    }
}
