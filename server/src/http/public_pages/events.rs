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

use super::page_access::PageAccess;
use super::response::{header_value, insert_base_headers};
use crate::http::AppState;
use crate::status_pages::{RenderedPage, RenderedPages};

/// Between two words when nothing changes: proof for the page that it is still told.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Open pages that are told at the same time; further ones ask by themselves now and then.
const STREAMS_MAX: usize = 5_000;

static OPEN_STREAMS: AtomicUsize = AtomicUsize::new(0);

/// One of the places that there are.
struct StreamPermit;

impl StreamPermit {
    fn try_acquire() -> Option<Self> {
        let free = |open| (open < STREAMS_MAX).then_some(open + 1);
        OPEN_STREAMS
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
            .is_ok()
            .then_some(Self)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        OPEN_STREAMS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open page.
struct PageEventStream {
    access: PageAccess,
    pages: watch::Receiver<Arc<RenderedPages>>,
    sent_version: Option<String>,
    shutdown: CancellationToken,
    ended: bool,
    _permit: StreamPermit,
}

/// `GET …/events`.
pub(super) fn stream(app: &AppState, door: PageAccess) -> Response {
    let Some(seat) = StreamPermit::try_acquire() else {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        insert_base_headers(response.headers_mut());
        return response;
    };
    let reader = PageEventStream {
        access: door,
        pages: app.status_pages.subscribe_rendered(),
        sent_version: None,
        shutdown: app.shutdown.clone(),
        ended: false,
        _permit: seat,
    };
    let events = stream::unfold(reader, async |mut reader| {
        let event = reader.next_event().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let mut response = Sse::new(events).into_response();
    insert_base_headers(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, header_value("no-store"));
    // Proxies that gather answers would keep the news to themselves.
    headers.insert("x-accel-buffering", header_value("no"));
    response
}

impl PageEventStream {
    /// The next word; `None` at the end.
    async fn next_event(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => None,
            event = self.wait_for_event() => Some(event),
        }
    }

    async fn wait_for_event(&mut self) -> Event {
        loop {
            let prints = Arc::clone(&self.pages.borrow_and_update());
            let Some(print) = self.access.rendered_page(&prints) else {
                self.ended = true;
                return Event::default().event("gone").data("");
            };
            if self.sent_version.as_ref() != Some(&print.version) {
                return self.version_event(&print);
            }
            let waited = timeout(HEARTBEAT_INTERVAL, self.pages.changed()).await;
            match waited {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.ended = true,
                // Asked again: the link may have expired by now.
                Err(_) => self.sent_version = None,
            }
            if self.ended {
                return Event::default().event("gone").data("");
            }
        }
    }

    fn version_event(&mut self, print: &RenderedPage) -> Event {
        self.sent_version = Some(print.version.clone());
        let now = now().unix_millis();
        let word = format!("{{\"version\":\"{}\",\"now\":{now}}}", print.version);
        Event::default().data(word)
    }
}
