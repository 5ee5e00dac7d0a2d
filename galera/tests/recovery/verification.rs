//! The invariants that concern what is observed after a bootstrap, one test each.

use std::time::Duration;

use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::{BootstrapOutcome, had_no_effect, returning_ahead, verify};

use crate::fixture::{FakeStatusRows, OTHER_HISTORY, RecoveryFixture, at, id};

#[test]
fn i21_success_is_what_the_nodes_say() {
    let before = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n1", FakeStatusRows::non_primary(&["n1", "n2"], 0, 100))
        .answers("n2", FakeStatusRows::non_primary(&["n1", "n2"], 1, 100))
        .refuses_connections("n3")
        .attest("n3", AttestedState::Stopped);
    let target = before.plan().target.unwrap();
    assert!(
        matches!(verify(&target, &before.case()), BootstrapOutcome::NotYet(_)),
        "nothing changed yet"
    );
    let half = before
        .clone()
        .answers("n1", FakeStatusRows::primary(&["n1", "n2"], 0, 101));
    assert!(
        matches!(verify(&target, &half.case()), BootstrapOutcome::NotYet(_)),
        "n2 is missing"
    );
    let done = half
        .clone()
        .answers("n2", FakeStatusRows::primary(&["n1", "n2"], 1, 101));
    assert_eq!(verify(&target, &done.case()), BootstrapOutcome::Proven);
    let other = done.clone().answers(
        "n1",
        FakeStatusRows::primary(&["n1", "n2"], 0, 101).with_history(OTHER_HISTORY),
    );
    assert!(matches!(
        verify(&target, &other.case()),
        BootstrapOutcome::Contradicted(_)
    ));
    let joined = half.answers(
        "n2",
        FakeStatusRows::primary(&["n1", "n2"], 1, 101)
            .with_row("wsrep_local_state", "3")
            .with_row("wsrep_local_state_comment", "Joined"),
    );
    assert!(
        matches!(verify(&target, &joined.case()), BootstrapOutcome::NotYet(_)),
        "n2 is not Synced"
    );
}

#[test]
fn i22_a_node_that_returns_ahead_is_reported() {
    let target = RecoveryFixture::two_of_three_lost().plan().target.unwrap();
    let back = RecoveryFixture::two_of_three_lost()
        .answers("n1", FakeStatusRows::primary(&["n1"], 0, 101))
        .answers("n2", FakeStatusRows::non_primary(&["n2"], 0, 130));
    let ahead = returning_ahead(&target, at(60), &back.case());
    assert_eq!((&ahead[0].node, ahead[0].transactions), (&id("n2"), 30));
    assert!(ahead[0].message.contains("Copy its data directory"));
}

#[test]
fn i22_a_node_that_has_joined_since_is_not_ahead_when_lost_again() {
    let target = RecoveryFixture::two_of_three_lost().plan().target.unwrap();
    // The views n2 was seen in; then it is killed at 130, and the cluster continues without it.
    let lost_again = |views: &[(i64, &[&str], &str)]| {
        let mut fixture = RecoveryFixture::two_of_three_lost();
        for (seconds, members, conf_id) in views {
            let seen = RecoveryFixture::expecting(&["n1", "n2"]).answers(
                "n2",
                FakeStatusRows::primary(members, members.len() - 1, 130)
                    .with_row("wsrep_cluster_conf_id", conf_id),
            );
            let mut evidence = seen.evidence;
            for probe in evidence.probes.values_mut() {
                if let Some((when, _)) = &mut probe.status {
                    *when = at(*seconds);
                }
            }
            fixture
                .history
                .update(&evidence, at(*seconds), &fixture.settings.fold);
        }
        let fixture = fixture
            .answers("n1", FakeStatusRows::primary(&["n1"], 0, 140))
            .answers("n2", FakeStatusRows::primary(&["n1", "n2"], 1, 130))
            .refuses_connections("n2");
        returning_ahead(&target, at(60), &fixture.case()).len()
    };
    let both: &[&str] = &["n1", "n2"];
    assert_eq!(lost_again(&[(10, both, "17"), (90, both, "19")]), 0);
    assert_eq!(
        lost_again(&[(10, both, "17"), (90, both, "17")]),
        1,
        "the view from before the loss, repeated by a server that was paused"
    );
    assert_eq!(
        lost_again(&[(10, both, "17"), (90, &["n2"], "18")]),
        1,
        "a separate component"
    );
    assert_eq!(lost_again(&[(10, both, "17")]), 1);
}

#[test]
fn i22_a_node_that_returns_primary_elsewhere_contradicts_the_bootstrap() {
    let target = RecoveryFixture::two_of_three_lost().plan().target.unwrap();
    let rival = RecoveryFixture::two_of_three_lost()
        .answers("n1", FakeStatusRows::primary(&["n1"], 0, 101))
        .answers(
            "n2",
            FakeStatusRows::primary(&["n2"], 0, 101)
                .with_row("wsrep_gcomm_uuid", "99990000-0c2f-11ef-a1b2-c3d4e5f60718"),
        );
    assert!(matches!(
        verify(&target, &rival.case()),
        BootstrapOutcome::Contradicted(_)
    ));
}

/// The fork of such a statement is removed; one that may have taken effect stays (I35).
#[test]
fn i21_that_a_statement_had_no_effect_is_proven_or_not_claimed() {
    let rows =
        || FakeStatusRows::non_primary(&["n1"], 0, 100).with_row("wsrep_cluster_weight", "0");
    let before = RecoveryFixture::two_of_three_lost().answers("n1", rows());
    let target = before.plan().target.unwrap();
    let now = before.case().now;
    let earlier = now.minus(Duration::from_secs(11));
    let proven = had_no_effect(&target, earlier, &before.case());
    assert!(proven.is_some_and(|reason| reason.contains("n1")));
    // It may still arrive.
    let later = now.minus(Duration::from_secs(9));
    assert_eq!(had_no_effect(&target, later, &before.case()), None);
    for changed in [
        FakeStatusRows::primary(&["n1"], 0, 101),
        // It was Primary and is not any more.
        FakeStatusRows::non_primary(&["n1"], 0, 101).with_row("wsrep_cluster_weight", "0"),
        // A lock freezes the status; the provider counts votes.
        rows().with_row("wsrep_cluster_weight", "1"),
        rows().with_row("wsrep_local_recv_queue", "1"),
        FakeStatusRows::non_primary(&["n1"], 0, 100),
    ] {
        let after = before.clone().answers("n1", changed);
        assert_eq!(had_no_effect(&target, earlier, &after.case()), None);
    }
    let silent = before.refuses_connections("n1");
    assert_eq!(had_no_effect(&target, earlier, &silent.case()), None);
}
