//! Every wait names a way out, and a running server that the others wait for is restarted only with proof.

use galera::observe::fork::ForkRecord;
use galera::startup::{
    self, DataState, ExpectedMembers, NonPrimaryDecision, NonPrimaryNode, RegistrySnapshot,
    StartupAction, StartupSettings, decide_non_primary,
};

use crate::fixture::{
    HISTORY, OTHER_HISTORY, StartupFixture, at, auto_bootstrap_settings, id, starting_node,
};
use galera::Position;

fn explanation(fixture: &StartupFixture, node: &str, data: DataState) -> String {
    let decision = fixture.decide_without_auto_bootstrap(node, data);
    assert!(
        matches!(decision.action, StartupAction::Wait { .. }),
        "{decision:?}"
    );
    decision.explanation
}

#[test]
fn a_lone_member_names_the_settings_that_start_it() {
    let lone = StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(7)));
    // Without a founder key a number names no member.
    let unfounded = StartupFixture::default().waiting("n1", Some(&at(7)));
    for (fixture, value, expected) in [
        (&lone, "1", ExpectedMembers::Count(1)),
        (
            &unfounded,
            "n1",
            ExpectedMembers::Members([id("n1")].into()),
        ),
    ] {
        let text = explanation(fixture, "n1", DataState::AtPosition(at(7)));
        let advice = format!("AUTO_BOOTSTRAP=all-reported and EXPECTED_MEMBERS={value}");
        assert!(text.ends_with(&advice), "{text}");
        let settings = StartupSettings {
            expected_members: expected,
            ..auto_bootstrap_settings()
        };
        let own = starting_node("n1", DataState::AtPosition(at(7)));
        let decision = startup::decide(&own, &fixture.snapshot(), &settings);
        assert!(
            matches!(decision.action, StartupAction::Bootstrap { .. }),
            "{decision:?}"
        );
    }
    let two = lone.waiting("n2", Some(&at(7)));
    let text = explanation(&two, "n1", DataState::AtPosition(at(7)));
    assert!(
        text.contains("Recovery page") && !text.contains("EXPECTED_MEMBERS"),
        "{text}"
    );
}

#[test]
fn a_node_without_data_names_the_decommission() {
    let founded = StartupFixture::default().founder("n9", true, Some(HISTORY));
    let text = explanation(&founded, "n1", DataState::Empty);
    assert!(text.contains("decommission"), "{text}");
    // Also where every member has reported that it has none.
    let decision = StartupFixture::default()
        .founder("n2", true, Some(HISTORY))
        .waiting("n2", None)
        .waiting("n1", None)
        .decide("n1", DataState::Empty);
    assert!(
        decision.explanation.contains("none has a position")
            && decision.explanation.contains("decommission"),
        "{}",
        decision.explanation
    );
}

#[test]
fn a_member_whose_agent_cannot_read_its_server_is_quoted() {
    let decision = StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(7)))
        .registered("n2", None)
        .data("n2", "id-n2")
        .put("n2/phase", "starting", 7)
        .put("n2/waiting_for", "the server runs, but denies access", 7)
        .decide("n1", DataState::AtPosition(at(7)));
    assert!(
        decision
            .explanation
            .contains("because the server runs, but denies access"),
        "{}",
        decision.explanation
    );
}

#[test]
fn a_member_that_runs_without_primary_is_named_with_its_remedy() {
    let decision = StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(46)))
        .running("n2", "Initialized", "non-Primary", &at(44))
        .decide("n1", DataState::AtPosition(at(46)));
    for words in ["running at 44", "restart the container or service of n2"] {
        assert!(
            decision.explanation.contains(words),
            "{}",
            decision.explanation
        );
    }
}

/// `n3` runs at 44 without being Primary; `n1` and `n2` wait at 46.
fn split() -> StartupFixture {
    StartupFixture::default()
        .founded()
        .waiting("n1", Some(&at(46)))
        .waiting("n2", Some(&at(46)))
        .running("n3", "Initialized", "non-Primary", &at(44))
}

fn decide(snapshot: &RegistrySnapshot, position: Position, fork_epoch: u64) -> NonPrimaryDecision {
    let own = NonPrimaryNode {
        node: id("n3"),
        position,
        fork_epoch,
    };
    decide_non_primary(&own, snapshot)
}

#[test]
fn i24_a_server_is_restarted_only_if_a_waiting_member_is_proven_ahead() {
    let restart = decide(&split().snapshot(), at(44), 0);
    let NonPrimaryDecision::Restart { explanation } = restart else {
        panic!("{restart:?}");
    };
    assert!(
        explanation.contains("n3 runs at 44") && explanation.contains("n1 waits at 46"),
        "{explanation}"
    );
    // No member is ahead, or it has another history, is Primary or does not wait.
    for other in [
        decide(&split().snapshot(), at(46), 0),
        decide(&split().snapshot(), at(47), 0),
        decide(
            &split().snapshot(),
            Position::new(OTHER_HISTORY, 44).unwrap(),
            0,
        ),
        decide(&split().synced("n4", &at(50)).snapshot(), at(44), 0),
        decide(
            &StartupFixture::default()
                .founded()
                .running("n3", "Initialized", "non-Primary", &at(44))
                .snapshot(),
            at(44),
            0,
        ),
    ] {
        assert_eq!(other, NonPrimaryDecision::Continue);
    }
}

#[test]
fn what_is_not_proven_is_asked_of_an_operator() {
    let fork = ForkRecord {
        state_uuid: HISTORY,
        seqno: 43,
        members: [id("n1")].into(),
        action_id: "a".to_owned(),
        parent: 0,
        at: None,
    };
    let forked = split()
        .put("forks/1", &fork.to_value(), 0)
        .put("n1/fork_epoch", "1", 7)
        .put("n2/fork_epoch", "1", 7);
    let other_data = split().data("n1", "id-x").data("n2", "id-x");
    let rival = split().running("n4", "Initialized", "non-Primary", &at(46));
    for (fixture, own_epoch, words) in [
        // Transaction 44 of this node is not the members'.
        (&forked, 0, "without transactions that this node has"),
        (&split(), 1, "has not continued fork 1"),
        (&other_data, 0, "not the ones that are registered"),
        (&rival, 0, "n4 runs too"),
    ] {
        let decision = decide(&fixture.snapshot(), at(44), own_epoch);
        let NonPrimaryDecision::Ask { explanation } = decision else {
            panic!("{words}: {decision:?}");
        };
        assert!(
            explanation.contains(words)
                && explanation.contains("restart the container or service of n3"),
            "{explanation}"
        );
    }
}
