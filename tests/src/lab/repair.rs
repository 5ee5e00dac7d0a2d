//! Restores one Primary component of all nodes after a test.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::galera::GaleraCluster;
use super::node::{GaleraNode, NodeStart};

/// How long views may take to agree after the last fault.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait without a Primary component before founding again: components may still merge.
const NO_PRIMARY_TIMEOUT: Duration = Duration::from_secs(8);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

impl GaleraCluster {
    /// Resumes, heals and starts nodes, and wipes those that cannot join.
    ///
    /// # Errors
    /// If a node does not start.
    pub async fn repair(&self) -> Result<()> {
        for node in self.nodes() {
            node.resume().ok();
            if let Some(proxy) = &node.ist_proxy {
                proxy.pass();
            }
        }
        let Some(kept) = self.agreed_component().await else {
            return self.refound().await;
        };
        for node in self.nodes() {
            if kept.contains(node) && node.pid().is_some() {
                continue;
            }
            node.kill();
            node.wipe()?;
            node.start(NodeStart::Join).await?;
        }
        self.wait_until_synced().await
    }

    /// The largest Primary component once all of its members run and agree; `None` if there is none to wait for.
    async fn agreed_component(&self) -> Option<MemberView> {
        let end = Instant::now() + AGREEMENT_TIMEOUT;
        let mut hopeless_since = None;
        while Instant::now() < end {
            let mut views = Vec::new();
            for node in self.nodes().iter().filter(|node| node.pid().is_some()) {
                views.extend(MemberView::read(node).await);
            }
            match views.iter().max_by_key(|view| view.members.len()) {
                None => {
                    let since = *hopeless_since.get_or_insert_with(Instant::now);
                    if views.is_empty() && since.elapsed() > NO_PRIMARY_TIMEOUT {
                        return None;
                    }
                }
                Some(largest) => {
                    hopeless_since = None;
                    let same = views.iter().filter(|view| *view == largest).count();
                    if same == largest.members.len() {
                        return Some(largest.clone());
                    }
                }
            }
            if self.nodes().iter().all(|node| node.pid().is_none()) {
                return None;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        None
    }

    /// No node is Primary: one that has data founds the cluster again, the others take its state.
    async fn refound(&self) -> Result<()> {
        for node in self.nodes() {
            node.kill();
        }
        let has_data = |node: &&GaleraNode| {
            // A node whose first transfer was interrupted has no file or the nil UUID.
            let saved = fs::read_to_string(node.data().join("grastate.dat")).unwrap_or_default();
            saved.contains("uuid:") && !saved.contains("00000000-0000-0000-0000-000000000000")
        };
        let first = self.nodes().iter().find(has_data).or(self.nodes().first());
        let first = first.context("a cluster without nodes")?;
        if has_data(&first) {
            for file in ["grastate.dat", "gvwstate.dat"] {
                fs::remove_file(first.data().join(file)).ok();
            }
        } else {
            first.initialise().await?;
        }
        first.start(NodeStart::Found).await?;
        for node in self
            .nodes()
            .iter()
            .filter(|node| node.number != first.number)
        {
            node.wipe()?;
            node.start(NodeStart::Join).await?;
        }
        self.wait_until_synced().await
    }
}

/// A Primary component as one of its members sees it.
#[derive(Clone, PartialEq)]
struct MemberView {
    uuid: String,
    members: Vec<String>,
}

impl MemberView {
    async fn read(node: &GaleraNode) -> Option<Self> {
        let mut status = node.wsrep().await.ok()?;
        let mut take = |name: &str| status.remove(name).unwrap_or_default();
        if take("wsrep_cluster_status") != "Primary" {
            return None;
        }
        let addresses = take("wsrep_incoming_addresses");
        let mut members: Vec<_> = addresses.split(',').map(ToOwned::to_owned).collect();
        members.sort();
        let uuid = take("wsrep_cluster_state_uuid");
        Some(Self { uuid, members })
    }

    fn contains(&self, node: &GaleraNode) -> bool {
        let port = node.id().port().unwrap_or(node.port());
        let address = format!("{}:{port}", node.address());
        self.members.contains(&address)
    }
}
