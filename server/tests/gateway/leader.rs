//! Of several replicas one leads, and what a former leader still writes is refused.

use std::sync::Arc;

use console_core::leader::{Leadership, Term, campaign};
use registry::{Outcome, Registry, Transaction, Write};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::etcd::{Etcd, eventually};

const PREFIX: &str = "/galera-console";

/// A replica that takes part until it is dropped.
struct Replica {
    leadership: Leadership,
    stop: DropGuard,
}

impl Replica {
    fn start(registry: &Registry, name: &str) -> Self {
        let stop = CancellationToken::new();
        let (leadership, task) = campaign(registry.clone(), PREFIX, name.to_owned(), stop.clone());
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

fn leaders(replicas: &[Replica]) -> Vec<Arc<Term>> {
    replicas.iter().filter_map(Replica::term).collect()
}

async fn write(registry: &Registry, term: &Term) -> bool {
    let transaction = Transaction::new().when(term.guard()).then([Write::put(
        "/written",
        term.revision().to_string(),
        None,
    )]);
    let outcome = registry.transact(&transaction).await.unwrap();
    matches!(outcome, Outcome::Committed { .. })
}

#[tokio::test]
async fn one_leads_and_the_next_follows_when_it_stops() {
    let etcd = Etcd::start().await;
    let registry = etcd.registry();
    let mut replicas: Vec<Replica> = ["a", "b", "c"]
        .map(|name| Replica::start(&registry, name))
        .into();
    eventually("somebody leads", async || leaders(&replicas).len() == 1).await;
    let first = leaders(&replicas).remove(0);
    assert!(write(&registry, &first).await);

    let leader = replicas
        .iter()
        .position(|replica| replica.term().is_some())
        .unwrap();
    drop(replicas.remove(leader).stop);
    eventually("another leads", async || leaders(&replicas).len() == 1).await;
    let second = leaders(&replicas).remove(0);
    assert!(second.revision() > first.revision());
    assert!(write(&registry, &second).await);
    assert!(
        !write(&registry, &first).await,
        "a former leader's write is refused"
    );
}

#[tokio::test]
async fn a_leader_whose_key_is_removed_by_hand_steps_down_and_the_election_goes_on() {
    let etcd = Etcd::start().await;
    let registry = etcd.registry();
    let replicas: Vec<Replica> = ["a", "b"]
        .map(|name| Replica::start(&registry, name))
        .into();
    eventually("somebody leads", async || leaders(&replicas).len() == 1).await;
    let first = leaders(&replicas).remove(0);
    let removal = Transaction::new().then([Write::delete(format!("{PREFIX}/leader"))]);
    registry.transact(&removal).await.unwrap();
    eventually("a new term begins", async || {
        let leaders = leaders(&replicas);
        leaders.len() == 1 && leaders[0].revision() > first.revision()
    })
    .await;
    assert!(!write(&registry, &first).await);
}
