//! Finds out when the agent's own server must be restarted because nothing else ends its wait: a first join whose donor is
//! gone, and a server that is not Primary while more advanced members wait for it.

use std::time::Duration;

use galera::observe::registration::MembersSeen;
use galera::observe::wsrep::LocalState;
use galera::startup::{NonPrimaryDecision, NonPrimaryNode, RegistrySnapshot, decide_non_primary};
use galera::view::ClusterStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

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
}

/// What must stay the same for [`SETTLE_TIME`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standstill {
    /// No file of the first state transfer changes, and no member is Primary.
    Join { progress: u64 },
    /// The server is not Primary, at this position.
    NonPrimary { seqno: u64, reason: String },
}

impl RestartWatch<'_> {
    /// Waits until the server must be restarted.
    ///
    /// # Errors
    /// If the data directory cannot be read.
    pub(super) async fn run(
        self,
        server: watch::Receiver<ServerState>,
    ) -> Result<RestartRequest, RunError> {
        let mut since: Option<(Standstill, Instant)> = None;
        let mut asked = OutageLog::default();
        loop {
            sleep(INTERVAL).await;
            let state = server.borrow().clone();
            let found = self.standstill(&state, &mut asked).await?;
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
                    Standstill::Join { .. } => RestartRequest {
                        reason: format!(
                            "Restarting the server: the first state transfer of {} has brought nothing for {} s and no member is \
                             Primary, so its donor is gone; it begins again once a member is Synced and Primary",
                            self.cluster.node,
                            SETTLE_TIME.as_secs()
                        ),
                        join: true,
                        members_seen,
                    },
                    Standstill::NonPrimary { reason, .. } => RestartRequest {
                        reason: reason.clone(),
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
        asked: &mut OutageLog,
    ) -> Result<Option<Standstill>, RunError> {
        let reading = match state {
            ServerState::Responding { reading, .. } => Some(reading.as_ref()),
            _ => None,
        };
        let joining = reading.is_none() && self.directory.unfinished_join()?.is_some();
        let apart = reading.and_then(|reading| self.non_primary(reading));
        if !joining && apart.is_none() {
            return Ok(None);
        }
        // Without etcd nothing is known about the members.
        let Ok(listing) = Box::pin(self.cluster.read()).await else {
            return Ok(None);
        };
        let snapshot = &listing.snapshot;
        if joining {
            let alone = snapshot
                .primaries_except(&self.cluster.node)
                .next()
                .is_none();
            let progress = self.directory.transfer_progress();
            return Ok(alone.then_some(Standstill::Join { progress }));
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

fn decide_standstill(
    own: &NonPrimaryNode,
    snapshot: &RegistrySnapshot,
    asked: &mut OutageLog,
) -> Option<Standstill> {
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
        NonPrimaryDecision::Restart { explanation } => Some(Standstill::NonPrimary {
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
mod tests {
    use std::fs;

    use galera::observe::registration::RegistryKeys;
    use registry::memory::MemoryEtcd;
    use registry::{LeaseId, Registry};
    use tokio::time::timeout;

    use super::super::identity::DataIdentity;
    use super::*;

    const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

    /// A node `n3` with an empty directory and an etcd in memory.
    struct RestartFixture {
        dir: tempfile::TempDir,
        directory: DataDir,
        cluster: ClusterRegistry,
        lease: LeaseId,
        server: watch::Sender<ServerState>,
    }

    impl RestartFixture {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let directory = DataDir::open(dir.path(), false).unwrap();
            let registry: Registry = MemoryEtcd::new().registry();
            let lease = registry
                .grant(Duration::from_secs(3600))
                .await
                .unwrap()
                .id();
            Self {
                dir,
                directory,
                cluster: ClusterRegistry {
                    registry,
                    keys: RegistryKeys::new("/galera"),
                    name: "lab".parse().unwrap(),
                    node: "n3".parse().unwrap(),
                },
                lease,
                server: watch::Sender::new(ServerState::Unknown),
            }
        }

        async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) {
            let key = format!("/galera/lab/{key}");
            let put = self.cluster.registry.put(key, value, lease);
            put.await.unwrap();
        }

        async fn primary(&self, node: &str, status: &str) {
            let lease = Some(self.lease);
            let key = format!("{node}/wsrep_cluster_status");
            self.put(&key, status, lease).await;
        }

        async fn waiting(&self, node: &str, seqno: u64) {
            let lease = Some(self.lease);
            let registered = format!(r#"{{"id":"id-{node}"}}"#);
            self.put(&format!("{node}/registered"), &registered, None)
                .await;
            for (field, value) in [
                ("data_id", format!("id-{node}")),
                ("phase", "waiting".to_owned()),
                ("recovered_position", format!("{HISTORY}:{seqno}")),
            ] {
                self.put(&format!("{node}/{field}"), &value, lease).await;
            }
        }

        fn respond(&self, status: &str, seqno: u64) {
            let rows = [
                ("wsrep_local_state", "0"),
                ("wsrep_local_state_comment", "Initialized"),
                ("wsrep_local_state_uuid", HISTORY),
                ("wsrep_cluster_state_uuid", HISTORY),
                ("wsrep_cluster_status", status),
                ("wsrep_last_committed", &seqno.to_string()),
            ];
            let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let reading = Box::new(StatusReading::from_rows(&rows));
            let at = Instant::now();
            self.server
                .send_replace(ServerState::Responding { at, reading });
        }

        /// The request within `time`, if any.
        async fn request(&self, time: Duration) -> Option<RestartRequest> {
            let watch = RestartWatch {
                cluster: &self.cluster,
                directory: &self.directory,
                fork_epoch: watch::Sender::new(0).subscribe(),
                expected_members: 0,
            };
            let request = timeout(time, watch.run(self.server.subscribe())).await;
            request.ok().map(Result::unwrap)
        }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_first_join_without_a_donor_begins_again() {
        let node = RestartFixture::new().await;
        let identity = DataIdentity::new("lab").unwrap();
        node.directory.begin_join(&identity).unwrap();
        // As long as a member is Primary, it may be the donor, however slow.
        node.primary("n1", "Primary").await;
        assert_eq!(node.request(LONG).await, None);
        node.primary("n1", "non-Primary").await;
        assert_eq!(node.request(SETTLE_TIME).await, None);
        let request = node.request(LONG).await.unwrap();
        assert!(
            request.join && request.reason.contains("its donor is gone"),
            "{request:?}"
        );
        // Not while files arrive.
        let file = node.dir.path().join("ibdata1");
        let mut size = 0;
        let writing = async {
            loop {
                size += 1;
                fs::write(&file, "x".repeat(size)).unwrap();
                sleep(Duration::from_secs(30)).await;
            }
        };
        tokio::select! {
            request = node.request(LONG) => assert_eq!(request, None),
            () = writing => {}
        }
        // Nor a join that completed once, or without the mark.
        node.directory.finish_join().unwrap();
        assert_eq!(node.request(LONG).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_apart_is_restarted_after_its_settle_time() {
        let node = RestartFixture::new().await;
        node.waiting("n1", 46).await;
        node.respond("non-Primary", 44);
        assert_eq!(node.request(SETTLE_TIME).await, None);
        let request = node.request(LONG).await.unwrap();
        assert!(
            !request.join && request.reason.contains("n3 runs at 44"),
            "{request:?}"
        );
        node.respond("Primary", 44);
        assert_eq!(node.request(LONG).await, None);
        node.respond("non-Primary", 46);
        assert_eq!(node.request(LONG).await, None);
        // A member that is Primary for a moment begins the time again.
        node.respond("non-Primary", 44);
        let interrupting = async {
            loop {
                sleep(Duration::from_secs(40)).await;
                node.primary("n2", "Primary").await;
                sleep(Duration::from_secs(5)).await;
                node.primary("n2", "non-Primary").await;
            }
        };
        tokio::select! {
            request = node.request(LONG) => assert_eq!(request, None),
            () = interrupting => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_mark_of_a_first_join_lasts_until_the_node_is_a_member() {
        let node = RestartFixture::new().await;
        let identity = DataIdentity::new("lab").unwrap();
        node.directory.begin_join(&identity).unwrap();
        let maintaining = maintain_join_mark(&node.directory, node.server.subscribe());
        let observing = async {
            sleep(Duration::from_secs(5)).await;
            // As a script that empties the directory.
            node.directory.finish_join().unwrap();
            sleep(Duration::from_secs(5)).await;
            let mark = node.directory.unfinished_join().unwrap();
            assert_eq!(mark.unwrap().id, identity.id);
            node.respond("non-Primary", 44);
            sleep(Duration::from_secs(5)).await;
            assert!(node.directory.unfinished_join().unwrap().is_some());
            let rows = [
                ("wsrep_local_state", "4"),
                ("wsrep_local_state_uuid", HISTORY),
                ("wsrep_cluster_state_uuid", HISTORY),
                ("wsrep_cluster_status", "Primary"),
            ];
            let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let reading = StatusReading::from_rows(&rows);
            let state = ServerState::Unknown.after_probe(Ok(reading));
            node.server.send_replace(state);
            sleep(Duration::from_secs(5)).await;
            assert!(node.directory.unfinished_join().unwrap().is_none());
        };
        tokio::select! {
            failure = maintaining => panic!("{failure}"),
            () = observing => {}
        }
    }
}
