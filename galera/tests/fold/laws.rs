//! Properties that hold for any input: nothing panics, positions are ordered correctly, and the order of arrival is
//! irrelevant.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use galera::judge::cluster::{FoldSettings, fold, only_primary};
use galera::observe::observation::{
    Evidence, ProbeError, ProbeErrorKind, RegistryObservation, SqlObservation,
};
use galera::observe::registration::{NodeField, ParsedKey, RegistryKeys, parse_key};
use galera::observe::saved_state::{
    GraState, GvwState, parse_recovered_position, recovered_positions,
};
use galera::observe::wsrep::WsrepStatus;
use galera::view::{RegistryHealth, VerdictState};
use galera::{NodeId, Position, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use uuid::Uuid;

use crate::fixture::{HISTORY, OTHER_HISTORY, UNDEFINED, at, id};

fn position() -> impl Strategy<Value = Position> {
    (1_u128..4, 0_u64..6)
        .prop_map(|(uuid, seqno)| Position::new(Uuid::from_u128(uuid), seqno).unwrap())
}

fn node() -> impl Strategy<Value = NodeId> {
    prop::sample::select(vec![
        "10.0.0.1",
        "10.0.0.1:3306",
        "10.0.0.2",
        "10.0.0.3:3307",
        "db4",
        "::1",
    ])
    .prop_map(id)
}

/// Valid and invalid rows of servers and agents.
fn rows() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "17",
        "-1",
        UNDEFINED,
        "Primary",
        "non-Primary",
        "Disconnected",
        "Synced",
        "Joining: receiving State Transfer",
        "Initialized",
        "Donor/Desynced",
        "Inconsistent",
        HISTORY,
        OTHER_HISTORY,
        "AUTO",
        "AUTO,AUTO",
        "10.0.0.1:3306,10.0.0.2:3306",
        "10.0.0.1,,undefined",
        "ON",
        "OFF",
        "running",
        "stopping",
        "waiting",
        "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:5",
        "",
    ]);
    let name = prop::sample::select(vec![
        "wsrep_local_state",
        "wsrep_local_state_comment",
        "wsrep_cluster_status",
        "wsrep_cluster_state_uuid",
        "wsrep_local_state_uuid",
        "wsrep_last_committed",
        "wsrep_cluster_conf_id",
        "wsrep_cluster_size",
        "wsrep_local_index",
        "wsrep_incoming_addresses",
        "wsrep_gcomm_uuid",
        "wsrep_local_recv_queue",
        "wsrep_flow_control_paused_ns",
        "phase",
        "recovered_position",
        "seqno",
        "wsrep_node_name",
    ]);
    btree_map(
        name.prop_map(str::to_owned),
        value.prop_map(str::to_owned),
        0..17,
    )
}

#[derive(Clone, Debug)]
enum EvidenceEvent {
    Answered(NodeId, i64, BTreeMap<String, String>),
    Failed(NodeId, i64, usize),
    Registered(
        NodeId,
        Option<i64>,
        BTreeMap<String, String>,
        bool,
        Option<u64>,
    ),
}

fn event() -> impl Strategy<Value = EvidenceEvent> {
    let time = -20_i64..20;
    prop_oneof![
        (node(), time.clone(), rows())
            .prop_map(|(node, at, rows)| EvidenceEvent::Answered(node, at, rows)),
        (node(), time.clone(), 0..ProbeErrorKind::ALL.len())
            .prop_map(|(node, at, kind)| EvidenceEvent::Failed(node, at, kind)),
        (
            node(),
            prop::option::of(time),
            rows(),
            any::<bool>(),
            prop::option::of(0_u64..40)
        )
            .prop_map(|(node, at, rows, durable, ttl)| EvidenceEvent::Registered(
                node, at, rows, durable, ttl
            )),
    ]
}

fn at_seconds(seconds: i64) -> Timestamp {
    at(seconds as f64)
}

fn evidence(events: &[EvidenceEvent], expected: &BTreeSet<NodeId>, lost: Option<i64>) -> Evidence {
    let health = RegistryHealth {
        reachable: lost.is_none(),
        since: at_seconds(lost.unwrap_or(-30)),
        error: None,
    };
    let mut evidence = Evidence::new("lab".parse().unwrap(), health);
    evidence.configured_members = expected.clone();
    for event in events {
        match event.clone() {
            EvidenceEvent::Answered(node, at, rows) => {
                let probe: &mut SqlObservation = evidence.probes.entry(node).or_default();
                probe.record_success(at_seconds(at), WsrepStatus::from_rows(&rows));
            }
            EvidenceEvent::Failed(node, at, kind) => {
                evidence.probes.entry(node).or_default().record_failure(
                    at_seconds(at),
                    ProbeError {
                        kind: ProbeErrorKind::ALL[kind],
                        message: "it failed".to_owned(),
                    },
                )
            }
            EvidenceEvent::Registered(node, at, fields, durable, ttl) => {
                let observation = RegistryObservation {
                    fields: fields.into(),
                    last_put_at: at.map(at_seconds),
                    state_changed_at: at.map(at_seconds),
                    leased: true,
                    ttl,
                    durable,
                    first_seen: None,
                    v2: None,
                };
                evidence.registrations.insert(node, observation);
            }
        }
    }
    evidence
}

proptest! {
    #[test]
    fn positions_are_ordered_only_within_one_history(a in position(), b in position(), c in position()) {
        prop_assert_eq!(a.compare(&b), b.compare(&a).map(Ordering::reverse));
        prop_assert_eq!(a.compare(&b).is_some(), a.uuid == b.uuid);
        prop_assert_eq!(a.compare(&b) == Some(Ordering::Equal), a == b);
        if a.compare(&b).is_some_and(Ordering::is_le) && b.compare(&c).is_some_and(Ordering::is_le) {
            prop_assert!(a.compare(&c).is_some_and(Ordering::is_le));
        }
        prop_assert_eq!(a.to_string().parse(), Ok(a));
    }

    #[test]
    fn parsers_accept_any_bytes(bytes in vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        _ = text.parse::<Position>();
        _ = text.parse::<NodeId>();
        _ = text.parse::<galera::ClusterName>();
        _ = Timestamp::parse(&text);
        _ = GraState::parse(&bytes);
        _ = GvwState::parse(&bytes);
        _ = parse_recovered_position(&bytes);
        _ = parse_key("/galera", &bytes);
        _ = WsrepStatus::from_rows(text.lines().map(|line| line.split_once('\t').unwrap_or((line, ""))));
    }

    #[test]
    fn parsers_accept_nearly_valid_text(text in "(my_uuid|uuid|seqno|view_id|member|safe_to_bootstrap|#vwbeg|Recovered position)?:? ?[-0-9a-f:, ]{0,60}\n?") {
        _ = GraState::parse(text.as_bytes());
        _ = GvwState::parse(text.as_bytes());
        _ = parse_recovered_position(text.as_bytes());
        _ = text.parse::<Position>();
    }

    /// Whatever surrounds or damages it, a recovered position is read as it is or not at all.
    #[test]
    fn a_recovered_position_is_never_another_one(
        before in "[ -~\n\t\u{a0}]{0,40}",
        after in "([ \n\r'\"}][ -~\n]{0,40})?",
        seqno in 0_u64..=i64::MAX as u64,
        cut in 0_usize..60,
    ) {
        let uuid = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
        let value = format!("{uuid}:{seqno}");
        let line = format!("{before}\nRecovered position: {value}{after}");
        let found = recovered_positions(line.as_bytes());
        prop_assert!(found.iter().flatten().all(|found| found.position.as_ref().is_none_or(|at| at.to_string() == value)));
        // A line that was cut off names a history only with a whole UUID, and then what is left of the number.
        let cut = &value[..cut.min(value.len())];
        let position = parse_recovered_position(format!("Recovered position: {cut}").as_bytes());
        prop_assert!(cut.len() > 37 || position.is_none());
    }

    #[test]
    fn keys_round_trip(prefix in "(/[a-z-]{1,8}){0,3}", cluster in "[A-Za-z0-9_-]{1,64}", host in "[a-z0-9]{1,20}", port in prop::option::of(1_u16..), field in "wsrep_[a-z0-9_]{1,30}|phase|registered|recovered_position|seqno|ipaddress") {
        prop_assume!(!prefix.ends_with("pxc-cluster"));
        let node = NodeId::new(&host, port).unwrap();
        let cluster = cluster.parse().unwrap();
        let key = RegistryKeys::new(&prefix).node_key(&cluster, &node, &field);
        match parse_key(&prefix, key.as_bytes()) {
            ParsedKey::Node { cluster: c, node: n, field: f } => {
                prop_assert_eq!((c, n), (cluster, node));
                prop_assert_eq!(NodeField::as_str(&f), field);
            }
            kind => prop_assert!(false, "{:?}", kind),
        }
    }

    #[test]
    fn timestamps_round_trip(millis in -62_135_596_800_000_i64..253_402_300_800_000) {
        let at = Timestamp::from_unix_millis(millis);
        prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
    }

    #[test]
    fn short_strings_accept_any_time(one in any::<i64>(), other in any::<i64>()) {
        _ = Timestamp::from_unix_millis(one).to_short_string(Timestamp::from_unix_millis(other));
    }

    #[test]
    fn fold_accepts_any_evidence_and_keeps_its_invariants(
        events in vec(event(), 0..12),
        expected in btree_set(node(), 0..4),
        lost in prop::option::of(-20_i64..5),
    ) {
        let evidence = evidence(&events, &expected, lost);
        let view = fold(&evidence, at_seconds(1), &FoldSettings::default(), None);
        prop_assert!(!view.verdict.reasons.is_empty());
        prop_assert!(view.nodes.is_sorted_by(|one, other| one.id.natural_cmp(&other.id).is_lt()));
        prop_assert!(view.expected_members.is_sorted_by(|one, other| one.natural_cmp(other).is_lt()));
        for member in view.components.iter().flat_map(|component| &component.members) {
            prop_assert!(view.nodes.iter().any(|node| node.id == *member));
        }
        for member in &view.expected_members {
            prop_assert!(view.nodes.iter().any(|node| node.id == *member && node.expected));
        }
        if view.verdict.state == VerdictState::Healthy {
            let primary = only_primary(&view);
            prop_assert!(primary.is_some_and(|primary| view.expected_members.iter().all(|id| primary.members.contains(id))));
        }
        prop_assert_eq!(&view, &fold(&evidence, at_seconds(1), &FoldSettings::default(), None));
    }

    #[test]
    fn the_order_of_arrival_is_irrelevant(
        events in vec(event(), 0..10).prop_map(one_event_per_source),
        shuffled in any::<prop::sample::Index>(),
        expected in btree_set(node(), 0..4),
    ) {
        let mut other = events.clone();
        other.reverse();
        if !other.is_empty() {
            let middle = shuffled.index(other.len());
            other.rotate_left(middle);
        }
        let view = |events: &[EvidenceEvent]| fold(&evidence(events, &expected, None), at_seconds(1), &FoldSettings::default(), None);
        prop_assert_eq!(view(&events), view(&other));
    }

    #[test]
    fn losing_the_registry_makes_no_verdict_worse(events in vec(event(), 0..12), expected in btree_set(node(), 0..4)) {
        let with = |lost| fold(&evidence(&events, &expected, lost), at_seconds(20), &FoldSettings::default(), None).verdict.state;
        let red = |state: VerdictState| state > VerdictState::Unknown;
        // The registry was just lost: its last reports may still prevent a worse verdict, but must not cause one.
        if red(with(Some(20))) {
            prop_assert!(red(with(None)));
        }
    }
}

/// Keeps one event per source and node, as if all arrived between two folds.
fn one_event_per_source(events: Vec<EvidenceEvent>) -> Vec<EvidenceEvent> {
    let mut kept = BTreeMap::new();
    for event in events {
        let source = match &event {
            EvidenceEvent::Answered(node, ..) | EvidenceEvent::Failed(node, ..) => {
                (node.clone(), true)
            }
            EvidenceEvent::Registered(node, ..) => (node.clone(), false),
        };
        kept.entry(source).or_insert(event);
    }
    kept.into_values().collect()
}
