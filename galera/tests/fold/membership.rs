//! Membership of components: joiners, partitions, arbitrators, and nodes with several names (I5).

use galera::view::{ReasonCode, VerdictState};

use crate::fixture::{FakeServer, FoldFixture, RUNNING_FIELDS, id, reason, refused};

const MEMBERS: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];

fn founder(name: &str) -> FakeServer {
    FakeServer::synced(name).view(&["AUTO"], 0).conf_id("1")
}

#[test]
fn a_joiner_that_its_peers_list_belongs_to_them() {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    let joiner = FakeServer::synced("db3")
        .view(&list, 2)
        .state("1", "Joining: receiving State Transfer")
        .with_row("wsrep_cluster_status", "non-Primary");
    let fixture = FoldFixture::expecting(&MEMBERS[..3])
        .answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0))
        .answers(
            "10.0.0.2",
            FakeServer::synced("db2")
                .view(&list, 1)
                .state("2", "Donor/Desynced"),
        )
        .answers("10.0.0.3", joiner);
    let view = fixture.view();
    assert_eq!(view.components.len(), 1);
    assert_eq!(view.components[0].members.len(), 3);
    assert_eq!(view.verdict.state, VerdictState::Degraded);
}

#[test]
fn partitions_without_quorum_are_distinguished() {
    let lone = |name: &str| FakeServer::non_primary(name);
    let pair = |name: &str, index| {
        FakeServer::non_primary(name).view(&["10.0.0.3:3306", "10.0.0.4:3306"], index)
    };
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", lone("db1"))
        .answers("10.0.0.2", lone("db2"))
        .answers("10.0.0.3", pair("db3", 0))
        .answers("10.0.0.4", pair("db4", 1));
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::NoPrimary);
    let members: Vec<usize> = view
        .components
        .iter()
        .map(|component| component.members.len())
        .collect();
    assert_eq!(members, [2, 1, 1]);
}

#[test]
fn one_server_under_two_names_is_not_a_rival() {
    let server = |name: &str, index| FakeServer::synced(name).view(&["AUTO"; 2], index);
    let fixture = FoldFixture::expecting(&["db1", "db2"])
        .answers("db1", server("db1", 0))
        .answers("db2", server("db2", 1))
        .answers("10.0.0.1", server("db1", 0))
        .answers("10.0.0.2", server("db2", 1));
    assert_eq!(fixture.verdict(), VerdictState::Healthy);
    assert_eq!(fixture.view().components.len(), 1);
    let view = fixture
        .registered("10.0.0.1", 9.0, &RUNNING_FIELDS)
        .registered("10.0.0.2", 9.0, &RUNNING_FIELDS)
        .view();
    assert!(reason(&view, ReasonCode::NodeWithoutRegistration).is_none());
}

#[test]
fn addresses_resolve_to_named_nodes() {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306"];
    let fixture = FoldFixture::expecting(&["db1", "db2"])
        .answers("db1", FakeServer::synced("db1").view(&list, 0))
        .answers("db2", FakeServer::synced("db2").view(&list, 1));
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Healthy);
    assert_eq!(
        view.nodes.len(),
        2,
        "a node is not listed by both its name and its address"
    );
    let gone = fixture.fails("db2", 9.5, refused()).view();
    assert_eq!(gone.nodes.len(), 2, "nor once that node fell silent");
    assert_eq!(
        gone.components[0].members.len(),
        2,
        "its peers list it until they notice"
    );
    let misled = FoldFixture::expecting(&["db1", "db2"])
        .answers("db1", founder("db1").view(&["db:3306"], 0))
        .answers("db2", founder("db2").view(&["db:3306"], 0));
    assert_eq!(
        misled.verdict(),
        VerdictState::SplitBrain,
        "an address that two nodes claim identifies neither"
    );
}

#[test]
fn a_listed_node_that_denies_it_is_not_a_member() {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306"];
    let view = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0))
        .answers("10.0.0.2", FakeServer::non_primary("db2"))
        .view();
    let members: Vec<_> = view
        .components
        .iter()
        .map(|component| component.members.clone())
        .collect();
    assert_eq!(members, [vec![id("10.0.0.1")], vec![id("10.0.0.2")]]);
}

#[test]
fn an_address_of_a_known_node_is_that_node() {
    // db1 claims the address of another node.
    let view = FoldFixture::expecting(&["db1", "10.0.0.2", "10.0.0.3"])
        .answers(
            "db1",
            FakeServer::non_primary("db1").view(&["10.0.0.2:3306"], 0),
        )
        .answers(
            "10.0.0.3",
            FakeServer::synced("db3").view(&["10.0.0.3:3306", "10.0.0.2:3306"], 0),
        )
        .view();
    assert_eq!(view.components[0].members, [id("10.0.0.2"), id("10.0.0.3")]);
}

#[test]
fn an_address_claimed_twice_stays_unresolved() {
    let claims = |name: &str| FakeServer::non_primary(name).view(&["db:3306"], 0);
    let view = FoldFixture::expecting(&["db1", "db2", "db3"])
        .answers("db1", claims("db1"))
        .answers("db2", claims("db2"))
        .answers(
            "db3",
            FakeServer::synced("db3").view(&["10.0.0.3:3306", "db:3306"], 0),
        )
        .view();
    assert_eq!(view.components[0].members, [id("db"), id("db3")]);
}

#[test]
fn numbers_in_names_order_nodes_and_unconfirmed_ones_are_last() {
    let members = ["10.0.0.2", "10.0.0.9", "10.0.0.10"];
    let mut fixture = FoldFixture::expecting(&members);
    for (index, member) in members.iter().enumerate() {
        fixture = fixture.answers(member, FakeServer::synced(member).view(&members, index));
    }
    fixture.evidence.first_view = false;
    let fixture = fixture.registered("10.0.0.1", 9.0, &[("wsrep_local_state_comment", "Synced")]);
    let view = fixture.view();
    let names = |ids: Vec<&galera::NodeId>| -> Vec<String> {
        ids.into_iter().map(ToString::to_string).collect()
    };
    let nodes = view.nodes.iter().map(|node| &node.id).collect();
    assert_eq!(
        names(nodes),
        ["10.0.0.2", "10.0.0.9", "10.0.0.10", "10.0.0.1"]
    );
    assert!(view.nodes[3].unconfirmed);
    assert_eq!(names(view.expected_members.iter().collect()), members);
    assert_eq!(names(view.components[0].members.iter().collect()), members);
}
