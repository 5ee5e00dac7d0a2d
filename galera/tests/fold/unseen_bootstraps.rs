//! Components that were bootstrapped and lost from sight before their new view was seen (I43).

use std::sync::Arc;

use galera::Timestamp;
use galera::judge::known_positions::{KnownPositions, LastPrimaryView};
use galera::judge::unseen_bootstraps::unseen_bootstraps;
use galera::observe::fork::{ForkRecord, ForkRecords, OBSERVED};
use galera::observe::started_bootstrap::StartedBootstrap;
use galera::position::Position;
use galera::view::{ReasonCode, VerdictState};

use crate::fixture::{
    FakeServer, FoldFixture, HISTORY, OTHER_HISTORY, at, id, reason, refused, timed_out,
};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
/// The position of [`FakeServer`].
const POSITION: u64 = 2881;

fn bootstrap(members: &[&str], seqno: u64, when: Option<f64>) -> StartedBootstrap {
    StartedBootstrap {
        history: HISTORY.parse().unwrap(),
        seqno,
        members: members.iter().map(|member| id(member)).collect(),
        at: when.map(at),
    }
}

/// Two members answer without a Primary component, and the third one is silent.
fn majority_in_sight() -> FoldFixture {
    let pair = |name: &str, index| {
        FakeServer::non_primary(name).view(&["10.0.0.1:3306", "10.0.0.2:3306"], index)
    };
    FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", pair("db1", 0))
        .answers("10.0.0.2", pair("db2", 1))
        .fails("10.0.0.3", 4.0, timed_out())
}

#[test]
fn i43_a_component_that_was_bootstrapped_out_of_sight_may_be_primary() {
    let mut fixture = majority_in_sight();
    assert_eq!(fixture.verdict(), VerdictState::NoPrimary);
    fixture.evidence.unseen_bootstraps = vec![bootstrap(&["10.0.0.3"], 2879, None)];
    assert_eq!(fixture.verdict(), VerdictState::Unknown);
    let view = fixture.view();
    assert_eq!(
        reason(&view, ReasonCode::NoPrimaryInSight).unwrap().message,
        "db1 (10.0.0.1) and db2 (10.0.0.2) are non-Primary; 10.0.0.3, which could be Primary, does not answer this console \
         (unreachable members hold 1 of 3 votes, and no Primary view was seen since the bootstrap of 10.0.0.3). Whether the cluster \
         accepts writes is unknown."
    );
    let mut killed = majority_in_sight().fails("10.0.0.3", 4.0, refused());
    killed.evidence.unseen_bootstraps = vec![bootstrap(&["10.0.0.3"], 2879, None)];
    assert_eq!(
        killed.verdict(),
        VerdictState::NoPrimary,
        "none is out of sight"
    );
}

#[test]
fn i43_a_component_that_answers_at_its_former_position_was_not_bootstrapped() {
    let verdict = |members: &[&str], seqno| {
        let mut fixture = majority_in_sight();
        fixture.evidence.unseen_bootstraps = vec![bootstrap(members, seqno, None)];
        fixture.verdict()
    };
    assert_eq!(
        verdict(&["10.0.0.1", "10.0.0.2"], POSITION),
        VerdictState::NoPrimary
    );
    // It was, and the third one may have joined it before it lost its quorum again.
    assert_eq!(
        verdict(&["10.0.0.1", "10.0.0.2"], POSITION - 1),
        VerdictState::Unknown
    );
    // The statement was for a component of which a part is out of sight.
    assert_eq!(
        verdict(&["10.0.0.2", "10.0.0.3"], POSITION),
        VerdictState::Unknown
    );
    assert_eq!(
        verdict(&["10.0.0.1", "10.0.0.9"], POSITION),
        VerdictState::Unknown,
        "a member that is not known here"
    );
}

fn seen_primary(node: &str, history: &str, seqno: u64, when: Timestamp) -> KnownPositions {
    let mut known = KnownPositions::default();
    let view = LastPrimaryView {
        conf_id: 3,
        position: Position::new(history.parse().unwrap(), seqno).unwrap(),
        members: Arc::default(),
        at: when,
        since: None,
        weight: None,
        total_weight: None,
        size: None,
    };
    known.primary.insert(id(node), view);
    known
}

#[test]
fn i43_a_bootstrap_counts_until_a_member_was_seen_primary_after_it() {
    let started = || bootstrap(&["10.0.0.3"], 100, Some(10.0));
    let counts = |known: &KnownPositions| !unseen_bootstraps([started()], known).is_empty();
    assert!(counts(&KnownPositions::default()));
    assert!(counts(&seen_primary("10.0.0.3", HISTORY, 100, at(9.0))));
    assert!(!counts(&seen_primary("10.0.0.3", HISTORY, 101, at(11.0))));
    // It had more before: its data were restored.
    assert!(counts(&seen_primary("10.0.0.3", HISTORY, 140, at(9.0))));
    // Another component of the same history says nothing about this one.
    assert!(counts(&seen_primary("10.0.0.1", HISTORY, 140, at(11.0))));
    // The cluster was founded again.
    assert!(!counts(&seen_primary(
        "10.0.0.1",
        OTHER_HISTORY,
        4,
        at(11.0)
    )));
    assert!(counts(&seen_primary("10.0.0.1", OTHER_HISTORY, 4, at(9.0))));
}

#[test]
fn i43_a_later_bootstrap_that_was_seen_ends_an_earlier_one() {
    let earlier = bootstrap(&["10.0.0.3"], 100, Some(10.0));
    let later = bootstrap(&["10.0.0.1"], 100, Some(20.0));
    let seen = |node: &str| {
        let known = seen_primary(node, HISTORY, 105, at(30.0));
        unseen_bootstraps([earlier.clone(), later.clone()], &known)
    };
    assert_eq!(seen("10.0.0.1"), []);
    assert_eq!(seen("10.0.0.3"), std::slice::from_ref(&later));
}

#[test]
fn i43_recorded_forks_are_bootstraps() {
    let record = ForkRecord {
        state_uuid: HISTORY.parse().unwrap(),
        seqno: 66,
        members: [id("n2"), id("n3:3307")].into(),
        action_id: OBSERVED.to_owned(),
        parent: 0,
        at: Some(at(1.0)),
    };
    let mut forks = ForkRecords::default();
    forks.insert(1, record.to_value().as_bytes());
    forks.insert(2, b"{");
    let started: Vec<_> = StartedBootstrap::of_forks(&forks, 3307).collect();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].members, [id("n2:3306"), id("n3")].into());
    assert_eq!((started[0].seqno, started[0].at), (66, Some(at(1.0))));
}
