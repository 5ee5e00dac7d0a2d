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

use super::cluster::Cluster;
use super::identity::Identity;
use crate::notice::Notice;
use crate::observation::Server;

/// Keeps what outlives the server.
pub(super) struct Keeper {
    /// The registry.
    pub(super) cluster: Cluster,
    /// Who the data are.
    pub(super) identity: Identity,
    /// Where they are.
    pub(super) directory: std::path::PathBuf,
    /// How often everything is looked at again.
    pub(super) period: Duration,
}

/// A member's word that it belongs to the Primary component.
struct Primary {
    uuid: Uuid,
    position: Option<Position>,
}

impl Keeper {
    /// Keeps them true for as long as `server` belongs to the Primary component, and at once when `lost` says that
    /// something was removed; until dropped.
    pub(super) async fn run(mut self, mut server: watch::Receiver<Server>, lost: Arc<Notify>) {
        let mut notice = Notice::default();
        let mut whole: Option<Instant> = None;
        loop {
            let primary = primary(&server.borrow_and_update());
            if let Some(primary) = primary {
                let due = whole.is_none_or(|whole| whole.elapsed() >= self.period);
                let kept = if due {
                    Box::pin(self.keep(&primary)).await
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
                        sleep(self.period / 4).await;
                    }
                }
            }
            tokio::select! {
                changed = server.changed() => if changed.is_err() { return },
                () = lost.notified() => whole = None,
                () = sleep(self.period) => {}
            }
        }
    }

    async fn keep(&mut self, primary: &Primary) -> Result<(), Error> {
        // Also without etcd: from now on the data are more than what was prepared.
        if self.identity.prepared {
            self.identity.prepared = false;
            self.say(self.identity.write(&self.directory));
        }
        self.say(self.identity.restore(&self.directory));
        // Nobody joins before this, and an emptied registry must not look like a cluster that never was.
        self.cluster
            .keep_founder(&self.identity.id, primary.uuid)
            .await?;
        let position = primary.position.as_ref();
        self.cluster
            .register(&self.identity.id, None, position)
            .await?;
        self.cluster.remove_order().await?;
        Ok(())
    }

    fn say(&self, written: Result<(), super::failure::Failure>) {
        if let Err(failure) = written {
            tracing::warn!("The identity of the data is not saved: {failure}");
        }
    }
}

/// What the server says when it shares the history of a Primary component.
fn primary(server: &Server) -> Option<Primary> {
    let Server::Answers { reading, .. } = server else {
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
    belongs.then(|| Primary {
        uuid,
        position: status
            .last_committed
            .and_then(|seqno| Position::new(uuid, seqno)),
    })
}
