//! One node as the registry shows it, assembled key by key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::observe::registration::{self, AgentPhase, NodeField, RawKeyValue};
use crate::observe::wsrep::{LocalState, WsrepStatus};
use crate::position::Position;
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// A clean stop of a node, with its final position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanStop {
    pub position: Position,
    /// When it stopped, by its own clock.
    pub at: Option<Timestamp>,
}

/// The durable registration: the value of the key `registered`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRecord {
    /// When the node was first registered.
    #[serde(default)]
    pub first_seen: Option<Timestamp>,
    /// The version of the agent that wrote it.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The identity of the node's data.
    #[serde(default)]
    pub id: Option<String>,
    /// The last clean stop; removed before the server starts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<CleanStop>,
}

impl RegistrationRecord {
    /// Parses the key's value; unreadable parts are left empty.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut registered: Self = serde_json::from_slice(value).unwrap_or_default();
        registered.stopped = registered.stopped.filter(|stopped| {
            Position::new(stopped.position.uuid, stopped.position.seqno).is_some()
        });
        registered
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut value = serde_json::json!({
            "first_seen": self.first_seen,
            "agent_version": self.agent_version,
            "id": self.id,
        });
        if let Some(stopped) = &self.stopped {
            value["stopped"] = serde_json::json!({
                "position": stopped.position,
                "at": stopped.at,
            });
        }
        value.to_string()
    }
}

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
    /// The phase of its agent.
    pub phase: Option<AgentPhase>,
    /// The position that it reports while it waits.
    pub reported_position: ReportedPosition,
    /// The status of its server, from keys under a lease only.
    pub status: WsrepStatus,
    /// Whether its server reports any status.
    pub has_status: bool,
    pub registration: Option<RegistrationRecord>,
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

    /// The position of its clean stop, unless it is live again.
    #[must_use]
    pub fn clean_stop_position(&self) -> Option<&Position> {
        let stopped = self.registration.as_ref()?.stopped.as_ref()?;
        (!self.live).then_some(&stopped.position)
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
            NodeField::Phase | NodeField::DataId | NodeField::OrderKeys => true,
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
