//! The parts of a verdict: messages, components, members, and its start.

use galera::view::{ClusterStatus, ReasonCode, VerdictState};

use crate::fixture::{
    FakeServer, FoldFixture, HISTORY, RUNNING_FIELDS, at, id, node, reason, refused, timed_out,
};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

fn two_of_three() -> FoldFixture {
    FoldFixture::expecting(&MEMBERS)
        .answers(
            "10.0.0.1",
            FakeServer::synced("db1")
                .view(&["AUTO"; 2], 0)
                .conf_id("18"),
        )
        .answers(
            "10.0.0.2",
            FakeServer::synced("db2")
                .view(&["AUTO"; 2], 1)
                .conf_id("18"),
        )
}

#[test]
fn reasons_name_the_node_and_the_evidence() {
    let fixture = two_of_three()
        .answers_between("10.0.0.3", FakeServer::synced("db3"), 0.0, 3.0)
        .fails("10.0.0.3", 4.0, refused());
    let view = fixture.view();
    let reason = reason(&view, ReasonCode::MemberUnreachable).unwrap();
    assert_eq!(reason.node, Some(id("10.0.0.3")));
    assert_eq!(
        reason.message,
        "db3 (10.0.0.3) has been unreachable since 08:12:04 UTC (connection refused)."
    );
    assert_eq!(
        view.verdict,
        fixture.view_later(1.0).verdict_with_since_of(&view)
    );
}

/// The verdict with the `since` of `first`: nothing else in it may change with time.
trait VerdictWithSince {
    fn verdict_with_since_of(&self, first: &Self) -> galera::view::Verdict;
}

impl VerdictWithSince for galera::view::ClusterView {
    fn verdict_with_since_of(&self, first: &Self) -> galera::view::Verdict {
        galera::view::Verdict {
            since: first.verdict.since,
            ..self.verdict.clone()
        }
    }
}

#[test]
fn an_unreachable_member_still_listed_by_its_peers_is_described_so() {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0))
        .answers("10.0.0.2", FakeServer::synced("db2").view(&list, 1))
        .fails("10.0.0.3", 9.0, timed_out());
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    assert_eq!(view.components[0].members, MEMBERS.map(id));
    let message = &reason(&view, ReasonCode::MemberUnreachable)
        .unwrap()
        .message;
    assert!(
        message.ends_with("its peers still list it as a member."),
        "{message}"
    );
}

#[test]
fn components_carry_what_their_members_report() {
    let fixture = two_of_three().answers("10.0.0.3", FakeServer::non_primary("db3"));
    let view = fixture.view();
    let [primary, other] = view.components.as_slice() else {
        panic!("{:#?}", view.components);
    };
    assert_eq!(primary.status, ClusterStatus::Primary);
    assert_eq!(primary.members, [id("10.0.0.1"), id("10.0.0.2")]);
    assert_eq!((primary.conf_id, primary.size), (Some(18), Some(2)));
    assert_eq!(primary.state_uuid.as_deref(), Some(HISTORY));
    assert_eq!(other.status, ClusterStatus::NonPrimary);
    assert_eq!(other.members, [id("10.0.0.3")]);
    assert_eq!((other.conf_id, other.size), (None, Some(1)));
}

#[test]
fn since_is_kept_while_the_state_is_unchanged() {
    let healthy = FoldFixture::healthy();
    let first = healthy.view();
    let fold = |fixture: &FoldFixture, previous| {
        galera::judge::cluster::fold(
            &fixture.evidence,
            at(12.0),
            &fixture.settings,
            Some(previous),
        )
    };
    assert_eq!(fold(&healthy, &first).verdict.since, first.verdict.since);
    let degraded = FoldFixture::healthy().fails("10.0.0.2", 11.0, refused());
    assert_eq!(fold(&degraded, &first).verdict.since, at(12.0));
}

#[test]
fn without_expectations_the_component_itself_is_judged() {
    let mut fixture = FoldFixture::healthy();
    fixture.evidence.configured_members.clear();
    assert_eq!(fixture.verdict(), VerdictState::Healthy);
    let donor = FakeServer::synced("db2")
        .view(&["AUTO"; 3], 1)
        .state("2", "Donor/Desynced");
    assert_eq!(
        fixture.answers("10.0.0.2", donor).verdict(),
        VerdictState::Degraded
    );
}

#[test]
fn unexpected_members_do_not_affect_the_verdict() {
    let fixture = (0..3).fold(FoldFixture::expecting(&MEMBERS[..2]), |fixture, index| {
        let server = FakeServer::synced(&format!("db{index}")).view(&["AUTO"; 3], index);
        fixture.answers(MEMBERS[index], server)
    });
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Healthy);
    assert!(!node(&view, "10.0.0.3").expected);
}

#[test]
fn a_node_that_notices_its_isolation_first_is_no_unknown_member() {
    let isolated = FakeServer::non_primary("db2").view(&["AUTO"; 1], 0);
    let view = FoldFixture::healthy().answers(MEMBERS[2], isolated).view();
    assert_eq!(view.components[0].size, Some(3));
    assert_eq!(view.components[0].members.len(), 2);
    assert!(reason(&view, ReasonCode::UnknownMembers).is_none());
}

#[test]
fn an_arbitrator_is_counted_but_not_named() {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306", ""];
    let fixture = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0))
        .answers("10.0.0.2", FakeServer::synced("db2").view(&list, 1));
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Healthy);
    assert_eq!(
        (view.components[0].members.len(), view.components[0].size),
        (2, Some(3))
    );
    assert!(reason(&view, ReasonCode::UnknownMembers).is_some());
}

#[test]
fn both_spellings_of_a_port_are_one_node() {
    let mut fixture = FoldFixture::healthy();
    fixture
        .evidence
        .configured_members
        .insert(id("10.0.0.1:3306"));
    let view = fixture
        .registered("10.0.0.2:3306", 9.0, &RUNNING_FIELDS)
        .view();
    assert_eq!(view.expected_members, MEMBERS.map(id));
    assert_eq!(view.nodes.len(), 3);
    assert!(node(&view, "10.0.0.2").registered);
}
