//! Notifications of `report` to the service manager (sd_notify(3)): ready, stopping, and the watchdog. Without
//! `NOTIFY_SOCKET` nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::check::{self, HealthPlace};
use crate::observation::ServerState;

/// How often the watchdog is fed within its time-out.
const FEEDS: u32 = 3;

pub(crate) fn report_ready() {
    notify(&NotifyState::Ready);
}

/// Reports that the agent ends.
pub fn report_stopping() {
    notify(&NotifyState::Stopping);
}

/// Feeds the watchdog, if the service manager has one: after each period in which the server was probed and the health
/// check was answered, whatever they resulted in. A server or an etcd that is down does not restart the agent.
pub(crate) async fn feed_watchdog(
    server: watch::Receiver<ServerState>,
    health: Option<HealthPlace>,
) {
    match sd_notify::watchdog_enabled() {
        Some(limit) if !(limit / FEEDS).is_zero() => {
            feed(limit / FEEDS, server, health, || {
                notify(&NotifyState::Watchdog);
            })
            .await;
        }
        _ => std::future::pending().await,
    }
}

async fn feed(
    period: Duration,
    mut server: watch::Receiver<ServerState>,
    health: Option<HealthPlace>,
    notify: impl Fn(),
) {
    // The first probe takes a moment.
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let probed = server.has_changed().unwrap_or(false);
        server.mark_unchanged();
        let reason = match &health {
            _ if !probed => Some("the server was not probed".to_owned()),
            Some(place) => match check::query_health(place, true).await {
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            },
            None => None,
        };
        match reason {
            None => notify(),
            Some(reason) => tracing::warn!(
                "The watchdog of the service manager is not fed, which restarts the agent in the end: {reason}"
            ),
        }
    }
}

/// A service manager that is gone is no reason to fail.
fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::debug!(%error, "The service manager was not notified");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use tokio::time::{interval, timeout};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(20);

    /// How often the watchdog is fed in ten periods with `probes` of the server in each second.
    async fn feeds(probes: usize, health: Option<HealthPlace>) -> u32 {
        let (publish, server) = watch::channel(ServerState::Unknown);
        let probing = async {
            let mut ticks = interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                (0..probes).for_each(|_| publish.send_modify(|_| {}));
            }
        };
        let count = Cell::new(0);
        let feeding = feed(PERIOD, server, health, || count.set(count.get() + 1));
        let both = async { tokio::join!(probing, feeding) };
        assert!(timeout(PERIOD * 10, both).await.is_err(), "it ended");
        count.get()
    }

    #[tokio::test(start_paused = true)]
    async fn only_probes_of_the_server_feed_the_watchdog() {
        assert!(feeds(1, None).await >= 9);
        assert_eq!(feeds(0, None).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_answer_feeds_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("absent.sock");
        assert_eq!(feeds(1, Some(HealthPlace::Socket(socket))).await, 0);
    }
}
