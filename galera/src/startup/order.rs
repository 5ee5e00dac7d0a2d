//! Which orders a node accepts: its own, as this process wrote it, and those that a trusted key signed for
//! exactly this node, with these data, now. That a key is found in etcd proves nothing.

use std::sync::Arc;

use super::StartingNode;
use super::registry_snapshot::RegistrySnapshot;
use crate::observe::registration::{
    BootstrapOrder, HeldRange, OrderClaims, OrderSignature, OrderVerifier, RejoinOrder,
    SignatureCheck,
};
use crate::observe::wsrep::truncate_text;
use crate::position::Position;
use crate::timestamp::Timestamp;

/// What this process knows about orders.
#[derive(Clone, Debug, Default)]
pub struct OrderTrust {
    /// The public keys of consoles; `None` without ORDER_PUBLIC_KEY_FILE.
    pub keys: Option<Arc<dyn OrderVerifier>>,
    /// This node's clock.
    pub now: Timestamp,
    /// What it showed when the current order was first read; messages name this time, so that they do not change.
    pub order_read_at: Timestamp,
    /// The lease of this process's report.
    pub own_lease: Option<i64>,
    /// The `mod_revision` of the order that this process wrote for itself under that lease.
    pub own_order: Option<i64>,
    /// Why this node cannot keep its data aside, with the remedy; then it rejects orders to rejoin.
    pub keep_obstacle: Option<String>,
}

/// What is missing without keys, and the remedy.
const NO_KEYS: &str = "ORDER_PUBLIC_KEY_FILE is not set, so this agent rejects all console orders; set it to a file with \
    the console's public key, as `galera-console order-key show` prints it";

impl OrderTrust {
    /// The remark of an agent that rejects all console orders; empty otherwise.
    pub(super) fn missing_keys_remark(&self) -> String {
        match self.keys {
            Some(_) => String::new(),
            None => format!(" ({NO_KEYS})"),
        }
    }
}

/// Why a bootstrap order to this node is rejected; `None` if it is accepted.
pub(super) fn refusal(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    order: &BootstrapOrder,
    leased: bool,
) -> Option<String> {
    common_refusal(own, snapshot, order, order.claims(), leased)
}

/// Why an order to this node, which is held back by `held`, to rejoin is rejected; `None` if it is accepted.
pub(super) fn rejoin_refusal(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    rejoin: &RejoinOrder,
    leased: bool,
    held: &HeldRange,
) -> Option<String> {
    common_refusal(own, snapshot, &rejoin.order, rejoin.claims(), leased)
        .or_else(|| {
            (rejoin.ahead_of != held.fork).then(|| {
                format!(
                    "it is for data that {} holds back, but what holds this node's data back is {}",
                    fork_name(rejoin.ahead_of),
                    fork_name(held.fork)
                )
            })
        })
        .or_else(|| own.orders.keep_obstacle.clone())
}

fn fork_name(epoch: u64) -> String {
    match epoch {
        0 => "no recorded fork".to_owned(),
        epoch => format!("fork {epoch}"),
    }
}

fn common_refusal(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    order: &BootstrapOrder,
    claims: Option<OrderClaims>,
    leased: bool,
) -> Option<String> {
    let action = order.action_id.as_deref().unwrap_or_default();
    if !leased {
        return Some("its key has no lease".to_owned());
    }
    if action.trim().is_empty() {
        return Some("it names no action".to_owned());
    }
    if own.obeyed_orders.contains(action) {
        return Some("it was followed before".to_owned());
    }
    let Some(keys) = &own.orders.keys else {
        return Some(NO_KEYS.to_owned());
    };
    let signed = match signed_by_trusted_key(keys.as_ref(), order, claims) {
        Ok(signed) => signed,
        Err(why) => return Some(why),
    };
    scope_refusal(own, snapshot, order, signed)
        .or_else(|| time_refusal(signed, &own.orders))
        .or_else(|| position_refusal(own, order))
}

fn signed_by_trusted_key<'a>(
    keys: &dyn OrderVerifier,
    order: &'a BootstrapOrder,
    claims: Option<OrderClaims>,
) -> Result<&'a OrderSignature, String> {
    let (Some(signed), Some(claims)) = (&order.signed, claims) else {
        return Err("it is not signed".to_owned());
    };
    match keys.verify(&signed.key_id, &claims.to_signed_bytes(), &signed.signature) {
        SignatureCheck::Valid => Ok(signed),
        SignatureCheck::UnknownKey => Err(format!(
            "it is signed with the key {:?}, but ORDER_PUBLIC_KEY_FILE has only {}; add that key if a console of yours \
             uses it",
            truncate_text(&signed.key_id),
            keys.key_ids().join(", ")
        )),
        SignatureCheck::Invalid => Err(format!(
            "its signature is not valid for its content: it was forged or changed, not written by the owner of the key {}",
            signed.key_id
        )),
    }
}

/// Whether a genuine order is for another cluster or other data.
fn scope_refusal(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    order: &BootstrapOrder,
    signed: &OrderSignature,
) -> Option<String> {
    if signed.registry != snapshot.registry || signed.cluster != own.cluster.as_str() {
        return Some(format!(
            "it is for the cluster {}{}, but this node belongs to {}{}",
            signed.registry, signed.cluster, snapshot.registry, own.cluster
        ));
    }
    match order.data_id.as_deref() {
        Some(data_id) if data_id == own.data_id => {}
        Some(data_id) => {
            return Some(format!(
                "it is for other data ({}) than this node's ({})",
                truncate_text(data_id),
                own.data_id
            ));
        }
        None => return Some("it names no data".to_owned()),
    }
    (signed.fork_epoch != own.fork_epoch).then(|| {
        format!(
            "it is for data of fork {}, but this node's data are of fork {}",
            signed.fork_epoch, own.fork_epoch
        )
    })
}

/// The console's times against this node's clock. Both are named, because either clock may be wrong.
fn time_refusal(signed: &OrderSignature, orders: &OrderTrust) -> Option<String> {
    const REMEDY: &str = "correct the clock that is wrong, here or on the console's host";
    let read_at = orders.order_read_at;
    if orders.now < signed.not_before {
        return Some(format!(
            "it is not valid before {}, and the clock of this node showed {read_at} when it was read; {REMEDY}",
            signed.not_before
        ));
    }
    (orders.now >= signed.expires_at).then(|| match read_at < signed.expires_at {
        true => format!(
            "it expired at {} while this node waited; request the action again",
            signed.expires_at
        ),
        false => format!(
            "it expired at {}, and the clock of this node showed {read_at} when it was read; request the action again, or \
             {REMEDY}",
            signed.expires_at
        ),
    })
}

pub(super) fn position_refusal(own: &StartingNode, order: &BootstrapOrder) -> Option<String> {
    match (own.data.position(), order.position.parse::<Position>()) {
        (Some(position), Ok(ordered)) if *position == ordered => None,
        (Some(position), _) => Some(format!(
            "it names position {:?}, but this node is at {position}",
            truncate_text(&order.position)
        )),
        (None, _) => Some("this node has no trusted position".to_owned()),
    }
}
