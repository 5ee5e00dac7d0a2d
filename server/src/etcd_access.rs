//! Watches whether etcd requires accounts, and warns on the overview while it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monitor::Monitor;
use registry::Registry;
use tokio::time::sleep;

/// Time between two checks; etcd logs each as a refused sign-in.
const INTERVAL: Duration = Duration::from_secs(300);
/// Time between two checks while etcd does not answer or requires no account.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
const NOTICE_SOURCE: &str = "etcd-access";

/// Whether etcd was last found open to every program that reaches it.
#[derive(Clone, Debug, Default)]
pub struct EtcdAccess {
    is_open: Arc<AtomicBool>,
}

impl EtcdAccess {
    /// Whether etcd requires no account, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Checks forever. The embedded etcd is not checked: it accepts connections from this machine with the console's own
    /// certificate only.
    pub(crate) async fn follow(self, registry: Registry, monitor: Monitor) {
        loop {
            let Ok(required) = registry.requires_accounts().await else {
                sleep(RETRY_INTERVAL).await;
                continue;
            };
            let was_open = self.is_open.swap(!required, Ordering::Relaxed);
            if !required && !was_open {
                tracing::warn!(
                    "etcd requires no account: every program that reaches {} can hide nodes, stop recovery and delete the console's records; create accounts with `galera-console etcd-roles apply` (docs/hardening.md)",
                    registry.endpoints()
                );
            } else if required && was_open {
                tracing::info!("etcd requires accounts now");
            }
            let notice = "etcd requires no account: every program that reaches it can hide nodes, stop recovery and delete the console's records. See docs/hardening.md.";
            let notices = if required {
                Vec::new()
            } else {
                vec![notice.to_owned()]
            };
            monitor.set_notices(NOTICE_SOURCE, notices);
            sleep(if required { INTERVAL } else { RETRY_INTERVAL }).await;
        }
    }
}
