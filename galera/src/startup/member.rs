//! One node as the registry shows it, assembled key by key.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::observe::fork;
use crate::observe::registration::{
    self, AgentPhase, CleanStop, MembersSeen, NodeField, RawKeyValue, RegistrationRecord,
    ReportedData,
};
use crate::observe::wsrep::{LocalState, WsrepStatus};
use crate::position::Position;
use crate::view::ClusterStatus;

/// The position that a waiting node reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReportedPosition {
    /// Not reported yet, or unreadable.
    #[default]
    NotYet,
    /// The node has no position: its data is empty, incomplete or not trusted.
    NoPosition,
    /// The node is at this position.
    At(Position),
}

/// One node as the registry shows it.
#[derive(Clone, Debug, Default)]
pub struct RegistryMember {
    /// Whether any of its keys has a lease.
    pub live: bool,
    /// The newest fork that its data continued, as it reports; 0 for none.
    pub fork_epoch: u64,
    /// The phase of its agent.
    pub phase: Option<AgentPhase>,
    /// The position that it reports while it waits.
    pub reported_position: ReportedPosition,
    /// The status of its server, from keys under a lease only.
    pub status: WsrepStatus,
    /// Whether its server reports any status.
    pub has_status: bool,
    pub registration: Option<RegistrationRecord>,
    /// Why its agent waits or cannot read its server, in its words.
    pub waiting_for: Option<String>,
    /// The identity of the data that its agent reports on, under a lease.
    pub data_id: Option<String>,
    /// How many members its data last had around them, as it reports while it waits.
    pub members_seen: Option<MembersSeen>,
    /// The highest position ever recorded for it.
    pub highest_position: Option<Position>,
    /// Whether any key shows that it was a member before, rather than just starting now.
    pub has_membership_evidence: bool,
    /// The fields and `mod_revision`s of its keys.
    pub(super) revisions: BTreeMap<Vec<u8>, (NodeField, i64)>,
}

impl RegistryMember {
    /// Whether its server reports Primary, under a lease.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.live && self.status.cluster_status == Some(ClusterStatus::Primary)
    }

    /// Whether it can be joined: Primary and Synced, under a lease.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.is_primary() && self.status.local_state == Some(LocalState::Synced)
    }

    /// The state UUID of its server's component.
    #[must_use]
    pub fn state_uuid(&self) -> Option<Uuid> {
        self.status.cluster_state_uuid
    }

    /// Which data its agent reports on.
    #[must_use]
    pub fn reported_data(&self) -> ReportedData {
        ReportedData::compare(self.registration.as_ref(), self.data_id.as_deref())
    }

    /// The clean stop of the registered data, unless they are live again.
    #[must_use]
    pub fn clean_stop(&self) -> Option<&CleanStop> {
        let stopped = self.registration.as_ref()?.stopped.as_ref()?;
        let live = self.live && self.reported_data() != ReportedData::Other;
        (!live).then_some(stopped)
    }
}

/// Builds a [`RegistryMember`] key by key.
#[derive(Debug, Default)]
pub(super) struct MemberBuilder {
    member: RegistryMember,
    rows: BTreeMap<String, String>,
}

impl MemberBuilder {
    pub(super) fn add(&mut self, field: NodeField, raw: &RawKeyValue) {
        let leased = raw.lease != 0;
        let value = String::from_utf8_lossy(&raw.value).into_owned();
        self.member.live |= leased;
        match &field {
            NodeField::Registered => {
                self.member.registration = Some(RegistrationRecord::parse(&raw.value))
            }
            NodeField::HighestPosition => self.member.highest_position = value.parse().ok(),
            NodeField::ForkEpoch if leased => {
                self.member.fork_epoch = fork::parse_epoch(&value);
            }
            NodeField::MembersSeen if leased => {
                self.member.members_seen = MembersSeen::parse(&value);
            }
            NodeField::WaitingFor if leased => {
                self.member.waiting_for = Some(registration::bounded_reason(&value));
            }
            NodeField::DataId if leased => self.member.data_id = Some(value),
            NodeField::Phase if leased => self.member.phase = AgentPhase::parse(&value),
            NodeField::RecoveredPosition if leased => {
                self.member.reported_position = parse_reported_position(&value)
            }
            NodeField::Wsrep(name) if leased => {
                self.rows.insert(name.clone(), value);
            }
            _ => {}
        }
        // Every starting node has these, even one that was never a member.
        let newcomer = match &field {
            NodeField::Phase
            | NodeField::DataId
            | NodeField::OrderKeys
            | NodeField::MembersSeen
            | NodeField::WaitingFor
            | NodeField::Held
            | NodeField::ForkEpoch => true,
            NodeField::RecoveredPosition => {
                self.member.reported_position == ReportedPosition::NoPosition
            }
            _ => false,
        };
        self.member.has_membership_evidence |= !newcomer;
        self.member
            .revisions
            .insert(raw.key.clone(), (field, raw.mod_revision));
    }

    pub(super) fn build(mut self) -> RegistryMember {
        self.member.has_status = !self.rows.is_empty();
        self.member.status = registration::status_from_fields(&self.rows);
        self.member
    }
}

fn parse_reported_position(value: &str) -> ReportedPosition {
    match value.trim().parse::<Position>() {
        Ok(position) => ReportedPosition::At(position),
        Err(_) if value.trim() == registration::NO_POSITION => ReportedPosition::NoPosition,
        Err(_) => ReportedPosition::NotYet,
    }
}
