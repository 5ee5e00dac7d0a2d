//! The order to rejoin: the value of `/galera/<cluster>/rejoin`.

use serde::{Deserialize, Serialize};

use super::bootstrap_order::BootstrapOrder;
use super::order_claims::{OrderClaims, OrderPurpose};

/// An order to a node that is held back: keep its data aside and join the cluster empty, by a full state transfer.
///
/// It has the fields of a bootstrap order, but another signature: neither is ever valid as the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejoinOrder {
    /// Node, position and identity of the data that are given up, the action, and the signature.
    #[serde(flatten)]
    pub order: BootstrapOrder,
    /// The fork that holds the data back, as the node publishes it; 0 for none.
    pub ahead_of: u64,
}

impl RejoinOrder {
    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut value: serde_json::Value =
            serde_json::from_str(&self.order.to_value()).unwrap_or_default();
        value["ahead_of"] = self.ahead_of.into();
        value.to_string()
    }

    /// What its signature must cover; `None` if it is not signed.
    #[must_use]
    pub fn claims(&self) -> Option<OrderClaims> {
        Some(OrderClaims {
            purpose: OrderPurpose::Rejoin {
                ahead_of: self.ahead_of,
            },
            ..self.order.claims()?
        })
    }
}
