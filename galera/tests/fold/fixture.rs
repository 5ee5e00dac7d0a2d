//! Evidence to fold: servers with realistic status rows, probes, registrations, and a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::{
    Evidence, ProbeError, ProbeErrorKind, RegistryObservation, SqlObservation,
};
use galera::observe::server_details::ServerDetails;
use galera::observe::wsrep::WsrepStatus;
use galera::view::{
    ClusterView, NodeState, NodeView, ReasonCode, RegistryHealth, VerdictReason, VerdictState,
};
use galera::{NodeId, Timestamp};

pub(crate) const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
pub(crate) const OTHER_HISTORY: &str = "7b2d4e10-0c2f-11ef-8d11-0242ac120002";
pub(crate) const UNDEFINED: &str = "18446744073709551615";
pub(crate) const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// 2026-11-23T08:12:00Z: when the console started observing.
pub(crate) const START: i64 = 1_795_421_520_000;

/// `seconds` after [`START`].
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_unix_millis(START + (seconds * 1_000.0) as i64)
}

pub(crate) fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

/// The status rows of one server.
#[derive(Clone)]
pub(crate) struct FakeServer {
    rows: Vec<(String, String)>,
    details: Vec<(String, String)>,
}

impl FakeServer {
    /// A Synced member of a Primary component, with the rows of MariaDB 10.11.
    pub(crate) fn synced(name: &str) -> Self {
        let gcomm = format!("{:08x}-0c2f-11ef-a1b2-c3d4e5f60718", name_hash(name));
        let empty = Self {
            rows: Vec::new(),
            details: Vec::new(),
        };
        empty
            .with_row("wsrep_local_state_uuid", HISTORY)
            .with_row("wsrep_last_committed", "2881")
            .with_row("wsrep_local_send_queue", "0")
            .with_row("wsrep_local_recv_queue", "0")
            .with_row("wsrep_flow_control_paused_ns", "0")
            .with_row("wsrep_local_state", "4")
            .with_row("wsrep_local_state_comment", "Synced")
            .with_row("wsrep_incoming_addresses", "AUTO,AUTO,AUTO")
            .with_row("wsrep_cluster_weight", "3")
            .with_row("wsrep_desync_count", "0")
            .with_row("wsrep_evs_state", "OPERATIONAL")
            .with_row("wsrep_gcomm_uuid", &gcomm)
            .with_row("wsrep_gmcast_segment", "0")
            .with_row("wsrep_cluster_conf_id", "17")
            .with_row("wsrep_cluster_size", "3")
            .with_row("wsrep_cluster_state_uuid", HISTORY)
            .with_row("wsrep_cluster_status", "Primary")
            .with_row("wsrep_connected", "ON")
            .with_row("wsrep_local_index", "0")
            .with_row("wsrep_provider_version", "26.4.23(r7a0e3f6)")
            .with_row("wsrep_ready", "ON")
            .with_row("wsrep_node_name", name)
            .with_row("version", "10.11.19-MariaDB")
    }

    /// The survivor of a cluster that lost its quorum, with the rows of a real server.
    pub(crate) fn non_primary(name: &str) -> Self {
        Self::synced(name)
            .state("0", "Initialized")
            .with_row("wsrep_cluster_status", "non-Primary")
            .with_row("wsrep_cluster_conf_id", UNDEFINED)
            .with_row("wsrep_cluster_weight", "0")
            .with_row("wsrep_ready", "OFF")
            .view(&["AUTO"], 0)
    }

    /// Replaces a row.
    pub(crate) fn with_row(mut self, name: &str, value: &str) -> Self {
        self.rows.retain(|(known, _)| known != name);
        self.rows.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a variable, an option or a status variable that is read less often.
    pub(crate) fn with_detail(mut self, name: &str, value: &str) -> Self {
        self.details.retain(|(known, _)| known != name);
        self.details.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn state(self, number: &str, comment: &str) -> Self {
        self.with_row("wsrep_local_state", number)
            .with_row("wsrep_local_state_comment", comment)
    }

    /// The member list that it reports, and its own index in it.
    pub(crate) fn view(self, addresses: &[&str], index: usize) -> Self {
        self.with_row("wsrep_incoming_addresses", &addresses.join(","))
            .with_row("wsrep_cluster_size", &addresses.len().to_string())
            .with_row("wsrep_local_index", &index.to_string())
    }

    pub(crate) fn history(self, uuid: &str) -> Self {
        self.with_row("wsrep_cluster_state_uuid", uuid)
            .with_row("wsrep_local_state_uuid", uuid)
    }

    pub(crate) fn conf_id(self, conf_id: &str) -> Self {
        self.with_row("wsrep_cluster_conf_id", conf_id)
    }

    pub(crate) fn seqno(self, seqno: &str) -> Self {
        self.with_row("wsrep_last_committed", seqno)
    }

    pub(crate) fn status(self) -> WsrepStatus {
        let mut status = WsrepStatus::from_rows(self.rows);
        if !self.details.is_empty() {
            status.details = Some(Arc::new(ServerDetails::from_rows(self.details)));
        }
        status
    }
}

/// A hash of the name (FNV-1a).
fn name_hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

pub(crate) fn refused() -> ProbeError {
    failure(ProbeErrorKind::Refused, "connection refused")
}

pub(crate) fn timed_out() -> ProbeError {
    failure(ProbeErrorKind::TimedOut, "no answer within 3 s")
}

pub(crate) fn denied() -> ProbeError {
    failure(
        ProbeErrorKind::AccessDenied,
        "access denied for user console",
    )
}

pub(crate) fn failure(kind: ProbeErrorKind, message: &str) -> ProbeError {
    ProbeError {
        kind,
        message: message.to_owned(),
    }
}

/// Evidence under construction; the time of the fold is [`FoldFixture::now`] seconds.
#[derive(Clone)]
pub(crate) struct FoldFixture {
    pub(crate) evidence: Evidence,
    pub(crate) settings: FoldSettings,
    pub(crate) now: f64,
}

impl FoldFixture {
    /// A cluster `lab` that expects `members`, without any evidence about them.
    pub(crate) fn expecting(members: &[&str]) -> Self {
        let health = RegistryHealth {
            reachable: true,
            since: at(-60.0),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        evidence.configured_members = members.iter().map(|member| id(member)).collect();
        Self {
            evidence,
            settings: FoldSettings::default(),
            now: 10.0,
        }
    }

    /// Three Synced nodes 10.0.0.1 to 10.0.0.3, named db1 to db3, that have answered since the start.
    pub(crate) fn healthy() -> Self {
        let members = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let mut fixture = Self::expecting(&members);
        for (index, member) in members.iter().enumerate() {
            fixture = fixture.answers(
                member,
                FakeServer::synced(&format!("db{}", index + 1)).view(&["AUTO"; 3], index),
            );
        }
        fixture
    }

    fn probe(&mut self, node: &str) -> &mut SqlObservation {
        self.evidence.probes.entry(id(node)).or_default()
    }

    /// `node` gives the same answer every second from the start until now.
    pub(crate) fn answers(self, node: &str, server: FakeServer) -> Self {
        let now = self.now;
        self.answers_between(node, server, 0.0, now)
    }

    /// `node` gives the same answer every second from `from` to `to`.
    pub(crate) fn answers_between(
        mut self,
        node: &str,
        server: FakeServer,
        from: f64,
        to: f64,
    ) -> Self {
        let status = server.status();
        let mut time = from;
        while time < to {
            self.probe(node).record_success(at(time), status.clone());
            time += 1.0;
        }
        self.probe(node).record_success(at(to), status);
        self
    }

    /// `node` fails from `since` until now.
    pub(crate) fn fails(mut self, node: &str, since: f64, error: ProbeError) -> Self {
        let now = at(self.now);
        let probe = self.probe(node);
        probe.record_failure(at(since), error.clone());
        probe.record_failure(now, error);
        self
    }

    /// The first probe of `node` is pending.
    pub(crate) fn pending(mut self, node: &str) -> Self {
        self.probe(node);
        self
    }

    /// `node` is registered with `fields`, last put at `put` seconds, under a lease of 10 s.
    pub(crate) fn registered(mut self, node: &str, put: f64, fields: &[(&str, &str)]) -> Self {
        let observation = RegistryObservation {
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            last_put_at: Some(at(put)),
            state_changed_at: Some(at(put)),
            leased: true,
            ttl: Some(10),
            durable: false,
            first_seen: None,
            v2: None,
        };
        self.evidence.registrations.insert(id(node), observation);
        self
    }

    /// `node` has only its durable registration.
    pub(crate) fn durable(mut self, node: &str) -> Self {
        let observation = self.evidence.registrations.entry(id(node)).or_default();
        let mut fields = BTreeMap::clone(&observation.fields);
        fields.insert("registered".to_owned(), "{}".to_owned());
        observation.fields = fields.into();
        observation.durable = true;
        self
    }

    pub(crate) fn registry_lost(mut self, since: f64) -> Self {
        self.evidence.registry_health = RegistryHealth {
            reachable: false,
            since: at(since),
            error: Some("connection refused".to_owned()),
        };
        self
    }

    pub(crate) fn at(mut self, now: f64) -> Self {
        self.now = now;
        self
    }

    pub(crate) fn view(&self) -> ClusterView {
        fold(&self.evidence, at(self.now), &self.settings, None)
    }

    pub(crate) fn view_later(&self, seconds: f64) -> ClusterView {
        let now = at(self.now).plus(Duration::from_secs_f64(seconds));
        fold(&self.evidence, now, &self.settings, None)
    }

    pub(crate) fn verdict(&self) -> VerdictState {
        self.view().verdict.state
    }
}

pub(crate) fn node<'a>(view: &'a ClusterView, name: &str) -> &'a NodeView {
    let found = view.nodes.iter().find(|node| node.id == id(name));
    found.unwrap_or_else(|| panic!("{name} is not shown"))
}

pub(crate) fn state(view: &ClusterView, name: &str) -> NodeState {
    node(view, name).state
}

/// The reasons' codes with their nodes, in order.
pub(crate) fn reason_codes(view: &ClusterView) -> Vec<(ReasonCode, Option<String>)> {
    let reasons = view.verdict.reasons.iter();
    reasons
        .map(|reason| (reason.code, reason.node.as_ref().map(NodeId::to_string)))
        .collect()
}

pub(crate) fn reason(view: &ClusterView, code: ReasonCode) -> Option<&VerdictReason> {
    view.verdict
        .reasons
        .iter()
        .find(|reason| reason.code == code)
}

/// The report of an agent whose server is Synced.
pub(crate) const RUNNING_FIELDS: [(&str, &str); 5] = [
    ("phase", "running"),
    ("wsrep_local_state_comment", "Synced"),
    ("wsrep_cluster_status", "Primary"),
    ("wsrep_cluster_state_uuid", HISTORY),
    ("wsrep_last_committed", "2881"),
];
