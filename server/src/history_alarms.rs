//! The acknowledgement of alarms about the data of a cluster, which every replica follows, and their entries in the audit
//! trail.

use std::collections::BTreeMap;

use console_core::audit::{AuditError, AuditTrail};
use console_core::clock::now;
use console_core::keyspace;
use console_core::repository::{Repository, WriteOutcome};
use galera::ClusterName;
use galera::judge::history_alarms::{HistoryAcknowledgement, HistoryAlarmRecord};
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use galera::recover::action::Actor;
use galera::view::VerdictState;
use monitor::Monitor;
use registry::{Registry, Transaction};

mod announcement;

/// Attempts against concurrent writers.
const ATTEMPTS: usize = 5;
/// How many characters of the alarms' texts are kept in an audit entry.
const SUMMARY_MAX: usize = 2_000;

/// Why no alarm was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgementError {
    #[error("unknown cluster")]
    UnknownCluster,
    #[error("no alarm up to that number is open; reload the page")]
    NoneOpen,
    #[error("two Primary components exist now; resolve that first")]
    SplitBrain,
    /// Concurrent changes to the record won every attempt.
    #[error("the alarms of the cluster are being changed concurrently; try again")]
    Contended,
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Acknowledges alarms; clones share their state.
#[derive(Clone)]
pub struct AlarmAcknowledgements {
    monitor: Monitor,
    records: Repository,
    state_prefix: String,
}

impl AlarmAcknowledgements {
    /// Acknowledges what is recorded in `registry` below `state_prefix` of the clusters of `monitor`.
    #[must_use]
    pub fn new(
        monitor: Monitor,
        registry: Registry,
        trail: AuditTrail,
        state_prefix: &str,
    ) -> Self {
        Self {
            monitor,
            records: Repository::new(registry, trail),
            state_prefix: state_prefix.to_owned(),
        }
    }

    /// Records that `by` acknowledged the open alarms of `cluster` up to the number `through`, and returns their numbers.
    ///
    /// # Errors
    /// [`AcknowledgementError`]; nothing was written then.
    pub async fn acknowledge(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        through: u64,
        reason: &str,
    ) -> Result<Vec<u64>, AcknowledgementError> {
        let feed = self.monitor.cluster_feed(cluster);
        let feed = feed.ok_or(AcknowledgementError::UnknownCluster)?;
        if feed.borrow().value.verdict.state == VerdictState::SplitBrain {
            return Err(AcknowledgementError::SplitBrain);
        }
        let acknowledgement = HistoryAcknowledgement {
            by: by.name.clone(),
            at: now(),
            reason: reason.to_owned(),
        };
        let key = keyspace::history_alarms_of(&self.state_prefix, cluster);
        for _ in 0..ATTEMPTS {
            let stored = self.records.get::<HistoryAlarmRecord>(key.clone()).await?;
            let Some(stored) = stored else {
                return Err(AcknowledgementError::NoneOpen);
            };
            let mut record = stored.value;
            let texts = summary(&record, through);
            let numbers = record.acknowledge(through, &acknowledgement);
            if numbers.is_empty() {
                return Err(AcknowledgementError::NoneOpen);
            }
            let entry = audit_record(cluster, &acknowledgement, &numbers, texts);
            let written = self
                .records
                .replace(
                    key.clone(),
                    stored.revision,
                    record,
                    Transaction::default(),
                    &[entry],
                )
                .await?;
            if matches!(written, WriteOutcome::Stored(_)) {
                return Ok(numbers);
            }
        }
        Err(AcknowledgementError::Contended)
    }
}

/// What the open alarms up to `through` report.
fn summary(record: &HistoryAlarmRecord, through: u64) -> String {
    let open = record.open().filter(|alarm| alarm.number <= through);
    let texts: Vec<String> = open.map(|alarm| alarm.finding.message()).collect();
    texts.join(" ").chars().take(SUMMARY_MAX).collect()
}

fn audit_record(
    cluster: &ClusterName,
    acknowledgement: &HistoryAcknowledgement,
    numbers: &[u64],
    summary: String,
) -> AuditRecord {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    AuditRecord {
        at: acknowledgement.at,
        actor: acknowledgement.by.clone(),
        event: AuditEvent::HISTORY_ALARMS_ACKNOWLEDGED,
        cluster: Some(cluster.clone()),
        subject: None,
        detail: BTreeMap::from([
            ("alarms".to_owned(), numbers.join(", ")),
            (detail::REASON.to_owned(), acknowledgement.reason.clone()),
            (detail::SUMMARY.to_owned(), summary),
        ]),
    }
}
