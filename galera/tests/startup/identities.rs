//! A member is its data, not its address (I34); the number of members never shrinks with lost memory (I36); ties (I39);
//! EXPECTED_MEMBERS also governs founding (I40).

use galera::observe::registration::{MembersSeen, NO_POSITION};
use galera::startup::{
    DataState, ExpectedMembers, FounderClaim, KeyPrecondition, StartupAction, StartupDecision,
    StartupSettings, decide,
};

use crate::fixture::{HISTORY, StartupFixture, at, auto_bootstrap_settings, id, starting_node};
use crate::invariants::{assert_wait, is_bootstrap, stopped_cluster};

fn expecting(expected: ExpectedMembers) -> StartupSettings {
    StartupSettings {
        expected_members: expected,
        ..auto_bootstrap_settings()
    }
}

/// n1 is the only member left in sight: n2 and n3 are registered, and empty containers wait under their addresses.
fn addresses_used_again() -> StartupFixture {
    StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(12)))
        .registered("n2", None)
        .empty("n2")
        .data("n2", "id-new")
        .registered("n3", None)
        .empty("n3")
        .data("n3", "id-newer")
}

#[test]
fn i34_empty_containers_under_members_addresses_report_nothing_about_them() {
    let decision = addresses_used_again().decide("n1", DataState::AtPosition(at(12)));
    assert_wait(
        &decision,
        "Waiting for n2 and n3: the address of n2 is used by other, empty data; the data that were registered there have \
         not been reported stopped",
    );
}

/// Data are registered once they are a member's: without a position now, what only they had is unknown, whether the directory
/// was emptied, a state transfer broke off or the position is not trusted.
#[test]
fn i37_registered_data_without_a_position_are_not_taken_for_nothing() {
    let emptied = stopped_cluster().waiting("n3", None);
    for (node, data) in [
        ("n1", DataState::AtPosition(at(9))),
        ("n2", DataState::AtPosition(at(12))),
        ("n3", DataState::Empty),
        (
            "n3",
            DataState::Incomplete {
                why: "grastate.dat is missing".to_owned(),
            },
        ),
        (
            "n3",
            DataState::Unrecoverable {
                uuid: Some(HISTORY),
                why: "the recovery failed".to_owned(),
                at_most: None,
            },
        ),
    ] {
        let decision = emptied.decide(node, data);
        assert_wait(
            &decision,
            "The data of n3 were a member's and have no position",
        );
        assert!(
            decision.explanation.contains("Recovery page"),
            "{}",
            decision.explanation
        );
        // An operator's setting names members, not what they had.
        let named = expecting(ExpectedMembers::Members(
            [id("n1"), id("n2"), id("n3")].into(),
        ));
        let own = starting_node("n2", DataState::AtPosition(at(12)));
        let decision = decide(&own, &emptied.snapshot(), &named);
        assert_wait(&decision, "n3 were a member's");
    }
    // The record of a clean stop is void once the data are live again.
    let stopped = stopped_cluster()
        .registered("n3", Some(at(3)))
        .data("n3", "id-n3")
        .put("n3/recovered_position", NO_POSITION, 7);
    assert_wait(
        &stopped.decide("n2", DataState::AtPosition(at(12))),
        "n3 were a member's",
    );
    // An approved order names the loss, and is obeyed.
    let ordered = emptied.order("n2", &at(12).to_string(), Some("a1"), 9);
    let decision = ordered.decide("n2", DataState::AtPosition(at(12)));
    assert!(
        matches!(decision.action, StartupAction::FollowOrder { .. }),
        "{decision:?}"
    );
    // Nor is anything lost with a node that never was a member.
    let newcomer = stopped_cluster().without("n3").empty("n3");
    let decision = newcomer.decide("n2", DataState::AtPosition(at(12)));
    assert!(is_bootstrap(&decision), "{decision:?}");
}

#[test]
fn i34_other_data_with_a_position_are_no_report_either() {
    for seqno in [3, 12, 99] {
        let fixture = stopped_cluster()
            .waiting("n2", Some(&at(seqno)))
            .data("n2", "id-copy");
        for (node, own) in [("n1", at(9)), ("n3", at(12))] {
            let decision = fixture.decide(node, DataState::AtPosition(own));
            assert_wait(&decision, "the address of n2 is used by other data");
        }
        // Nor does the node that runs them start the cluster.
        let mut own = starting_node("n2", DataState::AtPosition(at(seqno)));
        own.data_id = "id-copy".to_owned();
        let decision = decide(&own, &fixture.snapshot(), &auto_bootstrap_settings());
        assert_wait(&decision, "the address of n2 is used by other data");
    }
}

#[test]
fn i34_a_recorded_clean_stop_speaks_for_its_data_only() {
    let stopped = addresses_used_again()
        .registered("n2", Some(at(11)))
        .registered("n3", Some(at(12)));
    let decision = stopped.decide("n1", DataState::AtPosition(at(12)));
    let StartupAction::Bootstrap { preconditions, .. } = &decision.action else {
        panic!("{decision:?}");
    };
    let compared = |key: &str| {
        let key = format!("/galera/lab/{key}").into_bytes();
        preconditions
            .iter()
            .any(|known| matches!(known, KeyPrecondition::Unchanged(found, _) if *found == key))
    };
    assert!(compared("n2/registered") && compared("n3/registered"));
    // The registered data are ahead: the container at their address does not replace them.
    let ahead = addresses_used_again()
        .registered("n2", Some(at(13)))
        .registered("n3", Some(at(12)));
    assert_wait(
        &ahead.decide("n1", DataState::AtPosition(at(12))),
        "n2 stopped at",
    );
    // A clean stop is void once its data are live again.
    let live = stopped_cluster()
        .registered("n3", Some(at(12)))
        .waiting("n3", None)
        .put("n3/phase", "starting", 7);
    assert_wait(
        &live.decide("n2", DataState::AtPosition(at(12))),
        "n3: it has not reported",
    );
}

#[test]
fn i34_an_older_agent_is_not_believed_more_than_a_newer_one() {
    let mut fixture = stopped_cluster();
    fixture.raw.retain(|raw| !raw.key.ends_with(b"n1/data_id"));
    assert_wait(
        &fixture.decide("n2", DataState::AtPosition(at(12))),
        "n1: its agent is older",
    );
    // Without a lease, an identity proves nothing.
    let unleased = stopped_cluster().put("n1/data_id", "id-n1", 0);
    assert_wait(
        &unleased.decide("n2", DataState::AtPosition(at(12))),
        "n1: its agent is older",
    );
}

#[test]
fn i34_own_data_count_only_once_they_are_registered() {
    let unregistered = StartupFixture::default().founded();
    assert_wait(
        &unregistered.decide("n1", DataState::AtPosition(at(3))),
        "not registered in etcd yet",
    );
}

#[test]
fn i34_a_bootstrap_compares_the_identities_that_it_rests_on() {
    let decision = stopped_cluster().decide("n2", DataState::AtPosition(at(12)));
    let StartupAction::Bootstrap { preconditions, .. } = decision.action else {
        panic!("{}", decision.explanation);
    };
    for key in ["n1/data_id", "n1/registered", "n3/data_id"] {
        let key = format!("/galera/lab/{key}").into_bytes();
        assert!(
            preconditions.iter().any(
                |known| matches!(known, KeyPrecondition::Unchanged(found, _) if *found == key)
            )
        );
    }
}

#[test]
fn i36_a_node_that_saw_more_members_than_are_known_waits() {
    let fixture = stopped_cluster().members_seen("n3", 5, 17);
    for (node, own) in [("n2", at(12)), ("n3", at(12))] {
        let mut starting = starting_node(node, DataState::AtPosition(own));
        if node == "n3" {
            starting.members_seen = MembersSeen::parse(r#"{"count":5,"view":17}"#);
        }
        let decision = decide(&starting, &fixture.snapshot(), &auto_bootstrap_settings());
        assert_wait(
            &decision,
            "n3: its last view had 5 members, but only 3 of them are known",
        );
    }
    let own = |seen: &str| {
        let mut own = starting_node("n2", DataState::AtPosition(at(12)));
        own.members_seen = MembersSeen::parse(seen);
        own
    };
    let decided = |seen: &str, expected| {
        decide(
            &own(seen),
            &stopped_cluster().snapshot(),
            &expecting(expected),
        )
    };
    for (seen, fragment) in [
        (
            r#"{"count":4,"view":17}"#,
            "n2: its last view had 4 members",
        ),
        // The view is damaged.
        (r#"{"count":4}"#, "n2: its last view had at least 4 members"),
        (r#"{"configured":4}"#, "n2: its EXPECTED_MEMBERS requires 4"),
    ] {
        assert_wait(&decided(seen, ExpectedMembers::Registered), fragment);
        // A number is not a list of names.
        assert_wait(&decided(seen, ExpectedMembers::Count(3)), fragment);
        let named = ExpectedMembers::Members([id("n1"), id("n2"), id("n3")].into());
        assert!(is_bootstrap(&decided(seen, named)));
    }
    for harmless in [r#"{"count":3}"#, "{\"count\":99999}", "{", ""] {
        assert!(is_bootstrap(&decided(
            harmless,
            ExpectedMembers::Registered
        )));
    }
}

#[test]
fn i36_data_without_a_founder_key_start_only_if_every_member_is_named() {
    let lost = StartupFixture::default()
        .waiting("n1", Some(&at(9)))
        .waiting("n2", Some(&at(12)))
        .empty("n3");
    let decided = |expected| {
        let own = starting_node("n2", DataState::AtPosition(at(12)));
        decide(&own, &lost.snapshot(), &expecting(expected))
    };
    for expected in [ExpectedMembers::Registered, ExpectedMembers::Count(2)] {
        assert_wait(&decided(expected), "name every member");
    }
    let two = ExpectedMembers::Members([id("n1"), id("n2")].into());
    assert!(is_bootstrap(&decided(two)));
    // An empty container at a named address has perhaps replaced the data that were registered there.
    let three = ExpectedMembers::Members([id("n1"), id("n2"), id("n3")].into());
    assert_wait(&decided(three), "n3: it reports no data");
}

#[test]
fn i39_of_equals_a_member_of_the_newest_view_bootstraps() {
    let fixture = stopped_cluster()
        .members_seen("n2", 2, 16)
        .members_seen("n3", 2, 17);
    let mut own = starting_node("n3", DataState::AtPosition(at(12)));
    own.members_seen = MembersSeen::parse(r#"{"count":2,"view":17}"#);
    let third = decide(&own, &fixture.snapshot(), &auto_bootstrap_settings());
    assert!(is_bootstrap(&third), "{third:?}");
    let mut own = starting_node("n2", DataState::AtPosition(at(12)));
    own.members_seen = MembersSeen::parse(r#"{"count":2,"view":16}"#);
    let second = decide(&own, &fixture.snapshot(), &auto_bootstrap_settings());
    assert_wait(&second, "n3 is most advanced");
}

fn found(fixture: &StartupFixture, node: &str, expected: ExpectedMembers) -> StartupDecision {
    let settings = StartupSettings {
        expected_members: expected,
        ..StartupSettings::default()
    };
    decide(
        &starting_node(node, DataState::Empty),
        &fixture.snapshot(),
        &settings,
    )
}

#[test]
fn i40_expected_members_also_governs_founding() {
    let create = StartupAction::FoundCluster(FounderClaim::Create);
    let three = || ExpectedMembers::Count(3);
    let names = || ExpectedMembers::Members([id("n1"), id("n2"), id("n3")].into());
    let waiting = StartupFixture::default().empty("n1").empty("n2");
    for expected in [three(), names()] {
        for fixture in [
            StartupFixture::default(),
            waiting.clone(),
            waiting.clone().starting("n3"),
            // Gone: its keys have no lease.
            waiting.clone().put("n3/phase", "waiting", 0),
        ] {
            assert_wait(&found(&fixture, "n1", expected.clone()), "EXPECTED_MEMBERS");
        }
        let all = waiting.clone().empty("n3");
        for node in ["n1", "n2", "n3"] {
            assert_eq!(found(&all, node, expected.clone()).action, create, "{node}");
        }
        // A node with data among them: the cluster exists.
        let existing = all.clone().registered("n4", None);
        assert_wait(&found(&existing, "n1", expected.clone()), "n4");
    }
    // Three empty nodes, but not these.
    let others = waiting.clone().empty("n4");
    assert_wait(&found(&others, "n1", names()), "waiting until n3");
    assert_wait(&found(&others, "n4", names()), "n4 is not among");
    let alone = StartupFixture::default();
    assert_eq!(
        found(&alone, "n1", ExpectedMembers::Count(1)).action,
        create
    );
    assert_eq!(
        found(&alone, "n1", ExpectedMembers::Registered).action,
        create
    );
}

#[test]
fn i40_a_claim_is_taken_over_only_by_as_many() {
    let gone = StartupFixture::default()
        .founder("n9", false, None)
        .empty("n1");
    let three = || ExpectedMembers::Count(3);
    assert_wait(&found(&gone, "n1", three()), "EXPECTED_MEMBERS");
    let all = gone.empty("n2").empty("n3");
    assert_eq!(
        found(&all, "n1", three()).action,
        StartupAction::FoundCluster(FounderClaim::TakeOver { revision: 100 })
    );
}
