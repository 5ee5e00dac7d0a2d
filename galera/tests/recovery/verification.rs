//! The invariants that concern what is observed after a bootstrap, one test each.

use std::time::Duration;

use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::{BootstrapOutcome, NoEffectProof, returning_ahead, verify};
use galera::recover::plan::PlanTarget;

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

/// A statement was sent to the only survivor, and its answer was lost.
struct UnansweredStatement {
    before: RecoveryFixture,
    target: PlanTarget,
    proof: NoEffectProof,
}

impl UnansweredStatement {
    fn rows() -> FakeStatusRows {
        FakeStatusRows::non_primary(&["n1"], 0, 100)
            .with_row("wsrep_cluster_weight", "0")
            .with_row("wsrep_protocol_version", "10")
    }

    fn sent() -> Self {
        let before = RecoveryFixture::two_of_three_lost().answers("n1", Self::rows());
        let target = before.plan().target.unwrap();
        Self {
            before,
            target,
            proof: NoEffectProof::default(),
        }
    }

    fn observe(&mut self, fixture: &RecoveryFixture, seconds: u64) -> Option<String> {
        let elapsed = Duration::from_secs(seconds);
        self.proof.observe(&self.target, &fixture.case(), elapsed)
    }

    /// Observes `fixture` each second for a minute.
    fn observe_long(&mut self, fixture: &RecoveryFixture) -> Option<String> {
        (0..60).find_map(|second| self.observe(fixture, second))
    }
}

#[test]
fn i21_an_unchanged_survivor_proves_in_time_that_a_statement_had_no_effect() {
    let mut sent = UnansweredStatement::sent();
    let before = sent.before.clone();
    let early: Vec<_> = (0..10)
        .filter_map(|second| sent.observe(&before, second))
        .collect();
    assert!(early.is_empty(), "it may still arrive: {early:?}");
    let proven = sent.observe(&before, 10).unwrap();
    assert!(proven.contains("n1"), "{proven}");
}

/// The fork of a statement that may have taken effect stays (I35).
#[test]
fn i21_that_a_statement_had_no_effect_is_proven_or_not_claimed() {
    let rows = UnansweredStatement::rows;
    let other_process = "00000001-0000-11ef-a1b2-c3d4e5f60718";
    for (changed, what) in [
        (FakeStatusRows::primary(&["n1"], 0, 101), "it took effect"),
        (
            rows().with_row("wsrep_last_committed", "101"),
            "it was Primary",
        ),
        (
            rows().with_row("wsrep_cluster_weight", "1"),
            "a lock holds its status back",
        ),
        (
            rows().without_row("wsrep_cluster_weight"),
            "its votes are unknown",
        ),
        (
            rows().with_row("wsrep_local_recv_queue", "1"),
            "it has not applied the view",
        ),
        (
            rows().with_row("wsrep_gcomm_uuid", other_process),
            "it was restarted",
        ),
        (
            rows().without_row("wsrep_gcomm_uuid"),
            "its process is unknown",
        ),
        (
            rows().with_row("wsrep_cluster_size", "2"),
            "others decide with it",
        ),
        (
            rows().with_row("wsrep_protocol_version", "9"),
            "views take no position",
        ),
        (
            rows().without_row("wsrep_protocol_version"),
            "its protocol is unknown",
        ),
        (
            rows().with_row("wsrep_local_state_uuid", OTHER_HISTORY),
            "another history",
        ),
    ] {
        let mut sent = UnansweredStatement::sent();
        let after = sent.before.clone().answers("n1", changed);
        assert_eq!(sent.observe_long(&after), None, "{what}");
    }
    let mut sent = UnansweredStatement::sent();
    let silent = sent.before.clone().refuses_connections("n1");
    assert_eq!(sent.observe_long(&silent), None);
}

/// A server that was paused with the statement executes it when it continues, maybe after its first answer.
#[test]
fn i21_an_interruption_begins_the_proof_again() {
    let mut sent = UnansweredStatement::sent();
    let before = sent.before.clone();
    let silent = before.clone().refuses_connections("n1");
    for second in 0..10 {
        assert_eq!(sent.observe(&before, second), None);
    }
    assert_eq!(sent.observe(&silent, 10), None);
    for second in 11..21 {
        assert_eq!(sent.observe(&before, second), None);
    }
    assert!(sent.observe(&before, 21).is_some());

    // The executor was paused: what the server did meanwhile is unknown.
    let mut sent = UnansweredStatement::sent();
    assert_eq!(sent.observe(&before, 0), None);
    assert_eq!(sent.observe(&before, 30), None);
}

/// What a component of several agreed to may take effect once a paused member continues.
#[test]
fn i21_a_member_of_a_component_of_several_proves_nothing() {
    let rows = |index| {
        FakeStatusRows::non_primary(&["n1", "n2"], index, 100)
            .with_row("wsrep_cluster_weight", "0")
            .with_row("wsrep_protocol_version", "10")
    };
    let mut sent = UnansweredStatement::sent();
    sent.before = RecoveryFixture::two_of_three_lost()
        .answers("n1", rows(0))
        .answers("n2", rows(1));
    sent.target = sent.before.plan().target.unwrap();
    let before = sent.before.clone();
    assert_eq!(sent.observe_long(&before), None);
}
