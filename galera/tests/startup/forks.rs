//! Forks are remembered: data above a later fork never join by an incremental state transfer (I35).

use galera::observe::fork::{ForkRecord, OBSERVED};
use galera::observe::registration::{BootstrapOrder, OrderSignature};
use galera::startup::{
    CleanStop, DataState, RegistrationRecord, StartingNode, StartupAction, StartupSettings, decide,
};
use galera::{NodeId, Timestamp};

use crate::fixture::{
    HISTORY, NOW_MILLIS, OTHER_HISTORY, StartupFixture, at, auto_bootstrap_settings, id,
    starting_node,
};
use crate::invariants::{assert_wait, is_bootstrap, stopped_cluster};

pub(crate) fn with_fork(
    fixture: StartupFixture,
    epoch: u64,
    seqno: u64,
    parent: u64,
) -> StartupFixture {
    let record = ForkRecord {
        state_uuid: HISTORY,
        seqno,
        members: [id("n2")].into(),
        action_id: OBSERVED.to_owned(),
        parent,
        at: None,
    };
    fixture.put(&format!("forks/{epoch}"), &record.to_value(), 0)
}

/// n2 was bootstrapped at 66, n3 joined it, and they passed 134, where n1 is.
pub(crate) fn passed() -> StartupFixture {
    let fixture = StartupFixture::default()
        .founded()
        .registered("n1", None)
        .synced("n2", &at(500))
        .put("n2/fork_epoch", "1", 7)
        .synced("n3", &at(500))
        .put("n3/fork_epoch", "1", 7);
    with_fork(fixture, 1, 66, 0)
}

fn of_fork(node: &str, data: DataState, epoch: u64) -> StartingNode {
    StartingNode {
        fork_epoch: epoch,
        ..starting_node(node, data)
    }
}

#[test]
fn i35_a_node_that_was_ahead_of_a_bootstrap_does_not_join_once_it_is_passed() {
    let ahead = || DataState::AtPosition(at(134));
    let decision = passed().decide("n1", ahead());
    assert_wait(&decision, "Transactions 67 to 134 of");
    assert!(
        decision
            .explanation
            .contains("bootstrapped at 66 without them (fork 1)")
            && decision.explanation.contains("start it empty"),
        "{}",
        decision.explanation
    );
    let joins = |node: &StartingNode, fixture: &StartupFixture| {
        let settings = StartupSettings::default();
        matches!(
            decide(node, &fixture.snapshot(), &settings).action,
            StartupAction::Join { .. }
        )
    };
    // What the fork continued, and data that were part of it since, join.
    assert!(joins(
        &of_fork("n1", DataState::AtPosition(at(66)), 0),
        &passed()
    ));
    assert!(joins(&of_fork("n1", ahead(), 1), &passed()));
    assert!(joins(&of_fork("n1", DataState::Empty, 0), &passed()));
    // A doubtful position is no better.
    let doubtful = DataState::Unrecoverable {
        uuid: Some(HISTORY),
        why: "restored".to_owned(),
        at_most: Some(134),
    };
    assert_wait(&passed().decide("n1", doubtful), "Transactions 67 to 134");
    // Members of version 0.1 publish no epoch: the newest record counts.
    let older = passed()
        .put("n2/fork_epoch", "0", 7)
        .put("n3/fork_epoch", "x", 7);
    assert_wait(&older.decide("n1", ahead()), "Transactions 67 to 134");
    // A missing record is no permission.
    let mut lost = passed();
    lost.raw.retain(|raw| !raw.key.ends_with(b"forks/1"));
    assert_wait(&lost.decide("n1", ahead()), "fork 1 is not recorded");
    assert_wait(
        &passed().put("forks/1", "{", 0).decide("n1", ahead()),
        "fork 1 is not recorded",
    );
}

#[test]
fn i35_the_same_number_of_another_fork_is_no_permission() {
    let mut own = of_fork("n1", DataState::AtPosition(at(134)), 1);
    own.fork = ForkRecord::parse(
        format!(r#"{{"state_uuid":"{HISTORY}","seqno":120,"members":["n1"]}}"#).as_bytes(),
    );
    assert!(own.fork.is_some());
    let decision = decide(&own, &passed().snapshot(), &StartupSettings::default());
    assert_wait(&decision, "Transactions 67 to 134");
    own.fork = passed().snapshot().forks.get(1).cloned();
    let decision = decide(&own, &passed().snapshot(), &StartupSettings::default());
    assert!(
        matches!(decision.action, StartupAction::Join { .. }),
        "{decision:?}"
    );
}

#[test]
fn i35_forks_of_other_histories_or_keys_change_nothing() {
    let fixture = StartupFixture::default().founded().synced("n2", &at(500));
    for key in [
        "forks/01",
        "forks/0",
        "forks/-1",
        "forks/x",
        "forks/1/x",
        "forks",
    ] {
        let record = r#"{"state_uuid":"00000000-0000-0000-0000-000000006f1a","seqno":1}"#;
        let decision = fixture
            .clone()
            .put(key, record, 0)
            .decide("n1", DataState::AtPosition(at(134)));
        assert!(
            matches!(decision.action, StartupAction::Join { .. }),
            "{key}: {decision:?}"
        );
    }
    let other = format!(r#"{{"state_uuid":"{OTHER_HISTORY}","seqno":1}}"#);
    let decision = fixture
        .put("forks/1", &other, 0)
        .decide("n1", DataState::AtPosition(at(134)));
    assert!(
        matches!(decision.action, StartupAction::Join { .. }),
        "{decision:?}"
    );
}

#[test]
fn i35_branches_are_not_ranked_with_each_other() {
    // All stopped again: n1 is ahead by transactions that n2 and n3 continued without.
    let stopped = |epoch: &str| {
        with_fork(stopped_cluster(), 1, 6, 0)
            .waiting("n1", Some(&at(134)))
            .put("n2/fork_epoch", epoch, 7)
            .put("n3/fork_epoch", epoch, 7)
    };
    let decided = |node: &str, seqno, epoch| {
        decide(
            &of_fork(node, DataState::AtPosition(at(seqno)), epoch),
            &stopped("1").snapshot(),
            &auto_bootstrap_settings(),
        )
    };
    for (node, seqno, epoch) in [("n1", 134, 0), ("n2", 12, 1), ("n3", 12, 1)] {
        assert_wait(
            &decided(node, seqno, epoch),
            "n1 has transactions 7 to 134 that fork 1 continued without",
        );
    }
    // Not beyond the fork, it is merely behind.
    let behind = with_fork(stopped_cluster(), 1, 9, 0)
        .put("n2/fork_epoch", "1", 7)
        .put("n3/fork_epoch", "1", 7);
    let own = of_fork("n2", DataState::AtPosition(at(12)), 1);
    let decision = decide(&own, &behind.snapshot(), &auto_bootstrap_settings());
    assert!(is_bootstrap(&decision), "{decision:?}");
}

#[test]
fn i35_branches_are_not_ranked_with_each_other_once_one_has_stopped() {
    // n2 and n3, which continued fork 1, have stopped in order; n1 comes back ahead of it.
    let stopped = |epoch: Option<u64>| {
        let record = |seqno| RegistrationRecord {
            id: Some("d".to_owned()),
            stopped: Some(CleanStop {
                position: at(seqno),
                at: None,
                fork_epoch: epoch,
            }),
            ..RegistrationRecord::default()
        };
        with_fork(stopped_cluster(), 1, 6, 0)
            .waiting("n1", Some(&at(134)))
            .without("n2")
            .without("n3")
            .put("n2/registered", &record(12).to_value(), 0)
            .put("n3/registered", &record(11).to_value(), 0)
    };
    let decided = |epoch| {
        decide(
            &of_fork("n1", DataState::AtPosition(at(134)), 0),
            &stopped(epoch).snapshot(),
            &auto_bootstrap_settings(),
        )
    };
    // An older agent records no epoch, but the fork names n2.
    for epoch in [Some(1), None] {
        assert_wait(
            &decided(epoch),
            "n1 has transactions 7 to 134 that fork 1 continued without",
        );
    }
}

#[test]
fn i35_a_bootstrap_is_recorded_after_every_known_fork() {
    let own = of_fork("n1", DataState::AtPosition(at(12)), 1);
    let (epoch, record) = with_fork(passed(), 3, 500, 1)
        .snapshot()
        .next_fork(&own, "a1")
        .unwrap();
    assert_eq!((epoch, record.parent, record.seqno), (4, 1, 12));
    assert_eq!(record.members, [id("n1")].into());
    let far = of_fork("n1", DataState::AtPosition(at(12)), u64::MAX);
    assert!(passed().snapshot().next_fork(&far, "a1").is_none());
    let none = of_fork("n1", DataState::Empty, 0);
    assert!(passed().snapshot().next_fork(&none, "a1").is_none());
}

/// A statement bootstrapped n2, and the record exists before the agent of n2 has read it.
#[test]
fn i35_a_record_that_names_a_member_counts_before_its_agent_reports_it() {
    let named = with_fork(passed(), 2, 100, 1);
    let own = of_fork("n1", DataState::AtPosition(at(134)), 1);
    let settings = StartupSettings::default();
    assert_wait(
        &decide(&own, &named.snapshot(), &settings),
        "Transactions 101 to 134",
    );
    let joined = named.snapshot().fork_to_join(&id("n1"), 1);
    assert_eq!(joined.map(|(epoch, _)| epoch), Some(2));
    // n2 is bootstrapped again, by an order, before its agent has read it.
    let unaware = of_fork("n2", DataState::AtPosition(at(500)), 1);
    let next = named.snapshot().next_fork(&unaware, "a2");
    assert_eq!(
        next.map(|(epoch, record)| (epoch, record.parent)),
        Some((3, 2))
    );
}

#[test]
fn i35_an_order_is_for_the_fork_of_the_data() {
    let order = |fork_epoch| {
        let order = BootstrapOrder {
            node: id("n1"),
            position: at(12).to_string(),
            action_id: Some("a1".to_owned()),
            data_id: Some("id-n1".to_owned()),
            signed: Some(Box::new(OrderSignature {
                registry: "/galera/".to_owned(),
                cluster: "lab".to_owned(),
                not_before: Timestamp::from_unix_millis(NOW_MILLIS - 1),
                expires_at: Timestamp::from_unix_millis(NOW_MILLIS + 60_000),
                fork_epoch,
                key_id: String::new(),
                signature: String::new(),
            })),
        };
        let fixture = StartupFixture::default().founded().registered("n1", None);
        fixture.signed_order(order, "k1", 9).snapshot()
    };
    let settings = StartupSettings::default();
    for (ordered, own, obeyed) in [(0, 0, true), (2, 2, true), (0, 2, false), (3, 2, false)] {
        let node = of_fork("n1", DataState::AtPosition(at(12)), own);
        let decision = decide(&node, &order(ordered), &settings);
        assert_eq!(
            matches!(decision.action, StartupAction::FollowOrder { .. }),
            obeyed,
            "{decision:?}"
        );
    }
}

#[test]
fn i35_members_take_over_the_fork_of_their_component_only() {
    let node: NodeId = id("n1");
    let listed = passed().put("n2/wsrep_incoming_addresses", "n2:3306,n1:3306", 7);
    assert_eq!(listed.snapshot().fork_of_component(&node, HISTORY), 1);
    assert_eq!(passed().snapshot().fork_of_component(&node, HISTORY), 0);
    assert_eq!(listed.snapshot().fork_of_component(&node, OTHER_HISTORY), 0);
    // A record of a statement names the members of the component.
    assert_eq!(passed().snapshot().fork_of_component(&id("n2"), HISTORY), 1);
}

/// Its server is merged with the members without a decision of its agent.
#[test]
fn i35_a_running_server_that_was_ahead_of_a_bootstrap_is_not_part_of_it() {
    let excess = |fixture: &StartupFixture, node: &str, seqno, own| {
        let snapshot = fixture.snapshot();
        let current = snapshot.fork_of_component(&id(node), HISTORY);
        snapshot.excess_over_fork(&id(node), &at(seqno), own, current)
    };
    let listed = passed().put("n2/wsrep_incoming_addresses", "n1:3306,n2:3306,n3:3306", 7);
    assert_eq!(excess(&listed, "n1", 134, 0), Some((67, 134)));
    assert_eq!(excess(&listed, "n1", 67, 0), Some((67, 67)));
    // What the fork continued, and data that were part of it since.
    assert_eq!(excess(&listed, "n1", 66, 0), None);
    assert_eq!(excess(&listed, "n1", 134, 1), None);
    // The bootstrapped member was there from the start.
    assert_eq!(excess(&listed, "n2", 134, 0), None);
    // Of two forks, the one that lacks them.
    let twice = with_fork(listed.put("n2/fork_epoch", "2", 7), 2, 200, 1);
    assert_eq!(excess(&twice, "n1", 134, 0), Some((67, 134)));
    assert_eq!(excess(&twice, "n1", 134, 1), None);
    assert_eq!(excess(&twice, "n1", 201, 1), Some((201, 201)));
}
