//! Registered nodes that nothing confirms as members: shown, and without effect.

use std::collections::BTreeMap;

use galera::judge::confirmation::{
    CONFIRMED_MAX, ConfirmedBy, ConfirmedNode, ConfirmedNodes, first_view, merge, newly_listed,
};
use galera::judge::known_positions::KnownPositions;
use galera::view::{ReasonCode, VerdictState};
use galera::{Timestamp, position::Position};

use crate::fixture::{FakeServer, FoldFixture, HISTORY, OTHER_HISTORY, at, id, node, refused};

const MEMBERS: [&str; 3] = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];

/// Three pinned, Synced members that list each other by address; registrations alone count for nothing.
fn pinned() -> FoldFixture {
    let mut fixture = FoldFixture::expecting(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for (index, member) in ["10.0.0.1", "10.0.0.2", "10.0.0.3"].iter().enumerate() {
        let server = FakeServer::synced(&format!("db{}", index + 1)).view(&MEMBERS, index);
        fixture = fixture.answers(member, server);
    }
    fixture.evidence.first_view = false;
    fixture
}

/// A registration of `node` that claims to be Synced and Primary at a position far ahead.
fn forged(fixture: FoldFixture, node: &str) -> FoldFixture {
    let position = format!("{HISTORY}:99999999");
    fixture
        .registered(
            node,
            9.0,
            &[
                ("wsrep_cluster_status", "Primary"),
                ("wsrep_local_state_comment", "Synced"),
                ("highest_position", &position),
                ("recovered_position", &position),
            ],
        )
        .durable(node)
}

fn confirmed(by: ConfirmedBy, address: Option<&str>) -> ConfirmedNode {
    ConfirmedNode {
        by,
        at: at(1.0),
        address: address.map(id),
    }
}

/// A server that only an attacker controls: Primary, alone, in the history of the cluster.
fn rival() -> FakeServer {
    FakeServer::synced("rogue")
        .view(&["10.66.6.6:3306"], 0)
        .seqno("99999999")
}

#[test]
fn i44_a_false_primary_makes_no_split_brain() {
    let fixture = forged(pinned(), "10.66.6.6").answers("10.66.6.6", rival());
    let view = fixture.view();
    assert_eq!(
        view.verdict.state,
        VerdictState::Healthy,
        "{:#?}",
        view.verdict
    );
    assert_eq!(view.components.len(), 1);
    assert_eq!(view.expected_members.len(), 3);
    let shown = node(&view, "10.66.6.6");
    assert!(shown.unconfirmed && !shown.expected && shown.behind.is_none());
    assert!(node(&view, "10.0.0.1").behind == Some(0));
    let reason = view
        .verdict
        .reasons
        .iter()
        .find(|reason| reason.code == ReasonCode::NodeUnconfirmed)
        .unwrap();
    assert!(
        reason
            .message
            .starts_with("rogue (10.66.6.6) reports Primary, but no member lists it"),
        "{}",
        reason.message
    );
    // The same with another history, and without any of the members answering.
    let diverged =
        forged(pinned(), "10.66.6.6").answers("10.66.6.6", rival().history(OTHER_HISTORY));
    assert_eq!(diverged.verdict(), VerdictState::Healthy);
}

#[test]
fn a_false_primary_hides_no_outage() {
    let mut fixture = FoldFixture::expecting(&["10.0.0.1", "10.0.0.2"])
        .fails("10.0.0.1", 1.0, refused())
        .fails("10.0.0.2", 1.0, refused());
    fixture.evidence.first_view = false;
    assert_eq!(fixture.verdict(), VerdictState::Down);
    let fixture = forged(fixture, "10.66.6.6").answers("10.66.6.6", rival());
    assert_eq!(fixture.verdict(), VerdictState::Down);
}

#[test]
fn a_false_member_list_confirms_no_other_node() {
    let list = ["10.66.6.6:3306", "10.66.6.7:3306"];
    let fixture = forged(forged(pinned(), "10.66.6.6"), "10.66.6.7")
        .answers("10.66.6.6", FakeServer::synced("rogue").view(&list, 0))
        .answers("10.66.6.7", FakeServer::synced("rogue2").view(&list, 1));
    let view = fixture.view();
    assert!(node(&view, "10.66.6.6").unconfirmed && node(&view, "10.66.6.7").unconfirmed);
    let added = newly_listed(&fixture.evidence, at(10.0), &fixture.settings);
    assert!(!added.contains_key(&id("10.66.6.7")), "{added:?}");
}

#[test]
fn i44_a_false_position_is_not_remembered() {
    let fixture = forged(pinned(), "10.66.6.6").answers("10.66.6.6", rival());
    let mut positions = KnownPositions::default();
    positions.update(&fixture.evidence, at(10.0), &fixture.settings);
    let history: Position = format!("{HISTORY}:0").parse().unwrap();
    assert_eq!(positions.highest[&history.uuid].seqno, 2881);
    assert!(!positions.primary.contains_key(&id("10.66.6.6")));
}

#[test]
fn a_dead_unconfirmed_registration_degrades_nothing() {
    let fixture = pinned()
        .durable("10.66.6.6")
        .fails("10.66.6.6", 1.0, refused());
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Healthy);
    assert_eq!(view.summary().nodes.len(), 3);
    assert_eq!(view.members().count(), 3);
}

#[test]
fn a_node_that_a_member_lists_counts() {
    let list = [MEMBERS[0], MEMBERS[1], MEMBERS[2], "10.0.0.4:3306"];
    let mut fixture = FoldFixture::expecting(&["10.0.0.1"]).durable("10.0.0.4");
    fixture.evidence.first_view = false;
    assert!(node(&fixture.view(), "10.0.0.4").unconfirmed);
    let fixture = fixture.answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0));
    let view = fixture.view();
    assert!(!node(&view, "10.0.0.4").unconfirmed);
    assert!(view.expected_members.contains(&id("10.0.0.4")));
    let added = newly_listed(&fixture.evidence, at(10.0), &fixture.settings);
    assert_eq!(added[&id("10.0.0.4")].by, ConfirmedBy::Listed);
    assert_eq!(added.len(), 4, "{added:?}");
}

#[test]
fn a_list_of_a_member_without_quorum_confirms_nobody() {
    let list = ["10.0.0.1:3306", "10.66.6.6:3306"];
    let mut fixture = FoldFixture::expecting(&["10.0.0.1"])
        .durable("10.66.6.6")
        .answers("10.0.0.1", FakeServer::non_primary("db1").view(&list, 0));
    fixture.evidence.first_view = false;
    assert!(newly_listed(&fixture.evidence, at(10.0), &fixture.settings).is_empty());
}

#[test]
fn a_recorded_confirmation_outlives_the_list() {
    let mut fixture = pinned()
        .durable("10.0.0.4")
        .fails("10.0.0.4", 1.0, refused());
    fixture
        .evidence
        .confirmed
        .insert(id("10.0.0.4"), confirmed(ConfirmedBy::Listed, None));
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    assert!(view.expected_members.contains(&id("10.0.0.4")));
}

/// `db-4.internal` answers from `address`, as a Synced member that lists itself by address.
fn named(mut fixture: FoldFixture, address: &str) -> FoldFixture {
    let list = [MEMBERS[0], MEMBERS[1], MEMBERS[2], "10.0.0.4:3306"];
    fixture = fixture
        .durable("db-4.internal")
        .answers("db-4.internal", FakeServer::synced("db4").view(&list, 3));
    if let Some(probe) = fixture.evidence.probes.get_mut(&id("db-4.internal")) {
        probe.connected_to = address.parse().ok();
    }
    for (index, member) in ["10.0.0.1", "10.0.0.2", "10.0.0.3"].iter().enumerate() {
        let server = FakeServer::synced(&format!("db{}", index + 1)).view(&list, index);
        fixture = fixture.answers(member, server);
    }
    fixture
}

#[test]
fn a_name_is_confirmed_by_the_listed_address_that_it_leads_to() {
    let fixture = named(pinned(), "10.0.0.4:3306");
    assert!(!node(&fixture.view(), "db-4.internal").unconfirmed);
    let added = newly_listed(&fixture.evidence, at(10.0), &fixture.settings);
    assert_eq!(
        added[&id("db-4.internal")].address,
        Some(id("10.0.0.4")),
        "{added:?}"
    );
    // A name under an attacker's control that leads to another server, although it claims the same place in the list.
    let elsewhere = named(pinned(), "10.66.6.6:3306");
    assert!(node(&elsewhere.view(), "db-4.internal").unconfirmed);
}

#[test]
fn a_name_that_leads_elsewhere_later_no_longer_counts() {
    let mut fixture = named(pinned(), "10.0.0.4:3306");
    let added = newly_listed(&fixture.evidence, at(10.0), &fixture.settings);
    merge(&mut fixture.evidence.confirmed, &added, |_| true);
    // The member restarts under another address that the members list: it still counts.
    let mut moved = fixture.clone();
    let probe = moved.evidence.probes.get_mut(&id("db-4.internal")).unwrap();
    probe.connected_to = Some("10.0.0.3:3306".parse().unwrap());
    assert!(!node(&moved.view(), "db-4.internal").unconfirmed);
    assert_eq!(
        newly_listed(&moved.evidence, at(10.0), &moved.settings)[&id("db-4.internal")].address,
        Some(id("10.0.0.3"))
    );
    let probe = fixture
        .evidence
        .probes
        .get_mut(&id("db-4.internal"))
        .unwrap();
    probe.connected_to = Some("10.66.6.6:3306".parse().unwrap());
    assert!(node(&fixture.view(), "db-4.internal").unconfirmed);
    // Unreachable, it is a missing member.
    let gone = fixture.fails("db-4.internal", 5.0, refused());
    assert!(!node(&gone.view(), "db-4.internal").unconfirmed);
}

#[test]
fn a_stale_list_confirms_nobody() {
    let list = [MEMBERS[0], "10.0.0.4:3306"];
    let mut fixture = FoldFixture::expecting(&["10.0.0.1"])
        .durable("10.0.0.4")
        .answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0))
        .at(40.0);
    fixture.evidence.first_view = false;
    assert!(node(&fixture.view(), "10.0.0.4").unconfirmed);
}

#[test]
fn the_first_view_confirms_members_and_durable_registrations() {
    let mut fixture = FoldFixture::expecting(&[]).durable("10.0.0.3");
    for (index, member) in ["10.0.0.1", "10.0.0.2"].iter().enumerate() {
        fixture = fixture.answers(member, FakeServer::synced("db").view(&MEMBERS[..2], index));
    }
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    let confirmed = first_view(&view, &view.components[0].members);
    let ids: Vec<String> = confirmed.keys().map(ToString::to_string).collect();
    assert_eq!(ids, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    assert!(newly_listed(&fixture.evidence, at(10.0), &fixture.settings).is_empty());
}

#[test]
fn ids_with_the_default_port_are_the_same_node() {
    let mut fixture = FoldFixture::expecting(&["db1:3306"]).durable("db1");
    fixture.evidence.first_view = false;
    assert!(!node(&fixture.view(), "db1").unconfirmed);
    let fixture = forged(fixture, "10.66.6.6:3306");
    assert!(node(&fixture.view(), "10.66.6.6").unconfirmed);
}

#[test]
fn many_forged_registrations_make_one_short_reason() {
    let mut fixture = pinned();
    for number in 0..200 {
        fixture = fixture.durable(&format!("evil{number}"));
    }
    let view = fixture.view();
    let reasons = view
        .verdict
        .reasons
        .iter()
        .filter(|reason| reason.code == ReasonCode::NodeUnconfirmed);
    let messages: Vec<&str> = reasons.map(|reason| reason.message.as_str()).collect();
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].contains(" and 195 more are registered"),
        "{messages:?}"
    );
}

#[test]
fn confirmations_are_bounded_and_those_of_known_nodes_stay() {
    let mut all = ConfirmedNodes::new();
    let many: BTreeMap<_, _> = (0..CONFIRMED_MAX + 100)
        .map(|number| {
            let node = ConfirmedNode {
                at: Timestamp::from_unix_millis(i64::try_from(number).unwrap()),
                ..confirmed(ConfirmedBy::Listed, None)
            };
            (id(&format!("n{number}")), node)
        })
        .collect();
    merge(&mut all, &many, |node| *node == id("n0"));
    assert_eq!(all.len(), CONFIRMED_MAX);
    assert!(all.contains_key(&id("n0")) && !all.contains_key(&id("n1")));
}

#[test]
fn an_admission_is_not_bound_to_an_address_later() {
    let mut all = ConfirmedNodes::new();
    let admitted = confirmed(ConfirmedBy::Admitted, None);
    merge(
        &mut all,
        &BTreeMap::from([(id("db4"), admitted.clone())]),
        |_| true,
    );
    let listed = ConfirmedNode {
        at: at(5.0),
        ..confirmed(ConfirmedBy::Listed, Some("10.0.0.4"))
    };
    merge(&mut all, &BTreeMap::from([(id("db4"), listed)]), |_| true);
    assert_eq!(all[&id("db4")], admitted);
}
