//! What rounds are played on: three homogeneous nodes that never bootstrap by themselves, three etcd members, two replicas
//! of the console, and the people who are signed in at each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use acceptance::lab::console::{Console, ConsoleSettings};
use acceptance::lab::homogeneous::{CLUSTER, Homogeneous, SameNode};
use acceptance::lab::network;
use acceptance::load::{Door, Way, schema};
use acceptance::observer::Watched;
use acceptance::people::People;
use anyhow::Result;

/// Longest wait for three empty nodes to become one cluster.
const FORMED: Duration = Duration::from_secs(120);
/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// How many replicas of the console there are.
pub(crate) const CONSOLES: usize = 2;
/// Who asks and writes: through the node's own socket, which no partition cuts.
const LOCAL: &str = "root";

/// A lab with everything that a round needs.
pub(crate) struct Stage {
    // Dropped in this order.
    pub(crate) consoles: Vec<Console>,
    /// Those who work with each replica.
    pub(crate) people: Vec<People>,
    pub(crate) nodes: Homogeneous,
}

impl Stage {
    /// Starts everything.
    ///
    /// # Errors
    /// When something does not come up.
    pub(crate) async fn set() -> Result<Self> {
        // The kernel takes a moment to forget a network.
        static NETWORKS: AtomicU8 = AtomicU8::new(1);
        let nodes = if network::own() {
            let subnet = NETWORKS.fetch_add(1, Ordering::Relaxed);
            Homogeneous::prepare_apart(NODES, subnet).await?
        } else {
            Homogeneous::prepare(NODES).await?
        };
        let nodes = nodes.without_auto_bootstrap();
        for node in nodes.nodes() {
            node.start()?;
        }
        nodes.whole(&[1, 2, 3], FORMED).await?;
        for statement in schema("writes-and-reads") {
            nodes.node(1).execute(&statement).await?;
        }
        let settings = nodes.console_settings();
        let first = Console::start(settings.clone()).await?;
        let second = Console::start(ConsoleSettings {
            // The accounts are there.
            users: Vec::new(),
            directory: settings.directory.with_extension("second"),
            ..settings.clone()
        })
        .await?;
        let mut people = vec![People::with(&first, CLUSTER).await?];
        people.push(people[0].at(&second)?);
        Ok(Self {
            consoles: vec![first, second],
            people,
            nodes,
        })
    }

    /// Node `index`, counted from 0.
    pub(crate) fn node(&self, index: usize) -> &SameNode {
        self.nodes.node(index + 1)
    }

    /// Every node, for an observer.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        self.nodes.watched(LOCAL)
    }

    /// One writer for each node, beside it: on every side of every partition somebody writes.
    pub(crate) fn door(&self) -> Door {
        let nodes = self.watched();
        Arc::new(move |writer, _| {
            let node = nodes.get(usize::try_from(writer).ok()?)?;
            Some(Way {
                node: node.name.clone(),
                options: node.options.clone(),
            })
        })
    }

    /// The replicas that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        let running = |index: &usize| self.consoles[*index].pid().is_some();
        (0..self.consoles.len()).filter(running).collect()
    }
}
