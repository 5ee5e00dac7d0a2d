//! Tables of situations and the expected decisions, by invariant.

use galera::startup::{
    DataState, ExpectedMembers, FounderClaim, KeyPrecondition, StartupAction, StartupDecision,
    StartupSettings, decide,
};
use galera::{NodeId, Position};

use crate::fixture::{
    HISTORY, OTHER_HISTORY, StartupFixture, at, auto_bootstrap_settings, id, order_key,
    starting_node,
};

fn is_wait(decision: &StartupDecision, fragment: &str) -> bool {
    matches!(decision.action, StartupAction::Wait { .. }) && decision.explanation.contains(fragment)
}

#[track_caller]
pub(crate) fn assert_wait(decision: &StartupDecision, fragment: &str) {
    assert!(is_wait(decision, fragment), "{fragment:?}: {decision:?}");
}

pub(crate) fn joined_members(decision: &StartupDecision) -> Option<&[NodeId]> {
    match &decision.action {
        StartupAction::Join { members } => Some(members),
        _ => None,
    }
}

pub(crate) fn is_bootstrap(decision: &StartupDecision) -> bool {
    matches!(decision.action, StartupAction::Bootstrap { .. })
}

#[test]
fn an_empty_registry_is_founded_by_compare() {
    let create = StartupAction::FoundCluster(FounderClaim::Create);
    assert_eq!(
        StartupFixture::default()
            .decide("n1", DataState::Empty)
            .action,
        create
    );
    // Other nodes that start at the same time change nothing: the founder key decides.
    let crowd = StartupFixture::default()
        .starting("n1")
        .starting("n2")
        .starting("n3");
    assert_eq!(crowd.decide("n1", DataState::Empty).action, create);
    assert_eq!(crowd.decide("n2", DataState::Empty).action, create);
}

#[test]
fn i27_an_emptied_registry_is_not_a_new_cluster() {
    let traces = [
        StartupFixture::default().registered("n2", None),
        StartupFixture::default().highest("n2", &at(5)),
        StartupFixture::default().waiting("n2", Some(&at(5))),
        StartupFixture::default().running("n2", "Initialized", "non-Primary", &at(5)),
        StartupFixture::default().put("n2/seqno", "17", 0),
        StartupFixture::default().put("n2/ipaddress", "10.0.0.2", 0),
        // This node's own address had data that is gone.
        StartupFixture::default().registered("n9", None),
        StartupFixture::default().highest("n1", &at(5)),
    ];
    for fixture in traces {
        assert_wait(
            &fixture.decide("n1", DataState::Empty),
            "has no founder key",
        );
    }
    let synced = StartupFixture::default().synced("n2", &at(5));
    assert_eq!(
        joined_members(&synced.decide("n1", DataState::Empty)).unwrap(),
        [id("n2")]
    );
}

#[test]
fn a_founder_key_prevents_founding() {
    for founder in [
        StartupFixture::default().founder("n2", true, None),
        StartupFixture::default().founder("n2", true, Some(HISTORY)),
        StartupFixture::default()
            .founder("n2", false, None)
            .starting("n2"),
        StartupFixture::default().put("founder", "\u{0}garbage", 0),
        StartupFixture::default().put("founder", "{\"node\":\"n2\"}", 0),
        StartupFixture::default().put("founder", "{}", 0),
    ] {
        let decision = founder.decide("n1", DataState::Empty);
        assert!(
            matches!(decision.action, StartupAction::Wait { .. }),
            "{decision:?}"
        );
    }
    let found = StartupFixture::default()
        .founder("n2", false, None)
        .starting("n2");
    assert_wait(
        &found.decide("n1", DataState::Empty),
        "n2 is founding cluster lab",
    );
}

#[test]
fn a_founder_that_never_started_a_server_is_replaced_by_compare() {
    let gone = StartupFixture::default().founder("n2", false, None);
    let taken = gone.decide("n1", DataState::Empty).action;
    assert_eq!(
        taken,
        StartupAction::FoundCluster(FounderClaim::TakeOver { revision: 100 })
    );
    assert_wait(
        &gone.registered("n3", None).decide("n1", DataState::Empty),
        "n3",
    );
}

#[test]
fn a_founder_continues_with_its_data_if_no_node_can_have_joined() {
    let revision = 100;
    let found = StartupAction::FoundCluster(FounderClaim::Continue { revision });
    let begun = StartupFixture::default().founder("n1", false, None);
    assert_eq!(begun.decide("n1", DataState::Empty).action, found);
    let started = StartupFixture::default()
        .founder("n1", true, None)
        .registered("n1", None);
    assert_eq!(
        started.decide("n1", DataState::AtPosition(at(3))).action,
        found
    );
    // Once the history was recorded, other nodes may be ahead.
    let recorded = StartupFixture::default()
        .founded()
        .registered("n1", None)
        .registered("n2", None);
    assert_wait(
        &recorded.decide("n1", DataState::AtPosition(at(3))),
        "Waiting for n2",
    );
    // Or when any node's key shows that there was a cluster.
    let other = started.registered("n2", None);
    assert_wait(
        &other.decide("n1", DataState::AtPosition(at(3))),
        "Waiting for n2",
    );
}

#[test]
fn only_synced_and_primary_members_are_joined() {
    let fixture = StartupFixture::default()
        .founded()
        .synced("n1", &at(9))
        .running("n2", "Donor/Desynced", "primary", &at(9))
        .running("n4", "Synced", "non-Primary", &at(9))
        .put("n5/wsrep_local_state_comment", "Synced", 0)
        .put("n5/wsrep_cluster_status", "Primary", 0);
    assert_eq!(
        joined_members(&fixture.decide("n3", DataState::Empty)).unwrap(),
        [id("n1")]
    );
    let donor =
        StartupFixture::default()
            .founded()
            .running("n2", "Donor/Desynced", "Primary", &at(9));
    assert_wait(&donor.decide("n3", DataState::Empty), "not Synced");
    let unrecorded = StartupFixture::default()
        .founder("n1", true, None)
        .synced("n1", &at(1));
    assert_wait(
        &unrecorded.decide("n3", DataState::Empty),
        "does not name a history yet",
    );
}

#[test]
fn i22_joining_never_discards_what_only_this_node_has() {
    let fixture = StartupFixture::default().founded().synced("n1", &at(9));
    assert!(joined_members(&fixture.decide("n3", DataState::AtPosition(at(9)))).is_some());
    assert_wait(
        &fixture.decide("n3", DataState::AtPosition(at(10))),
        "ahead of every Primary member",
    );
    let other = DataState::AtPosition(Position::new(OTHER_HISTORY, 3).unwrap());
    let refused = fixture.decide("n3", other);
    assert_eq!(refused.action, StartupAction::Refuse);
    assert!(refused.explanation.contains("another") || refused.explanation.contains("history"));
    let unknown = |uuid| DataState::Unrecoverable {
        uuid,
        why: "broken".to_owned(),
        at_most: None,
    };
    assert_eq!(
        fixture.decide("n3", unknown(None)).action,
        StartupAction::Refuse
    );
    assert_eq!(
        fixture.decide("n3", unknown(Some(OTHER_HISTORY))).action,
        StartupAction::Refuse
    );
    assert!(joined_members(&fixture.decide("n3", unknown(Some(HISTORY)))).is_some());
    // Prepared transactions were rolled back by force: what is left may still be ahead.
    let rolled_back = |seqno| DataState::Unrecoverable {
        uuid: Some(HISTORY),
        why: "rolled back".to_owned(),
        at_most: Some(seqno),
    };
    assert!(joined_members(&fixture.decide("n3", rolled_back(9))).is_some());
    assert_wait(
        &fixture.decide("n3", rolled_back(10)),
        "it may be as high as 10, ahead of every Primary member",
    );
}

#[test]
fn i23_rivals_are_not_joined() {
    let apart = StartupFixture::default()
        .founded()
        .synced("n1", &at(9))
        .put("n1/wsrep_incoming_addresses", "n1:3306", 7)
        .synced("n2", &at(9))
        .put("n2/wsrep_incoming_addresses", "n2:3306", 7);
    assert_wait(
        &apart.decide("n3", DataState::Empty),
        "do not see each other",
    );
    let histories = StartupFixture::default()
        .founded()
        .synced("n1", &at(9))
        .synced("n2", &Position::new(OTHER_HISTORY, 9).unwrap());
    assert_wait(
        &histories.decide("n3", DataState::Empty),
        "different histories",
    );
}

pub(crate) fn stopped_cluster() -> StartupFixture {
    StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(9)))
        .waiting("n2", Some(&at(12)))
        .waiting("n3", Some(&at(12)))
}

#[test]
fn i10_the_most_advanced_bootstraps_and_ties_are_decided_alike_everywhere() {
    let fixture = stopped_cluster();
    let first = fixture.decide("n1", DataState::AtPosition(at(9)));
    assert_wait(&first, "n2 is most advanced");
    assert!(is_bootstrap(
        &fixture.decide("n2", DataState::AtPosition(at(12)))
    ));
    assert_wait(
        &fixture.decide("n3", DataState::AtPosition(at(12))),
        "n2 is most advanced",
    );
}

#[test]
fn i17_bootstrapping_compares_everything_it_rests_on() {
    let decision = stopped_cluster().decide("n2", DataState::AtPosition(at(12)));
    let StartupAction::Bootstrap {
        position,
        preconditions: expect,
    } = decision.action
    else {
        panic!("{}", decision.explanation);
    };
    assert_eq!(position, at(12));
    assert!(expect.contains(&KeyPrecondition::Absent(order_key())));
    let compared = |key: &str| {
        let key = format!("/galera/lab/{key}").into_bytes();
        expect
            .iter()
            .any(|expect| matches!(expect, KeyPrecondition::Unchanged(known, _) if *known == key))
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
    let left = StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(9)))
        .registered("n2", Some(at(8)));
    let StartupAction::Bootstrap {
        preconditions: expect,
        ..
    } = left.decide("n1", DataState::AtPosition(at(9))).action
    else {
        panic!("a clean stop is a report");
    };
    let registered = b"/galera/lab/n2/registered".to_vec();
    assert!(
        expect
            .iter()
            .any(|e| matches!(e, KeyPrecondition::Unchanged(key, _) if *key == registered))
    );
}

#[test]
fn i04_every_expected_member_must_have_reported() {
    let data = || DataState::AtPosition(at(12));
    let fixture = stopped_cluster();
    for (missing, fragment) in [
        (
            fixture.clone().registered("n4", None),
            "Waiting for n4: it is registered",
        ),
        (fixture.clone().highest("n4", &at(1)), "Waiting for n4"),
        (
            fixture.clone().starting("n4"),
            "Waiting for n4: it has not reported",
        ),
        (
            fixture
                .clone()
                .running("n4", "Initialized", "non-Primary", &at(1)),
            "Waiting for n4: its server is running",
        ),
        (
            fixture.clone().registered("n4", Some(at(13))),
            "n4 stopped at",
        ),
    ] {
        assert_wait(&missing.decide("n2", data()), fragment);
    }
    let count = |expected| {
        let settings = StartupSettings {
            expected_members: expected,
            ..auto_bootstrap_settings()
        };
        decide(
            &starting_node("n2", data()),
            &stopped_cluster().snapshot(),
            &settings,
        )
    };
    assert_wait(&count(ExpectedMembers::Count(4)), "3 of 4 expected");
    assert_wait(
        &count(ExpectedMembers::Members([id("n7")].into())),
        "Waiting for n7",
    );
    assert!(is_bootstrap(&count(ExpectedMembers::Count(3))));
    // One that never was a member has nothing that could be lost.
    assert!(is_bootstrap(&fixture.empty("n4").decide("n2", data())));
}

#[test]
fn i04_a_lost_registry_does_not_shrink_the_cluster() {
    let alone = StartupFixture::default().waiting("n2", Some(&at(12)));
    assert_wait(
        &alone.decide("n2", DataState::AtPosition(at(12))),
        "registry was lost",
    );
    let expecting = |expected| {
        let settings = StartupSettings {
            expected_members: expected,
            ..auto_bootstrap_settings()
        };
        let own = starting_node("n2", DataState::AtPosition(at(12)));
        decide(&own, &alone.snapshot(), &settings)
    };
    // A number names no member: the ones that are missing may be those that the registry lost.
    assert_wait(&expecting(ExpectedMembers::Count(1)), "registry was lost");
    let named = expecting(ExpectedMembers::Members([id("n2")].into()));
    assert!(is_bootstrap(&named), "{named:?}");
}

#[test]
fn i06_histories_are_never_ranked_and_nil_is_never_a_candidate() {
    let other = Position::new(OTHER_HISTORY, 99).unwrap();
    let fixture = stopped_cluster().waiting("n1", Some(&other));
    assert_wait(
        &fixture.decide("n2", DataState::AtPosition(at(12))),
        "different histories",
    );
    let positionless = StartupFixture::default()
        .founded()
        .waiting("n1", None)
        .waiting("n2", None);
    for data in [
        DataState::Empty,
        DataState::Incomplete {
            why: "grastate.dat names no history".to_owned(),
        },
    ] {
        assert_wait(&positionless.decide("n2", data), "none has a position");
    }
    let foreign = StartupFixture::default()
        .founder("n1", true, Some(OTHER_HISTORY))
        .waiting("n2", Some(&at(12)));
    assert_wait(
        &foreign.decide("n2", DataState::AtPosition(at(12))),
        "not the one that n1 founded",
    );
}

#[test]
fn i08_an_unknown_position_is_recovered_first() {
    let unknown = || DataState::Unrecovered {
        uuid: Some(HISTORY),
    };
    for fixture in [
        stopped_cluster(),
        StartupFixture::default(),
        StartupFixture::default().founded().synced("n1", &at(9)),
    ] {
        let decision = fixture.decide("n2", unknown());
        assert_eq!(
            decision.action,
            StartupAction::RecoverPosition,
            "{decision:?}"
        );
    }
    let waiting = StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(9)))
        .starting("n2")
        .registered("n2", None);
    assert_wait(
        &waiting.decide("n1", DataState::AtPosition(at(9))),
        "n2: it has not reported",
    );
}

#[test]
fn i09_a_position_below_the_highest_recorded_needs_an_operator() {
    let fixture = stopped_cluster().highest("n3", &at(15));
    let decision = fixture.decide("n2", DataState::AtPosition(at(12)));
    assert_wait(&decision, "3 transaction(s) may be missing");
    let other = Position::new(OTHER_HISTORY, 99).unwrap();
    let harmless = stopped_cluster()
        .highest("n3", &at(12))
        .highest("n1", &other);
    assert!(is_bootstrap(
        &harmless.decide("n2", DataState::AtPosition(at(12)))
    ));
}

#[test]
fn i01_no_node_bootstraps_while_any_node_is_primary() {
    let fixture = stopped_cluster()
        .running("n5", "Donor/Desynced", "PRIMARY", &at(20))
        .order("n2", &at(12).to_string(), Some("a1"), 9);
    let decision = fixture.decide("n2", DataState::AtPosition(at(12)));
    assert_wait(&decision, "not Synced");
}

#[test]
fn i16_an_order_is_followed_only_when_everything_matches() {
    let fixture = StartupFixture::default()
        .founded()
        .registered("n1", None)
        .registered("n2", None);
    let right = at(12).to_string();
    let (wrong, nil) = (
        at(11).to_string(),
        "00000000-0000-0000-0000-000000000000:-1",
    );
    let data = || DataState::AtPosition(at(12));
    let obeyed = fixture
        .clone()
        .order("n2", &right, Some("a1"), 9)
        .decide_without_auto_bootstrap("n2", data());
    assert!(
        matches!(obeyed.action, StartupAction::FollowOrder { .. }),
        "{obeyed:?}"
    );
    for (order, fragment) in [
        (
            fixture.clone().order("n2", &wrong, Some("a1"), 9),
            "it names position",
        ),
        (
            fixture.clone().order("n2", nil, Some("a1"), 9),
            "it names position",
        ),
        (
            fixture.clone().order("n2", &right, Some("a1"), 0),
            "no lease",
        ),
        (
            fixture.clone().order("n2", &right, Some(" "), 9),
            "names no action",
        ),
        (
            fixture.clone().order("n2", &right, None, 9),
            "names no action",
        ),
        (
            fixture.clone().order("n2", &right, Some("old"), 9),
            "followed before",
        ),
        (
            fixture.clone().order("n1", &right, Some("a1"), 9),
            "n1 is ordered",
        ),
        (
            fixture.clone().put("bootstrap", "{\"node\":\"n2\"", 9),
            "approved bootstrap order",
        ),
        (fixture.clone(), "approved bootstrap order"),
    ] {
        assert_wait(&order.decide_without_auto_bootstrap("n2", data()), fragment);
    }
    let order = fixture.order("n2", &right, Some("a1"), 9);
    for data in [
        DataState::Empty,
        DataState::Unrecoverable {
            uuid: Some(HISTORY),
            why: "rolled back".to_owned(),
            at_most: None,
        },
    ] {
        assert_wait(
            &order.decide_without_auto_bootstrap("n2", data),
            "trusted position",
        );
    }
}

#[test]
fn explanations_name_the_awaited_nodes_and_a_remedy() {
    let lost = StartupFixture::default().founder("n7", true, None);
    let decision = lost.decide("n1", DataState::Empty);
    assert!(
        decision.explanation.contains("n7")
            && decision.explanation.contains("remove the founder key")
    );
    let ahead = StartupFixture::default()
        .founded()
        .synced("n1", &at(9))
        .decide("n3", DataState::AtPosition(at(10)));
    assert!(
        ahead.explanation.contains("keep a copy"),
        "{}",
        ahead.explanation
    );
}
