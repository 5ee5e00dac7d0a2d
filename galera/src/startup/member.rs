//! What the registry says of one node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::observe::registration::{self, AgentPhase, NodeField, RawKeyValue};
use crate::observe::wsrep::{LocalState, WsrepStatus};
use crate::position::Position;
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// The position that a node's clean stop left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanStop {
    /// Exactly where its data are.
    pub position: Position,
    /// When it stopped, by its own clock.
    pub at: Option<Timestamp>,
}

/// The durable registration: the value of `registration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRecord {
    /// When the node was registered first.
    #[serde(default)]
    pub first_seen: Option<Timestamp>,
    /// Who wrote it.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The identity of the node's data.
    #[serde(default)]
    pub id: Option<String>,
    /// Its clean stop; removed before its server starts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<CleanStop>,
}

impl RegistrationRecord {
    /// Reads the key's value; what is unreadable is not known.
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

/// What a waiting node says of its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReportedPosition {
    /// Nothing yet, or nothing readable.
    #[default]
    NotYet,
    /// That it has no position to offer: empty, incomplete or not to be trusted.
    NoPosition,
    /// Its position.
    At(Position),
}

/// One node as the registry knows it.
#[derive(Clone, Debug, Default)]
pub struct RegistryMember {
    /// Whether a living lease holds any of its keys.
    pub live: bool,
    /// What its agent does.
    pub phase: Option<AgentPhase>,
    /// What it says of its data while it waits.
    pub reported_position: ReportedPosition,
    /// What its server says, by keys under a lease only.
    pub status: WsrepStatus,
    /// Whether its server says anything at all.
    pub has_status: bool,
    /// Its durable registration.
    pub registration: Option<RegistrationRecord>,
    /// The highest position ever recorded for it.
    pub highest_position: Option<Position>,
    /// Whether anything shows that it once was a member, beyond starting up right now.
    pub has_membership_evidence: bool,
    /// The revisions of the keys that a decision rests on.
    pub(super) revisions: BTreeMap<Vec<u8>, (NodeField, i64)>,
}

impl RegistryMember {
    /// Whether its server says that it belongs to a Primary component.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.live && self.status.cluster_status == Some(ClusterStatus::Primary)
    }

    /// Whether it can be joined: Primary and Synced.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.is_primary() && self.status.local_state == Some(LocalState::Synced)
    }

    /// The history that its server belongs to.
    #[must_use]
    pub fn state_uuid(&self) -> Option<Uuid> {
        self.status.cluster_state_uuid
    }

    /// The clean stop that it recorded, unless it has come back since.
    #[must_use]
    pub fn clean_stop_position(&self) -> Option<&Position> {
        let stopped = self.registration.as_ref()?.stopped.as_ref()?;
        (!self.live).then_some(&stopped.position)
    }
}

/// Puts a member together, key by key.
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
        // A phase alone is what every starter has.
        let newcomer = match &field {
            NodeField::Phase => true,
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
