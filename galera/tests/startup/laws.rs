//! Properties that hold for any registry content, including garbage.

use std::collections::BTreeSet;

use galera::Position;
use galera::observe::registration::RawKeyValue;
use galera::startup::{
    AutoBootstrap, DataState, ExpectedMembers, FounderClaim, FounderKeyState, StartupAction,
    StartupSettings, WsrepEvent, decide,
};
use galera::view::ClusterStatus;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::fixture::{StartupFixture, starting_node};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

fn position() -> impl Strategy<Value = Position> {
    (1_u128..3, 0_u64..6)
        .prop_map(|(uuid, seqno)| Position::new(Uuid::from_u128(uuid), seqno).unwrap())
}

fn value() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "starting",
        "waiting",
        "running",
        "stopping",
        "Synced",
        "Donor/Desynced",
        "Primary",
        "primary",
        "non-Primary",
        "00000000-0000-0000-0000-000000000000:-1",
        "18446744073709551615",
        "3",
        "5",
        "",
        "{",
        "n1:3306,n2:3306",
        "{\"id\":\"id-n1\"}",
        "{\"id\":\"id-n3\"}",
    ]);
    prop_oneof![
        4 => words.prop_map(ToOwned::to_owned),
        3 => position().prop_map(|position| position.to_string()),
        1 => position().prop_map(|position| position.uuid.to_string()),
        1 => ".{0,12}",
    ]
}

fn key() -> impl Strategy<Value = (String, String, i64)> {
    let fields = prop::sample::select(vec![
        "phase",
        "recovered_position",
        "registered",
        "highest_position",
        "wsrep_local_state_comment",
        "wsrep_cluster_status",
        "wsrep_cluster_state_uuid",
        "wsrep_last_committed",
        "wsrep_incoming_addresses",
        "seqno",
        "ipaddress",
    ]);
    let node = prop::sample::select(NODES.to_vec());
    (node, fields, value(), 0_i64..2)
        .prop_map(|(node, field, value, lease)| (format!("{node}/{field}"), value, lease))
}

#[derive(Clone, Debug)]
enum SpecialKey {
    Founder(usize, bool, Option<u128>),
    Order(usize, Position, i64),
    Waiting(usize, Option<Position>),
    Garbage(bool, String),
}

fn special_key() -> impl Strategy<Value = SpecialKey> {
    prop_oneof![
        (0..4_usize, any::<bool>(), prop::option::of(1_u128..3))
            .prop_map(|(node, started, uuid)| SpecialKey::Founder(node, started, uuid)),
        (0..4_usize, position(), 0_i64..2)
            .prop_map(|(node, position, lease)| SpecialKey::Order(node, position, lease)),
        (0..4_usize, prop::option::of(position()))
            .prop_map(|(node, position)| SpecialKey::Waiting(node, position)),
        (any::<bool>(), ".{0,8}").prop_map(|(founder, text)| SpecialKey::Garbage(founder, text)),
    ]
}

fn fixture() -> impl Strategy<Value = StartupFixture> {
    (vec(key(), 0..14), vec(special_key(), 0..5)).prop_map(|(keys, specials)| {
        let fixture = keys
            .into_iter()
            .fold(StartupFixture::default(), |fixture, (key, value, lease)| {
                fixture.put(&key, &value, lease)
            });
        specials
            .into_iter()
            .fold(fixture, |fixture, special| match special {
                SpecialKey::Founder(node, started, uuid) => {
                    fixture.founder(NODES[node], started, uuid.map(Uuid::from_u128))
                }
                SpecialKey::Order(node, position, lease) => {
                    fixture.order(NODES[node], &position.to_string(), Some("a1"), lease)
                }
                SpecialKey::Waiting(node, position) => {
                    fixture.waiting(NODES[node], position.as_ref())
                }
                SpecialKey::Garbage(true, text) => fixture.put("founder", &text, 0),
                SpecialKey::Garbage(false, text) => fixture.put("bootstrap", &text, 1),
            })
    })
}

fn data_state() -> impl Strategy<Value = DataState> {
    let uuid = || prop::option::of((1_u128..3).prop_map(Uuid::from_u128));
    prop_oneof![
        2 => Just(DataState::Empty),
        1 => Just(DataState::Incomplete { why: "w".to_owned() }),
        1 => uuid().prop_map(|uuid| DataState::Unrecovered { uuid }),
        4 => position().prop_map(DataState::AtPosition),
        1 => uuid().prop_map(|uuid| DataState::Unrecoverable { uuid, why: "w".to_owned(), at_most: None }),
    ]
}

fn settings() -> impl Strategy<Value = StartupSettings> {
    let auto = prop::sample::select(vec![AutoBootstrap::Never, AutoBootstrap::AllReported]);
    let expected = prop_oneof![
        3 => Just(ExpectedMembers::Registered),
        1 => (1..5_usize).prop_map(ExpectedMembers::Count),
    ];
    (auto, expected).prop_map(|(auto, expected)| StartupSettings {
        auto_bootstrap: auto,
        expected_members: expected,
    })
}

fn reports_primary(fixture: &StartupFixture, except: &str) -> bool {
    fixture.snapshot().members.iter().any(|(node, member)| {
        node.to_string() != except
            && member.live
            && member.status.cluster_status == Some(ClusterStatus::Primary)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// A founding node has no data, or is the founder that no node can have joined; the key is always compared.
    #[test]
    fn never_found_where_a_founder_exists(fixture in fixture(), data in data_state(), settings in settings()) {
        let decision = decide(&starting_node("n1", data.clone()), &fixture.snapshot(), &settings);
        prop_assert!(!decision.explanation.is_empty());
        if let StartupAction::FoundCluster(founding) = decision.action {
            match (founding, fixture.snapshot().founder) {
                (FounderClaim::Create, FounderKeyState::Absent) => prop_assert_eq!(data, DataState::Empty),
                (FounderClaim::Continue { revision: ours }, FounderKeyState::Known { founder, revision }) => {
                    prop_assert_eq!(ours, revision);
                    prop_assert_eq!(founder.data_id.as_deref(), Some("id-n1"));
                    prop_assert_eq!(founder.state_uuid, None);
                }
                (FounderClaim::TakeOver { revision: ours }, FounderKeyState::Known { founder, revision }) => {
                    prop_assert_eq!(ours, revision);
                    prop_assert!(!founder.started && data == DataState::Empty);
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let others = fixture.snapshot();
            let mut others = others.members.iter().filter(|(node, _)| node.to_string() != "n1");
            prop_assert!(others.all(|(_, member)| !member.has_membership_evidence));
        }
    }

    /// I1: no node founds or bootstraps while another reports Primary.
    #[test]
    fn i01_no_node_founds_or_bootstraps_while_any_is_primary(fixture in fixture(), data in data_state(), settings in settings()) {
        if reports_primary(&fixture, "n1") {
            let decision = decide(&starting_node("n1", data), &fixture.snapshot(), &settings);
            prop_assert!(
                matches!(
                    decision.action,
                    StartupAction::Join { .. } | StartupAction::Wait { .. } | StartupAction::Refuse | StartupAction::RecoverPosition
                ),
                "{:?}", decision
            );
        }
    }

    /// I4, I6, I8, I9: a node that bootstraps automatically has an exact position, the highest known of one history.
    #[test]
    fn i06_i09_only_the_best_known_position_bootstraps(fixture in fixture(), data in data_state(), settings in settings()) {
        let decision = decide(&starting_node("n1", data.clone()), &fixture.snapshot(), &settings);
        match decision.action {
            StartupAction::Bootstrap { position, .. } => {
                prop_assert_eq!(settings.auto_bootstrap, AutoBootstrap::AllReported);
                prop_assert_eq!(data, DataState::AtPosition(position.clone()));
                for (node, member) in fixture.snapshot().members {
                    if node.to_string() == "n1" { continue }
                    prop_assert!(!member.has_status, "{} runs", node);
                    prop_assert!(member.live || member.registration.is_none() || member.clean_stop().is_some());
                    if let Some(highest) = member.highest_position {
                        prop_assert!(highest.uuid != position.uuid || highest.seqno <= position.seqno);
                    }
                    if let galera::startup::ReportedPosition::At(reported) = member.reported_position {
                        prop_assert!(reported.uuid == position.uuid && reported.seqno <= position.seqno);
                    }
                }
            }
            StartupAction::FollowOrder { order, .. } => {
                prop_assert_eq!(order.position, data.position().unwrap().to_string());
                prop_assert_eq!(order.node.to_string(), "n1");
            }
            _ => {}
        }
    }

    /// I10: of all nodes that see the same registry, at most one bootstraps automatically.
    #[test]
    fn i10_at_most_one_bootstraps(fixture in fixture(), settings in settings()) {
        let snapshot = fixture.snapshot();
        let begin = NODES.iter().filter(|node| {
            let reported = snapshot.members.get(&node.parse().unwrap()).map(|member| member.reported_position.clone());
            let data = match reported {
                Some(galera::startup::ReportedPosition::At(position)) => DataState::AtPosition(position),
                _ => DataState::Incomplete { why: "w".to_owned() },
            };
            let decision = decide(&starting_node(node, data), &snapshot, &settings);
            matches!(decision.action, StartupAction::Bootstrap { .. })
        });
        prop_assert!(begin.count() <= 1);
    }

    /// The order of the keys is irrelevant.
    #[test]
    fn the_order_of_keys_is_irrelevant(fixture in fixture(), data in data_state(), settings in settings()) {
        let mut turned = fixture.clone();
        turned.raw.reverse();
        let decided = |fixture: &StartupFixture| decide(&starting_node("n1", data.clone()), &fixture.snapshot(), &settings);
        prop_assert_eq!(decided(&fixture), decided(&turned));
    }

    /// Members that are joined are Synced and Primary under a lease.
    #[test]
    fn only_verified_members_are_joined(fixture in fixture(), data in data_state(), settings in settings()) {
        let snapshot = fixture.snapshot();
        let decision = decide(&starting_node("n1", data.clone()), &snapshot, &settings);
        if let StartupAction::Join { members } = decision.action {
            prop_assert!(!members.is_empty());
            let distinct: BTreeSet<_> = members.iter().collect();
            prop_assert_eq!(distinct.len(), members.len());
            for member in members {
                prop_assert!(snapshot.members[&member].is_synced());
            }
            if let DataState::AtPosition(position) = data {
                let primaries = snapshot.members.iter().filter(|(node, member)| {
                    member.is_primary() && node.to_string() != "n1"
                });
                for (_, member) in primaries {
                    prop_assert!(member.state_uuid().is_none_or(|uuid| uuid == position.uuid));
                }
            }
        }
    }

    /// Any bytes are accepted as keys, values and datagrams.
    #[test]
    fn any_bytes_are_accepted(keys in vec((vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..60)), 0..8)) {
        let mut fixture = StartupFixture::default();
        for (key, value) in keys {
            let _ = WsrepEvent::from_datagram(&value);
            let key = [b"/galera/lab/".as_slice(), &key].concat();
            fixture.raw.push(RawKeyValue { key, value, mod_revision: 1, lease: 1, ttl: None });
        }
        let _ = fixture.decide("n1", DataState::Empty);
    }
}
