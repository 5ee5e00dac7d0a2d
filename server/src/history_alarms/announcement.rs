//! Records each alarm about the data of a cluster in the audit trail, from which it is notified. The verdict alone does not
//! suffice: of a cluster that is degraded already, it does not change.

use std::collections::BTreeMap;
use std::time::Duration;

use console_core::audit::AuditError;
use console_core::clock::now;
use console_core::keyspace;
use console_core::leader::Leadership;
use console_core::repository::WriteOutcome;
use galera::ClusterName;
use galera::judge::history_alarms::{HistoryAlarm, HistoryAlarmRecord};
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use registry::Transaction;
use tokio::time::sleep;

use super::{AlarmAcknowledgements, SUMMARY_MAX};

/// Time between two looks at the open alarms.
const INTERVAL: Duration = Duration::from_secs(1);

impl AlarmAcknowledgements {
    /// Records alarms as `replica` forever, while it leads.
    pub(crate) async fn announce(self, leadership: Leadership, replica: String) {
        let mut announced: BTreeMap<ClusterName, u64> = BTreeMap::new();
        loop {
            sleep(INTERVAL).await;
            if leadership.borrow().is_none() {
                continue;
            }
            for (cluster, newest) in self.open_alarms() {
                if announced.get(&cluster) >= Some(&newest) {
                    continue;
                }
                match self.announce_cluster(&cluster, &replica).await {
                    Ok(through) => {
                        announced.insert(cluster, through);
                    }
                    Err(error) => {
                        tracing::warn!(cluster.id = %cluster, %error, "Could not record an alarm about the data of cluster {cluster}; will retry: {error}");
                    }
                }
            }
        }
    }

    /// The newest open alarm of each cluster that has one.
    fn open_alarms(&self) -> Vec<(ClusterName, u64)> {
        let views = self.monitor.views();
        let newest = views.iter().filter_map(|view| {
            let name = &view.value.name;
            let snapshot = self.monitor.snapshot(name)?;
            let alarms = snapshot.evidence.history_alarms.iter();
            Some((name.clone(), alarms.map(|alarm| alarm.number).max()?))
        });
        newest.collect()
    }

    /// Records the alarms of `cluster` that are not recorded yet. Returns the number up to which all are.
    async fn announce_cluster(
        &self,
        cluster: &ClusterName,
        replica: &str,
    ) -> Result<u64, AuditError> {
        let key = keyspace::history_alarms_of(&self.state_prefix, cluster);
        let Some(stored) = self.records.get::<HistoryAlarmRecord>(key.clone()).await? else {
            return Ok(0);
        };
        let mut record = stored.value;
        let entries: Vec<AuditRecord> = record
            .unannounced()
            .map(|alarm| audit_record(cluster, replica, alarm))
            .collect();
        let before = record.announced;
        if entries.is_empty() {
            return Ok(before);
        }
        record.announced = record.newest;
        let through = record.announced;
        let rest = Transaction::default();
        let written = self
            .records
            .replace(key, stored.revision, record, rest, &entries)
            .await?;
        // Another writer was faster: the next look continues.
        Ok(match written {
            WriteOutcome::Stored(_) => through,
            _ => before,
        })
    }
}

fn audit_record(cluster: &ClusterName, replica: &str, alarm: &HistoryAlarm) -> AuditRecord {
    let text = alarm.finding.message().chars().take(SUMMARY_MAX).collect();
    AuditRecord {
        at: now(),
        actor: replica.to_owned(),
        event: AuditEvent::HISTORY_ALARM_RAISED,
        cluster: Some(cluster.clone()),
        subject: None,
        detail: BTreeMap::from([
            ("alarm".to_owned(), alarm.number.to_string()),
            (detail::TEXT.to_owned(), text),
        ]),
    }
}
