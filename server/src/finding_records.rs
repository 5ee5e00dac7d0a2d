//! What is recorded of the findings of each cluster: the replica that leads records and announces which are open, operators
//! acknowledge them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use console_core::audit::{AuditError, AuditTrail};
use console_core::clock::now;
use console_core::keyspace;
use console_core::leader::{Leadership, Term};
use console_core::repository::{self, Repository, Versioned, WriteOutcome};
use galera::insight::finding_record::{
    FindingAcknowledgement, FindingChange, FindingPace, FindingRecord, FindingTopic,
    FindingTracker, FindingsView,
};
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use galera::recover::action::Actor;
use galera::{ClusterName, NodeId, Timestamp};
use monitor::Monitor;
use registry::{KeyMirror, Registry, RegistryEntry, Transaction, WatchEvent};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Attempts against concurrent writers.
const ATTEMPTS: usize = 5;
/// How many characters of the findings' texts are kept in an audit entry.
const TEXT_MAX: usize = 2_000;

/// The records by cluster, with the revision of each; `None` until they were read.
type FindingRecords = Option<Arc<BTreeMap<ClusterName, Arc<Versioned<FindingRecord>>>>>;

/// Why a finding was not acknowledged, or an acknowledgement not withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum FindingError {
    #[error("unknown cluster")]
    UnknownCluster,
    #[error("the cluster has no finding {0} on these nodes now; reload the page")]
    NotFound(String),
    #[error("no finding {0} is acknowledged; reload the page")]
    NotAcknowledged(String),
    /// Concurrent changes to the record won every attempt.
    #[error("the record of findings is being changed concurrently; try again")]
    Contended,
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// What to acknowledge.
#[derive(Clone, Debug)]
pub struct FindingAcceptance {
    pub topic: FindingTopic,
    /// The nodes; `None` for those that it concerns now.
    pub nodes: Option<BTreeSet<NodeId>>,
    pub reason: String,
    pub until: Timestamp,
}

/// How often findings are compared with the record, and when they open and end.
#[derive(Clone, Copy, Debug)]
pub struct FindingSchedule {
    pub interval: Duration,
    pub pace: FindingPace,
}

impl Default for FindingSchedule {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            pace: FindingPace::default(),
        }
    }
}

/// The findings of all clusters with what is recorded of them; clones share their state.
#[derive(Clone)]
pub struct FindingService {
    monitor: Monitor,
    records: Repository,
    state_prefix: String,
    mirror: watch::Receiver<FindingRecords>,
}

impl FindingService {
    /// The findings of the clusters of `monitor`, recorded in `registry` below `state_prefix`, and the task that follows the
    /// records until `shutdown`.
    pub(crate) fn new(
        monitor: Monitor,
        registry: Registry,
        trail: AuditTrail,
        state_prefix: &str,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mirror) = watch::channel(None);
        let service = Self {
            monitor,
            records: Repository::new(registry.clone(), trail),
            state_prefix: state_prefix.to_owned(),
            mirror,
        };
        let prefix = keyspace::finding_records(state_prefix);
        let task = async move {
            let apply = |event: WatchEvent| apply(&sender, &prefix, event);
            registry.reflect(prefix.as_str(), &shutdown, apply).await;
        };
        (service, task)
    }

    /// The findings of `cluster`, computed now, with what is recorded of them; `None` for an unknown cluster.
    #[must_use]
    pub fn view(&self, cluster: &ClusterName) -> Option<FindingsView> {
        let report = self.monitor.findings(cluster)?;
        let record = self.record(cluster);
        let empty = FindingRecord::default();
        let record = record.as_ref().map_or(&empty, |record| &record.value);
        Some(record.annotate(report, now()))
    }

    /// The views of all clusters.
    pub(crate) fn views(&self) -> impl Iterator<Item = FindingsView> {
        let views = self.monitor.views();
        views
            .into_iter()
            .filter_map(|view| self.view(&view.value.name))
    }

    fn record(&self, cluster: &ClusterName) -> Option<Arc<Versioned<FindingRecord>>> {
        self.mirror.borrow().as_ref()?.get(cluster).cloned()
    }

    /// Records that `by` acknowledged a finding that `cluster` has now.
    ///
    /// # Errors
    /// [`FindingError`]; nothing was written then.
    pub async fn acknowledge(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        acceptance: FindingAcceptance,
    ) -> Result<FindingAcknowledgement, FindingError> {
        let report = self.monitor.findings(cluster);
        let report = report.ok_or(FindingError::UnknownCluster)?;
        let FindingAcceptance {
            topic,
            nodes,
            reason,
            until,
        } = acceptance;
        let mut known = BTreeSet::new();
        let mut found = report.findings.iter();
        let mut any = false;
        for finding in found.by_ref() {
            if FindingTopic::of(finding) == topic {
                any = true;
                known.extend(finding.nodes.iter().cloned());
            }
        }
        let nodes = nodes.unwrap_or_else(|| known.clone());
        if !any || !nodes.is_subset(&known) || nodes.is_empty() != known.is_empty() {
            return Err(FindingError::NotFound(topic.code));
        }
        let acknowledgement = FindingAcknowledgement {
            topic,
            nodes,
            by: by.name.clone(),
            at: now(),
            reason,
            until,
        };
        let entry = acknowledgement_entry(cluster, &acknowledgement);
        self.change(cluster, |record| {
            record.acknowledge(acknowledgement.clone());
            Ok(vec![entry.clone()])
        })
        .await?;
        Ok(acknowledgement)
    }

    /// Withdraws the acknowledgements of `topic` in `cluster`.
    ///
    /// # Errors
    /// [`FindingError`]; nothing was written then.
    pub async fn withdraw(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        topic: &FindingTopic,
    ) -> Result<(), FindingError> {
        if self.monitor.cluster_feed(cluster).is_none() {
            return Err(FindingError::UnknownCluster);
        }
        self.change(cluster, |record| {
            if record.withdraw(topic).is_empty() {
                return Err(FindingError::NotAcknowledged(topic.code.clone()));
            }
            Ok(vec![audit_entry(
                &by.name,
                cluster,
                AuditEvent::FINDING_REOPENED,
                topic_detail(topic),
            )])
        })
        .await
    }

    async fn change(
        &self,
        cluster: &ClusterName,
        change: impl Fn(&mut FindingRecord) -> Result<Vec<AuditRecord>, FindingError>,
    ) -> Result<(), FindingError> {
        let key = keyspace::finding_record_of(&self.state_prefix, cluster);
        for _ in 0..ATTEMPTS {
            let stored = self.records.get::<FindingRecord>(key.clone()).await?;
            let revision = stored.as_ref().map_or(0, |stored| stored.revision);
            let mut record = stored.map(|stored| stored.value).unwrap_or_default();
            let entries = change(&mut record)?;
            let rest = Transaction::default();
            let written = self.write(key.clone(), revision, record, rest, &entries);
            if written.await? {
                return Ok(());
            }
        }
        Err(FindingError::Contended)
    }

    async fn write(
        &self,
        key: String,
        revision: i64,
        record: FindingRecord,
        rest: Transaction,
        entries: &[AuditRecord],
    ) -> Result<bool, AuditError> {
        let written = match revision {
            0 => self.records.create(key, record, rest, entries).await?,
            _ => {
                self.records
                    .replace(key, revision, record, rest, entries)
                    .await?
            }
        };
        Ok(matches!(written, WriteOutcome::Stored(_)))
    }

    /// Waits until the mirror has what was written, so that a page that is loaded next shows it.
    pub(crate) async fn await_effect(
        &self,
        cluster: &ClusterName,
        shown: impl Fn(&FindingRecord) -> bool,
        limit: Duration,
    ) {
        let mut mirror = self.mirror.clone();
        let has_effect = mirror.wait_for(|records| {
            let record = records.as_ref().and_then(|records| records.get(cluster));
            record.is_some_and(|record| shown(&record.value))
        });
        let _ = tokio::time::timeout(limit, has_effect).await;
    }

    /// Records and announces findings as `replica` forever, while it leads.
    pub(crate) async fn announce(
        self,
        leadership: Leadership,
        replica: String,
        schedule: FindingSchedule,
    ) {
        let mut trackers: BTreeMap<ClusterName, FindingTracker> = BTreeMap::new();
        loop {
            sleep(schedule.interval).await;
            let term = leadership.borrow().clone();
            let Some(term) = term.filter(|_| self.mirror.borrow().is_some()) else {
                trackers.clear();
                continue;
            };
            let names: BTreeSet<ClusterName> = self
                .monitor
                .views()
                .iter()
                .map(|view| view.value.name.clone())
                .collect();
            trackers.retain(|name, _| names.contains(name));
            for cluster in names {
                let tracker = trackers
                    .entry(cluster.clone())
                    .or_insert_with(|| FindingTracker::new(schedule.pace));
                let recorded = self.record_cluster(&cluster, tracker, &term, &replica);
                if let Err(error) = recorded.await {
                    tracing::warn!(cluster.id = %cluster, %error, "Could not record the findings of cluster {cluster}; will retry: {error}");
                }
            }
        }
    }

    async fn record_cluster(
        &self,
        cluster: &ClusterName,
        tracker: &mut FindingTracker,
        term: &Term,
        replica: &str,
    ) -> Result<(), AuditError> {
        let Some(report) = self.monitor.findings(cluster) else {
            return Ok(());
        };
        let Some(feed) = self.monitor.cluster_feed(cluster) else {
            return Ok(());
        };
        let members: BTreeSet<NodeId> = {
            let view = feed.borrow();
            view.value.members().map(|node| node.id.clone()).collect()
        };
        let stored = self.record(cluster);
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let known = stored
            .map(|stored| stored.value.clone())
            .unwrap_or_default();
        let (record, changes) = tracker.update(&known, &report, &members, now());
        if record == known {
            return Ok(());
        }
        let key = keyspace::finding_record_of(&self.state_prefix, cluster);
        let rest = Transaction::default().when(term.fence());
        let entries = announcement_entries(cluster, replica, &changes);
        // A concurrent acknowledgement was faster: the next comparison is made with it.
        self.write(key, revision, record, rest, &entries).await?;
        Ok(())
    }
}

/// One entry about what opened, and one about what ended.
fn announcement_entries(
    cluster: &ClusterName,
    replica: &str,
    changes: &[FindingChange],
) -> Vec<AuditRecord> {
    let entry = |event: AuditEvent, changes: Vec<&FindingChange>| {
        let words = |words: BTreeSet<String>| words.into_iter().collect::<Vec<_>>().join(", ");
        let codes = changes.iter();
        let codes = codes.map(|one| format!("{}={}", one.topic.code, one.severity.as_str()));
        let nodes = changes.iter().flat_map(|one| &one.nodes);
        let texts: Vec<&str> = changes
            .iter()
            .filter_map(|one| one.text.as_deref())
            .collect();
        let detail = BTreeMap::from([
            (detail::FINDINGS.to_owned(), words(codes.collect())),
            (
                detail::NODES.to_owned(),
                words(nodes.map(ToString::to_string).collect()),
            ),
            (
                detail::TEXT.to_owned(),
                texts.join("\n").chars().take(TEXT_MAX).collect(),
            ),
        ]);
        audit_entry(replica, cluster, event, detail)
    };
    let (opened, ended): (Vec<_>, Vec<_>) = changes.iter().partition(|one| one.text.is_some());
    let mut entries = Vec::new();
    if !opened.is_empty() {
        entries.push(entry(AuditEvent::FINDINGS_OPENED, opened));
    }
    if !ended.is_empty() {
        entries.push(entry(AuditEvent::FINDINGS_ENDED, ended));
    }
    entries
}

fn acknowledgement_entry(
    cluster: &ClusterName,
    acknowledgement: &FindingAcknowledgement,
) -> AuditRecord {
    let nodes: Vec<String> = acknowledgement
        .nodes
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut fields = topic_detail(&acknowledgement.topic);
    fields.insert(detail::NODES.to_owned(), nodes.join(", "));
    fields.insert(detail::REASON.to_owned(), acknowledgement.reason.clone());
    fields.insert("until".to_owned(), acknowledgement.until.to_string());
    let by = &acknowledgement.by;
    audit_entry(by, cluster, AuditEvent::FINDING_ACKNOWLEDGED, fields)
}

fn topic_detail(topic: &FindingTopic) -> BTreeMap<String, String> {
    let subject = topic
        .subject
        .clone()
        .map(|subject| ("about".to_owned(), subject));
    let code = ("code".to_owned(), topic.code.clone());
    std::iter::once(code).chain(subject).collect()
}

fn audit_entry(
    actor: &str,
    cluster: &ClusterName,
    event: AuditEvent,
    detail: BTreeMap<String, String>,
) -> AuditRecord {
    AuditRecord {
        at: now(),
        actor: actor.to_owned(),
        event,
        cluster: Some(cluster.clone()),
        subject: None,
        detail,
    }
}

fn apply(sender: &watch::Sender<FindingRecords>, prefix: &str, event: WatchEvent) {
    sender.send_if_modified(|snapshot| {
        let mut mirror = RecordMirror {
            prefix,
            records: snapshot.as_deref().cloned().unwrap_or_default(),
        };
        let changed = event.apply_to(&mut mirror);
        if changed {
            *snapshot = Some(Arc::new(mirror.records));
        }
        changed
    });
}

struct RecordMirror<'a> {
    prefix: &'a str,
    records: BTreeMap<ClusterName, Arc<Versioned<FindingRecord>>>,
}

impl RecordMirror<'_> {
    fn cluster_of(&self, key: &[u8]) -> Option<ClusterName> {
        let key = std::str::from_utf8(key).ok()?;
        key.strip_prefix(self.prefix)?.parse().ok()
    }
}

impl KeyMirror for RecordMirror<'_> {
    fn clear(&mut self) {
        self.records.clear();
    }

    fn put(&mut self, entry: &RegistryEntry) {
        let Some(cluster) = self.cluster_of(&entry.key) else {
            return;
        };
        match repository::decode(entry) {
            Ok(record) => {
                self.records.insert(cluster, Arc::new(record));
            }
            Err(error) => {
                tracing::warn!(cluster.id = %cluster, %error, "Ignoring an unreadable record of findings: {error}");
                self.records.remove(&cluster);
            }
        }
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if let Some(cluster) = self.cluster_of(key) {
            self.records.remove(&cluster);
        }
    }
}
