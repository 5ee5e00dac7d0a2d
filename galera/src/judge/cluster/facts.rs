//! One node with everything known about it, each source judged fresh or not.

use super::Settings;
use crate::id::NodeId;
use crate::observe::observation::{ProbeError, RegistryObservation, SqlObservation};
use crate::observe::registration;
use crate::observe::wsrep::WsrepStatus;
use crate::timestamp::Timestamp;
use crate::view::{NodeState, RegistryHealth};

/// A probe that fails is tried again at once, but one that hangs in a resolver may take longer.
const FAILURE_LASTS: u32 = 4;

/// What the console's own probe says about a node now.
#[derive(Clone, Copy)]
pub(crate) enum Sql<'a> {
    /// Nobody probes it.
    Unprobed,
    /// The first probe is under way.
    Pending,
    /// It answered just now.
    Fresh(Answer<'a>),
    /// It answered once, but neither answered nor failed lately.
    Stale,
    /// Every attempt since `since` failed.
    Failing {
        error: &'a ProbeError,
        since: Timestamp,
    },
}

/// A fresh answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) at: Timestamp,
    /// Since when the node has been reporting the same view.
    pub(crate) since: Timestamp,
    /// Whether the beginning of that view was witnessed.
    pub(crate) witnessed: bool,
    /// Since when the node has been reporting the same history.
    pub(crate) history_since: Timestamp,
    pub(crate) status: &'a WsrepStatus,
}

/// What the registry says about a node.
pub(crate) struct Registered<'a> {
    pub(crate) seen: &'a RegistryObservation,
    pub(crate) status: WsrepStatus,
    /// Whether it may be believed now.
    pub(crate) fresh: bool,
    /// Whether it was to be believed when the registry was last read: losing etcd must not turn anything red (I18).
    pub(crate) credible: bool,
}

/// One node with everything known about it.
pub(crate) struct Facts<'a> {
    pub(crate) id: NodeId,
    pub(crate) expected: bool,
    pub(crate) probe: Option<&'a SqlObservation>,
    pub(crate) sql: Sql<'a>,
    pub(crate) registered: Option<Registered<'a>>,
    /// Whether it entered a Primary component after its probe began to fail: a server that receives its state
    /// accepts no connection until it is done, but its peers list it.
    pub(crate) returning: bool,
}

impl<'a> Facts<'a> {
    /// The fresh SQL answer, if there is one.
    pub(crate) fn answer(&self) -> Option<Answer<'a>> {
        match self.sql {
            Sql::Fresh(answer) => Some(answer),
            _ => None,
        }
    }

    /// The registration when it may be believed now.
    pub(crate) fn fresh_registration(&self) -> Option<&Registered<'a>> {
        self.registered
            .as_ref()
            .filter(|registered| registered.fresh)
    }

    /// The registration when it was put after the probe began to fail, so that it speaks of a living node.
    pub(crate) fn outlives_probe(&self) -> Option<&Registered<'a>> {
        let registered = self.registered.as_ref().filter(|r| r.credible)?;
        match self.sql {
            Sql::Fresh(_) => None,
            // A report may be under way while its server dies.
            Sql::Failing { since, .. } => {
                let put = registered.seen.last_put_at?;
                (put > since.plus(super::RACE)).then_some(registered)
            }
            Sql::Unprobed | Sql::Pending | Sql::Stale => Some(registered),
        }
    }

    /// The node's name as it calls itself.
    pub(crate) fn name(&self) -> Option<&str> {
        let sql = self.probe.and_then(|probe| probe.status.as_ref());
        sql.and_then(|(_, status)| status.node_name.as_deref())
            .or_else(|| self.registered.as_ref()?.status.node_name.as_deref())
    }

    /// The state in one word: fresh SQL decides, then a fresh registration.
    pub(crate) fn state(&self) -> NodeState {
        match self.sql {
            Sql::Fresh(answer) => answer.status.node_state().unwrap_or(NodeState::Unknown),
            // A server that answers anything is not stopped, whatever its agent says.
            Sql::Failing { error, .. } if error.kind.server_answers() => {
                match self.registered_state() {
                    NodeState::Stopped => NodeState::Unknown,
                    state => state,
                }
            }
            Sql::Failing { .. } if self.returning => NodeState::Joining,
            Sql::Failing { error, .. } => {
                let stopped = error.kind.positively_down()
                    && self
                        .fresh_registration()
                        .is_some_and(|r| registration::says_stopped(&r.seen.fields));
                if stopped {
                    NodeState::Stopped
                } else {
                    NodeState::Unreachable
                }
            }
            Sql::Unprobed if self.registered.is_none() && self.expected => NodeState::Absent,
            Sql::Unprobed | Sql::Stale => self.registered_state(),
            Sql::Pending => NodeState::Unknown,
        }
    }

    /// What the server has told of its state, through its agent, since SQL was last heard. For showing alone: states of a
    /// transfer may be over before the next answer. Nothing is decided by it (I3).
    pub(crate) fn told_since(&self) -> Option<&Registered<'a>> {
        let registered = self.fresh_registration()?;
        let told = registered.seen.state_at?;
        let newer = match self.sql {
            Sql::Fresh(answer) => told > answer.at,
            // While it accepts no connection, it can tell nothing but this; its agent may find it again first.
            Sql::Failing { error, since } => {
                let joins = registration::Phase::of(&registered.seen.fields)
                    == Some(registration::Phase::Joining);
                error.kind.shut() && (joins || self.returning) && told > since.plus(super::RACE)
            }
            Sql::Unprobed | Sql::Pending | Sql::Stale => false,
        };
        let between = [self.state(), registered.status.node_state()?]
            .iter()
            .all(|state| state.transfers() || *state == NodeState::Unreachable);
        (newer && between).then_some(registered)
    }

    /// The state to show.
    pub(crate) fn shown(&self) -> NodeState {
        let told = self.told_since();
        told.and_then(|registered| registered.status.node_state())
            .unwrap_or_else(|| self.state())
    }

    fn registered_state(&self) -> NodeState {
        let Some(registered) = self.fresh_registration() else {
            return NodeState::Unknown;
        };
        let fields = &registered.seen.fields;
        if registration::says_stopped(fields) {
            return NodeState::Stopped;
        }
        registered
            .status
            .node_state()
            .unwrap_or_else(|| match registration::Phase::of(fields) {
                Some(registration::Phase::Joining) => NodeState::Joining,
                _ => NodeState::Unknown,
            })
    }
}

/// What `probe` says as of `now`.
pub(crate) fn sql<'a>(
    probe: Option<&'a SqlObservation>,
    now: Timestamp,
    settings: &Settings,
) -> Sql<'a> {
    let Some(probe) = probe else {
        return Sql::Unprobed;
    };
    match (&probe.error, &probe.status) {
        (Some((at, _)), _) if at.age(now) > settings.stale_after.saturating_mul(FAILURE_LASTS) => {
            Sql::Stale
        }
        (Some((at, error)), _) => Sql::Failing {
            error,
            since: probe.failing_since.unwrap_or(*at),
        },
        (None, Some((at, status))) if at.age(now) <= settings.stale_after => Sql::Fresh(Answer {
            at: *at,
            since: probe.view_since.unwrap_or(*at),
            witnessed: probe.view_witnessed,
            history_since: probe.history_since.unwrap_or(*at),
            status,
        }),
        (None, Some(_)) => Sql::Stale,
        (None, None) => Sql::Pending,
    }
}

/// What a registration is worth as of `now`.
pub(crate) fn judged<'a>(
    seen: &'a RegistryObservation,
    health: &RegistryHealth,
    now: Timestamp,
    settings: &Settings,
) -> Registered<'a> {
    let ttl = seen
        .ttl
        .map_or(settings.registry_ttl, std::time::Duration::from_secs);
    let within = |at: Timestamp| seen.last_put_at.is_some_and(|put| put.age(at) <= ttl);
    let last_read = if health.reachable {
        now
    } else {
        now.min(health.since)
    };
    Registered {
        status: registration::reading(&seen.fields),
        fresh: within(now) && (health.reachable || health.since.age(now) <= ttl),
        credible: within(last_read),
        seen,
    }
}
