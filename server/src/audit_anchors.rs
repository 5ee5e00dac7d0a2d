//! Sends anchors of the audit trail to the webhook of `--audit-anchor-url`, and shows whether they arrive.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use console_core::clock::now;
use galera::record::audit::AuditAnchor;
use monitor::Monitor;
use notify::AnchorWebhook;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::sleep;

const NOTICE_SOURCE: &str = "audit-anchors";
/// Failed attempts after which pages say so; one may be a restart of the receiver.
const NOTICE_AFTER: u32 = 3;
/// The longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Whether anchors reach the webhook.
#[derive(Debug, Default)]
pub struct AnchorDelivery {
    failed_attempts: AtomicU64,
    is_undelivered: AtomicBool,
    delivered_sequence: AtomicU64,
}

impl AnchorDelivery {
    /// Sends what `newest` publishes until its sender is dropped. Only the newest anchor is sent: it stands for those before it.
    pub(crate) async fn run(
        &self,
        webhook: &AnchorWebhook,
        mut newest: watch::Receiver<Option<AuditAnchor>>,
        monitor: &Monitor,
    ) {
        loop {
            let anchor = newest.borrow_and_update().clone();
            if let Some(anchor) = anchor {
                self.deliver(webhook, anchor, &mut newest, monitor).await;
            }
            if newest.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends `anchor`, or one that replaces it meanwhile, until the receiver accepts it.
    async fn deliver(
        &self,
        webhook: &AnchorWebhook,
        mut anchor: AuditAnchor,
        newest: &mut watch::Receiver<Option<AuditAnchor>>,
        monitor: &Monitor,
    ) {
        let (since, mut failures) = (now(), 0_u32);
        let receiver = webhook.receiver();
        while let Err(error) = webhook.send(&anchor, now()).await {
            self.failed_attempts.fetch_add(1, Ordering::Relaxed);
            self.is_undelivered.store(true, Ordering::Relaxed);
            failures = failures.saturating_add(1);
            // One line for each outage: it is shown until it ends.
            if failures == 1 {
                tracing::warn!(
                    error,
                    "The audit trail's anchor {} could not be sent to {receiver}; will retry: {error}",
                    anchor.sequence
                );
            }
            if failures >= NOTICE_AFTER {
                let notice = format!(
                    "Anchors of the audit trail have not reached {receiver} (--audit-anchor-url) since {since}: {error}."
                );
                monitor.set_notices(NOTICE_SOURCE, vec![notice]);
            }
            sleep(retry_delay(failures)).await;
            if let Some(newer) = newest.borrow_and_update().clone() {
                anchor = newer;
            }
        }
        self.delivered_sequence
            .store(anchor.sequence, Ordering::Relaxed);
        self.is_undelivered.store(false, Ordering::Relaxed);
        if failures > 0 {
            let sequence = anchor.sequence;
            tracing::info!(
                sequence,
                failures,
                "The audit trail's anchor {sequence} was sent to {receiver}"
            );
            monitor.set_notices(NOTICE_SOURCE, Vec::new());
        }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        let failures: Counter = Counter::default();
        failures.inc_by(self.failed_attempts.load(Ordering::Relaxed));
        registry.register(
            "audit_anchor_send_failures",
            "Attempts to send an anchor of the audit trail to --audit-anchor-url that failed",
            failures,
        );
        let gauges = [
            (
                "audit_anchor_undelivered",
                "Whether the newest anchor was not accepted there (1)",
                u64::from(self.is_undelivered.load(Ordering::Relaxed)),
            ),
            (
                "audit_anchor_delivered_entry",
                "The number of the newest entry whose anchor was accepted there",
                self.delivered_sequence.load(Ordering::Relaxed),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
    }
}

/// One second, doubled with each failure.
fn retry_delay(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(RETRY_MAX)
}
