//! Makes the node's address and its data's identity its own, before anything is reported.

use std::time::Duration;

use galera::NodeId;
use galera::observe::registration::AgentPhase;
use tokio::time::{Instant, sleep};

use super::cluster::ClusterListing;
use super::error::RunError;
use super::startup_driver::StartupDriver;

/// How often the registry is asked whether a lease has ended.
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);

impl StartupDriver<'_> {
    /// Waits until nobody else uses this node's address or data, and moves the registration of the same data here.
    ///
    /// # Errors
    /// [`RunError::Refused`] when somebody else goes on using them.
    pub(super) async fn claim_identity(&mut self) -> Result<(), RunError> {
        let mut since: Option<Instant> = None;
        loop {
            let seen = self.read_cluster().await;
            let Some(conflict) = self.conflict(&seen).await else {
                break;
            };
            let patience = self.settings.ttl * 3 + Duration::from_secs(2);
            if since.get_or_insert_with(Instant::now).elapsed() > patience {
                return Err(RunError::Refused(conflict));
            }
            let line = format!("{conflict}; waiting in case that lease is about to end");
            self.reporter
                .report(AgentPhase::Starting, &self.data, &line);
            sleep(RECHECK_INTERVAL).await;
        }
        if self.data.has_history() {
            self.register_history().await;
        }
        Ok(())
    }

    /// Data with a history are registered at once, so that nobody takes an emptied registry for a new cluster.
    async fn register_history(&self) {
        let seen = self.read_cluster().await;
        let member = seen.snapshot.members.get(&self.cluster.node);
        let known = member.and_then(|member| member.registration.as_ref());
        if known.is_some_and(|known| known.id.as_deref() == Some(&self.identity.id)) {
            return;
        }
        let position = self.data.position();
        let written = Box::pin(self.cluster.register(&self.identity.id, None, position)).await;
        if let Err(error) = written {
            tracing::warn!("Not registered durably yet: {error}");
        }
    }

    /// Who else uses this node's address or data, in a sentence.
    async fn conflict(&self, seen: &ClusterListing) -> Option<String> {
        let own = &self.cluster.node;
        let ours = |node: &NodeId| {
            let member = seen.snapshot.members.get(node);
            let registered = member.and_then(|member| member.registration.as_ref());
            registered.is_some_and(|known| known.id.as_deref() == Some(&self.identity.id))
        };
        let prefix = self.cluster.keys.node_prefix(&self.cluster.name, own);
        if let Some(lease) = seen.lease_under(&prefix) {
            if !ours(own) {
                return Some(format!(
                    "Another agent reports as {own} in cluster {}: two nodes must not have the same NODE_ADDRESS",
                    self.cluster.name
                ));
            }
            // We hold the data's lock, so the agent that wrote this is gone.
            return match Box::pin(self.cluster.registry.revoke(lease)).await {
                Ok(()) => None,
                Err(error) => Some(format!(
                    "The report of this node's earlier agent is not removed: {error}"
                )),
            };
        }
        let elsewhere = seen
            .snapshot
            .members_except(own)
            .find(|(node, _)| ours(node))?;
        if elsewhere.1.live {
            return Some(format!(
                "{} reports with the identity of this node's data: two nodes must not have copies of the same data (the \
                 copy gets a new identity when .galera-agent.json is removed from it)",
                elsewhere.0
            ));
        }
        match Box::pin(self.cluster.move_registration(elsewhere.0, seen)).await {
            Ok(true) => {
                tracing::info!(
                    "These data were registered as {}; their registration is moved to {own}",
                    elsewhere.0
                );
                None
            }
            Ok(false) => Some(format!("The registration of {} changes", elsewhere.0)),
            Err(error) => Some(format!(
                "The registration of {} is not moved: {error}",
                elsewhere.0
            )),
        }
    }
}
