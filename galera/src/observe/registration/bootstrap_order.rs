//! The order to bootstrap that a stopped cluster obeys: the value of `/galera/<cluster>/bootstrap`.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Who shall bootstrap, from where, and on whose behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapOrder {
    /// Who shall bootstrap.
    pub node: NodeId,
    /// The position that it must have.
    pub position: String,
    /// The action that it carries out; no order without one is obeyed. `null` in a plan, where there is none yet.
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
