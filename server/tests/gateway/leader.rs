//! One of several replicas leads, and writes of a former leader are refused.

use std::sync::Arc;

use console_core::leader::{Leadership, Term, campaign};
use galera::ReplicaId;
use registry::{Registry, Transaction, TransactionOutcome, WriteOp};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::etcd::{TestEtcd, eventually};

const PREFIX: &str = "/galera-console";

/// A replica that campaigns until it is dropped.
struct ElectionReplica {
    leadership: Leadership,
    stop: DropGuard,
}

impl ElectionReplica {
    fn start(registry: &Registry, name: &str) -> Self {
        let stop = CancellationToken::new();
        let (leadership, task) =
            campaign(registry.clone(), PREFIX, ReplicaId::new(name), stop.clone());
        TaskTracker::new().spawn(task);
        Self {
            leadership,
            stop: stop.drop_guard(),
        }
    }

    fn term(&self) -> Option<Arc<Term>> {
        self.leadership.borrow().clone()
    }
}

fn current_terms(replicas: &[ElectionReplica]) -> Vec<Arc<Term>> {
    replicas.iter().filter_map(ElectionReplica::term).collect()
}

async fn write(registry: &Registry, term: &Term) -> bool {
    let transaction = Transaction::new().when(term.fence()).then([WriteOp::put(
        "/written",
        term.revision().to_string(),
        None,
    )]);
    let outcome = registry.transact(&transaction).await.unwrap();
    matches!(outcome, TransactionOutcome::Committed { .. })
}

#[tokio::test]
async fn another_replica_leads_when_the_leader_stops() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let mut replicas: Vec<ElectionReplica> = ["a", "b", "c"]
        .map(|name| ElectionReplica::start(&registry, name))
        .into();
    eventually("a replica leads", async || {
        current_terms(&replicas).len() == 1
    })
    .await;
    let first = current_terms(&replicas).remove(0);
    assert!(write(&registry, &first).await);

    let leader = replicas
        .iter()
        .position(|replica| replica.term().is_some())
        .unwrap();
    drop(replicas.remove(leader).stop);
    eventually("another leads", async || {
        current_terms(&replicas).len() == 1
    })
    .await;
    let second = current_terms(&replicas).remove(0);
    assert!(second.revision() > first.revision());
    assert!(write(&registry, &second).await);
    assert!(
        !write(&registry, &first).await,
        "a former leader's write is refused"
    );
}

#[tokio::test]
async fn a_leader_whose_key_is_deleted_steps_down() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let replicas: Vec<ElectionReplica> = ["a", "b"]
        .map(|name| ElectionReplica::start(&registry, name))
        .into();
    eventually("a replica leads", async || {
        current_terms(&replicas).len() == 1
    })
    .await;
    let first = current_terms(&replicas).remove(0);
    let removal = Transaction::new().then([WriteOp::delete(format!("{PREFIX}/leader"))]);
    registry.transact(&removal).await.unwrap();
    eventually("a new term begins", async || {
        let leaders = current_terms(&replicas);
        leaders.len() == 1 && leaders[0].revision() > first.revision()
    })
    .await;
    assert!(!write(&registry, &first).await);
}
