//! Observes the containers of a service, each from its start to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acceptance::observer::{self, NodeStatus, ObservedNode};
use anyhow::Result;
use mysql_async::{Opts, OptsBuilder};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::docker::{self, Container};

/// Polling interval for new containers.
const SCAN_INTERVAL: Duration = Duration::from_millis(700);

/// A running node and its last status, if that is recent.
pub(crate) type ContainerObservation = (Container, Option<NodeStatus>);

type ContainersById = Arc<Mutex<BTreeMap<String, Container>>>;

/// The running observer.
pub(crate) struct ContainerObserver {
    cluster_observer: Arc<observer::ClusterObserver>,
    containers: ContainersById,
    _stop: DropGuard,
}

impl ContainerObserver {
    /// Observes the containers of `service` on `network` from now on, as the account `login`.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub(crate) fn start(
        tasks: &TaskTracker,
        service: &str,
        network: &str,
        login: DatabaseLogin,
    ) -> Result<Self> {
        let asking = Arc::new(observer::ClusterObserver::start([])?);
        let containers = ContainersById::default();
        let stop = CancellationToken::new();
        let looking = scan_containers(ContainerScan {
            service: service.to_owned(),
            network: network.to_owned(),
            login,
            cluster_observer: Arc::clone(&asking),
            containers: Arc::clone(&containers),
        });
        tasks.spawn(stop.clone().run_until_cancelled_owned(looking));
        Ok(Self {
            cluster_observer: asking,
            containers,
            _stop: stop.drop_guard(),
        })
    }

    /// The running nodes and their last answers.
    pub(crate) fn nodes(&self) -> Vec<ContainerObservation> {
        let containers = lock(&self.containers);
        let known = self.cluster_observer.nodes().into_iter();
        known
            .filter_map(|(node, answer)| Some((containers.get(&node.key)?.clone(), answer)))
            .collect()
    }

    /// Fails unless exactly `count` nodes run and all of them are Synced in one Primary component of that size.
    ///
    /// # Errors
    /// Lists what each node reports.
    pub(crate) fn ensure_all_synced(&self, count: usize) -> Result<()> {
        self.cluster_observer.ensure_all_synced(count)
    }

    /// See [`observer::ClusterObserver::verify`].
    ///
    /// # Errors
    /// As described there.
    pub(crate) fn verify(&self) -> Result<usize> {
        self.cluster_observer.verify()
    }

    /// The status of every node, on one line.
    pub(crate) fn describe(&self) -> String {
        observer::describe(&self.cluster_observer.nodes())
    }
}

/// An account of the databases.
#[derive(Clone)]
pub(crate) struct DatabaseLogin {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl DatabaseLogin {
    /// How to connect to `host`.
    pub(crate) fn options(&self, host: std::net::Ipv4Addr) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(host.to_string())
            .tcp_port(3306)
            .prefer_socket(false)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            // If it were unset, the driver would query it, and a server without a Primary component would refuse.
            .max_allowed_packet(Some(1 << 20))
            .wait_timeout(Some(600))
            .into()
    }
}

struct ContainerScan {
    service: String,
    network: String,
    login: DatabaseLogin,
    cluster_observer: Arc<observer::ClusterObserver>,
    containers: ContainersById,
}

async fn scan_containers(look: ContainerScan) {
    loop {
        // A failed Docker command does not mean that the containers are gone.
        if let Ok(ids) = docker::running(&look.service).await {
            look.retain(&ids);
            let new: Vec<_> = {
                let known = lock(&look.containers);
                let new = ids.into_iter().filter(|id| !known.contains_key(id));
                new.collect()
            };
            let found = docker::inspect(&new, &look.network).await;
            for container in found.unwrap_or_default() {
                look.observe(container);
            }
        }
        tokio::time::sleep(SCAN_INTERVAL).await;
    }
}

impl ContainerScan {
    fn retain(&self, running: &[String]) {
        lock(&self.containers).retain(|id, _| {
            let runs = running.contains(id);
            if !runs {
                self.cluster_observer.stop_observing(id);
            }
            runs
        });
    }

    fn observe(&self, container: Container) {
        let node = ObservedNode {
            key: container.id.clone(),
            name: container.task.clone(),
            address: container.address.to_string(),
            options: self.login.options(container.host_address),
        };
        // It fails only without a thread, which was there for the first one.
        if self.cluster_observer.observe(node).is_ok() {
            lock(&self.containers).insert(container.id.clone(), container);
        }
    }
}

fn lock(containers: &ContainersById) -> MutexGuard<'_, BTreeMap<String, Container>> {
    containers.lock().unwrap_or_else(PoisonError::into_inner)
}
