//! Weights and an arbitrator.

use std::time::Duration;

use anyhow::Result;

use super::LabConditions;
use crate::rounds_lab::{NODES, RoundsLab};

/// Longest wait for an arbitrator that leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

impl LabConditions {
    pub(super) async fn set_weights(&mut self, lab: &RoundsLab, weights: [u8; NODES]) {
        self.weighted = true;
        for (node, weight) in weights.into_iter().enumerate() {
            let statement = format!("SET GLOBAL wsrep_provider_options='pc.weight={weight}'");
            // Refused outside of a Primary component and while the group changes.
            for _ in 0..5 {
                if lab.node(node).execute(&statement).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    pub(super) fn start_arbitrator(&mut self, lab: &RoundsLab) -> Result<()> {
        let log = lab.nodes.directory().join("arbitrator.log");
        let program = lab.nodes.arbitrator(lab.arbitrator_port(), &log);
        self.arbitrator = Some(program.start()?);
        self.had_arbitrator = true;
        Ok(())
    }

    /// Lets the arbitrator leave.
    pub(crate) async fn stop_arbitrator(&mut self) {
        if let Some(arbitrator) = self.arbitrator.take() {
            // If it has to be killed, the others notice as for a node.
            let _ = arbitrator.stop(LEAVE_TIMEOUT).await;
        }
    }

    /// Gives every node the weight 1 again.
    pub(crate) async fn reset_weights(&mut self, lab: &RoundsLab) {
        if self.weighted {
            self.set_weights(lab, [1; NODES]).await;
            self.weighted = false;
        }
    }
}
