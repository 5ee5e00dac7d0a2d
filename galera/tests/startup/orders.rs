//! What a client with write access to all of etcd cannot make a node do.

use galera::observe::registration::{BootstrapOrder, OrderSignature};
use galera::startup::{
    AutoBootstrap, DataState, ExpectedMembers, OrderTrust, StartingNode, StartupAction,
    StartupDecision, StartupSettings, decide,
};
use galera::{Position, Timestamp};
use proptest::prelude::*;

use crate::fixture::{
    HISTORY, NOW_MILLIS, StartupFixture, at, auto_bootstrap_settings, id, starting_node, trust,
};

fn millis(offset: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW_MILLIS + offset)
}

/// The order that n2 at position 12 obeys, without its signature.
fn genuine() -> BootstrapOrder {
    BootstrapOrder {
        node: id("n2"),
        position: at(12).to_string(),
        action_id: Some("a1".to_owned()),
        data_id: Some("id-n2".to_owned()),
        signed: Some(Box::new(OrderSignature {
            registry: "/galera/".to_owned(),
            cluster: "lab".to_owned(),
            not_before: millis(-120_000),
            expires_at: millis(300_000),
            fork_epoch: 0,
            key_id: String::new(),
            signature: String::new(),
        })),
    }
}

fn stopped_cluster() -> StartupFixture {
    StartupFixture::default()
        .founded()
        .registered("n1", None)
        .registered("n2", None)
}

fn n2() -> StartingNode {
    starting_node("n2", DataState::AtPosition(at(12)))
}

/// The decision of `own` without automatic bootstrap.
fn decision(own: &StartingNode, fixture: &StartupFixture) -> StartupDecision {
    decide(own, &fixture.snapshot(), &StartupSettings::default())
}

fn assert_not_obeyed(decision: &StartupDecision, words: &str) {
    assert!(
        matches!(decision.action, StartupAction::Wait { .. }),
        "{decision:?}"
    );
    assert!(decision.explanation.contains(words), "{decision:?}");
}

fn is_obeyed(decision: &StartupDecision) -> bool {
    matches!(decision.action, StartupAction::FollowOrder { .. })
}

/// `order`, signed with the trusted key after `change`.
fn signed(change: impl FnOnce(&mut BootstrapOrder)) -> StartupFixture {
    let mut order = genuine();
    change(&mut order);
    stopped_cluster().signed_order(order, "k1", 9)
}

/// The genuine order in etcd, with `change` made by a client without the key.
fn tampered(change: impl FnOnce(&mut BootstrapOrder)) -> StartupFixture {
    let fixture = signed(|_| {});
    let raw = fixture
        .raw
        .iter()
        .find(|raw| raw.key.ends_with(b"/bootstrap"));
    let mut order: BootstrapOrder = serde_json::from_slice(&raw.unwrap().value).unwrap();
    change(&mut order);
    fixture.put("bootstrap", &order.to_value(), 9)
}

fn signature(order: &mut BootstrapOrder) -> &mut OrderSignature {
    order.signed.as_mut().unwrap()
}

#[test]
fn a_signed_order_for_exactly_this_node_is_obeyed() {
    assert!(is_obeyed(&decision(&n2(), &signed(|_| {}))));
    let spelled = signed(|order| order.node = id("n2:3306"));
    assert!(is_obeyed(&decision(&n2(), &spelled)));
}

#[test]
fn a_forged_order_is_not_obeyed() {
    let unsigned = tampered(|order| order.signed = None);
    assert_not_obeyed(&decision(&n2(), &unsigned), "it is not signed");
    let partial = r#"{"node":"n2","position":"x","action_id":"a1","key_id":"k1"}"#;
    let partial = stopped_cluster().put("bootstrap", partial, 9);
    assert_not_obeyed(&decision(&n2(), &partial), "it is not signed");
    let foreign = stopped_cluster().signed_order(genuine(), "k9", 9);
    assert_not_obeyed(&decision(&n2(), &foreign), "\"k9\"");
    let renamed = tampered(|order| signature(order).signature = "00".repeat(64));
    assert_not_obeyed(&decision(&n2(), &renamed), "signature is not valid");
}

#[test]
fn an_order_changed_in_etcd_is_not_obeyed() {
    let changes: [fn(&mut BootstrapOrder); 8] = [
        |order| order.position = at(11).to_string(),
        |order| order.action_id = Some("a2".to_owned()),
        |order| order.data_id = Some("id-n1".to_owned()),
        |order| order.data_id = None,
        |order| signature(order).cluster = "prod".to_owned(),
        |order| signature(order).registry = "/galera/lab/".to_owned(),
        |order| signature(order).expires_at = millis(86_400_000),
        |order| signature(order).not_before = millis(-86_400_000),
    ];
    for change in changes {
        assert_not_obeyed(
            &decision(&n2(), &tampered(change)),
            "signature is not valid",
        );
    }
    // The order of n1, with its node replaced.
    let moved = signed(|order| order.node = id("n1"));
    assert_not_obeyed(&decision(&n2(), &moved), "n1 is ordered");
    let moved = tampered(|order| order.node = id("n1"));
    let n1 = starting_node("n1", DataState::AtPosition(at(12)));
    assert_not_obeyed(&decision(&n1, &moved), "signature is not valid");
}

#[test]
fn a_genuine_order_for_something_else_is_not_obeyed() {
    for (fixture, words) in [
        (
            signed(|order| signature(order).cluster = "prod".to_owned()),
            "it is for the cluster /galera/prod, but this node belongs to /galera/lab",
        ),
        (
            signed(|order| signature(order).registry = "/other/".to_owned()),
            "it is for the cluster /other/lab",
        ),
        (
            signed(|order| order.data_id = Some("d7".to_owned())),
            "it is for other data (d7) than this node's (id-n2)",
        ),
        (signed(|order| order.data_id = None), "it names no data"),
        (
            signed(|order| order.position = at(11).to_string()),
            "it names position",
        ),
        (
            signed(|order| signature(order).fork_epoch = 2),
            "for data of fork 2",
        ),
        (
            signed(|order| order.action_id = Some("old".to_owned())),
            "it was followed before",
        ),
    ] {
        assert_not_obeyed(&decision(&n2(), &fixture), words);
    }
}

#[test]
fn an_expired_or_early_order_is_not_obeyed_and_both_clocks_are_named() {
    for (offset, words) in [
        (
            3_600_000,
            "it expired at 2026-11-23T08:05:00Z, and the clock of this node showed 2026-11-23T09:00:00Z",
        ),
        (
            -3_600_000,
            "it is not valid before 2026-11-23T07:58:00Z, and the clock of this node showed 2026-11-23T07:00:00Z",
        ),
    ] {
        let own = StartingNode {
            orders: OrderTrust {
                now: millis(offset),
                order_read_at: millis(offset),
                ..trust(&["k1"])
            },
            ..n2()
        };
        assert_not_obeyed(&decision(&own, &signed(|_| {})), words);
    }
    let own = StartingNode {
        orders: OrderTrust {
            now: millis(300_000),
            ..trust(&["k1"])
        },
        ..n2()
    };
    assert_not_obeyed(&decision(&own, &signed(|_| {})), "while this node waited");
}

#[test]
fn without_a_key_no_order_is_obeyed_and_the_remedy_is_named() {
    let own = StartingNode {
        orders: OrderTrust::default(),
        ..n2()
    };
    for fixture in [
        signed(|_| {}),
        tampered(|order| order.signed = None),
        stopped_cluster(),
    ] {
        let decided = decision(&own, &fixture);
        assert_not_obeyed(&decided, "ORDER_PUBLIC_KEY_FILE");
        assert!(
            decided.explanation.contains("order-key show"),
            "{decided:?}"
        );
    }
}

#[test]
fn either_of_two_keys_is_obeyed_during_rotation() {
    let own = StartingNode {
        orders: trust(&["k1", "k2"]),
        ..n2()
    };
    for key in ["k1", "k2"] {
        let fixture = stopped_cluster().signed_order(genuine(), key, 9);
        assert!(is_obeyed(&decision(&own, &fixture)), "{key}");
    }
}

/// An order that claims to be the agent's own is obeyed only at the revision at which etcd confirmed this process's write,
/// under its lease, and only with AUTO_BOOTSTRAP=all-reported.
#[test]
fn a_forged_self_order_is_not_obeyed() {
    let own_order = BootstrapOrder::automatic(&id("n2"), &at(12), "token");
    let with = |lease: i64, own_lease: i64, written: bool| {
        let fixture = stopped_cluster().put("bootstrap", &own_order.to_value(), lease);
        let revision = fixture.raw.last().unwrap().mod_revision;
        let own = StartingNode {
            orders: OrderTrust {
                own_lease: Some(own_lease),
                own_order: written.then_some(revision),
                ..trust(&["k1"])
            },
            ..n2()
        };
        (own, fixture.snapshot())
    };
    let settings = auto_bootstrap_settings();
    let (own, snapshot) = with(7, 7, true);
    assert!(is_obeyed(&decide(&own, &snapshot, &settings)));
    // The setting was changed, or the order was never the agent's.
    let never = decide(&own, &snapshot, &StartupSettings::default());
    assert!(
        matches!(never.action, StartupAction::WithdrawOrder { .. }),
        "{never:?}"
    );
    // Under another lease: written by another client, or by an earlier process.
    let (own, snapshot) = with(8, 7, true);
    assert_not_obeyed(&decide(&own, &snapshot, &settings), "it is not signed");
    // Under the agent's own lease, whose number is no secret, but at another revision.
    let (own, snapshot) = with(7, 7, false);
    let decided = decide(&own, &snapshot, &settings);
    assert!(
        matches!(decided.action, StartupAction::WithdrawOrder { .. }),
        "{decided:?}"
    );
    // Confirmed, but for another position.
    let (mut own, snapshot) = with(7, 7, true);
    own.data = DataState::AtPosition(at(11));
    let decided = decide(&own, &snapshot, &settings);
    assert!(
        matches!(decided.action, StartupAction::WithdrawOrder { .. }),
        "{decided:?}"
    );
}

/// Keys that look like a waiting node do not make a member.
#[test]
fn forged_members_do_not_complete_the_reports() {
    let settings = StartupSettings {
        auto_bootstrap: AutoBootstrap::AllReported,
        expected_members: ExpectedMembers::Count(3),
    };
    let forged = |fixture: StartupFixture, node: &str, position: &str| {
        fixture.put(&format!("{node}/phase"), "waiting", 7).put(
            &format!("{node}/recovered_position"),
            position,
            7,
        )
    };
    let alone = StartupFixture::default().founded().registered("n2", None);
    let nil = "00000000-0000-0000-0000-000000000000:-1";
    let empty = forged(forged(alone.clone(), "x1", nil), "x2", nil);
    let decided = decide(&n2(), &empty.snapshot(), &settings);
    assert_not_obeyed(&decided, "2 more member(s)");
    let behind = at(3).to_string();
    let behind = forged(forged(alone, "x1", &behind), "x2", &behind);
    let decided = decide(&n2(), &behind.snapshot(), &settings);
    assert_not_obeyed(&decided, "not registered as a member");
}

/// A founder key that names this node's data is not this agent's because it is there.
#[test]
fn a_forged_founder_key_makes_no_node_found() {
    for started in [false, true] {
        let fixture = StartupFixture::default().founder("n2", started, None);
        for data in [DataState::Empty, DataState::AtPosition(at(12))] {
            let own = StartingNode {
                founding: false,
                ..starting_node("n2", data)
            };
            for settings in [StartupSettings::default(), auto_bootstrap_settings()] {
                let decided = decide(&own, &fixture.snapshot(), &settings);
                assert!(
                    !matches!(decided.action, StartupAction::FoundCluster(_)),
                    "{decided:?}"
                );
            }
        }
    }
}

fn order_change() -> impl Strategy<Value = BootstrapOrder> {
    let position = (1_u128..0x6f1c, 10_u64..14).prop_map(|(uuid, seqno)| {
        let uuid = if uuid % 2 == 0 {
            HISTORY
        } else {
            uuid::Uuid::from_u128(uuid)
        };
        Position::new(uuid, seqno).unwrap().to_string()
    });
    let names = ("n[12]", "a[12]", "id-n[12]", "lab|prod", "/galera/|/other/");
    (position, names, -400_i64..400, -400_i64..400, 0_u64..2).prop_map(
        |(position, (node, action, data, cluster, registry), from, to, fork_epoch)| {
            let mut order = genuine();
            order.position = position;
            order.node = id(&node);
            order.action_id = Some(action);
            order.data_id = Some(data);
            let signed = signature(&mut order);
            signed.cluster = cluster;
            signed.registry = registry;
            signed.not_before = millis(from * 1_000);
            signed.expires_at = millis(to * 1_000);
            signed.fork_epoch = fork_epoch;
            order
        },
    )
}

proptest! {
    /// Whatever etcd holds, an order that is obeyed is one that a trusted key signed, for this node, these data, this
    /// position and now.
    #[test]
    fn only_matching_signed_orders_are_obeyed(written in order_change(), claimed in order_change(), as_written in any::<bool>()) {
        let fixture = stopped_cluster().signed_order(written.clone(), "k1", 9);
        let (order, fixture) = if as_written {
            (written, fixture)
        } else {
            let raw = &fixture.raw.last().unwrap().value;
            let stored: BootstrapOrder = serde_json::from_slice(raw).unwrap();
            let mut forged = claimed.clone();
            signature(&mut forged).key_id = "k1".to_owned();
            signature(&mut forged).signature = stored.signed.unwrap().signature;
            (claimed, fixture.put("bootstrap", &forged.to_value(), 9))
        };
        let genuine = as_written || order.claims() == {
            let raw = fixture.raw.last().unwrap();
            let stored: BootstrapOrder = serde_json::from_slice(&raw.value).unwrap();
            stored.claims().filter(|claims| {
                stored.signed.as_ref().unwrap().signature.contains(&*String::from_utf8_lossy(&claims.to_signed_bytes()))
            })
        };
        let signed = order.signed.as_ref().unwrap();
        let matches = genuine
            && order.node == id("n2")
            && order.position == at(12).to_string()
            && order.data_id.as_deref() == Some("id-n2")
            && signed.cluster == "lab"
            && signed.registry == "/galera/"
            && signed.fork_epoch == 0
            && signed.not_before <= millis(0)
            && signed.expires_at > millis(0);
        prop_assert_eq!(is_obeyed(&decision(&n2(), &fixture)), matches);
    }
}
