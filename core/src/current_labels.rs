//! The labels of clusters that count now: settings give them, and a reload replaces them.

use std::sync::Arc;

use galera::access::ClusterLabels;
use tokio::sync::watch;

/// The labels of all clusters. Clones share them.
#[derive(Clone, Debug)]
pub struct CurrentLabels(Arc<watch::Sender<ClusterLabels>>);

impl CurrentLabels {
    /// The labels now. A decision reads them once.
    #[must_use]
    pub fn get(&self) -> ClusterLabels {
        self.0.borrow().clone()
    }

    /// Replaces the labels, for every clone.
    pub fn replace(&self, labels: ClusterLabels) {
        self.0.send_replace(labels);
    }

    /// The labels now and whenever they are replaced.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<ClusterLabels> {
        self.0.subscribe()
    }
}

impl From<ClusterLabels> for CurrentLabels {
    fn from(labels: ClusterLabels) -> Self {
        Self(Arc::new(watch::Sender::new(labels)))
    }
}

/// No cluster has a label.
impl Default for CurrentLabels {
    fn default() -> Self {
        ClusterLabels::none().into()
    }
}
