//! Admission of nodes that nothing but their registration says to be members.

use std::collections::BTreeMap;

use console_core::audit::{AuditError, AuditTrail};
use console_core::clock::now;
use console_core::keyspace;
use console_core::repository::{Repository, WriteOutcome};
use galera::judge::confirmation::{ConfirmedBy, ConfirmedNode, ConfirmedNodes, MembershipRecord};
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use galera::recover::action::Actor;
use galera::{ClusterName, NodeId};
use monitor::Monitor;
use registry::{Registry, Transaction};

/// Attempts against concurrent writers.
const ATTEMPTS: usize = 5;
/// How many characters of a reason are kept.
pub const REASON_MAX: usize = 1_000;

/// Why a node was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("unknown cluster")]
    UnknownCluster,
    #[error("{0} is neither registered nor known in another way")]
    UnknownNode(NodeId),
    #[error("{0} is confirmed as a member already")]
    Confirmed(NodeId),
    /// Concurrent changes to the record won every attempt.
    #[error("the members of the cluster are being changed concurrently; try again")]
    Contended,
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Admits nodes; clones share their state.
#[derive(Clone)]
pub struct NodeAdmission {
    monitor: Monitor,
    records: Repository,
    state_prefix: String,
    default_port: u16,
}

impl NodeAdmission {
    /// Admission of nodes that `monitor` shows, recorded in `registry` below `state_prefix`.
    #[must_use]
    pub fn new(
        monitor: Monitor,
        registry: Registry,
        trail: AuditTrail,
        state_prefix: &str,
        default_port: u16,
    ) -> Self {
        Self {
            monitor,
            records: Repository::new(registry, trail),
            state_prefix: state_prefix.to_owned(),
            default_port,
        }
    }

    /// Records that `by` admitted `node`, which counts as a member from then on, and returns the confirmation.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing was written then.
    pub async fn admit(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        node: &NodeId,
        reason: &str,
    ) -> Result<ConfirmedNode, AdmissionError> {
        let node = node.clone().normalized(self.default_port);
        let feed = self
            .monitor
            .cluster_feed(cluster)
            .ok_or(AdmissionError::UnknownCluster)?;
        let shown = {
            let published = feed.borrow();
            let mut nodes = published.value.nodes.iter();
            nodes
                .find(|shown| shown.id == node)
                .map(|shown| shown.unconfirmed)
        };
        match shown {
            None => return Err(AdmissionError::UnknownNode(node)),
            Some(false) => return Err(AdmissionError::Confirmed(node)),
            Some(true) => {}
        }
        let admitted = ConfirmedNode {
            by: ConfirmedBy::Admitted,
            at: now(),
            address: None,
        };
        let reason: String = reason.trim().chars().take(REASON_MAX).collect();
        let entry = AuditRecord {
            at: admitted.at,
            actor: by.name.clone(),
            event: AuditEvent::NODE_ADMITTED,
            cluster: Some(cluster.clone()),
            subject: Some(node.to_string()),
            detail: match reason.is_empty() {
                true => BTreeMap::new(),
                false => BTreeMap::from([(detail::REASON.to_owned(), reason)]),
            },
        };
        let confirmed = ConfirmedNodes::from([(node, admitted.clone())]);
        self.write(cluster, &confirmed, &entry).await?;
        Ok(admitted)
    }

    async fn write(
        &self,
        cluster: &ClusterName,
        confirmed: &ConfirmedNodes,
        entry: &AuditRecord,
    ) -> Result<(), AdmissionError> {
        let key = keyspace::expected_members_of(&self.state_prefix, cluster);
        for _ in 0..ATTEMPTS {
            let stored = self.records.get::<MembershipRecord>(key.clone()).await?;
            let records = std::slice::from_ref(entry);
            let written = match stored {
                Some(stored) => {
                    let record = stored.value.updated(None, confirmed, entry.at);
                    self.records
                        .replace(
                            key.clone(),
                            stored.revision,
                            record,
                            Transaction::default(),
                            records,
                        )
                        .await?
                }
                None => {
                    let record = MembershipRecord::default().updated(None, confirmed, entry.at);
                    self.records
                        .create(key.clone(), record, Transaction::default(), records)
                        .await?
                }
            };
            if matches!(written, WriteOutcome::Stored(_)) {
                return Ok(());
            }
        }
        Err(AdmissionError::Contended)
    }
}
