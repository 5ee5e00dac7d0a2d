//! Tables: what was seen, what is done.

use galera::startup::{Action, Data, Decision, Expect, Expected, Founding, Settings, decide};
use galera::{NodeId, Position};

use crate::scene::{HISTORY, OTHER, Scene, at, automatic, id, order_key, own};

fn waits(decision: &Decision, words: &str) -> bool {
    matches!(decision.action, Action::Wait { .. }) && decision.sentence.contains(words)
}

#[track_caller]
fn assert_waits(decision: &Decision, words: &str) {
    assert!(waits(decision, words), "{words:?}: {decision:?}");
}

fn joins(decision: &Decision) -> Option<&[NodeId]> {
    match &decision.action {
        Action::Join { members } => Some(members),
        _ => None,
    }
}

fn bootstraps(decision: &Decision) -> bool {
    matches!(decision.action, Action::Bootstrap { .. })
}

#[test]
fn an_empty_registry_is_founded_by_compare() {
    let create = Action::Found(Founding::Create);
    assert_eq!(Scene::default().decide("n1", Data::Empty).action, create);
    // Others that start at this moment change nothing: the founder key decides.
    let crowd = Scene::default()
        .starting("n1")
        .starting("n2")
        .starting("n3");
    assert_eq!(crowd.decide("n1", Data::Empty).action, create);
    assert_eq!(crowd.decide("n2", Data::Empty).action, create);
}

#[test]
fn i27_an_emptied_registry_is_no_new_cluster() {
    let traces = [
        Scene::default().registered("n2", None),
        Scene::default().highest("n2", &at(5)),
        Scene::default().waiting("n2", Some(&at(5))),
        Scene::default().runs("n2", "Initialized", "non-Primary", &at(5)),
        Scene::default().put("n2/seqno", "17", 0),
        Scene::default().put("n2/ipaddress", "10.0.0.2", 0),
        // Our own address had data that are gone.
        Scene::default().registered("n9", None),
        Scene::default().highest("n1", &at(5)),
    ];
    for scene in traces {
        assert_waits(&scene.decide("n1", Data::Empty), "but no founder");
    }
    let synced = Scene::default().synced("n2", &at(5));
    assert_eq!(
        joins(&synced.decide("n1", Data::Empty)).unwrap(),
        [id("n2")]
    );
}

#[test]
fn nobody_founds_when_somebody_has() {
    for founder in [
        Scene::default().founder("n2", true, None),
        Scene::default().founder("n2", true, Some(HISTORY)),
        Scene::default().founder("n2", false, None).starting("n2"),
        Scene::default().put("founder", "\u{0}garbage", 0),
        Scene::default().put("founder", "{\"node\":\"n2\"}", 0),
        Scene::default().put("founder", "{}", 0),
    ] {
        let decision = founder.decide("n1", Data::Empty);
        assert!(
            matches!(decision.action, Action::Wait { .. }),
            "{decision:?}"
        );
    }
    let found = Scene::default().founder("n2", false, None).starting("n2");
    assert_waits(&found.decide("n1", Data::Empty), "n2 founds cluster lab");
}

#[test]
fn a_founder_that_never_started_a_server_is_replaced_by_compare() {
    let gone = Scene::default().founder("n2", false, None);
    let taken = gone.decide("n1", Data::Empty).action;
    assert_eq!(taken, Action::Found(Founding::TakeOver { revision: 100 }));
    assert_waits(&gone.registered("n3", None).decide("n1", Data::Empty), "n3");
}

#[test]
fn the_founders_own_data_go_on_where_nobody_can_have_joined() {
    let revision = 100;
    let found = Action::Found(Founding::Continue { revision });
    let begun = Scene::default().founder("n1", false, None);
    assert_eq!(begun.decide("n1", Data::Empty).action, found);
    let started = Scene::default()
        .founder("n1", true, None)
        .registered("n1", None);
    assert_eq!(started.decide("n1", Data::At(at(3))).action, found);
    // Once the history was recorded, others may have more.
    let recorded = Scene::default()
        .founded()
        .registered("n1", None)
        .registered("n2", None);
    assert_waits(&recorded.decide("n1", Data::At(at(3))), "Waiting for n2");
    // Or when anybody shows that there was a cluster.
    let other = started.registered("n2", None);
    assert_waits(&other.decide("n1", Data::At(at(3))), "Waiting for n2");
}

#[test]
fn only_synced_and_primary_members_are_joined() {
    let scene = Scene::default()
        .founded()
        .synced("n1", &at(9))
        .runs("n2", "Donor/Desynced", "primary", &at(9))
        .runs("n4", "Synced", "non-Primary", &at(9))
        .put("n5/wsrep_local_state_comment", "Synced", 0)
        .put("n5/wsrep_cluster_status", "Primary", 0);
    assert_eq!(joins(&scene.decide("n3", Data::Empty)).unwrap(), [id("n1")]);
    let donor = Scene::default()
        .founded()
        .runs("n2", "Donor/Desynced", "Primary", &at(9));
    assert_waits(&donor.decide("n3", Data::Empty), "not Synced");
    let unrecorded = Scene::default()
        .founder("n1", true, None)
        .synced("n1", &at(1));
    assert_waits(
        &unrecorded.decide("n3", Data::Empty),
        "does not name its history yet",
    );
}

#[test]
fn i22_joining_never_discards_what_only_this_node_has() {
    let scene = Scene::default().founded().synced("n1", &at(9));
    assert!(joins(&scene.decide("n3", Data::At(at(9)))).is_some());
    assert_waits(
        &scene.decide("n3", Data::At(at(10))),
        "ahead of every Primary member",
    );
    let other = Data::At(Position::new(OTHER, 3).unwrap());
    let refused = scene.decide("n3", other);
    assert_eq!(refused.action, Action::Refuse);
    assert!(refused.sentence.contains("another") || refused.sentence.contains("history"));
    let unknown = |uuid| Data::Unrecoverable {
        uuid,
        why: "broken".to_owned(),
    };
    assert_eq!(scene.decide("n3", unknown(None)).action, Action::Refuse);
    assert_eq!(
        scene.decide("n3", unknown(Some(OTHER))).action,
        Action::Refuse
    );
    assert!(joins(&scene.decide("n3", unknown(Some(HISTORY)))).is_some());
}

#[test]
fn i23_rivals_are_not_joined() {
    let apart = Scene::default()
        .founded()
        .synced("n1", &at(9))
        .put("n1/wsrep_incoming_addresses", "n1:3306", 7)
        .synced("n2", &at(9))
        .put("n2/wsrep_incoming_addresses", "n2:3306", 7);
    assert_waits(
        &apart.decide("n3", Data::Empty),
        "without seeing each other",
    );
    let histories = Scene::default()
        .founded()
        .synced("n1", &at(9))
        .synced("n2", &Position::new(OTHER, 9).unwrap());
    assert_waits(&histories.decide("n3", Data::Empty), "different histories");
}

fn stopped_cluster() -> Scene {
    Scene::default()
        .founded()
        .waiting("n1", Some(&at(9)))
        .waiting("n2", Some(&at(12)))
        .waiting("n3", Some(&at(12)))
}

#[test]
fn i10_the_most_advanced_bootstraps_and_ties_are_decided_alike_everywhere() {
    let scene = stopped_cluster();
    let first = scene.decide("n1", Data::At(at(9)));
    assert_waits(&first, "n2 is most advanced");
    assert!(bootstraps(&scene.decide("n2", Data::At(at(12)))));
    assert_waits(&scene.decide("n3", Data::At(at(12))), "n2 is most advanced");
}

#[test]
fn i17_bootstrapping_compares_everything_it_rests_on() {
    let decision = stopped_cluster().decide("n2", Data::At(at(12)));
    let Action::Bootstrap { position, expect } = decision.action else {
        panic!("{}", decision.sentence);
    };
    assert_eq!(position, at(12));
    assert!(expect.contains(&Expect::Absent(order_key())));
    let compared = |key: &str| {
        let key = format!("/galera/lab/{key}").into_bytes();
        expect
            .iter()
            .any(|expect| matches!(expect, Expect::Unchanged(known, _) if *known == key))
    };
    for key in [
        "founder",
        "n1/phase",
        "n1/recovered_position",
        "n3/phase",
        "n3/recovered_position",
    ] {
        assert!(compared(key), "{key}");
    }
    let left = Scene::default()
        .founded()
        .waiting("n1", Some(&at(9)))
        .registered("n2", Some(at(8)));
    let Action::Bootstrap { expect, .. } = left.decide("n1", Data::At(at(9))).action else {
        panic!("a clean stop is a report");
    };
    let registered = b"/galera/lab/n2/registered".to_vec();
    assert!(
        expect
            .iter()
            .any(|e| matches!(e, Expect::Unchanged(key, _) if *key == registered))
    );
}

#[test]
fn i04_everybody_who_is_expected_must_have_reported() {
    let data = || Data::At(at(12));
    let scene = stopped_cluster();
    for (missing, words) in [
        (
            scene.clone().registered("n4", None),
            "Waiting for n4: it is registered",
        ),
        (scene.clone().highest("n4", &at(1)), "Waiting for n4"),
        (
            scene.clone().starting("n4"),
            "Waiting for n4: it has not reported",
        ),
        (
            scene
                .clone()
                .runs("n4", "Initialized", "non-Primary", &at(1)),
            "Waiting for n4: its server runs",
        ),
        (
            scene.clone().registered("n4", Some(at(13))),
            "n4 stopped at",
        ),
    ] {
        assert_waits(&missing.decide("n2", data()), words);
    }
    let count = |expected| {
        let settings = Settings {
            expected,
            ..automatic()
        };
        decide(&own("n2", data()), &stopped_cluster().snapshot(), &settings)
    };
    assert_waits(&count(Expected::Count(4)), "3 of 4 expected");
    assert_waits(
        &count(Expected::Members([id("n7")].into())),
        "Waiting for n7",
    );
    assert!(bootstraps(&count(Expected::Count(3))));
    assert!(bootstraps(&scene.waiting("n4", None).decide("n2", data())));
}

#[test]
fn i04_a_lost_registry_does_not_shrink_the_cluster() {
    let alone = Scene::default().waiting("n2", Some(&at(12)));
    assert_waits(&alone.decide("n2", Data::At(at(12))), "registry was lost");
    let settings = Settings {
        expected: Expected::Count(1),
        ..automatic()
    };
    let told = decide(&own("n2", Data::At(at(12))), &alone.snapshot(), &settings);
    assert!(bootstraps(&told), "{told:?}");
}

#[test]
fn i06_histories_are_never_ranked_and_nil_is_never_a_candidate() {
    let other = Position::new(OTHER, 99).unwrap();
    let scene = stopped_cluster().waiting("n1", Some(&other));
    assert_waits(&scene.decide("n2", Data::At(at(12))), "different histories");
    let nobody = Scene::default()
        .founded()
        .waiting("n1", None)
        .waiting("n2", None);
    for data in [
        Data::Empty,
        Data::Incomplete {
            why: "grastate.dat names no history".to_owned(),
        },
    ] {
        assert_waits(&nobody.decide("n2", data), "nobody has a position");
    }
    let foreign = Scene::default()
        .founder("n1", true, Some(OTHER))
        .waiting("n2", Some(&at(12)));
    assert_waits(
        &foreign.decide("n2", Data::At(at(12))),
        "not the one that n1 founded",
    );
}

#[test]
fn i08_an_unknown_position_is_recovered_first() {
    let unknown = || Data::Unrecovered {
        uuid: Some(HISTORY),
    };
    for scene in [
        stopped_cluster(),
        Scene::default(),
        Scene::default().founded().synced("n1", &at(9)),
    ] {
        let decision = scene.decide("n2", unknown());
        assert_eq!(decision.action, Action::RecoverPosition, "{decision:?}");
    }
    let waiting = Scene::default()
        .founded()
        .waiting("n1", Some(&at(9)))
        .starting("n2")
        .registered("n2", None);
    assert_waits(
        &waiting.decide("n1", Data::At(at(9))),
        "n2: it has not reported",
    );
}

#[test]
fn i09_a_position_below_the_highest_ever_recorded_needs_a_person() {
    let scene = stopped_cluster().highest("n3", &at(15));
    let decision = scene.decide("n2", Data::At(at(12)));
    assert_waits(&decision, "3 transaction(s) may be missing");
    let other = Position::new(OTHER, 99).unwrap();
    let harmless = stopped_cluster()
        .highest("n3", &at(12))
        .highest("n1", &other);
    assert!(bootstraps(&harmless.decide("n2", Data::At(at(12)))));
}

#[test]
fn i01_nobody_bootstraps_while_anybody_is_primary() {
    let scene = stopped_cluster()
        .runs("n5", "Donor/Desynced", "PRIMARY", &at(20))
        .order("n2", &at(12).to_string(), Some("a1"), 9);
    let decision = scene.decide("n2", Data::At(at(12)));
    assert_waits(&decision, "not Synced");
}

#[test]
fn i16_an_order_is_obeyed_only_when_everything_matches() {
    let scene = Scene::default()
        .founded()
        .registered("n1", None)
        .registered("n2", None);
    let right = at(12).to_string();
    let (wrong, nil) = (
        at(11).to_string(),
        "00000000-0000-0000-0000-000000000000:-1",
    );
    let data = || Data::At(at(12));
    let obeyed = scene
        .clone()
        .order("n2", &right, Some("a1"), 9)
        .decide_ordered("n2", data());
    assert!(
        matches!(obeyed.action, Action::ObeyOrder { .. }),
        "{obeyed:?}"
    );
    for (order, words) in [
        (
            scene.clone().order("n2", &wrong, Some("a1"), 9),
            "it names position",
        ),
        (
            scene.clone().order("n2", nil, Some("a1"), 9),
            "it names position",
        ),
        (scene.clone().order("n2", &right, Some("a1"), 0), "no lease"),
        (
            scene.clone().order("n2", &right, Some(" "), 9),
            "names no action",
        ),
        (
            scene.clone().order("n2", &right, None, 9),
            "names no action",
        ),
        (
            scene.clone().order("n2", &right, Some("old"), 9),
            "obeyed before",
        ),
        (
            scene.clone().order("n1", &right, Some("a1"), 9),
            "n1 is ordered",
        ),
        (
            scene.clone().put("bootstrap", "{\"node\":\"n2\"", 9),
            "approved order",
        ),
        (scene.clone(), "approved order"),
    ] {
        assert_waits(&order.decide_ordered("n2", data()), words);
    }
    let order = scene.order("n2", &right, Some("a1"), 9);
    for data in [
        Data::Empty,
        Data::Unrecoverable {
            uuid: Some(HISTORY),
            why: "rolled back".to_owned(),
        },
    ] {
        assert_waits(&order.decide_ordered("n2", data), "can vouch for");
    }
}

#[test]
fn every_sentence_says_who_is_waited_for_and_what_would_help() {
    let lost = Scene::default().founder("n7", true, None);
    let decision = lost.decide("n1", Data::Empty);
    assert!(
        decision.sentence.contains("n7") && decision.sentence.contains("remove the founder key")
    );
    let ahead = Scene::default()
        .founded()
        .synced("n1", &at(9))
        .decide("n3", Data::At(at(10)));
    assert!(ahead.sentence.contains("keep a copy"), "{}", ahead.sentence);
}
