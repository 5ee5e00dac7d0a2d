//! An address that does not name one process: every server is one node, whatever leads to it.

use galera::NodeId;
use galera::observe::observation::ProbeErrorKind;
use galera::view::{ClusterView, NodeState, ReasonCode, VerdictState};

use crate::fixture::{
    FakeServer, FoldFixture, RUNNING_FIELDS, failure, id, node, reason, refused, state, timed_out,
};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const LIST: [&str; 3] = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];

fn server(number: usize) -> FakeServer {
    FakeServer::synced(&format!("db{number}")).view(&["AUTO"; 3], number - 1)
}

fn survivor(number: usize) -> FakeServer {
    FakeServer::non_primary(&format!("db{number}")).view(&["AUTO"; 2], number - 2)
}

fn expected(view: &ClusterView) -> Vec<String> {
    view.expected_members
        .iter()
        .map(NodeId::to_string)
        .collect()
}

fn assert_three_members(view: &ClusterView) {
    assert_eq!(
        view.verdict.state,
        VerdictState::Healthy,
        "{:?}",
        view.verdict.reasons
    );
    assert_eq!(view.nodes.len(), 3, "{:?}", expected(view));
    assert_eq!(view.expected_members.len(), 3);
    assert_eq!(view.components.len(), 1);
    assert_eq!(view.components[0].members.len(), 3);
    let all = reason(view, ReasonCode::AllSynced).unwrap();
    assert!(all.message.starts_with("All 3 "), "{}", all.message);
    assert!(reason(view, ReasonCode::UnknownMembers).is_none());
}

#[test]
fn a_pinned_virtual_address_is_another_name_of_a_member() {
    let view = FoldFixture::healthy().answers("10.0.0.9", server(2)).view();
    assert_three_members(&view);
    let mut fixture = FoldFixture::healthy()
        .registered("10.0.0.2", 9.0, &RUNNING_FIELDS)
        .answers("vip", server(2));
    fixture.evidence.configured_members.insert(id("vip"));
    let view = fixture.view();
    assert_three_members(&view);
    assert_eq!(node(&view, "10.0.0.2").names, [id("vip")]);
}

#[test]
fn every_spelling_of_an_address_is_one_node() {
    let mut fixture =
        FoldFixture::expecting(&["2001:db8::1", "DB2.example.org", "::ffff:10.0.0.3"]);
    for (number, other) in ["[2001:0db8:0::0001]:3306", "db2.example.org.", "10.0.0.3"]
        .iter()
        .enumerate()
    {
        fixture = fixture
            .registered(other, 9.0, &RUNNING_FIELDS)
            .answers(other, server(number + 1));
    }
    let view = fixture.view();
    assert_three_members(&view);
    assert_eq!(
        expected(&view),
        ["10.0.0.3", "2001:db8::1", "db2.example.org"]
    );
}

#[test]
fn names_and_addresses_of_the_same_servers_count_once() {
    // The configuration has names, agents register addresses.
    let mut fixture = FoldFixture::expecting(&["db1", "db2", "db3"]);
    for (index, address) in MEMBERS.iter().enumerate() {
        let server = FakeServer::synced(&format!("db{}", index + 1)).view(&LIST, index);
        fixture = fixture
            .registered(address, 9.0, &RUNNING_FIELDS)
            .durable(address)
            .answers(address, server.clone())
            .answers(&format!("db{}", index + 1), server);
    }
    let view = fixture.view();
    assert_three_members(&view);
    assert_eq!(
        expected(&view),
        MEMBERS,
        "orders and keys name the registered id"
    );
    assert_eq!(node(&view, "10.0.0.1").names, [id("db1")]);
    // Their record from before they were known to be the same.
    fixture.evidence.last_primary_members =
        ["db1", "db2", "db3", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
            .map(id)
            .into();
    assert_three_members(&fixture.view());
}

#[test]
fn a_renamed_host_does_not_leave_a_second_member_behind() {
    let mut fixture = FoldFixture::healthy()
        .durable("former")
        .answers("former", server(1))
        .registered("10.0.0.1", 9.0, &RUNNING_FIELDS);
    fixture.evidence.last_primary_members = [id("former"), id("10.0.0.2"), id("10.0.0.3")].into();
    assert_three_members(&fixture.view());
    // The former name no longer resolves, which says nothing about the member.
    let gone = failure(ProbeErrorKind::Unresolvable, "cannot resolve former");
    assert_three_members(&fixture.fails("former", 8.0, gone).view());
}

#[test]
fn a_virtual_address_that_moves_takes_no_member_with_it() {
    let mut fixture = FoldFixture::healthy().answers_between("vip", server(1), 0.0, 4.0);
    fixture.evidence.configured_members.insert(id("vip"));
    let fixture =
        fixture
            .answers_between("vip", server(2), 5.0, 10.0)
            .fails("10.0.0.1", 4.0, refused());
    let view = fixture.view();
    assert_eq!(view.expected_members.len(), 3);
    assert_eq!(state(&view, "10.0.0.1"), NodeState::Unreachable);
    assert_eq!(node(&view, "10.0.0.2").names, [id("vip")]);
    assert_eq!(view.verdict.state, VerdictState::Degraded);
}

#[test]
fn a_stopped_server_with_two_names_is_one_stopped_member() {
    let mut fixture = FoldFixture::healthy().answers("vip", server(3));
    fixture.evidence.configured_members.insert(id("vip"));
    for member in MEMBERS.iter().chain(&["vip"]) {
        fixture = fixture.fails(member, 9.0, refused());
    }
    let view = fixture.view();
    assert_eq!(view.expected_members.len(), 3);
    assert_eq!(view.verdict.state, VerdictState::Down);
}

#[test]
fn votes_are_counted_once() {
    // Two of three members are out of sight, and the third is known by two names: it has one vote of three.
    let mut fixture = FoldFixture::expecting(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "vip"])
        .answers("10.0.0.3", FakeServer::non_primary("db3"))
        .answers("vip", FakeServer::non_primary("db3"))
        .fails("10.0.0.1", 1.0, timed_out())
        .fails("10.0.0.2", 1.0, timed_out());
    fixture.evidence.first_view = false;
    let view = fixture.view();
    let unseen =
        reason(&view, ReasonCode::NoPrimaryInSight).expect("two of three could be Primary");
    assert!(
        unseen.message.contains("2 of 3 votes"),
        "{}",
        unseen.message
    );
}

#[test]
fn i34_an_address_given_to_another_member_does_not_answer_for_the_one_that_had_it() {
    let mut fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", survivor(2))
        .answers("10.0.0.2", survivor(2))
        .answers("10.0.0.3", survivor(3));
    fixture.evidence.last_primary_members = MEMBERS.map(id).into();
    let view = fixture.view();
    assert_eq!(
        view.expected_members.len(),
        3,
        "the denominator does not shrink"
    );
    let displaced = MEMBERS
        .iter()
        .find(|member| state(&view, member) == NodeState::Absent)
        .expect("one of them is not seen");
    let why = view.verdict.reasons.iter().find(|reason| {
        reason.code == ReasonCode::MemberAbsent && reason.node == Some(id(displaced))
    });
    assert!(
        why.unwrap().message.contains("leads to the server of"),
        "{why:?}"
    );
    assert_ne!(view.verdict.state, VerdictState::Healthy);
}

#[test]
fn a_copied_machine_with_the_same_identity_is_not_the_same_process() {
    let mut fixture = FoldFixture::healthy().answers(
        "10.0.0.9",
        FakeServer::synced("db1").view(&["AUTO"], 0).conf_id("1"),
    );
    fixture.evidence.configured_members.insert(id("10.0.0.9"));
    let view = fixture.view();
    assert_eq!(view.expected_members.len(), 4);
    assert_ne!(view.verdict.state, VerdictState::Healthy);
}

#[test]
fn a_list_without_the_arbitrator_lets_no_node_claim_an_address_of_another() {
    // Of garbd, db1, db2 and db3 the list has no entry for the first, and indexes count it.
    let mut fixture = FoldFixture::expecting(&["db1", "db2", "db3"]);
    for number in 1..=3 {
        let server = FakeServer::synced(&format!("db{number}"))
            .view(&LIST, number)
            .with_row("wsrep_cluster_size", "4");
        fixture = fixture.answers(&format!("db{number}"), server);
    }
    let view = fixture.view();
    for (number, address) in MEMBERS.iter().enumerate() {
        let name = format!("db{}", number + 1);
        assert_eq!(node(&view, &name).name.as_deref(), Some(&*name));
        let claimed = view
            .nodes
            .iter()
            .find(|node| node.names.contains(&id(address)));
        assert!(claimed.is_none(), "{address} is no name of {claimed:?}");
    }
    assert_ne!(view.verdict.state, VerdictState::SplitBrain);
}
