//! Reports what was changed outside the console: in the log, on every page, and in the audit trail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::audit::{AuditTrail, TrailAlarms};
use console_core::clock::now;
use console_core::leader::Leadership;
use galera::record::audit::{AuditEvent, AuditRecord};
use monitor::Monitor;
use registry::{Registry, TamperCause, TamperedRecord, TamperedRecords};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{NOTICE_SOURCE, RETRY_INTERVAL};

/// The source of the notice about the audit trail.
const TRAIL_NOTICE_SOURCE: &str = "audit";
/// Keys that a notice names.
pub(super) const NAMED_MAX: usize = 5;
/// Audit entries about tampered records in an hour, so that they cannot fill the trail.
const AUDITED_PER_HOUR: usize = 60;

/// Shows on every page that the audit trail was changed outside the console, until an administrator acknowledges it.
pub(super) async fn report_alarms(monitor: Monitor, mut alarms: watch::Receiver<Arc<TrailAlarms>>) {
    loop {
        let notice = alarms.borrow_and_update().latest.as_ref().map(|alarm| {
            format!(
                "The audit trail was changed outside the console, found at {}: {}. Run galera-console audit verify; see docs/audit.md.",
                alarm.at, alarm.reason
            )
        });
        monitor.set_notices(TRAIL_NOTICE_SOURCE, notice.into_iter().collect());
        if alarms.changed().await.is_err() {
            return;
        }
    }
}

/// Reports tampered records: in the log, on every page, and in the audit trail.
pub(crate) struct TamperReporter {
    pub(crate) monitor: Monitor,
    pub(crate) trail: AuditTrail,
    pub(crate) leadership: Leadership,
    pub(crate) actor: String,
}

impl TamperReporter {
    pub(super) async fn run(&mut self, registry: &Registry) {
        let Some(mut changes) = registry.watch_tampered() else {
            return;
        };
        let mut reported: BTreeMap<String, String> = BTreeMap::new();
        let mut unaudited: VecDeque<TamperedRecord> = VecDeque::new();
        let mut audited: VecDeque<Instant> = VecDeque::new();
        loop {
            let tampered = judged(registry, &mut changes).await;
            self.monitor
                .set_notices(NOTICE_SOURCE, notice(&tampered).into_iter().collect());
            reported.retain(|key, _| tampered.records.iter().any(|record| record.key == *key));
            unaudited.retain(|record| tampered.records.contains(record));
            for record in &tampered.records {
                let before = reported.insert(record.key.clone(), record.reason.clone());
                if before.as_ref() != Some(&record.reason) {
                    tracing::error!(
                        key = record.key,
                        "The record {} in etcd was changed outside the console and is ignored: {}",
                        record.key,
                        record.reason
                    );
                    unaudited.push_back(record.clone());
                }
            }
            self.audit(&mut unaudited, &mut audited).await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(RETRY_INTERVAL), if !unaudited.is_empty() => {}
            }
        }
    }

    /// Audits what was not yet, if this replica leads: of all replicas one does.
    async fn audit(
        &self,
        unaudited: &mut VecDeque<TamperedRecord>,
        audited: &mut VecDeque<Instant>,
    ) {
        if self.leadership.borrow().is_none() {
            return;
        }
        while let Some(record) = unaudited.front() {
            while audited
                .front()
                .is_some_and(|at| at.elapsed() > Duration::from_secs(3600))
            {
                audited.pop_front();
            }
            if audited.len() >= AUDITED_PER_HOUR {
                return;
            }
            let entry = AuditRecord {
                at: now(),
                actor: self.actor.clone(),
                event: AuditEvent::RECORD_TAMPERED,
                cluster: None,
                subject: Some(record.key.clone()),
                detail: BTreeMap::from([("reason".to_owned(), record.reason.clone())]),
            };
            if let Err(error) = self.trail.record(entry).await {
                tracing::warn!(%error, "Could not write an audit entry: {error}");
                return;
            }
            audited.push_back(Instant::now());
            unaudited.pop_front();
        }
    }
}

/// The records that are ignored now. Those of unknown secrets are forgeries only if no such secret is proven to be in use.
async fn judged(
    registry: &Registry,
    changes: &mut watch::Receiver<Arc<TamperedRecords>>,
) -> Arc<TamperedRecords> {
    let tampered = Arc::clone(&changes.borrow_and_update());
    let mut causes = tampered.records.iter().map(|record| record.cause);
    if !causes.any(|cause| cause == TamperCause::UnknownSecret) {
        return tampered;
    }
    while let Err(error) = registry.check_secret().await {
        if !error.is_transient() {
            break;
        }
        sleep(RETRY_INTERVAL).await;
    }
    Arc::clone(&changes.borrow_and_update())
}

/// The notice on every page.
fn notice(tampered: &TamperedRecords) -> Option<String> {
    let named: Vec<&str> = tampered
        .records
        .iter()
        .take(NAMED_MAX)
        .map(|record| record.key.as_str())
        .collect();
    let count = tampered.count();
    let named = named.join(", ");
    let more = match count.saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = match count {
        0 => return None,
        1 => format!("1 record in etcd was changed outside the console and is ignored: {named}"),
        _ => format!(
            "{count} records in etcd were changed outside the console and are ignored: {named}{more}"
        ),
    };
    Some(format!(
        "{text}. Run galera-console state show; see docs/etcd.md."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_names_the_first_keys_and_counts_the_rest() {
        let tampered = |keys: usize, unlisted| TamperedRecords {
            records: (0..keys)
                .map(|number| TamperedRecord {
                    key: format!("/s/users/{number}"),
                    cause: registry::TamperCause::Forged,
                    reason: "it is not sealed".to_owned(),
                    since: now(),
                })
                .collect(),
            unlisted,
            restored: None,
        };
        assert_eq!(notice(&tampered(0, 0)), None);
        assert_eq!(
            notice(&tampered(1, 0)).unwrap(),
            "1 record in etcd was changed outside the console and is ignored: /s/users/0. Run galera-console state show; see docs/etcd.md."
        );
        let many = notice(&tampered(6, 3)).unwrap();
        assert!(
            many.starts_with("9 records") && many.contains("/s/users/4 and 4 more."),
            "{many}"
        );
    }
}
