use std::fs;

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::registration::RegistryKeys;
use registry::memory::MemoryEtcd;
use registry::{LeaseId, Registry};

use super::*;
use crate::run::identity::DataIdentity;

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

/// A node `n3` with an empty directory and an etcd in memory.
struct RestartFixture {
    dir: tempfile::TempDir,
    directory: DataDir,
    cluster: ClusterRegistry,
    lease: LeaseId,
    server: watch::Sender<ServerState>,
    diverged: watch::Sender<Option<String>>,
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
            diverged: watch::Sender::new(None),
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

    fn unreachable(&self, kind: ProbeErrorKind) {
        self.server.send_replace(ServerState::Unreachable {
            error: ProbeError {
                kind,
                message: kind.as_str().to_owned(),
            },
            answered_before: false,
        });
    }

    /// The request within `time`, if any, for a server that was not started to join.
    async fn request(&self, time: Duration) -> Option<RestartRequest> {
        self.request_of(time, false).await
    }

    async fn request_of(&self, time: Duration, joins: bool) -> Option<RestartRequest> {
        let watch = RestartWatch {
            cluster: &self.cluster,
            directory: &self.directory,
            fork_epoch: watch::Sender::new(0).subscribe(),
            expected_members: 0,
            joins,
            diverged: self.diverged.subscribe(),
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

/// Its donor lost its Primary component: neither the server nor a new one ends that wait.
#[tokio::test(start_paused = true)]
async fn a_member_that_waits_for_a_donor_without_quorum_begins_again() {
    let node = RestartFixture::new().await;
    node.unreachable(ProbeErrorKind::Refused);
    // As long as a member is Primary, it may be the donor, however slow.
    node.primary("n1", "Primary").await;
    assert_eq!(node.request_of(LONG, true).await, None);
    node.primary("n1", "non-Primary").await;
    assert_eq!(node.request_of(SETTLE_TIME, true).await, None);
    let request = node.request_of(LONG, true).await.unwrap();
    assert!(
        request.join && request.reason.contains("its donor is gone"),
        "{request:?}"
    );
    // Not one that was started to found or bootstrap: it recovers its data.
    assert_eq!(node.request_of(LONG, false).await, None);
    // Nor one that may serve clients, whether the agent can read it or not.
    for kind in [
        ProbeErrorKind::AccessDenied,
        ProbeErrorKind::TimedOut,
        ProbeErrorKind::TooManyConnections,
    ] {
        node.unreachable(kind);
        assert_eq!(node.request_of(LONG, true).await, None, "{kind:?}");
    }
    // Nor one that has responded since its start.
    node.respond("non-Primary", 44);
    let silent = async {
        sleep(Duration::from_secs(5)).await;
        node.unreachable(ProbeErrorKind::Refused);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        request = node.request_of(LONG, true) => assert_eq!(request, None),
        () = silent => {}
    }
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

#[tokio::test(start_paused = true)]
async fn i35_a_server_whose_data_differ_is_restarted_at_once() {
    let node = RestartFixture::new().await;
    node.respond("Primary", 500);
    assert_eq!(node.request(LONG).await, None);
    let found = async {
        sleep(Duration::from_secs(60)).await;
        node.diverged.send_replace(Some("differs".to_owned()));
    };
    let (request, ()) = tokio::join!(node.request(Duration::from_secs(61)), found);
    let request = request.unwrap();
    assert!(!request.join && request.reason == "differs", "{request:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_left_its_group_is_restarted() {
    let node = RestartFixture::new().await;
    node.respond("Disconnected", 500);
    assert_eq!(node.request(SETTLE_TIME).await, None);
    let request = node.request(LONG).await.unwrap();
    assert!(
        !request.join && request.reason.contains("n3 has left its group"),
        "{request:?}"
    );
    // Not one that only lost its quorum.
    node.respond("non-Primary", 500);
    assert_eq!(node.request(LONG).await, None);
}
