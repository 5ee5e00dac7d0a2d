//! News for an open page: the version of what it should show, at every change and now and then. The page itself is fetched
//! like any other time, from the same bytes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use futures::stream;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::{plain, text};
use super::door::Door;
use crate::http::AppState;
use crate::status::{Print, Prints};

/// Between two words when nothing changes: proof for the page that it is still told.
const BEAT: Duration = Duration::from_secs(10);
/// Open pages that are told at the same time; further ones ask by themselves now and then.
const OPEN_MAX: usize = 5_000;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One of the places that there are.
struct Seat;

impl Seat {
    fn take() -> Option<Self> {
        let free = |open| (open < OPEN_MAX).then_some(open + 1);
        OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
            .is_ok()
            .then_some(Self)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open page.
struct Reader {
    door: Door,
    prints: watch::Receiver<Arc<Prints>>,
    told: Option<String>,
    shutdown: CancellationToken,
    over: bool,
    _seat: Seat,
}

/// `GET …/events`.
pub(super) fn stream(app: &AppState, door: Door) -> Response {
    let Some(seat) = Seat::take() else {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        plain(response.headers_mut());
        return response;
    };
    let reader = Reader {
        door,
        prints: app.status.follow_prints(),
        told: None,
        shutdown: app.shutdown.clone(),
        over: false,
        _seat: seat,
    };
    let events = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let mut response = Sse::new(events).into_response();
    plain(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, text("no-store"));
    // Proxies that gather answers would keep the news to themselves.
    headers.insert("x-accel-buffering", text("no"));
    response
}

impl Reader {
    /// The next word; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => None,
            event = self.word() => Some(event),
        }
    }

    async fn word(&mut self) -> Event {
        loop {
            let prints = Arc::clone(&self.prints.borrow_and_update());
            let Some(print) = self.door.print(&prints) else {
                self.over = true;
                return Event::default().event("gone").data("");
            };
            if self.told.as_ref() != Some(&print.version) {
                return self.tell(&print);
            }
            let waited = timeout(BEAT, self.prints.changed()).await;
            match waited {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.over = true,
                // Asked again: the link may have expired by now.
                Err(_) => self.told = None,
            }
            if self.over {
                return Event::default().event("gone").data("");
            }
        }
    }

    fn tell(&mut self, print: &Print) -> Event {
        self.told = Some(print.version.clone());
        let now = now().unix_millis();
        let word = format!("{{\"version\":\"{}\",\"now\":{now}}}", print.version);
        Event::default().data(word)
    }
}
