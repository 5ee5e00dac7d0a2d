//! Everything known about one node, with the freshness of each source.

use std::sync::Arc;

use super::FoldSettings;
use crate::id::NodeId;
use crate::judge::address_uses::{AddressReport, AddressUser, LocatedData};
use crate::observe::address_use::AddressUse;
use crate::observe::observation::{ProbeError, RegistryObservation, SqlObservation};
use crate::observe::registration::{self, CleanStop, ReportedData};
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, NodeState, RegistryHealth};

/// A failed probe is retried immediately, but one that hangs in a resolver may take longer: a failure is valid for this
/// many times [`FoldSettings::stale_after`].
const FAILURE_VALIDITY_FACTOR: u32 = 4;

/// The state of the console's SQL probe of a node.
#[derive(Clone, Copy)]
pub(crate) enum ProbeState<'a> {
    /// The node is not probed.
    Unprobed,
    /// The first probe is running.
    Pending,
    /// The last answer is fresh.
    Fresh(ProbeAnswer<'a>),
    /// It has neither answered nor failed recently.
    Stale,
    /// Every attempt since `since` failed.
    Failing {
        error: &'a ProbeError,
        since: Timestamp,
    },
}

/// A fresh answer of a probe.
#[derive(Clone, Copy)]
pub(crate) struct ProbeAnswer<'a> {
    pub(crate) at: Timestamp,
    /// Since when the node has been reporting the same view.
    pub(crate) view_since: Timestamp,
    /// Whether the start of that view was observed, rather than the view being there at the first answer.
    pub(crate) view_start_observed: bool,
    /// Since when the node has been reporting the same history.
    pub(crate) history_since: Timestamp,
    pub(crate) status: &'a WsrepStatus,
}

/// The registration of a node, with its freshness.
pub(crate) struct NodeRegistration<'a> {
    pub(crate) observation: &'a RegistryObservation,
    pub(crate) status: &'a WsrepStatus,
    /// The time to live of its lease.
    #[cfg_attr(not(feature = "decide"), expect(dead_code, reason = "for plans"))]
    pub(crate) ttl: std::time::Duration,
    /// Whether it is valid now.
    pub(crate) fresh: bool,
    /// Whether it was valid when the registry was last read: losing etcd must not make a verdict worse (I18).
    pub(crate) credible: bool,
}

/// Everything known about one node.
pub(crate) struct NodeFacts<'a> {
    pub(crate) id: NodeId,
    pub(crate) expected: bool,
    pub(crate) probe: Option<&'a SqlObservation>,
    pub(crate) probe_state: ProbeState<'a>,
    pub(crate) registration: Option<NodeRegistration<'a>>,
    /// Whether it entered a Primary component after its probe began to fail: a server that receives a state transfer
    /// accepts no connections until it is done, but its peers list it.
    pub(crate) rejoining: bool,
    /// Other names of the process that answers, sorted.
    pub(crate) names: Vec<NodeId>,
    /// Which data used its address before.
    pub(crate) address_use: Option<&'a AddressUse>,
    /// Whether it was a member of the last Primary view.
    pub(crate) was_member: bool,
    /// Where data are reported now.
    pub(crate) located: Arc<LocatedData>,
    /// The member whose server answers at this member's address, which says nothing about this one.
    pub(crate) displaced_by: Option<NodeId>,
}

impl<'a> NodeFacts<'a> {
    /// Whether `id` is the node's id, or another name of its process.
    #[cfg(feature = "decide")]
    pub(crate) fn is_named(&self, id: &NodeId, default_port: u16) -> bool {
        let id = id.clone().normalized(default_port);
        self.id == id || self.names.contains(&id)
    }

    pub(crate) fn fresh_answer(&self) -> Option<ProbeAnswer<'a>> {
        match self.probe_state {
            ProbeState::Fresh(answer) => Some(answer),
            _ => None,
        }
    }

    /// The registration, if it is valid now.
    pub(crate) fn fresh_registration(&self) -> Option<&NodeRegistration<'a>> {
        self.registration
            .as_ref()
            .filter(|registered| registered.fresh)
    }

    /// Which data the node's agent reports on; `None` without a live report.
    pub(crate) fn reported_data(&self) -> Option<ReportedData> {
        let seen = self
            .fresh_registration()
            .filter(|seen| seen.observation.leased)?;
        Some(seen.observation.fields.reported_data())
    }

    /// Where the registered data stopped cleanly, unless their agent is back: the record is removed before they start.
    pub(crate) fn clean_stop(&self) -> Option<&CleanStop> {
        let seen = self.registration.as_ref()?;
        let stopped = seen.observation.fields.registration()?.stopped.as_ref()?;
        let back = self
            .reported_data()
            .is_some_and(|reported| reported != ReportedData::Other);
        (!back).then_some(stopped)
    }

    /// Whose data use the node's address now; `None` if nothing shows that.
    fn address_user(&self) -> Option<AddressUser<'_>> {
        let live = self
            .fresh_registration()
            .filter(|seen| seen.observation.leased);
        let report = AddressReport {
            fields: live.map(|seen| &seen.observation.fields),
            answers_primary: self
                .fresh_answer()
                .is_some_and(|answer| is_primary(answer.status)),
            was_member: self.was_member,
            located: &self.located,
        };
        report.user(&self.id, self.address_use)
    }

    /// Whether other data than the member's use the node's address, or did so after the member was last seen there (I34): what
    /// runs there, or no longer does, is not the member.
    pub(crate) fn is_used_by_other_data(&self) -> bool {
        match self.address_user() {
            Some(AddressUser::Other(_)) => true,
            Some(AddressUser::Member(_)) => false,
            None => self.address_use.is_some_and(|known| known.other.is_some()),
        }
    }

    /// Whether the member's own data stopped cleanly: those that were last seen there, if they are known.
    pub(crate) fn left_in_order(&self) -> bool {
        let member = self.address_use.and_then(|known| known.member.as_ref());
        let registration = self.registration.as_ref();
        let registered = registration.and_then(|seen| seen.observation.fields.registration());
        let is_member = registered
            .is_some_and(|registered| member.is_none() || registered.id.as_ref() == member);
        is_member && self.clean_stop().is_some()
    }

    /// Whether the node's address is, or was since the member was last seen there, used by other data than the member's, which
    /// did not stop cleanly and may be in use elsewhere (I34).
    pub(crate) fn has_other_data(&self) -> bool {
        self.is_used_by_other_data() && !self.left_in_order()
    }

    /// The registration, if it was put after the probe began to fail and so proves that the node was alive then.
    pub(crate) fn registration_after_probe_failure(&self) -> Option<&NodeRegistration<'a>> {
        let registered = self.registration.as_ref().filter(|r| r.credible)?;
        match self.probe_state {
            ProbeState::Fresh(_) => None,
            // A report may be in flight while its server dies.
            ProbeState::Failing { since, .. } => {
                let put = registered.observation.last_put_at?;
                (put > since.plus(super::RACE_MARGIN)).then_some(registered)
            }
            ProbeState::Unprobed | ProbeState::Pending | ProbeState::Stale => Some(registered),
        }
    }

    /// The registration, if it may be of a living node although nothing proves it yet: the probe began to fail so recently
    /// that the agent need not have written since, and a lease that no agent renews has not ended. A closed port is no
    /// such failure: its agent removes the status.
    #[cfg(feature = "decide")]
    pub(crate) fn registration_before_heartbeat(
        &self,
        now: Timestamp,
    ) -> Option<&NodeRegistration<'a>> {
        let registered = self.registration.as_ref().filter(|r| r.credible)?;
        let ProbeState::Failing { error, since } = self.probe_state else {
            return None;
        };
        let recent = since.age(now) <= registered.ttl + super::RACE_MARGIN;
        (registered.observation.leased && recent && !error.kind.proves_stopped())
            .then_some(registered)
    }

    /// `wsrep_node_name`, from SQL or else the registry.
    pub(crate) fn name(&self) -> Option<&str> {
        let sql = self.probe.and_then(|probe| probe.status.as_ref());
        sql.and_then(|(_, status)| status.node_name.as_deref())
            .or_else(|| self.registration.as_ref()?.status.node_name.as_deref())
    }

    /// The node's state: fresh SQL decides, then a fresh registration.
    pub(crate) fn state(&self) -> NodeState {
        match self.probe_state {
            ProbeState::Fresh(answer) => answer.status.node_state().unwrap_or(NodeState::Unknown),
            // A server that answers at all is not stopped, whatever its agent reports.
            ProbeState::Failing { error, .. } if error.kind.proves_running() => {
                match self.registered_state() {
                    NodeState::Stopped => NodeState::Unknown,
                    state => state,
                }
            }
            ProbeState::Failing { .. } if self.rejoining => NodeState::Joining,
            ProbeState::Failing { error, .. } => {
                let stopped = error.kind.proves_stopped()
                    && self
                        .fresh_registration()
                        .is_some_and(|r| registration::reports_stopped(&r.observation.fields));
                if stopped {
                    NodeState::Stopped
                } else {
                    NodeState::Unreachable
                }
            }
            ProbeState::Unprobed if self.registration.is_none() && self.expected => {
                NodeState::Absent
            }
            ProbeState::Unprobed | ProbeState::Stale => self.registered_state(),
            ProbeState::Pending => NodeState::Unknown,
        }
    }

    /// The registration, if it reports a newer state of a transfer than the last SQL answer. For display only: states of a
    /// transfer may be over before the next answer. No decision depends on it (I3).
    pub(crate) fn registration_since_answer(&self) -> Option<&NodeRegistration<'a>> {
        let registered = self.fresh_registration()?;
        let changed_at = registered.observation.state_changed_at?;
        let newer = match self.probe_state {
            ProbeState::Fresh(answer) => changed_at > answer.at,
            // While the server accepts no connections, its agent is the only source and may reach it again first.
            ProbeState::Failing { error, since } => {
                let joins = registration::AgentPhase::from_fields(&registered.observation.fields)
                    == Some(registration::AgentPhase::Joining);
                error.kind.rejects_connections()
                    && (joins || self.rejoining)
                    && changed_at > since.plus(super::RACE_MARGIN)
            }
            ProbeState::Unprobed | ProbeState::Pending | ProbeState::Stale => false,
        };
        let in_transfer = [self.state(), registered.status.node_state()?]
            .iter()
            .all(|state| state.can_occur_in_transfer() || *state == NodeState::Unreachable);
        (newer && in_transfer).then_some(registered)
    }

    /// The state to show: of a newer registration, or else [`Self::state`].
    pub(crate) fn displayed_state(&self) -> NodeState {
        self.registration_since_answer()
            .and_then(|registered| registered.status.node_state())
            .unwrap_or_else(|| self.state())
    }

    fn registered_state(&self) -> NodeState {
        let Some(registered) = self.fresh_registration() else {
            return NodeState::Unknown;
        };
        let fields = &registered.observation.fields;
        if registration::reports_stopped(fields) {
            return NodeState::Stopped;
        }
        registered.status.node_state().unwrap_or_else(
            || match registration::AgentPhase::from_fields(fields) {
                Some(registration::AgentPhase::Joining) => NodeState::Joining,
                _ => NodeState::Unknown,
            },
        )
    }
}

/// Whether a server is in a Primary view, as far as its status shows the group's (I42).
pub(crate) fn is_primary(status: &WsrepStatus) -> bool {
    status.cluster_status == Some(ClusterStatus::Primary) && !status.contradicts_its_group()
}

/// The state of `probe` as of `now`.
pub(crate) fn probe_state<'a>(
    probe: Option<&'a SqlObservation>,
    now: Timestamp,
    settings: &FoldSettings,
) -> ProbeState<'a> {
    let Some(probe) = probe else {
        return ProbeState::Unprobed;
    };
    match (&probe.error, &probe.status) {
        (Some((at, _)), _)
            if at.age(now) > settings.stale_after.saturating_mul(FAILURE_VALIDITY_FACTOR) =>
        {
            ProbeState::Stale
        }
        (Some((at, error)), _) => ProbeState::Failing {
            error,
            since: probe.failing_since.unwrap_or(*at),
        },
        (None, Some((at, status))) if at.age(now) <= settings.stale_after => {
            ProbeState::Fresh(ProbeAnswer {
                at: *at,
                view_since: probe.view_since.unwrap_or(*at),
                view_start_observed: probe.view_start_observed,
                history_since: probe.history_since.unwrap_or(*at),
                status,
            })
        }
        (None, Some(_)) => ProbeState::Stale,
        (None, None) => ProbeState::Pending,
    }
}

/// How many times the TTL of its lease a registration is valid after its last write: the lease proves that the agent
/// lives, since etcd removes the keys with it, and agents write an unchanged state once in 9/10 of the TTL.
const LEASED_VALIDITY_FACTOR: u32 = 2;

/// Whether a registration is valid as of `now`.
pub(crate) fn assess_registration<'a>(
    observation: &'a RegistryObservation,
    health: &RegistryHealth,
    now: Timestamp,
    settings: &FoldSettings,
) -> NodeRegistration<'a> {
    let ttl = observation
        .ttl
        .map_or(settings.registry_ttl, std::time::Duration::from_secs);
    let validity = match observation.leased {
        true => ttl.saturating_mul(LEASED_VALIDITY_FACTOR),
        false => ttl,
    };
    let within = |at: Timestamp| {
        observation
            .last_put_at
            .is_some_and(|put| put.age(at) <= validity)
    };
    let last_read = if health.reachable {
        now
    } else {
        now.min(health.since)
    };
    NodeRegistration {
        status: observation.fields.status(),
        ttl,
        fresh: within(now) && (health.reachable || health.since.age(now) <= ttl),
        credible: within(last_read),
        observation,
    }
}
