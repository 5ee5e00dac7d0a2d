//! Arbitrators: reported by an agent, or inferred from the size of a component.

use std::sync::Arc;

use galera::observe::registration::{
    ArbitratorName, ArbitratorPhase, ArbitratorRecord, short_member_id,
};
use galera::view::{ArbitratorState, ClusterStatus, VerdictState};

use crate::fixture::{FakeServer, FoldFixture, at};

/// Two members and an arbitrator, which its entry in the list of addresses does not name.
fn members_and_arbitrator() -> FoldFixture {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306", ""];
    let server = |name: &str, index| {
        FakeServer::synced(name)
            .view(&list, index)
            .with_row("wsrep_cluster_weight", "3")
    };
    FoldFixture::expecting(&["10.0.0.1", "10.0.0.2"])
        .answers("10.0.0.1", server("db1", 0))
        .answers("10.0.0.2", server("db2", 1))
}

/// The report of an arbitrator whose view has these members.
fn record(phase: ArbitratorPhase, members: Vec<String>) -> ArbitratorRecord {
    ArbitratorRecord {
        phase,
        address: "10.0.0.9:4567".to_owned(),
        since: at(0.0),
        waiting_for: None,
        state_uuid: None,
        members,
    }
}

fn with_reports(mut fixture: FoldFixture, reports: &[(&str, ArbitratorRecord)]) -> FoldFixture {
    let reports = reports.iter().cloned();
    let named = reports.map(|(name, record)| (name.parse::<ArbitratorName>().unwrap(), record));
    fixture.evidence.arbitrators = Arc::new(named.collect());
    fixture
}

fn states(fixture: &FoldFixture) -> Vec<(Option<String>, ArbitratorState)> {
    let view = fixture.view();
    let arbitrators = view.arbitrators.into_iter();
    arbitrators.map(|one| (one.name, one.state)).collect()
}

/// The members that answer, as the arbitrator's log names them.
fn members_of(fixture: &FoldFixture) -> Vec<String> {
    let view = fixture.view();
    let ids = view
        .nodes
        .iter()
        .filter_map(|node| short_member_id(node.gcomm_uuid.as_deref()?));
    ids.collect()
}

#[test]
fn a_member_without_a_name_is_inferred() {
    assert_eq!(
        states(&members_and_arbitrator()),
        [(None, ArbitratorState::Inferred)]
    );
    assert_eq!(states(&FoldFixture::healthy()), []);
}

#[test]
fn a_report_names_it_if_the_members_are_in_its_view() {
    let fixture = members_and_arbitrator();
    let members = members_of(&fixture);
    let reported = with_reports(
        fixture,
        &[("garb1", record(ArbitratorPhase::Primary, members))],
    );
    assert_eq!(
        states(&reported),
        [(Some("garb1".to_owned()), ArbitratorState::Member)]
    );
    let quorum = reported.view().quorum.unwrap();
    assert_eq!((quorum.votes, quorum.arbitrators), (3, 1));
}

#[test]
fn a_report_adds_no_vote_and_changes_no_verdict() {
    for phase in [
        ArbitratorPhase::Primary,
        ArbitratorPhase::NonPrimary,
        ArbitratorPhase::Waiting,
    ] {
        let plain = FoldFixture::healthy();
        let members = members_of(&plain);
        let before = plain.view();
        let after = with_reports(plain, &[("forged", record(phase, members))]).view();
        assert_eq!(after.verdict, before.verdict);
        assert_eq!(after.quorum, before.quorum);
        assert_eq!(after.expected_members, before.expected_members);
        assert!(
            after
                .arbitrators
                .iter()
                .all(|one| one.state != ArbitratorState::Member)
        );
    }
    // Nor without a Primary component: what it reports proves no quorum.
    let lost =
        FoldFixture::expecting(&["10.0.0.1"]).answers("10.0.0.1", FakeServer::non_primary("db1"));
    let view = with_reports(
        lost,
        &[(
            "garb1",
            record(ArbitratorPhase::Primary, vec!["x".to_owned()]),
        )],
    )
    .view();
    assert_eq!(view.arbitrators[0].state, ArbitratorState::Elsewhere);
    assert!(
        view.components
            .iter()
            .all(|component| component.status != ClusterStatus::Primary)
    );
    assert_ne!(view.verdict.state, VerdictState::Healthy);
}

#[test]
fn one_that_votes_elsewhere_is_told_apart() {
    let strangers = vec!["0a0a0a0a-0b0b".to_owned()];
    let fixture = with_reports(
        members_and_arbitrator(),
        &[
            ("garb1", record(ArbitratorPhase::Primary, strangers)),
            ("garb2", record(ArbitratorPhase::Connecting, Vec::new())),
        ],
    );
    assert_eq!(
        states(&fixture),
        [
            (Some("garb1".to_owned()), ArbitratorState::Elsewhere),
            (Some("garb2".to_owned()), ArbitratorState::Connecting),
            (None, ArbitratorState::Inferred),
        ]
    );
}

#[test]
fn reasons_to_wait_are_shown_as_one_line() {
    let waiting = ArbitratorRecord {
        waiting_for: Some("no member\n\u{1b}[31mis Primary".to_owned()),
        ..record(ArbitratorPhase::Waiting, Vec::new())
    };
    let view = with_reports(FoldFixture::healthy(), &[("garb1", waiting)]).view();
    assert!(
        !view.arbitrators[0].message.contains(char::is_control),
        "{:?}",
        view.arbitrators
    );
}
