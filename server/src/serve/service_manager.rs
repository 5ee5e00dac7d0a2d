//! Notifications to the service manager (sd_notify(3)): ready, stopping, and the watchdog. Without `NOTIFY_SOCKET`
//! nothing is sent.
//!
//! The watchdog is fed after a request for `/healthz` was answered by the threads that serve clients, and while every
//! listener accepts. A request inside the process takes no connection, so that a flood cannot make it fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tower::ServiceExt;

/// How often the watchdog is fed within its time-out.
const FEEDS: u32 = 3;

/// What proves that the console works.
pub(super) struct ProofOfWork {
    /// The router of health checks.
    pub(super) health: Router,
    /// Where requests are served.
    pub(super) http: Handle,
    /// The tasks that accept connections.
    pub(super) accepting: Vec<AbortHandle>,
}

pub(super) fn report_ready() {
    notify(&NotifyState::Ready);
}

pub(super) fn report_stopping() {
    notify(&NotifyState::Stopping);
}

/// Feeds the watchdog, if the service manager has one.
pub(super) async fn feed_watchdog(proof: ProofOfWork) {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        feed(limit, &proof, || notify(&NotifyState::Watchdog)).await;
    }
}

async fn feed(limit: Duration, proof: &ProofOfWork, notify: impl Fn()) {
    let period = limit / FEEDS;
    if period.is_zero() {
        return;
    }
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match proof.check(period).await {
            Ok(()) => notify(),
            Err(reason) => tracing::error!(
                "The watchdog of the service manager is not fed, which restarts the console: {reason}"
            ),
        }
    }
}

impl ProofOfWork {
    async fn check(&self, limit: Duration) -> Result<(), String> {
        if self.accepting.iter().any(AbortHandle::is_finished) {
            return Err("a listener no longer accepts connections".to_owned());
        }
        let mut request = Request::builder()
            .uri("/healthz")
            .header(header::HOST, "localhost")
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answered = self.http.spawn(self.health.clone().oneshot(request));
        match timeout(limit, answered).await {
            Ok(Ok(Ok(response))) if response.status() == StatusCode::OK => Ok(()),
            Ok(Ok(Ok(response))) => Err(format!("/healthz has status {}", response.status())),
            Ok(Err(error)) => Err(format!("the request for /healthz ended: {error}")),
            Err(_) => Err(format!("/healthz has no response within {limit:?}")),
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

    use axum::routing::get;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn proof(health: Router) -> ProofOfWork {
        ProofOfWork {
            health,
            http: Handle::current(),
            accepting: vec![
                Handle::current()
                    .spawn(std::future::pending::<()>())
                    .abort_handle(),
            ],
        }
    }

    /// How often the watchdog is fed within ten time-outs.
    async fn feeds(proof: &ProofOfWork) -> u32 {
        let count = Cell::new(0);
        let feeding = feed(LIMIT, proof, || count.set(count.get() + 1));
        assert!(timeout(LIMIT * 10, feeding).await.is_err(), "it ended");
        count.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_console_that_answers_feeds_more_often_than_needed() {
        let answering = Router::new().route("/healthz", get(async || "ok"));
        assert!(feeds(&proof(answering)).await > 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_console_that_hangs_fails_or_panics_feeds_nothing() {
        let hanging = Router::new().route("/healthz", get(std::future::pending::<()>));
        let failing = Router::new().route("/healthz", get(async || StatusCode::BAD_GATEWAY));
        let panicking = Router::new().route("/healthz", get(async || panic!("a fault") as &str));
        for health in [hanging, failing, panicking] {
            assert_eq!(feeds(&proof(health)).await, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_ended_feeds_nothing() {
        let mut proof = proof(Router::new().route("/healthz", get(async || "ok")));
        let ended = Handle::current().spawn(std::future::ready(()));
        proof.accepting.push(ended.abort_handle());
        ended.await.unwrap();
        assert_eq!(feeds(&proof).await, 0);
    }
}
