//! A node that is held back rejoins by a signed order for exactly its state, and by nothing else (I35).

use galera::Timestamp;
use galera::observe::registration::{BootstrapOrder, HeldRange, OrderSignature, RejoinOrder};
use galera::startup::{
    DataState, StartingNode, StartupAction, StartupDecision, StartupSettings, decide,
};
use proptest::prelude::*;

use crate::fixture::{NOW_MILLIS, OTHER_HISTORY, StartupFixture, at, id, starting_node, trust};
use crate::forks::{passed, with_fork};

fn millis(offset: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW_MILLIS + offset)
}

/// The order that n1 at 134, held back by fork 1, obeys, without its signature.
fn genuine() -> RejoinOrder {
    RejoinOrder {
        order: BootstrapOrder {
            node: id("n1"),
            position: at(134).to_string(),
            action_id: Some("a1".to_owned()),
            data_id: Some("id-n1".to_owned()),
            signed: Some(Box::new(OrderSignature {
                registry: "/galera/".to_owned(),
                cluster: "lab".to_owned(),
                not_before: millis(-120_000),
                expires_at: millis(300_000),
                fork_epoch: 0,
                key_id: String::new(),
                signature: String::new(),
            })),
        },
        ahead_of: 1,
    }
}

fn n1() -> StartingNode {
    starting_node("n1", DataState::AtPosition(at(134)))
}

fn decision(own: &StartingNode, fixture: &StartupFixture) -> StartupDecision {
    decide(own, &fixture.snapshot(), &StartupSettings::default())
}

/// The members passed the position of n1, which an order makes rejoin.
fn ordered(change: impl FnOnce(&mut RejoinOrder)) -> StartupFixture {
    let mut rejoin = genuine();
    change(&mut rejoin);
    passed().signed_rejoin(rejoin, "k1", 9)
}

fn obeys(decision: &StartupDecision) -> bool {
    matches!(decision.action, StartupAction::Rejoin { .. })
}

#[track_caller]
fn assert_held(decision: &StartupDecision, words: &str) {
    assert!(
        matches!(decision.action, StartupAction::Wait { .. }),
        "{decision:?}"
    );
    assert!(decision.explanation.contains(words), "{decision:?}");
    assert!(
        decision.explanation.contains("Transactions 67 to 134"),
        "{decision:?}"
    );
    assert!(decision.held.is_some(), "{decision:?}");
}

#[test]
fn i35_a_node_that_is_held_back_publishes_what_holds_it_back() {
    let held = decision(&n1(), &passed()).held;
    assert_eq!(
        held,
        Some(HeldRange {
            fork: 1,
            first: Some(67),
            last: 134
        })
    );
    // Ahead of every member, and no fork is recorded.
    let fixture = StartupFixture::default().founded().synced("n2", &at(100));
    let held = decision(&n1(), &fixture).held;
    assert_eq!(
        held,
        Some(HeldRange {
            fork: 0,
            first: None,
            last: 134
        })
    );
    // Nothing holds back what joins, and no order can name a doubtful position.
    assert_eq!(
        decision(&starting_node("n1", DataState::Empty), &passed()).held,
        None
    );
    let doubtful = DataState::Unrecoverable {
        uuid: Some(at(1).uuid),
        why: "restored".to_owned(),
        at_most: Some(134),
    };
    let waits = decision(&starting_node("n1", doubtful), &ordered(|_| {}));
    assert!(matches!(waits.action, StartupAction::Wait { .. }) && waits.held.is_none());
}

#[test]
fn i35_an_order_for_exactly_this_state_is_obeyed() {
    let decided = decision(&n1(), &ordered(|_| {}));
    assert!(obeys(&decided), "{decided:?}");
    // Also where no fork is recorded and the cluster has not passed the position.
    let mut rejoin = genuine();
    rejoin.ahead_of = 0;
    let fixture = StartupFixture::default().founded().synced("n2", &at(100));
    let decided = decision(&n1(), &fixture.signed_rejoin(rejoin, "k1", 9));
    assert!(obeys(&decided), "{decided:?}");
}

#[test]
fn i35_an_order_for_another_state_is_refused_with_its_reason() {
    type Change = fn(&mut RejoinOrder);
    let changes: [(Change, &str); 9] = [
        (
            |rejoin| rejoin.ahead_of = 2,
            "what holds this node's data back is fork 1",
        ),
        (|rejoin| rejoin.ahead_of = 0, "no recorded fork"),
        (
            |rejoin| rejoin.order.position = at(135).to_string(),
            "it names position",
        ),
        (
            |rejoin| rejoin.order.data_id = Some("id-n2".to_owned()),
            "it is for other data",
        ),
        (|rejoin| rejoin.order.data_id = None, "it names no data"),
        (
            |rejoin| rejoin.order.action_id = Some("old".to_owned()),
            "it was followed before",
        ),
        (|rejoin| rejoin.order.action_id = None, "it names no action"),
        (
            |rejoin| signed(rejoin).cluster = "prod".to_owned(),
            "it is for the cluster",
        ),
        (
            |rejoin| signed(rejoin).fork_epoch = 1,
            "it is for data of fork 1",
        ),
    ];
    for (change, words) in changes {
        assert_held(&decision(&n1(), &ordered(change)), words);
    }
    for (offset, words) in [
        (3_600_000, "it expired at"),
        (-3_600_000, "it is not valid before"),
    ] {
        let mut own = n1();
        own.orders.now = millis(offset);
        own.orders.order_read_at = millis(offset);
        assert_held(&decision(&own, &ordered(|_| {})), words);
    }
    let mut own = n1();
    own.orders.keep_obstacle = Some("the volume is full".to_owned());
    assert_held(&decision(&own, &ordered(|_| {})), "the volume is full");
    own.orders = trust(&["k2"]);
    assert_held(
        &decision(&own, &ordered(|_| {})),
        "ORDER_PUBLIC_KEY_FILE has only k2",
    );
    // Without a lease no running action stands behind it.
    let fixture = passed().signed_rejoin(genuine(), "k1", 0);
    assert_held(&decision(&n1(), &fixture), "no lease");
    // A donor is needed.
    let busy = ["n2", "n3"]
        .into_iter()
        .fold(ordered(|_| {}), |fixture, node| {
            fixture.put(
                &format!("{node}/wsrep_local_state_comment"),
                "Donor/Desynced",
                7,
            )
        });
    assert_held(&decision(&n1(), &busy), "is Synced");
}

fn signed(rejoin: &mut RejoinOrder) -> &mut OrderSignature {
    rejoin.order.signed.as_mut().unwrap()
}

#[test]
fn i35_an_order_to_another_node_or_of_another_kind_is_no_order_to_rejoin() {
    let other = ordered(|rejoin| rejoin.order.node = id("n4"));
    let decided = decision(&n1(), &other);
    assert_held(&decided, "");
    assert!(!decided.explanation.contains("Ignoring"), "{decided:?}");
    // The signature of a bootstrap order for the same state is not one of this.
    let bootstrap = passed().signed_order(genuine().order, "k1", 9);
    let stored = bootstrap.raw.last().unwrap().value.clone();
    let mut forged: RejoinOrder = serde_json::from_slice::<BootstrapOrder>(&stored)
        .map(|order| RejoinOrder { order, ahead_of: 1 })
        .unwrap();
    let fixture = passed().put("rejoin", &forged.to_value(), 9);
    assert_held(&decision(&n1(), &fixture), "its signature is not valid");
    forged.order.signed = None;
    let fixture = passed().put("rejoin", &forged.to_value(), 9);
    assert_held(&decision(&n1(), &fixture), "it is not signed");
    // And an order to rejoin bootstraps nothing.
    let stopped = StartupFixture::default().founded().registered("n1", None);
    let rejoin = stopped.clone().signed_rejoin(genuine(), "k1", 9);
    let value = String::from_utf8(rejoin.raw.last().unwrap().value.clone()).unwrap();
    for fixture in [rejoin, stopped.put("bootstrap", &value, 9)] {
        let decided = decision(&n1(), &fixture);
        assert!(
            matches!(decided.action, StartupAction::Wait { .. }),
            "{decided:?}"
        );
    }
}

#[test]
fn i35_without_a_primary_component_or_a_conflict_no_node_rejoins() {
    // The cluster lost its Primary component after the approval.
    let lost = ["n2", "n3"]
        .into_iter()
        .fold(ordered(|_| {}), |fixture, node| {
            fixture.put(&format!("{node}/wsrep_cluster_status"), "non-Primary", 7)
        });
    assert!(!obeys(&decision(&n1(), &lost)));
    // A second bootstrap in between: it is another fork that holds the data back.
    let again = with_fork(ordered(|_| {}), 2, 50, 0)
        .put("n2/fork_epoch", "2", 7)
        .put("n3/fork_epoch", "2", 7);
    let decided = decision(&n1(), &again);
    assert!(
        matches!(decided.action, StartupAction::Wait { .. })
            && decided
                .explanation
                .contains("what holds this node's data back is fork 2"),
        "{decided:?}"
    );
    // The order of other data at this address, after they were kept aside: the new data just join.
    let own = StartingNode {
        data_id: "id-new".to_owned(),
        ..starting_node("n1", DataState::Empty)
    };
    let joins = decision(&own, &ordered(|_| {}));
    assert!(
        matches!(joins.action, StartupAction::Join { .. }),
        "{joins:?}"
    );
    // Another history is never replaced by an order.
    let mut own = n1();
    own.data = DataState::AtPosition(galera::Position {
        uuid: OTHER_HISTORY,
        seqno: 134,
    });
    assert!(!obeys(&decision(&own, &ordered(|_| {}))));
}

proptest! {
    /// Any bytes at the key are no order.
    #[test]
    fn i35_a_forged_order_to_rejoin_is_never_obeyed(value in prop_oneof![".{0,200}".boxed(), forged().boxed()], lease in 0_i64..2) {
        let fixture = passed().put("rejoin", &value, lease);
        prop_assert!(!obeys(&decision(&n1(), &fixture)));
    }
}

/// The genuine order with the signature of another content.
fn forged() -> impl Strategy<Value = String> {
    (0_u64..3, 130_u64..140, "[a-z0-9]{0,4}").prop_map(|(ahead_of, seqno, signature)| {
        let mut rejoin = genuine();
        rejoin.ahead_of = ahead_of;
        rejoin.order.position = at(seqno).to_string();
        signed(&mut rejoin).key_id = "k1".to_owned();
        signed(&mut rejoin).signature = signature;
        rejoin.to_value()
    })
}
