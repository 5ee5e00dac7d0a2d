//! The bootstrap order for a stopped cluster: the value of `/galera/<cluster>/bootstrap`.

use serde::{Deserialize, Serialize};

use super::order_claims::{OrderClaims, OrderPurpose};
use crate::id::NodeId;
use crate::timestamp::Timestamp;

/// An order to one node of a stopped cluster to bootstrap it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapOrder {
    /// The node that is to bootstrap.
    pub node: NodeId,
    /// The position that it must have.
    pub position: String,
    /// The action behind the order, or the name that an agent gave to its order; an order without one is ignored. `null`
    /// in a plan, which has no action yet.
    pub action_id: Option<String>,
    /// The identity of the data that bootstraps, as the node's agent publishes it; absent for an agent that publishes
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_id: Option<String>,
    /// What a console adds when it writes the order.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<OrderSignature>>,
}

/// The signature of an order, and what it covers in addition to the order's own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSignature {
    /// The registry that the order is for: the prefix of its keys, with a trailing slash.
    pub registry: String,
    /// The cluster that the order is for.
    pub cluster: String,
    /// The order is not valid before.
    pub not_before: Timestamp,
    /// The order is not valid from then on.
    pub expires_at: Timestamp,
    /// The fork epoch of the data; 0 for data without one.
    #[serde(default)]
    pub fork_epoch: u64,
    /// The short name of the public key that verifies the signature.
    pub key_id: String,
    /// The Ed25519 signature of [`OrderClaims::to_signed_bytes`], in hexadecimal digits.
    pub signature: String,
}

impl BootstrapOrder {
    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut value = serde_json::json!({
            "node": self.node, "position": self.position, "action_id": self.action_id,
        });
        if let Some(data_id) = &self.data_id {
            value["data_id"] = data_id.as_str().into();
        }
        if let Some(signed) = &self.signed {
            value["registry"] = signed.registry.as_str().into();
            value["cluster"] = signed.cluster.as_str().into();
            value["not_before"] = signed.not_before.to_string().into();
            value["expires_at"] = signed.expires_at.to_string().into();
            value["fork_epoch"] = signed.fork_epoch.into();
            value["key_id"] = signed.key_id.as_str().into();
            value["signature"] = signed.signature.as_str().into();
        }
        value.to_string()
    }

    /// What its signature must cover; `None` if it is not signed.
    #[must_use]
    pub fn claims(&self) -> Option<OrderClaims> {
        let signed = self.signed.as_ref()?;
        Some(OrderClaims {
            purpose: OrderPurpose::Bootstrap,
            registry: signed.registry.clone(),
            cluster: signed.cluster.clone(),
            node: self.node.clone(),
            data_id: self.data_id.clone().unwrap_or_default(),
            position: self.position.clone(),
            action_id: self.action_id.clone().unwrap_or_default(),
            not_before: signed.not_before,
            expires_at: signed.expires_at,
            fork_epoch: signed.fork_epoch,
        })
    }
}
