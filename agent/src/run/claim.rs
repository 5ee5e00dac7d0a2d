//! Claims the node's address and the identity of its data before anything is published.

use std::time::Duration;

use galera::NodeId;
use galera::observe::registration::AgentPhase;
use galera::startup::ReplaceRegistration;
use tokio::time::{Instant, sleep};

use super::cluster::ClusterListing;
use super::error::RunError;
use super::startup_driver::StartupDriver;

/// Between two checks whether a conflicting lease has expired.
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);

impl StartupDriver<'_> {
    /// Waits until no other agent uses this node's address or data, then moves the registration of the same data to
    /// this address.
    ///
    /// # Errors
    /// [`RunError::Refused`] if another agent keeps using them.
    pub(super) async fn claim_identity(&mut self) -> Result<(), RunError> {
        let mut since: Option<Instant> = None;
        loop {
            let listing = self.read_cluster().await;
            let Some(conflict) = self.conflict(&listing).await else {
                break;
            };
            let limit = self.settings.ttl * 3 + Duration::from_secs(2);
            if since.get_or_insert_with(Instant::now).elapsed() > limit {
                return Err(RunError::Refused(conflict));
            }
            let message = format!("{conflict}; waiting in case its lease is about to expire");
            self.reporter
                .report(AgentPhase::Starting, &self.data, &message);
            sleep(RECHECK_INTERVAL).await;
        }
        if self.data.has_history() {
            self.register_history().await;
        }
        Ok(())
    }

    /// Registers data with a history immediately, so that an emptied registry is not taken for a new cluster.
    pub(super) async fn register_history(&self) {
        let listing = self.read_cluster().await;
        if self.is_registered_as(&self.cluster.node, &listing) {
            return;
        }
        let position = self.data.position();
        let written = Box::pin(self.cluster.register(
            &self.identity.id,
            ReplaceRegistration::OwnOnly,
            None,
            position,
        ));
        match written.await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                "{} is registered in cluster {} for other data, which may be in use elsewhere; that registration is kept \
                 until the cluster has accepted the data of this node",
                self.cluster.node,
                self.cluster.name
            ),
            Err(error) => {
                tracing::warn!("Could not write the durable registration yet: {error}");
            }
        }
    }

    /// The other user of this node's address or data, as a sentence.
    async fn conflict(&self, listing: &ClusterListing) -> Option<String> {
        let own = &self.cluster.node;
        let ours = |node: &NodeId| self.is_registered_as(node, listing);
        let prefix = self.cluster.keys.node_prefix(&self.cluster.name, own);
        if let Some(lease) = listing.lease_under(&prefix) {
            let reported = listing.snapshot.members.get(own);
            let reported = reported.and_then(|member| member.data_id.as_deref());
            if !ours(own) && reported != Some(&self.identity.id) {
                return Some(format!(
                    "Another agent reports as {own} in cluster {}: NODE_ADDRESS must be unique",
                    self.cluster.name
                ));
            }
            // We hold the lock of the data directory, so the agent that wrote this is gone.
            return match Box::pin(self.cluster.registry.revoke(lease)).await {
                Ok(()) => None,
                Err(error) => Some(format!(
                    "Could not remove the report of this node's earlier agent: {error}"
                )),
            };
        }
        let previous = listing
            .snapshot
            .members_except(own)
            .find(|(node, _)| ours(node))?;
        if previous.1.live {
            return Some(format!(
                "{} reports with the identity of this node's data: two nodes must not run copies of the same data (remove \
                 .galera-agent.json from the copy to give it a new identity)",
                previous.0
            ));
        }
        match Box::pin(self.cluster.move_registration(previous.0, listing)).await {
            Ok(true) => {
                tracing::info!(
                    "Moved the registration of this data from {} to {own}",
                    previous.0
                );
                None
            }
            Ok(false) => Some(format!("The registration of {} is changing", previous.0)),
            Err(error) => Some(format!(
                "Could not move the registration of {}: {error}",
                previous.0
            )),
        }
    }
}
