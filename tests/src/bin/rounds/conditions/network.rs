//! Faults of the network, and their repair.

use anyhow::Result;

use super::LabConditions;
use crate::faults::RoundFault;
use crate::rounds_lab::{NODES, RoundsLab};

impl LabConditions {
    pub(super) async fn apply_network_fault(
        &mut self,
        lab: &RoundsLab,
        fault: &RoundFault,
    ) -> Result<()> {
        let Some(network) = lab.nodes.network() else {
            return Ok(());
        };
        let address = |node: usize| lab.node(node).address();
        match fault {
            RoundFault::Partition(one) => {
                for other in (0..NODES).filter(|other| other != one) {
                    network.cut(address(*one), address(other)).await?;
                }
            }
            RoundFault::PartitionAll => {
                for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                    network.cut(address(one), address(other)).await?;
                }
            }
            RoundFault::Unplug(nodes) => {
                for node in nodes {
                    network.unplug(address(*node)).await?;
                    self.nodes[*node].unplugged = true;
                }
            }
            RoundFault::Hide(one, other) => {
                for node in (0..NODES).filter(|node| node != one && node != other) {
                    network.cut(address(*one), address(node)).await?;
                    network.cut(address(*other), address(node)).await?;
                }
                for node in [one, other] {
                    network.hide_from_router(address(*node)).await?;
                }
                self.hidden = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Repairs network and group connections of all reachable nodes.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub(crate) async fn heal(&mut self, lab: &RoundsLab) -> Result<()> {
        if let Some(network) = lab.nodes.network() {
            network.heal().await?;
        }
        self.hidden = false;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.unplugged = false;
            if node.isolated && !node.paused && lab.node(index).isolate(false).await.is_ok() {
                node.isolated = false;
            }
        }
        Ok(())
    }
}
