//! Watches the alarms of etcd and the space of its database, and shows on every page when writes fail or soon will.

mod defragmentation;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use console_core::audit::AuditTrail;
use console_core::clock::now;
use console_core::leader::Leadership;
use galera::ReplicaId;
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use monitor::Monitor;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use registry::{Error, Registry, StorageAlarm, StorageStatus};
use tokio::time::sleep;

use crate::actions::ExecutionGate;
use crate::config::{Config, EtcdConfig};
pub use defragmentation::DefragmentationPolicy;
use defragmentation::{DefragmentationCounts, Defragmenter};

/// Time between two readings.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between two readings while there is an alarm, or etcd does not answer.
const ALARM_INTERVAL: Duration = Duration::from_secs(3);
/// From this part of the quota on, a warning is shown.
const WARNING_PERCENT: u64 = 70;
const NOTICE_SOURCE: &str = "etcd-storage";

/// The alarms and the space of etcd, as last read.
#[derive(Clone, Debug)]
pub struct EtcdStorage {
    status: Arc<RwLock<Option<StorageStatus>>>,
    /// Counts if members do not report theirs, in bytes.
    configured_quota: u64,
    /// With an embedded etcd.
    defragmentations: Option<Arc<DefragmentationCounts>>,
}

/// Where a warning is recorded.
#[derive(Clone, Debug)]
pub(crate) struct StorageReporter {
    monitor: Monitor,
    trail: AuditTrail,
    leadership: Leadership,
    /// This replica.
    actor: String,
}

impl StorageReporter {
    pub(crate) fn new(
        monitor: &Monitor,
        trail: &AuditTrail,
        leadership: &Leadership,
        replica: &ReplicaId,
    ) -> Self {
        Self {
            monitor: monitor.clone(),
            trail: trail.clone(),
            leadership: leadership.clone(),
            actor: replica.to_string(),
        }
    }
}

/// How urgent the state of etcd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StorageLevel {
    Ample,
    Low,
    Alarm,
}

impl EtcdStorage {
    /// For an etcd with this quota in bytes, unless its members report it.
    #[must_use]
    pub fn new(configured_quota: u64) -> Self {
        Self {
            status: Arc::default(),
            configured_quota,
            defragmentations: None,
        }
    }

    /// The etcd of `config`. Its database is defragmented by `policy`; without one, only that of an embedded etcd, which has no
    /// other administrator.
    #[must_use]
    pub(crate) fn of(config: &Config, policy: Option<DefragmentationPolicy>) -> Self {
        let (quota, default_policy) = match config.etcd {
            EtcdConfig::Cluster(_) => (config.etcd_quota, None),
            EtcdConfig::Embedded(_) => (
                embedded_etcd::QUOTA_BYTES,
                Some(DefragmentationPolicy::default()),
            ),
        };
        let policy = policy.or(default_policy);
        Self {
            defragmentations: policy.map(|policy| Arc::new(DefragmentationCounts::new(policy))),
            ..Self::new(quota)
        }
    }

    /// Reads the status of etcd forever, and defragments its database by the policy while `gate` can be closed.
    pub(crate) async fn follow(
        self,
        registry: Registry,
        reporter: StorageReporter,
        gate: ExecutionGate,
    ) {
        let counts = self.defragmentations.clone();
        let mut defragmenter = counts.map(|counts| Defragmenter::new(counts, gate));
        let mut logged: Vec<String> = Vec::new();
        let mut recorded = StorageLevel::Ample;
        loop {
            let (level, notices) = match registry.storage_status().await {
                Ok(status) => {
                    if let Some(defragmenter) = &mut defragmenter
                        && defragmenter.run_if_due(&status, &registry).await
                    {
                        // Read again.
                        continue;
                    }
                    let judged = (Some(self.level(&status)), self.notices(&status));
                    self.set(Some(status));
                    judged
                }
                Err(error @ Error::Denied { .. }) => (None, vec![self.forget(&error)]),
                // Shown elsewhere; what was known before stays.
                Err(_) => {
                    sleep(ALARM_INTERVAL).await;
                    continue;
                }
            };
            log_changes(&logged, &notices);
            // An unknown level ends no warning: the same one is not recorded again when the status can be read again.
            if let Some(level) = level
                && (level == StorageLevel::Ample
                    || level == StorageLevel::Low
                        && recorded == StorageLevel::Ample
                        && self.record(&reporter).await)
            {
                recorded = level;
            }
            logged.clone_from(&notices);
            reporter.monitor.set_notices(NOTICE_SOURCE, notices);
            sleep(match level {
                Some(StorageLevel::Alarm) => ALARM_INTERVAL,
                Some(StorageLevel::Ample | StorageLevel::Low) | None => INTERVAL,
            })
            .await;
        }
    }

    /// Forgets the status, which the console's account may no longer read, so that no metric shows a former one as current.
    /// Returns the notice.
    fn forget(&self, error: &Error) -> String {
        self.set(None);
        format!(
            "Alarms and space of etcd are unknown, because the console's account may not read the status of members: {error}."
        )
    }

    fn level(&self, status: &StorageStatus) -> StorageLevel {
        if !status.alarms.is_empty() {
            StorageLevel::Alarm
        } else if self.percent(status) >= WARNING_PERCENT {
            StorageLevel::Low
        } else {
            StorageLevel::Ample
        }
    }

    fn quota(&self, status: &StorageStatus) -> u64 {
        status.quota.unwrap_or(self.configured_quota).max(1)
    }

    fn percent(&self, status: &StorageStatus) -> u64 {
        status.database_size.saturating_mul(100) / self.quota(status)
    }

    /// What every page shows.
    fn notices(&self, status: &StorageStatus) -> Vec<String> {
        let revision = status.revision;
        // Without --physical the compaction returns before it freed pages, and what runs then would free nothing.
        let space = format!(
            "etcdctl --command-timeout=60s compact --physical {revision}; etcdctl --command-timeout=60s defrag --cluster"
        );
        let alarm = |alarm: &StorageAlarm| {
            match alarm {
            StorageAlarm::NoSpace => format!(
                "etcd has no space left (NOSPACE alarm) and refuses every write: users cannot sign in or act, and agents cannot update their reports. {}. Run {space}; etcdctl alarm disarm. See docs/etcd.md#space.",
                self.describe_space(status)
            ),
            StorageAlarm::Corrupt => "etcd has a CORRUPT alarm, because the data of its members differ: it accepts neither reads nor writes. Find the member with etcdctl endpoint hashkv --cluster, replace it, then run etcdctl alarm disarm. See docs/etcd.md#space.".to_owned(),
        }
        };
        match self.level(status) {
            StorageLevel::Alarm => status.alarms.iter().map(alarm).collect(),
            StorageLevel::Low => vec![format!(
                "etcd soon has no space left and then refuses every write. {}. Run {space}, or raise --quota-backend-bytes of etcd. See docs/etcd.md#space.",
                self.describe_space(status)
            )],
            StorageLevel::Ample => Vec::new(),
        }
    }

    /// The sizes in a sentence, without its full stop.
    fn describe_space(&self, status: &StorageStatus) -> String {
        let assumed = match status.quota {
            Some(_) => "",
            None => " (--etcd-quota)",
        };
        format!(
            "Its database has {} of {}{assumed}, of which {} are in use",
            shown(status.database_size),
            shown(self.quota(status)),
            shown(status.in_use)
        )
    }

    /// Adds the warning to the audit trail, from which it is notified, if this replica leads. When writes fail it is too
    /// late for that.
    async fn record(&self, reporter: &StorageReporter) -> bool {
        if reporter.leadership.borrow().is_none() {
            return false;
        }
        let Some(status) = self.status() else {
            return false;
        };
        let record = AuditRecord {
            at: now(),
            actor: reporter.actor.clone(),
            event: AuditEvent::ETCD_SPACE_LOW,
            cluster: None,
            subject: None,
            detail: BTreeMap::from([(detail::TEXT.to_owned(), self.notices(&status).join(" "))]),
        };
        match reporter.trail.record(record).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "That etcd has little space left could not be recorded: {error}");
                false
            }
        }
    }

    fn status(&self) -> Option<StorageStatus> {
        let status = self.status.read();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, status: Option<StorageStatus>) {
        *self.status.write().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Registers alarms and sizes, as far as they are known.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        if let Some(defragmentations) = &self.defragmentations {
            defragmentations.register_metrics(registry);
        }
        let Some(status) = self.status() else {
            return;
        };
        let alarms: Family<AlarmLabels, Gauge> = Family::default();
        for (alarm, name) in [
            (StorageAlarm::NoSpace, "NOSPACE"),
            (StorageAlarm::Corrupt, "CORRUPT"),
        ] {
            let raised = status.alarms.contains(&alarm);
            let labels = AlarmLabels { alarm: name };
            alarms.get_or_create(&labels).set(i64::from(raised));
        }
        registry.register(
            "etcd_alarm",
            "Whether etcd has this alarm (1), for which it refuses requests",
            alarms,
        );
        for (name, help, bytes) in [
            (
                "etcd_database_size_bytes",
                "Size of the largest database of etcd's members, which its quota limits",
                status.database_size,
            ),
            (
                "etcd_database_in_use_bytes",
                "What that database would have after a defragmentation",
                status.in_use,
            ),
            (
                "etcd_quota_bytes",
                "Quota of etcd's database, as members report it or as it is configured",
                self.quota(&status),
            ),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AlarmLabels {
    alarm: &'static str,
}

/// Logs a warning that begins or ends; sizes in it change with every reading.
fn log_changes(before: &[String], notices: &[String]) {
    let begin = |notice: &String| notice.split('.').next().unwrap_or_default().to_owned();
    for notice in notices {
        if before.iter().all(|known| begin(known) != begin(notice)) {
            tracing::warn!("{notice}");
        }
    }
    if notices.is_empty() && !before.is_empty() {
        tracing::info!("etcd has space again, and no alarm");
    }
}

fn shown(bytes: u64) -> String {
    let (mebibyte, tenths) = (1024 * 1024, bytes.saturating_mul(10));
    let (unit, name) = if bytes >= 1024 * mebibyte {
        (1024 * mebibyte, "GiB")
    } else {
        (mebibyte, "MiB")
    };
    let tenths = tenths / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(database_size: u64, quota: Option<u64>, alarms: &[StorageAlarm]) -> StorageStatus {
        StorageStatus {
            version: "3.4.23".to_owned(),
            alarms: alarms.to_vec(),
            database_size,
            in_use: database_size / 4,
            quota,
            revision: 4711,
        }
    }

    #[test]
    fn a_database_near_its_quota_and_every_alarm_are_shown_with_the_remedy() {
        let storage = EtcdStorage::new(1000 * 1024 * 1024);
        let mebibytes = |count: u64| count * 1024 * 1024;
        assert!(
            storage
                .notices(&status(mebibytes(699), None, &[]))
                .is_empty()
        );
        let low = storage.notices(&status(mebibytes(700), None, &[]));
        assert_eq!(
            low,
            [
                "etcd soon has no space left and then refuses every write. Its database has 700.0 MiB of 1000.0 MiB (--etcd-quota), of which 175.0 MiB are in use. Run etcdctl --command-timeout=60s compact --physical 4711; etcdctl --command-timeout=60s defrag --cluster, or raise --quota-backend-bytes of etcd. See docs/etcd.md#space."
            ]
        );
        // What members report counts more than the setting.
        let reported = Some(mebibytes(8 * 1024));
        assert!(
            storage
                .notices(&status(mebibytes(4000), reported, &[]))
                .is_empty()
        );
        let low = storage.notices(&status(mebibytes(8000), reported, &[]));
        assert!(low[0].contains("7.8 GiB of 8.0 GiB, of which"), "{low:?}");
        let alarms = [StorageAlarm::NoSpace, StorageAlarm::Corrupt];
        let notices = storage.notices(&status(mebibytes(1), None, &alarms));
        assert!(notices[0].contains("etcdctl alarm disarm"), "{notices:?}");
        assert!(notices[1].contains("hashkv"), "{notices:?}");
    }

    #[test]
    fn a_status_that_may_no_longer_be_read_is_not_shown_as_current() {
        let storage = EtcdStorage::new(1 << 30);
        let metrics = || {
            let mut registry = prometheus_client::registry::Registry::default();
            storage.register_metrics(&mut registry);
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        storage.set(Some(status(1 << 20, None, &[StorageAlarm::NoSpace])));
        assert!(metrics().contains("etcd_database_size_bytes 1048576"));
        let notice = storage.forget(&Error::Denied {
            endpoints: "https://etcd1:2379".to_owned(),
            cause: "permission denied".to_owned(),
        });
        assert!(notice.contains("are unknown"), "{notice}");
        let text = metrics();
        assert!(!text.contains("etcd_alarm"), "{text}");
        assert!(!text.contains("etcd_database_size_bytes"), "{text}");
    }
}
