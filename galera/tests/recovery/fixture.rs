//! A cluster to recover: its nodes' answers, registrations, stored positions and attestations, and a clock.

use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::{
    Evidence, ProbeError, ProbeErrorKind, RegistryObservation, SqlObservation,
};
use galera::observe::registration::{V2Access, V2Registration};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::bootstrap::{RecoveryCase, RecoveryContext, RecoverySettings, plan};
use galera::recover::plan::{CheckCode, CheckStatus, Plan, PlanCheck};
use galera::view::RegistryHealth;
use galera::{NodeId, Position, Timestamp};

pub(crate) const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
pub(crate) const OTHER_HISTORY: &str = "7b2d4e10-0c2f-11ef-8d11-0242ac120002";
pub(crate) const NIL: &str = "00000000-0000-0000-0000-000000000000";
const UNDEFINED: &str = "18446744073709551615";

/// 2026-11-23T08:12:00Z: when the console started to observe.
pub(crate) const START: i64 = 1_795_421_520_000;
/// Long enough for every view to have settled.
pub(crate) const NOW: i64 = 60;

/// `seconds` after the console started to observe.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(START + seconds * 1_000)
}

pub(crate) fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

pub(crate) fn position(seqno: u64) -> Position {
    Position::new(HISTORY.parse().unwrap(), seqno).unwrap()
}

/// The rows that one server answers with.
#[derive(Clone)]
pub(crate) struct FakeStatusRows(Vec<(String, String)>);

impl FakeStatusRows {
    /// A survivor without quorum, as MariaDB 10.11 answers, in a component of `members` at place `index`.
    pub(crate) fn non_primary(members: &[&str], index: usize, seqno: u64) -> Self {
        // The process at a place of a list.
        let process = members.iter().flat_map(|member| member.bytes());
        let process = process.fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let gcomm = format!("{process:08x}-{index:04x}-11ef-a1b2-c3d4e5f60718");
        Self(Vec::new())
            .with_row("wsrep_local_state_uuid", HISTORY)
            .with_row("wsrep_cluster_state_uuid", HISTORY)
            .with_row("wsrep_last_committed", &seqno.to_string())
            .with_row("wsrep_local_recv_queue", "0")
            .with_row("wsrep_local_state", "0")
            .with_row("wsrep_local_state_comment", "Initialized")
            .with_row("wsrep_incoming_addresses", &members.join(","))
            .with_row("wsrep_cluster_size", &members.len().to_string())
            .with_row("wsrep_local_index", &index.to_string())
            .with_row("version", "10.11.19-MariaDB-log")
            .with_row("wsrep_evs_state", "OPERATIONAL")
            .with_row("wsrep_gcomm_uuid", &gcomm)
            .with_row("wsrep_cluster_conf_id", UNDEFINED)
            .with_row("wsrep_cluster_status", "non-Primary")
            .with_row("wsrep_connected", "ON")
            .with_row("wsrep_ready", "OFF")
    }

    /// A Synced member of a Primary component.
    pub(crate) fn primary(members: &[&str], index: usize, seqno: u64) -> Self {
        Self::non_primary(members, index, seqno)
            .with_row("wsrep_local_state", "4")
            .with_row("wsrep_local_state_comment", "Synced")
            .with_row("wsrep_cluster_conf_id", "17")
            .with_row("wsrep_cluster_status", "Primary")
            .with_row("wsrep_ready", "ON")
    }

    /// Replaces a row.
    pub(crate) fn with_row(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a row.
    pub(crate) fn without_row(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn with_history(self, uuid: &str) -> Self {
        self.with_row("wsrep_cluster_state_uuid", uuid)
            .with_row("wsrep_local_state_uuid", uuid)
    }

    pub(crate) fn status(self) -> WsrepStatus {
        WsrepStatus::from_rows(self.0)
    }
}

/// The input of a plan, under construction.
#[derive(Clone)]
pub(crate) struct RecoveryFixture {
    pub(crate) evidence: Evidence,
    pub(crate) history: KnownPositions,
    pub(crate) attestations: Vec<Attestation>,
    pub(crate) context: RecoveryContext,
    pub(crate) settings: RecoverySettings,
    pub(crate) now: i64,
}

impl RecoveryFixture {
    /// A cluster `lab` that expects `members`, of which nothing is known yet.
    pub(crate) fn expecting(members: &[&str]) -> Self {
        let health = RegistryHealth {
            reachable: true,
            since: at(-60),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        evidence.configured_members = members.iter().map(|member| id(member)).collect();
        Self {
            evidence,
            history: KnownPositions::default(),
            attestations: Vec::new(),
            context: RecoveryContext::default(),
            settings: RecoverySettings::default(),
            now: NOW,
        }
    }

    /// `n1` survives at 100; `n2` and `n3` were killed and are attested stopped.
    pub(crate) fn two_of_three_lost() -> Self {
        Self::expecting(&["n1", "n2", "n3"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
            .refuses_connections("n2")
            .refuses_connections("n3")
            .attest("n2", AttestedState::Stopped)
            .attest("n3", AttestedState::Stopped)
    }

    /// Three nodes cut off from each other, at different positions.
    pub(crate) fn three_isolated() -> Self {
        let mut fixture = Self::expecting(&["n1", "n2", "n3"]);
        for (node, seqno) in [("n1", 9), ("n2", 10), ("n3", 8)] {
            fixture = fixture.answers(node, FakeStatusRows::non_primary(&[node], 0, seqno));
        }
        fixture
    }

    /// Three stopped nodes whose agents wait, at different positions.
    pub(crate) fn all_stopped() -> Self {
        Self::expecting(&["n1", "n2", "n3"])
            .agent_waiting("n1", 9)
            .agent_waiting("n2", 10)
            .agent_waiting("n3", 8)
    }

    /// `node` answers the same every second from the start until now.
    pub(crate) fn answers(self, node: &str, server: FakeStatusRows) -> Self {
        self.answers_since(node, server, 0)
    }

    /// `node` answers the same every second since `from`.
    pub(crate) fn answers_since(mut self, node: &str, server: FakeStatusRows, from: i64) -> Self {
        let status = server.status();
        let mut probe = SqlObservation::default();
        for second in from..=self.now {
            probe.record_success(at(second), status.clone());
        }
        self.evidence.probes.insert(id(node), probe);
        self
    }

    pub(crate) fn fails(mut self, node: &str, kind: ProbeErrorKind) -> Self {
        let probe = self.evidence.probes.entry(id(node)).or_default();
        for second in [1, self.now] {
            let message = kind.as_str().to_owned();
            probe.record_failure(at(second), ProbeError { kind, message });
        }
        self
    }

    pub(crate) fn refuses_connections(self, node: &str) -> Self {
        self.fails(node, ProbeErrorKind::Refused)
    }

    pub(crate) fn times_out(self, node: &str) -> Self {
        self.fails(node, ProbeErrorKind::TimedOut)
    }

    pub(crate) fn denies_access(self, node: &str) -> Self {
        self.fails(node, ProbeErrorKind::AccessDenied)
    }

    /// `node` is registered with `fields` under a live lease, put just now.
    pub(crate) fn registered(mut self, node: &str, fields: &[(&str, &str)]) -> Self {
        let seen = RegistryObservation {
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            last_put_at: Some(at(self.now - 1)),
            state_changed_at: None,
            leased: true,
            ttl: Some(10),
            durable: false,
            first_seen: None,
            v2: None,
        };
        self.evidence.registrations.insert(id(node), seen);
        self
    }

    /// `node` has keys in etcd v2: with a time to live if `reported`, and in v3 too if it is registered already.
    pub(crate) fn in_etcd_v2(mut self, node: &str, reported: bool) -> Self {
        let known = self.evidence.registrations.get(&id(node)).cloned();
        let also_in_v3 = known.is_some();
        let seen = RegistryObservation {
            v2: Some(V2Registration {
                reported,
                seqno: None,
                also_in_v3,
            }),
            ..known.unwrap_or_default()
        };
        self.evidence.registrations.insert(id(node), seen);
        self.evidence.v2_access = V2Access::Read;
        self
    }

    /// `node` is stopped; its agent waits and has recovered `seqno`.
    pub(crate) fn agent_waiting(self, node: &str, seqno: u64) -> Self {
        let recovered = format!("{HISTORY}:{seqno}");
        self.refuses_connections(node).registered(
            node,
            &[("phase", "waiting"), ("recovered_position", &recovered)],
        )
    }

    pub(crate) fn attest(self, node: &str, statement: AttestedState) -> Self {
        self.add_attestation(node, statement, None)
    }

    /// `node` is attested stopped, with a pasted text.
    pub(crate) fn attest_with_paste(self, node: &str, text: &str) -> Self {
        self.add_attestation(node, AttestedState::Stopped, Some(text.to_owned()))
    }

    fn add_attestation(
        mut self,
        node: &str,
        statement: AttestedState,
        saved_state: Option<String>,
    ) -> Self {
        self.attestations.push(Attestation {
            node: id(node),
            statement,
            saved_state,
        });
        self
    }

    pub(crate) fn case(&self) -> RecoveryCase<'_> {
        RecoveryCase {
            evidence: &self.evidence,
            history: &self.history,
            attestations: &self.attestations,
            context: &self.context,
            settings: &self.settings,
            now: at(self.now),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.case())
    }
}

pub(crate) fn check<'a>(plan: &'a Plan, code: &CheckCode) -> &'a PlanCheck {
    plan.check(code)
        .unwrap_or_else(|| panic!("no check {code} in {plan:#?}"))
}

pub(crate) fn status(plan: &Plan, code: &CheckCode) -> CheckStatus {
    check(plan, code).status
}

/// The codes of the checks that block the plan, in order.
pub(crate) fn failing(plan: &Plan) -> Vec<&str> {
    plan.failing().map(|check| check.code.as_str()).collect()
}
