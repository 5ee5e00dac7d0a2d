//! Laws that hold whatever the registry holds, garbage included.

use std::collections::BTreeSet;

use galera::Position;
use galera::observe::registration::RawKey;
use galera::startup::{
    Action, AutoBootstrap, Data, Event, Expected, FounderKey, Founding, Settings, decide,
};
use galera::view::ClusterStatus;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::scene::{Scene, own};

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
enum Special {
    Founder(usize, bool, Option<u128>),
    Order(usize, Position, i64),
    Waiting(usize, Option<Position>),
    Garbage(bool, String),
}

fn special() -> impl Strategy<Value = Special> {
    prop_oneof![
        (0..4_usize, any::<bool>(), prop::option::of(1_u128..3))
            .prop_map(|(node, started, uuid)| Special::Founder(node, started, uuid)),
        (0..4_usize, position(), 0_i64..2)
            .prop_map(|(node, position, lease)| Special::Order(node, position, lease)),
        (0..4_usize, prop::option::of(position()))
            .prop_map(|(node, position)| Special::Waiting(node, position)),
        (any::<bool>(), ".{0,8}").prop_map(|(founder, text)| Special::Garbage(founder, text)),
    ]
}

fn scene() -> impl Strategy<Value = Scene> {
    (vec(key(), 0..14), vec(special(), 0..5)).prop_map(|(keys, specials)| {
        let scene = keys
            .into_iter()
            .fold(Scene::default(), |scene, (key, value, lease)| {
                scene.put(&key, &value, lease)
            });
        specials
            .into_iter()
            .fold(scene, |scene, special| match special {
                Special::Founder(node, started, uuid) => {
                    scene.founder(NODES[node], started, uuid.map(Uuid::from_u128))
                }
                Special::Order(node, position, lease) => {
                    scene.order(NODES[node], &position.to_string(), Some("a1"), lease)
                }
                Special::Waiting(node, position) => scene.waiting(NODES[node], position.as_ref()),
                Special::Garbage(true, text) => scene.put("founder", &text, 0),
                Special::Garbage(false, text) => scene.put("bootstrap", &text, 1),
            })
    })
}

fn data() -> impl Strategy<Value = Data> {
    let uuid = || prop::option::of((1_u128..3).prop_map(Uuid::from_u128));
    prop_oneof![
        2 => Just(Data::Empty),
        1 => Just(Data::Incomplete { why: "w".to_owned() }),
        1 => uuid().prop_map(|uuid| Data::Unrecovered { uuid }),
        4 => position().prop_map(Data::At),
        1 => uuid().prop_map(|uuid| Data::Unrecoverable { uuid, why: "w".to_owned() }),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let auto = prop::sample::select(vec![AutoBootstrap::Never, AutoBootstrap::AllReported]);
    let expected = prop_oneof![
        3 => Just(Expected::Registered),
        1 => (1..5_usize).prop_map(Expected::Count),
    ];
    (auto, expected).prop_map(|(auto, expected)| Settings { auto, expected })
}

fn says_primary(scene: &Scene, except: &str) -> bool {
    scene.snapshot().members.iter().any(|(node, member)| {
        node.to_string() != except
            && member.live
            && member.status.cluster_status == Some(ClusterStatus::Primary)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whoever founds has no data, or is the founder that nobody can have joined; the key is compared in any case.
    #[test]
    fn never_found_where_a_founder_exists(scene in scene(), data in data(), settings in settings()) {
        let decision = decide(&own("n1", data.clone()), &scene.snapshot(), &settings);
        prop_assert!(!decision.sentence.is_empty());
        if let Action::Found(founding) = decision.action {
            match (founding, scene.snapshot().founder) {
                (Founding::Create, FounderKey::Absent) => prop_assert_eq!(data, Data::Empty),
                (Founding::Continue { revision: ours }, FounderKey::Known { founder, revision }) => {
                    prop_assert_eq!(ours, revision);
                    prop_assert_eq!(founder.id.as_deref(), Some("id-n1"));
                    prop_assert_eq!(founder.state_uuid, None);
                }
                (Founding::TakeOver { revision: ours }, FounderKey::Known { founder, revision }) => {
                    prop_assert_eq!(ours, revision);
                    prop_assert!(!founder.started && data == Data::Empty);
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let others = scene.snapshot();
            let mut others = others.members.iter().filter(|(node, _)| node.to_string() != "n1");
            prop_assert!(others.all(|(_, member)| !member.evidence));
        }
    }

    /// I1: nothing begins while anybody says Primary.
    #[test]
    fn i01_nothing_begins_while_anybody_is_primary(scene in scene(), data in data(), settings in settings()) {
        if says_primary(&scene, "n1") {
            let decision = decide(&own("n1", data), &scene.snapshot(), &settings);
            prop_assert!(
                matches!(
                    decision.action,
                    Action::Join { .. } | Action::Wait { .. } | Action::Refuse | Action::RecoverPosition
                ),
                "{:?}", decision
            );
        }
    }

    /// I4, I6, I8, I9: who bootstraps by itself has an exact position, the best and highest of one history.
    #[test]
    fn i06_i09_only_the_best_known_position_bootstraps(scene in scene(), data in data(), settings in settings()) {
        let decision = decide(&own("n1", data.clone()), &scene.snapshot(), &settings);
        match decision.action {
            Action::Bootstrap { position, .. } => {
                prop_assert_eq!(settings.auto, AutoBootstrap::AllReported);
                prop_assert_eq!(data, Data::At(position.clone()));
                for (node, member) in scene.snapshot().members {
                    if node.to_string() == "n1" { continue }
                    prop_assert!(!member.answers, "{} runs", node);
                    prop_assert!(member.live || member.registered.is_none() || member.stopped().is_some());
                    if let Some(highest) = member.highest {
                        prop_assert!(highest.uuid != position.uuid || highest.seqno <= position.seqno);
                    }
                    if let galera::startup::Reported::At(reported) = member.reported {
                        prop_assert!(reported.uuid == position.uuid && reported.seqno <= position.seqno);
                    }
                }
            }
            Action::ObeyOrder { order, .. } => {
                prop_assert_eq!(order.position, data.position().unwrap().to_string());
                prop_assert_eq!(order.node.to_string(), "n1");
            }
            _ => {}
        }
    }

    /// I10: of all nodes that see the same registry, at most one begins by itself.
    #[test]
    fn i10_at_most_one_bootstraps(scene in scene(), settings in settings()) {
        let snapshot = scene.snapshot();
        let begin = NODES.iter().filter(|node| {
            let reported = snapshot.members.get(&node.parse().unwrap()).map(|member| member.reported.clone());
            let data = match reported {
                Some(galera::startup::Reported::At(position)) => Data::At(position),
                _ => Data::Incomplete { why: "w".to_owned() },
            };
            let decision = decide(&own(node, data), &snapshot, &settings);
            matches!(decision.action, Action::Bootstrap { .. })
        });
        prop_assert!(begin.count() <= 1);
    }

    /// The order in which keys are read means nothing.
    #[test]
    fn the_order_of_keys_means_nothing(scene in scene(), data in data(), settings in settings()) {
        let mut turned = scene.clone();
        turned.raw.reverse();
        let decided = |scene: &Scene| decide(&own("n1", data.clone()), &scene.snapshot(), &settings);
        prop_assert_eq!(decided(&scene), decided(&turned));
    }

    /// Whoever is joined is Synced and Primary under a lease.
    #[test]
    fn only_verified_members_are_joined(scene in scene(), data in data(), settings in settings()) {
        let snapshot = scene.snapshot();
        let decision = decide(&own("n1", data.clone()), &snapshot, &settings);
        if let Action::Join { members } = decision.action {
            prop_assert!(!members.is_empty());
            let distinct: BTreeSet<_> = members.iter().collect();
            prop_assert_eq!(distinct.len(), members.len());
            for member in members {
                prop_assert!(snapshot.members[&member].is_synced());
            }
            if let Data::At(position) = data {
                let primaries = snapshot.members.iter().filter(|(node, member)| {
                    member.is_primary() && node.to_string() != "n1"
                });
                for (_, member) in primaries {
                    prop_assert!(member.state_uuid().is_none_or(|uuid| uuid == position.uuid));
                }
            }
        }
    }

    /// Any bytes are a registry and a notification.
    #[test]
    fn any_bytes_are_read(keys in vec((vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..60)), 0..8)) {
        let mut scene = Scene::default();
        for (key, value) in keys {
            let _ = Event::from_datagram(&value);
            let key = [b"/galera/lab/".as_slice(), &key].concat();
            scene.raw.push(RawKey { key, value, mod_revision: 1, lease: 1, ttl: None });
        }
        let _ = scene.decide("n1", Data::Empty);
    }
}
