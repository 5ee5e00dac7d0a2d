//! While the server runs: the durable keys, the founder key, the order that was carried out, and the identity's file.

use std::sync::Arc;
use std::time::Duration;

use galera::Position;
use galera::observe::wsrep::LocalState;
use galera::view::ClusterStatus;
use registry::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::cluster::ClusterRegistry;
use super::identity::DataIdentity;
use crate::observation::ServerState;
use crate::outage_log::OutageLog;

/// Keeps what outlives the server.
pub(super) struct DurableKeys {
    /// The registry.
    pub(super) cluster: ClusterRegistry,
    /// Who the data are.
    pub(super) identity: DataIdentity,
    /// Where they are.
    pub(super) data_dir: std::path::PathBuf,
    /// How often everything is looked at again.
    pub(super) interval: Duration,
}

/// A member's word that it belongs to the Primary component.
struct PrimaryMembership {
    uuid: Uuid,
    position: Option<Position>,
}

impl DurableKeys {
    /// Keeps them true for as long as `server` belongs to the Primary component, and at once when `lost` says that
    /// something was removed; until dropped.
    pub(super) async fn run(mut self, mut server: watch::Receiver<ServerState>, lost: Arc<Notify>) {
        let mut notice = OutageLog::default();
        let mut whole: Option<Instant> = None;
        loop {
            let primary = primary_membership(&server.borrow_and_update());
            if let Some(primary) = primary {
                let due = whole.is_none_or(|whole| whole.elapsed() >= self.interval);
                let kept = if due {
                    Box::pin(self.write(&primary)).await
                } else {
                    Ok(())
                };
                match kept {
                    Ok(()) if due => {
                        whole = Some(Instant::now());
                        if let Some(outage) = notice.recovered() {
                            let outage_s = outage.as_secs();
                            tracing::info!(outage_s, "The durable keys are kept again");
                        }
                    }
                    Ok(()) => {}
                    Err(error) => {
                        if notice.failed(&error.to_string()).is_some() {
                            tracing::warn!("The durable keys are not kept, trying again: {error}");
                        }
                        sleep(self.interval / 4).await;
                    }
                }
            }
            tokio::select! {
                changed = server.changed() => if changed.is_err() { return },
                () = lost.notified() => whole = None,
                () = sleep(self.interval) => {}
            }
        }
    }

    async fn write(&mut self, primary: &PrimaryMembership) -> Result<(), Error> {
        // Also without etcd: from now on the data are more than what was prepared.
        if self.identity.prepared {
            self.identity.prepared = false;
            self.warn_if_failed(self.identity.write(&self.data_dir));
        }
        self.warn_if_failed(self.identity.restore(&self.data_dir));
        // Nobody joins before this, and an emptied registry must not look like a cluster that never was.
        self.cluster
            .ensure_founder(&self.identity.id, primary.uuid)
            .await?;
        let position = primary.position.as_ref();
        self.cluster
            .register(&self.identity.id, None, position)
            .await?;
        self.cluster.remove_order().await?;
        Ok(())
    }

    fn warn_if_failed(&self, written: Result<(), super::error::RunError>) {
        if let Err(failure) = written {
            tracing::warn!("The identity of the data is not saved: {failure}");
        }
    }
}

/// What the server says when it shares the history of a Primary component.
fn primary_membership(server: &ServerState) -> Option<PrimaryMembership> {
    let ServerState::Responding { reading, .. } = server else {
        return None;
    };
    let status = &reading.status;
    let uuid = status.cluster_state_uuid?;
    let belongs = status.cluster_status == Some(ClusterStatus::Primary)
        && status.local_state_uuid == Some(uuid)
        && matches!(
            status.local_state,
            Some(LocalState::Synced | LocalState::Donor)
        );
    belongs.then(|| PrimaryMembership {
        uuid,
        position: status
            .last_committed
            .and_then(|seqno| Position::new(uuid, seqno)),
    })
}
