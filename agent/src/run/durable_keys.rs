//! Maintains, while the server runs, the durable registration, the founder key, the bootstrap order (removed when
//! complete, or without effect) and the identity file.

use std::sync::Arc;
use std::time::Duration;

use galera::Position;
use galera::startup::{PrimaryMembership, ReplaceRegistration};
use galera::view::ClusterStatus;
use registry::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::cluster::ClusterRegistry;
use super::identity::DataIdentity;
use crate::observation::ServerState;
use crate::outage_log::OutageLog;

/// Maintains what outlives the server.
pub(super) struct DurableKeys {
    pub(super) cluster: ClusterRegistry,
    pub(super) identity: DataIdentity,
    pub(super) data_dir: std::path::PathBuf,
    /// The published `fork_epoch`.
    pub(super) fork_epoch: watch::Sender<u64>,
    /// Makes the reporter write all fields again.
    pub(super) rewrite: Arc<Notify>,
    /// Between two full updates.
    pub(super) interval: Duration,
    /// The position that the server last reported outside a Primary component.
    pub(super) position_apart: Option<Position>,
    /// Why the server must leave the component that it was merged with.
    pub(super) diverged: watch::Sender<Option<String>>,
}

impl DurableKeys {
    /// Updates the keys periodically while `server` is in a Primary component, and immediately when `keys_removed` reports that
    /// keys were removed. Runs until dropped.
    pub(super) async fn run(
        mut self,
        mut server: watch::Receiver<ServerState>,
        keys_removed: Arc<Notify>,
    ) {
        let mut outage_log = OutageLog::default();
        let mut last_full_write: Option<Instant> = None;
        let mut order_is_open = true;
        loop {
            let state = server.borrow_and_update().clone();
            let primary = primary_membership(&state);
            if let Some(position) = position_apart(&state) {
                self.position_apart = Some(position);
            }
            // A server that responds has been started: it lost its Primary component before that was seen. An order under the
            // lease of this agent would keep every other recovery waiting.
            if order_is_open && is_non_primary(&state) && self.cluster.remove_order().await.is_ok()
            {
                order_is_open = false;
            }
            if let Some(primary) = primary {
                let due = last_full_write
                    .is_none_or(|last_full_write| last_full_write.elapsed() >= self.interval);
                let written = if due {
                    Box::pin(self.write(&primary)).await
                } else {
                    Ok(())
                };
                match written {
                    Ok(()) if due => {
                        last_full_write = Some(Instant::now());
                        if let Some(outage) = outage_log.recovered() {
                            let outage_s = outage.as_secs();
                            tracing::info!(outage_s, "The durable keys are up to date again");
                        }
                    }
                    Ok(()) => {}
                    Err(error) => {
                        if outage_log.failed(&error.to_string()).is_some() {
                            tracing::warn!(
                                "Could not update the durable keys, will retry: {error}"
                            );
                        }
                        sleep(self.interval / 4).await;
                    }
                }
            }
            tokio::select! {
                changed = server.changed() => if changed.is_err() { return },
                () = keys_removed.notified() => last_full_write = None,
                () = sleep(self.interval) => {}
            }
        }
    }

    async fn write(&mut self, primary: &PrimaryMembership) -> Result<(), Error> {
        // Even without etcd: the data is no longer just initialized.
        if self.identity.prepared {
            self.identity.prepared = false;
            self.warn_if_failed(self.identity.write(&self.data_dir));
        }
        self.warn_if_failed(self.identity.restore(&self.data_dir));
        // Nodes join only after this, and an emptied registry must not look like a new cluster.
        self.cluster
            .ensure_founder(&self.identity.id, primary.uuid)
            .await?;
        // From now on no founder key makes these data found a cluster.
        if self.identity.founding {
            self.identity.founding = false;
            self.warn_if_failed(self.identity.write(&self.data_dir));
        }
        let position = primary.position.as_ref();
        self.cluster
            .register(
                &self.identity.id,
                ReplaceRegistration::OfOtherData,
                None,
                position,
            )
            .await?;
        self.follow_forks(primary.uuid).await?;
        self.cluster.remove_order().await?;
        Ok(())
    }

    /// Keeps the newest fork that the members of this Primary component continue, and its record in etcd.
    async fn follow_forks(&mut self, uuid: Uuid) -> Result<(), Error> {
        let snapshot = Box::pin(self.cluster.read()).await?.snapshot;
        let continued = snapshot.fork_of_member(&self.cluster.node, uuid, self.identity.fork_epoch);
        let excess = continued.as_ref().and_then(|(epoch, _)| {
            let position = self.position_apart.as_ref()?;
            let own = self.identity.fork_epoch;
            snapshot.excess_over_fork(&self.cluster.node, position, own, *epoch)
        });
        if let Some((first, last)) = excess {
            // Not part of that fork: after a restart, the data are held back as those of a node that returns.
            self.leave_component(uuid, first, last);
        } else if let Some((epoch, record)) = continued {
            self.identity.record_fork(epoch, record);
            self.warn_if_failed(self.identity.write(&self.data_dir));
            tracing::info!("These data are part of fork {epoch} now");
        }
        self.fork_epoch.send_if_modified(|published| {
            let changed = *published != self.identity.fork_epoch;
            *published = self.identity.fork_epoch;
            if changed {
                self.rewrite.notify_one();
            }
            changed
        });
        if let Some(record) = &self.identity.fork
            && snapshot.forks.get(self.identity.fork_epoch).is_none()
            && self
                .cluster
                .create_fork(self.identity.fork_epoch, record)
                .await?
        {
            tracing::info!("Restored the record of fork {}", self.identity.fork_epoch);
        }
        Ok(())
    }

    fn leave_component(&self, uuid: Uuid, first: u64, last: u64) {
        let node = &self.cluster.node;
        let reason = format!(
            "Stopping the server: transactions {first} to {last} of {uuid} on {node} are not those of the Primary component, \
             which was bootstrapped at {} without them while {node} was cut off from it; the incremental state transfer left \
             them in place, so the data of the members differ",
            first.saturating_sub(1)
        );
        self.diverged.send_if_modified(|known| {
            let new = known.is_none();
            if new {
                *known = Some(reason);
            }
            new
        });
    }

    fn warn_if_failed(&self, written: Result<(), super::error::RunError>) {
        if let Err(failure) = written {
            tracing::warn!("Could not save the identity of the data: {failure}");
        }
    }
}

fn is_non_primary(server: &ServerState) -> bool {
    matches!(server, ServerState::Responding { reading, .. }
        if reading.status.cluster_status == Some(ClusterStatus::NonPrimary))
}

/// The position of a server that responds outside a Primary component.
fn position_apart(server: &ServerState) -> Option<Position> {
    match server {
        ServerState::Responding { reading, .. } if is_non_primary(server) => {
            reading.status.position()
        }
        _ => None,
    }
}

fn primary_membership(server: &ServerState) -> Option<PrimaryMembership> {
    match server {
        ServerState::Responding { reading, .. } => PrimaryMembership::of(&reading.status),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
