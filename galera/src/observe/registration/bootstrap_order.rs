//! The bootstrap order for a stopped cluster: the value of `/galera/<cluster>/bootstrap`.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

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
}

impl BootstrapOrder {
    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        serde_json::json!({
            "node": self.node, "position": self.position, "action_id": self.action_id,
        })
        .to_string()
    }
}
