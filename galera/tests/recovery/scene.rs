//! A cluster to recover: what its nodes answer, what is registered, remembered and attested, and a clock.

use galera::judge::known_positions::History;
use galera::observe::observation::{
    Evidence, ProbeError, ProbeFailure, RegistryObservation, SqlObservation,
};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::attestation::{Attestation, Statement};
use galera::recover::bootstrap::{Case, Circumstances, Settings, plan};
use galera::recover::plan::{Check, CheckCode, CheckStatus, Plan};
use galera::view::RegistryHealth;
use galera::{NodeId, Position, Timestamp};

pub(crate) const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
pub(crate) const OTHER_HISTORY: &str = "7b2d4e10-0c2f-11ef-8d11-0242ac120002";
pub(crate) const NIL: &str = "00000000-0000-0000-0000-000000000000";
const UNDEFINED: &str = "18446744073709551615";

/// 2026-11-23T08:12:00Z: when the console began to look.
pub(crate) const START: i64 = 1_795_421_520_000;
/// Long enough for every view to have settled.
pub(crate) const NOW: i64 = 60;

/// `seconds` after the console began to look.
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
pub(crate) struct Server(Vec<(String, String)>);

impl Server {
    /// A survivor without quorum, as MariaDB 10.11 answers, in a component of `members` at place `index`.
    pub(crate) fn non_primary(members: &[&str], index: usize, seqno: u64) -> Self {
        let gcomm = format!(
            "0000000{index}-{:04x}-11ef-a1b2-c3d4e5f60718",
            members.len()
        );
        Self(Vec::new())
            .says("wsrep_local_state_uuid", HISTORY)
            .says("wsrep_cluster_state_uuid", HISTORY)
            .says("wsrep_last_committed", &seqno.to_string())
            .says("wsrep_local_recv_queue", "0")
            .says("wsrep_local_state", "0")
            .says("wsrep_local_state_comment", "Initialized")
            .says("wsrep_incoming_addresses", &members.join(","))
            .says("wsrep_cluster_size", &members.len().to_string())
            .says("wsrep_local_index", &index.to_string())
            .says("wsrep_evs_state", "OPERATIONAL")
            .says("wsrep_gcomm_uuid", &gcomm)
            .says("wsrep_cluster_conf_id", UNDEFINED)
            .says("wsrep_cluster_status", "non-Primary")
            .says("wsrep_connected", "ON")
            .says("wsrep_ready", "OFF")
    }

    /// A Synced member of a Primary component.
    pub(crate) fn primary(members: &[&str], index: usize, seqno: u64) -> Self {
        Self::non_primary(members, index, seqno)
            .says("wsrep_local_state", "4")
            .says("wsrep_local_state_comment", "Synced")
            .says("wsrep_cluster_conf_id", "17")
            .says("wsrep_cluster_status", "Primary")
            .says("wsrep_ready", "ON")
    }

    /// Replaces a row.
    pub(crate) fn says(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn history(self, uuid: &str) -> Self {
        self.says("wsrep_cluster_state_uuid", uuid)
            .says("wsrep_local_state_uuid", uuid)
    }

    pub(crate) fn status(self) -> WsrepStatus {
        WsrepStatus::from_rows(self.0)
    }
}

/// Everything that a plan rests on, under construction.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) evidence: Evidence,
    pub(crate) history: History,
    pub(crate) attestations: Vec<Attestation>,
    pub(crate) circumstances: Circumstances,
    pub(crate) settings: Settings,
    pub(crate) now: i64,
}

impl Scene {
    /// A cluster `lab` that expects `members`, of which nothing is known yet.
    pub(crate) fn expecting(members: &[&str]) -> Self {
        let health = RegistryHealth {
            reachable: true,
            since: at(-60),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        evidence.configured = members.iter().map(|member| id(member)).collect();
        Self {
            evidence,
            history: History::default(),
            attestations: Vec::new(),
            circumstances: Circumstances::default(),
            settings: Settings::default(),
            now: NOW,
        }
    }

    /// `n1` survives at 100; `n2` and `n3` were killed and are attested stopped.
    pub(crate) fn two_of_three_lost() -> Self {
        Self::expecting(&["n1", "n2", "n3"])
            .answers("n1", Server::non_primary(&["n1"], 0, 100))
            .refuses("n2")
            .refuses("n3")
            .attest("n2", Statement::Stopped)
            .attest("n3", Statement::Stopped)
    }

    /// Three nodes cut off from each other, at different positions.
    pub(crate) fn three_isolated() -> Self {
        let mut scene = Self::expecting(&["n1", "n2", "n3"]);
        for (node, seqno) in [("n1", 9), ("n2", 10), ("n3", 8)] {
            scene = scene.answers(node, Server::non_primary(&[node], 0, seqno));
        }
        scene
    }

    /// Three stopped nodes whose agents wait, at different positions.
    pub(crate) fn all_stopped() -> Self {
        Self::expecting(&["n1", "n2", "n3"])
            .waits("n1", 9)
            .waits("n2", 10)
            .waits("n3", 8)
    }

    /// `node` answers the same every second from the start until now.
    pub(crate) fn answers(self, node: &str, server: Server) -> Self {
        self.answers_since(node, server, 0)
    }

    /// `node` answers the same every second since `from`.
    pub(crate) fn answers_since(mut self, node: &str, server: Server, from: i64) -> Self {
        let status = server.status();
        let mut probe = SqlObservation::default();
        for second in from..=self.now {
            probe.answered(at(second), status.clone());
        }
        self.evidence.sql.insert(id(node), probe);
        self
    }

    fn fails(mut self, node: &str, kind: ProbeFailure) -> Self {
        let probe = self.evidence.sql.entry(id(node)).or_default();
        for second in [1, self.now] {
            let message = kind.word().to_owned();
            probe.failed(at(second), ProbeError { kind, message });
        }
        self
    }

    pub(crate) fn refuses(self, node: &str) -> Self {
        self.fails(node, ProbeFailure::Refused)
    }

    pub(crate) fn times_out(self, node: &str) -> Self {
        self.fails(node, ProbeFailure::TimedOut)
    }

    pub(crate) fn denies(self, node: &str) -> Self {
        self.fails(node, ProbeFailure::AccessDenied)
    }

    /// `node` is registered with `fields` under a live lease, put just now.
    pub(crate) fn registered(mut self, node: &str, fields: &[(&str, &str)]) -> Self {
        let seen = RegistryObservation {
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            last_put_at: Some(at(self.now - 1)),
            state_at: None,
            leased: true,
            ttl: Some(10),
            durable: false,
            first_seen: None,
        };
        self.evidence.registry.insert(id(node), seen);
        self
    }

    /// `node` is stopped; its agent waits and has recovered `seqno`.
    pub(crate) fn waits(self, node: &str, seqno: u64) -> Self {
        let recovered = format!("{HISTORY}:{seqno}");
        self.refuses(node).registered(
            node,
            &[("phase", "waiting"), ("recovered_position", &recovered)],
        )
    }

    pub(crate) fn attest(self, node: &str, statement: Statement) -> Self {
        self.attests(node, statement, None)
    }

    /// `node` is attested stopped, with a pasted text.
    pub(crate) fn pastes(self, node: &str, text: &str) -> Self {
        self.attests(node, Statement::Stopped, Some(text.to_owned()))
    }

    fn attests(mut self, node: &str, statement: Statement, saved_state: Option<String>) -> Self {
        self.attestations.push(Attestation {
            node: id(node),
            statement,
            saved_state,
        });
        self
    }

    pub(crate) fn case(&self) -> Case<'_> {
        Case {
            evidence: &self.evidence,
            history: &self.history,
            attestations: &self.attestations,
            circumstances: &self.circumstances,
            settings: &self.settings,
            now: at(self.now),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.case())
    }
}

pub(crate) fn check<'a>(plan: &'a Plan, code: &CheckCode) -> &'a Check {
    plan.check(code)
        .unwrap_or_else(|| panic!("no check {code} in {plan:#?}"))
}

pub(crate) fn status(plan: &Plan, code: &CheckCode) -> CheckStatus {
    check(plan, code).status
}

/// The codes of the checks that forbid the plan, in order.
pub(crate) fn failing(plan: &Plan) -> Vec<&str> {
    plan.failing().map(|check| check.code.word()).collect()
}
