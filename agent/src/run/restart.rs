//! Finds out when the agent's own server must be restarted because nothing else ends its wait: a join whose donor is gone, and
//! a server that is not Primary while more advanced members wait for it. Or because it was merged with a component whose data
//! differ from its own.

use std::time::Duration;

use galera::observe::registration::MembersSeen;
use galera::observe::wsrep::LocalState;
use galera::startup::{NonPrimaryDecision, NonPrimaryNode, RegistrySnapshot, decide_non_primary};
use galera::view::ClusterStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::ClusterRegistry;
use super::datadir::DataDir;
use super::error::RunError;
use crate::observation::{ServerState, StatusReading};
use crate::outage_log::OutageLog;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the reason must hold without interruption: longer than an automatic return of the Primary component takes
/// (I12), and than a member that is Primary needs to register itself.
const SETTLE_TIME: Duration = Duration::from_secs(60);

/// Why the server is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartRequest {
    pub(super) reason: String,
    /// Whether it is a join that is tried again.
    pub(super) join: bool,
    /// What the data show of the last view, which a clean stop removes.
    pub(super) members_seen: MembersSeen,
}

/// Watches one server.
pub(super) struct RestartWatch<'a> {
    pub(super) cluster: &'a ClusterRegistry,
    pub(super) directory: &'a DataDir,
    /// The newest fork that the data continued.
    pub(super) fork_epoch: watch::Receiver<u64>,
    /// `EXPECTED_MEMBERS` as a number.
    pub(super) expected_members: usize,
    /// Whether this agent started the server to join members.
    pub(super) joins: bool,
    /// Why the server must leave its component, once that is known.
    pub(super) diverged: watch::Receiver<Option<String>>,
}

/// What must stay the same for [`SETTLE_TIME`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum UnchangedState {
    /// No file changes while the server waits for a state transfer, and no member is Primary.
    Join { progress: u64 },
    /// The server is not Primary, at this position.
    NonPrimary { seqno: u64, reason: String },
    /// The server has left its group, which no server enters again.
    LeftGroup { seqno: Option<u64> },
}

impl RestartWatch<'_> {
    /// Waits until the server must be restarted.
    ///
    /// # Errors
    /// If the data directory cannot be read.
    pub(super) async fn run(
        mut self,
        server: watch::Receiver<ServerState>,
    ) -> Result<RestartRequest, RunError> {
        let mut since: Option<(UnchangedState, Instant)> = None;
        let mut asked = OutageLog::default();
        let mut has_responded = false;
        loop {
            let known = timeout(INTERVAL, self.diverged.wait_for(Option::is_some));
            let diverged = match known.await {
                Ok(Ok(reason)) => reason.clone(),
                Ok(Err(_)) => {
                    sleep(INTERVAL).await;
                    None
                }
                Err(_) => None,
            };
            if let Some(reason) = diverged {
                return Ok(RestartRequest {
                    reason,
                    join: false,
                    members_seen: self.directory.members_seen(self.expected_members)?.0,
                });
            }
            let state = server.borrow().clone();
            has_responded |= matches!(state, ServerState::Responding { .. });
            // One that has never responded serves no client.
            let waits = self.joins && !has_responded && accepts_no_connections(&state);
            let found = self.standstill(&state, waits, &mut asked).await?;
            since = match (found, since) {
                (Some(found), Some((before, at))) if found == before => Some((before, at)),
                (Some(found), _) => Some((found, Instant::now())),
                (None, _) => None,
            };
            if let Some((standstill, at)) = &since
                && at.elapsed() >= SETTLE_TIME
            {
                let members_seen = self.directory.members_seen(self.expected_members)?.0;
                return Ok(match standstill {
                    UnchangedState::Join { .. } => RestartRequest {
                        reason: format!(
                            "Restarting the server: the state transfer of {} has made no progress for {} s and no member is \
                             Primary, so its donor is gone; it begins again once a member is Synced and Primary",
                            self.cluster.node,
                            SETTLE_TIME.as_secs()
                        ),
                        join: true,
                        members_seen,
                    },
                    UnchangedState::NonPrimary { reason, .. } => RestartRequest {
                        reason: reason.clone(),
                        join: false,
                        members_seen,
                    },
                    UnchangedState::LeftGroup { .. } => RestartRequest {
                        reason: format!(
                            "Restarting the server: {} has left its group (wsrep_cluster_status Disconnected) and does not \
                             enter one again while it runs; its error log has the cause",
                            self.cluster.node
                        ),
                        join: false,
                        members_seen,
                    },
                });
            }
        }
    }

    async fn standstill(
        &self,
        state: &ServerState,
        waits: bool,
        asked: &mut OutageLog,
    ) -> Result<Option<UnchangedState>, RunError> {
        let reading = match state {
            ServerState::Responding { reading, .. } => Some(reading.as_ref()),
            _ => None,
        };
        let first_join = reading.is_none() && self.directory.unfinished_join()?.is_some();
        let joining = first_join || waits;
        let apart = reading.and_then(|reading| self.non_primary(reading));
        let left = reading.filter(|reading| has_left_group(reading));
        if !joining && apart.is_none() && left.is_none() {
            return Ok(None);
        }
        // Without etcd nothing is known about the members.
        let Ok(listing) = Box::pin(self.cluster.read()).await else {
            return Ok(None);
        };
        if let Some(reading) = left {
            let seqno = reading.status.last_committed;
            return Ok(Some(UnchangedState::LeftGroup { seqno }));
        }
        let snapshot = &listing.snapshot;
        if joining {
            let alone = snapshot
                .primaries_except(&self.cluster.node)
                .next()
                .is_none();
            let progress = self.directory.transfer_progress();
            return Ok(alone.then_some(UnchangedState::Join { progress }));
        }
        Ok(apart.and_then(|own| decide_standstill(&own, snapshot, asked)))
    }

    /// The node, if its server is in a component without quorum.
    fn non_primary(&self, reading: &StatusReading) -> Option<NonPrimaryNode> {
        let status = &reading.status;
        let apart = status.cluster_status == Some(ClusterStatus::NonPrimary)
            && status.local_state != Some(LocalState::Error)
            && !status.frozen;
        Some(NonPrimaryNode {
            node: self.cluster.node.clone(),
            position: status.position().filter(|_| apart)?,
            fork_epoch: *self.fork_epoch.borrow(),
        })
    }
}

/// Whether the server is in no group although nothing of it failed, as after an error of the group communication. One that
/// lost an inconsistency vote is left to a person.
fn has_left_group(reading: &StatusReading) -> bool {
    let status = &reading.status;
    status.cluster_status == Some(ClusterStatus::Disconnected)
        && status.local_state == Some(LocalState::Undefined)
        && !status.frozen
}

/// Whether nothing listens at the server's address, as while it waits for its state. A server that refuses the agent's account,
/// or responds too late, may serve.
fn accepts_no_connections(state: &ServerState) -> bool {
    match state {
        ServerState::Offline(_) => true,
        ServerState::Unreachable { error, .. } => error.kind.rejects_connections(),
        ServerState::Unknown | ServerState::Notified { .. } | ServerState::Responding { .. } => {
            false
        }
    }
}

fn decide_standstill(
    own: &NonPrimaryNode,
    snapshot: &RegistrySnapshot,
    asked: &mut OutageLog,
) -> Option<UnchangedState> {
    match decide_non_primary(own, snapshot) {
        NonPrimaryDecision::Continue => {
            asked.recovered();
            None
        }
        NonPrimaryDecision::Ask { explanation } => {
            if asked.failed(&explanation).is_some() {
                tracing::warn!("Not restarting the server: {explanation}");
            }
            None
        }
        NonPrimaryDecision::Restart { explanation } => Some(UnchangedState::NonPrimary {
            seqno: own.position.seqno,
            reason: explanation,
        }),
    }
}

/// Keeps the mark of a first join until the server of `directory` is Synced in a Primary component, then removes it. Runs
/// until dropped.
pub(super) async fn maintain_join_mark(
    directory: &DataDir,
    mut server: watch::Receiver<ServerState>,
) -> RunError {
    let began = match directory.unfinished_join() {
        Ok(Some(identity)) => identity,
        Ok(None) => return std::future::pending().await,
        Err(failure) => return failure,
    };
    loop {
        let joined = is_member(&server.borrow_and_update());
        let kept = match joined {
            true => directory.finish_join(),
            // A script of a state transfer may have emptied the directory.
            false => match directory.unfinished_join() {
                Ok(Some(_)) => Ok(()),
                Ok(None) => directory.begin_join(&began),
                Err(failure) => Err(failure),
            },
        };
        match kept {
            Ok(()) if joined => return std::future::pending().await,
            Ok(()) => {}
            Err(failure) => tracing::warn!("Cannot update the mark of the first join: {failure}"),
        }
        tokio::select! {
            changed = server.changed() => if changed.is_err() { return std::future::pending().await },
            () = sleep(INTERVAL) => {}
        }
    }
}

/// Whether the server has received its state and is a member of a Primary component.
fn is_member(server: &ServerState) -> bool {
    let ServerState::Responding { reading, .. } = server else {
        return false;
    };
    let status = &reading.status;
    let synced = matches!(
        status.local_state,
        Some(LocalState::Synced | LocalState::Donor)
    );
    synced
        && status.cluster_status == Some(ClusterStatus::Primary)
        && status.cluster_state_uuid.is_some()
        && status.local_state_uuid == status.cluster_state_uuid
}

#[cfg(test)]
mod tests;
