//! Registries, built key by key as agents write them, and starting nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use galera::observe::registration::{
    BootstrapOrder, ClusterField, MembersSeen, NO_POSITION, OrderSignature, OrderVerifier,
    RawKeyValue, RegistryKeys, RejoinOrder, SignatureCheck,
};
use galera::startup::{
    AutoBootstrap, CleanStop, DataState, ExpectedMembers, FounderRecord, OrderTrust,
    RegistrationRecord, RegistrySnapshot, StartingNode, StartupDecision, StartupSettings, decide,
};
use galera::{ClusterName, NodeId, Position, Timestamp};
use uuid::Uuid;

pub(crate) const HISTORY: Uuid = Uuid::from_u128(0x6f1a);
/// The time of every fixture.
pub(crate) const NOW_MILLIS: i64 = 1_795_420_800_000;

pub(crate) const OTHER_HISTORY: Uuid = Uuid::from_u128(0x7e2b);

pub(crate) fn cluster() -> ClusterName {
    "lab".parse().unwrap()
}

pub(crate) fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(crate) fn at(seqno: u64) -> Position {
    Position::new(HISTORY, seqno).unwrap()
}

/// A registry under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartupFixture {
    pub(crate) raw: Vec<RawKeyValue>,
}

impl StartupFixture {
    pub(crate) fn put(mut self, key: &str, value: &str, lease: i64) -> Self {
        let key = format!("/galera/lab/{key}").into_bytes();
        self.raw.retain(|raw| raw.key != key);
        self.raw.push(RawKeyValue {
            key,
            value: value.into(),
            mod_revision: 100 + i64::try_from(self.raw.len()).unwrap(),
            lease,
            ttl: None,
        });
        self
    }

    /// Removes every key of `node`.
    pub(crate) fn without(mut self, node: &str) -> Self {
        let prefix = format!("/galera/lab/{node}/").into_bytes();
        self.raw.retain(|raw| !raw.key.starts_with(&prefix));
        self
    }

    /// The founder record of `node`; `history` is recorded once the cluster was Primary.
    pub(crate) fn founder(self, node: &str, started: bool, history: Option<Uuid>) -> Self {
        let founder = FounderRecord {
            node: id(node),
            founded_at: None,
            data_id: Some(format!("id-{node}")),
            started,
            state_uuid: history,
        };
        self.put("founder", &founder.to_value(), 0)
    }

    pub(crate) fn founded(self) -> Self {
        self.founder("n1", true, Some(HISTORY))
    }

    pub(crate) fn starting(self, node: &str) -> Self {
        self.put(&format!("{node}/phase"), "starting", 7)
    }

    pub(crate) fn registered(self, node: &str, stopped: Option<Position>) -> Self {
        let registered = RegistrationRecord {
            id: Some(format!("id-{node}")),
            stopped: stopped.map(|position| CleanStop {
                position,
                at: None,
                fork_epoch: None,
            }),
            ..RegistrationRecord::default()
        };
        self.put(&format!("{node}/registered"), &registered.to_value(), 0)
    }

    /// `node` waits at `position`, or without one.
    pub(crate) fn waiting(self, node: &str, position: Option<&Position>) -> Self {
        let position = position.map_or(NO_POSITION.to_owned(), ToString::to_string);
        self.registered(node, None)
            .put(&format!("{node}/data_id"), &format!("id-{node}"), 7)
            .put(&format!("{node}/phase"), "waiting", 7)
            .put(&format!("{node}/recovered_position"), &position, 7)
    }

    /// `node` waits without data that were ever registered, under the identity `id-NODE`.
    pub(crate) fn empty(self, node: &str) -> Self {
        self.put(&format!("{node}/data_id"), &format!("id-{node}"), 7)
            .put(&format!("{node}/phase"), "waiting", 7)
            .put(&format!("{node}/recovered_position"), NO_POSITION, 7)
    }

    /// The agent of `node` reports on these data.
    pub(crate) fn data(self, node: &str, data_id: &str) -> Self {
        self.put(&format!("{node}/data_id"), data_id, 7)
    }

    /// The data of `node` last were in view `view` of `count` members.
    pub(crate) fn members_seen(self, node: &str, count: usize, view: u64) -> Self {
        let seen = MembersSeen {
            count,
            view: Some(view),
            ..MembersSeen::default()
        };
        self.put(&format!("{node}/members_seen"), &seen.to_value(), 7)
    }

    pub(crate) fn highest(self, node: &str, position: &Position) -> Self {
        self.put(
            &format!("{node}/highest_position"),
            &position.to_string(),
            0,
        )
    }

    pub(crate) fn running(
        self,
        node: &str,
        state: &str,
        status: &str,
        position: &Position,
    ) -> Self {
        let field = |name: &str| format!("{node}/{name}");
        self.registered(node, None)
            .put(&field("phase"), "running", 7)
            .put(&field("wsrep_local_state_comment"), state, 7)
            .put(&field("wsrep_cluster_status"), status, 7)
            .put(
                &field("wsrep_cluster_state_uuid"),
                &position.uuid.to_string(),
                7,
            )
            .put(
                &field("wsrep_last_committed"),
                &position.seqno.to_string(),
                7,
            )
    }

    pub(crate) fn synced(self, node: &str, position: &Position) -> Self {
        self.running(node, "Synced", "Primary", position)
    }

    pub(crate) fn order(
        self,
        node: &str,
        position: &str,
        action: Option<&str>,
        lease: i64,
    ) -> Self {
        let order = BootstrapOrder {
            node: id(node),
            position: position.to_owned(),
            action_id: action.map(ToOwned::to_owned),
            data_id: Some(format!("id-{node}")),
            signed: Some(Box::new(OrderSignature {
                registry: "/galera/".to_owned(),
                cluster: "lab".to_owned(),
                not_before: Timestamp::from_unix_millis(NOW_MILLIS - 60_000),
                expires_at: Timestamp::from_unix_millis(NOW_MILLIS + 60_000),
                fork_epoch: 0,
                key_id: String::new(),
                signature: String::new(),
            })),
        };
        self.signed_order(order, "k1", lease)
    }

    /// `order`, signed with the key named `key`.
    pub(crate) fn signed_order(self, mut order: BootstrapOrder, key: &str, lease: i64) -> Self {
        let claims = order.claims().unwrap();
        let signed = order.signed.as_mut().unwrap();
        key.clone_into(&mut signed.key_id);
        signed.signature = fake_signature(key, &claims.to_signed_bytes());
        self.put("bootstrap", &order.to_value(), lease)
    }

    /// `rejoin`, signed with the key named `key`.
    pub(crate) fn signed_rejoin(self, mut rejoin: RejoinOrder, key: &str, lease: i64) -> Self {
        let signed = rejoin.order.signed.as_mut().unwrap();
        key.clone_into(&mut signed.key_id);
        let claims = rejoin.claims().unwrap();
        let signed = rejoin.order.signed.as_mut().unwrap();
        signed.signature = fake_signature(key, &claims.to_signed_bytes());
        self.put("rejoin", &rejoin.to_value(), lease)
    }

    pub(crate) fn snapshot(&self) -> RegistrySnapshot {
        RegistrySnapshot::from_keys(&RegistryKeys::new("/galera"), &cluster(), &self.raw)
    }

    /// The decision of `node` with `data`, with automatic bootstrap.
    pub(crate) fn decide(&self, node: &str, data: DataState) -> StartupDecision {
        decide(
            &starting_node(node, data),
            &self.snapshot(),
            &auto_bootstrap_settings(),
        )
    }

    /// The decision of `node` with `data`, without automatic bootstrap.
    pub(crate) fn decide_without_auto_bootstrap(
        &self,
        node: &str,
        data: DataState,
    ) -> StartupDecision {
        decide(
            &starting_node(node, data),
            &self.snapshot(),
            &StartupSettings::default(),
        )
    }
}

pub(crate) fn auto_bootstrap_settings() -> StartupSettings {
    StartupSettings {
        auto_bootstrap: AutoBootstrap::AllReported,
        expected_members: ExpectedMembers::Registered,
    }
}

pub(crate) fn starting_node(node: &str, data: DataState) -> StartingNode {
    StartingNode {
        cluster: cluster(),
        node: id(node),
        data_id: format!("id-{node}"),
        data,
        members_seen: None,
        fork_epoch: 0,
        fork: None,
        founding: true,
        obeyed_orders: BTreeSet::from(["old".to_owned()]),
        orders: trust(&["k1"]),
    }
}

/// An agent that trusts these keys, at the fixture's time.
pub(crate) fn trust(keys: &[&str]) -> OrderTrust {
    let keys = keys.iter().map(|&key| key.to_owned()).collect();
    OrderTrust {
        keys: Some(Arc::new(FakeKeys(keys))),
        now: Timestamp::from_unix_millis(NOW_MILLIS),
        order_read_at: Timestamp::from_unix_millis(NOW_MILLIS),
        own_lease: None,
        own_order: None,
        keep_obstacle: None,
    }
}

/// Keys whose signature is the name of the key and the message. The real ones are in the crate `order-signature`.
#[derive(Debug)]
struct FakeKeys(Vec<String>);

impl OrderVerifier for FakeKeys {
    fn verify(&self, key_id: &str, message: &[u8], signature: &str) -> SignatureCheck {
        if !self.0.iter().any(|key| key == key_id) {
            SignatureCheck::UnknownKey
        } else if signature == fake_signature(key_id, message) {
            SignatureCheck::Valid
        } else {
            SignatureCheck::Invalid
        }
    }

    fn key_ids(&self) -> Vec<String> {
        self.0.clone()
    }
}

fn fake_signature(key: &str, message: &[u8]) -> String {
    format!("{key} signs {}", String::from_utf8_lossy(message))
}

pub(crate) fn order_key() -> Vec<u8> {
    RegistryKeys::new("/galera")
        .cluster_key(&cluster(), ClusterField::Bootstrap)
        .into()
}
