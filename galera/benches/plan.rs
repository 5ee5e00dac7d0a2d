//! Planning for a cluster of nine nodes, running and stopped. Target: at most 1 ms.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::{
    Evidence, ProbeError, ProbeErrorKind, RegistryObservation, SqlObservation,
};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::bootstrap::{RecoveryCase, RecoveryContext, RecoverySettings, plan};
use galera::view::RegistryHealth;
use galera::{NodeId, Timestamp};

const NODES: usize = 9;
const STATE_UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_795_421_520_000 + second * 1_000)
}

fn node(index: usize) -> NodeId {
    format!("10.0.0.{}", index + 1)
        .parse()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn empty_evidence() -> Evidence {
    let health = RegistryHealth {
        reachable: true,
        since: at(0),
        error: None,
    };
    let name = "lab".parse().unwrap_or_else(|error| panic!("{error}"));
    let mut evidence = Evidence::new(name, health);
    evidence.configured_members = (0..NODES).map(node).collect();
    evidence
}

fn refused_probe() -> SqlObservation {
    let mut probe = SqlObservation::default();
    for second in [1, 60] {
        let message = "connection refused".to_owned();
        let kind = ProbeErrorKind::Refused;
        probe.record_failure(at(second), ProbeError { kind, message });
    }
    probe
}

/// Four nodes in one component, three in another, two killed.
fn running_evidence() -> (Evidence, Vec<Attestation>) {
    let mut evidence = empty_evidence();
    let mut attestations = Vec::new();
    for index in 0..NODES {
        let members = match index {
            0..4 => 0..4,
            4..7 => 4..7,
            _ => {
                evidence.probes.insert(node(index), refused_probe());
                attestations.push(Attestation {
                    node: node(index),
                    statement: AttestedState::Stopped,
                    saved_state: None,
                });
                continue;
            }
        };
        let list: Vec<String> = members
            .clone()
            .map(|index| format!("{}:3306", node(index)))
            .collect();
        let rows = [
            ("wsrep_local_state_uuid", STATE_UUID.to_owned()),
            ("wsrep_cluster_state_uuid", STATE_UUID.to_owned()),
            ("wsrep_last_committed", "2881".to_owned()),
            ("wsrep_local_recv_queue", "0".to_owned()),
            ("wsrep_local_state", "0".to_owned()),
            ("wsrep_local_state_comment", "Initialized".to_owned()),
            ("wsrep_incoming_addresses", list.join(",")),
            ("wsrep_cluster_size", list.len().to_string()),
            ("wsrep_local_index", (index - members.start).to_string()),
            ("wsrep_evs_state", "OPERATIONAL".to_owned()),
            (
                "wsrep_gcomm_uuid",
                format!("0000000{index}-0c2f-11ef-a1b2-c3d4e5f60718"),
            ),
            ("wsrep_cluster_status", "non-Primary".to_owned()),
            ("wsrep_connected", "ON".to_owned()),
        ];
        let mut probe = SqlObservation::default();
        for second in 0..=60 {
            probe.record_success(
                at(second),
                WsrepStatus::from_rows(rows.iter().map(|(name, value)| (name, value))),
            );
        }
        evidence.probes.insert(node(index), probe);
    }
    (evidence, attestations)
}

fn stopped_evidence() -> Evidence {
    let mut evidence = empty_evidence();
    for index in 0..NODES {
        evidence.probes.insert(node(index), refused_probe());
        let fields = [
            ("phase".to_owned(), "waiting".to_owned()),
            (
                "recovered_position".to_owned(),
                format!("{STATE_UUID}:{}", 2_880 + index),
            ),
        ];
        let observation = RegistryObservation {
            fields: BTreeMap::from(fields).into(),
            last_put_at: Some(at(59)),
            state_changed_at: None,
            leased: true,
            ttl: Some(10),
            durable: true,
            first_seen: None,
            v2: None,
        };
        evidence.registrations.insert(node(index), observation);
    }
    evidence
}

fn plans(criterion: &mut Criterion) {
    let (history, settings, circumstances) = (
        KnownPositions::default(),
        RecoverySettings::default(),
        RecoveryContext::default(),
    );
    let (running, attestations) = running_evidence();
    let cases = [
        ("running", running, attestations),
        ("stopped", stopped_evidence(), Vec::new()),
    ];
    for (name, evidence, attestations) in &cases {
        let case = RecoveryCase {
            evidence,
            history: &history,
            attestations,
            context: &circumstances,
            settings: &settings,
            now: at(60),
        };
        assert!(plan(&case).executable, "{:#?}", plan(&case));
        criterion.bench_function(&format!("plan of nine nodes, {name}"), |bencher| {
            bencher.iter(|| plan(black_box(&case)));
        });
    }
}

criterion_group!(benches, plans);
criterion_main!(benches);
