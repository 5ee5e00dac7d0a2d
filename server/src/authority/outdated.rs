//! What follows when the state secret of this replica is older than the one in use: it writes no record, leaves every request to
//! other replicas, and names the remedy.

use console_core::authority::RecordAuthority;
use console_core::keyspace;
use monitor::Monitor;
use registry::Error;
use tokio::time::sleep;

use super::{RETRY_INTERVAL, SealedState};

const NOTICE_SOURCE: &str = "outdated-secret";

impl SealedState {
    /// Compares the notes about the order of secrets with those of this process, whenever they change, and restores them if
    /// another client of etcd removed them.
    pub(super) async fn follow_successions(&self, monitor: &Monitor) {
        let Some(authority) = &self.authority else {
            return;
        };
        let mut notes = self
            .registry
            .watch(keyspace::secret_successions(&self.state_prefix));
        let Some(mut outdated) = self.registry.watch_outdated_secret() else {
            return;
        };
        loop {
            if let Some(outdated) = outdated.borrow_and_update().clone() {
                let error = Error::from(outdated);
                tracing::error!(%error, "This replica writes no records and answers no requests: {error}");
                monitor.set_notices(NOTICE_SOURCE, vec![format!("{error}.")]);
                return;
            }
            tokio::select! {
                changed = outdated.changed() => if changed.is_err() {
                    return;
                },
                event = notes.next() => {
                    if event.is_none() {
                        return;
                    }
                    self.compare_successions(authority).await;
                }
            }
        }
    }

    async fn compare_successions(&self, authority: &RecordAuthority) {
        loop {
            let compared = match self.registry.check_secret().await {
                Ok(()) => authority.restore_successions().await,
                failed => failed,
            };
            match compared {
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "The order of state secrets could not be read: {error}");
                    sleep(RETRY_INTERVAL).await;
                }
                Ok(()) | Err(Error::OutdatedSecret { .. }) => return,
                Err(error) => {
                    tracing::warn!(%error, "The order of state secrets could not be compared: {error}");
                    return;
                }
            }
        }
    }

    /// Whether the newest secret of this replica was followed by the other one: it then seals nothing again, so that a restart
    /// in the first step of a rotation undoes nothing of the second.
    pub(super) async fn has_former_secret_first(&self) -> bool {
        let Some(authority) = &self.authority else {
            return false;
        };
        loop {
            match authority.has_former_secret_first().await {
                Ok(is_former) => return is_former,
                Err(error) => {
                    tracing::debug!(%error, "The order of state secrets could not be read: {error}");
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}
