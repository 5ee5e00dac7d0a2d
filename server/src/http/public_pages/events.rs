//! Server-sent events for an open page: the current version, at every change and as a heartbeat. The page then fetches its
//! content like any other client.

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

/// Interval of events without a change, so that the page can tell that it is still connected.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of concurrent streams; further pages poll instead.
const STREAMS_MAX: usize = 5_000;

static OPEN_STREAMS: AtomicUsize = AtomicUsize::new(0);

/// Counts one of at most [`STREAMS_MAX`] streams.
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

/// The event stream of an open page.
struct PageEventStream {
    access: PageAccess,
    pages: watch::Receiver<Arc<RenderedPages>>,
    sent_version: Option<String>,
    shutdown: CancellationToken,
    ended: bool,
    _permit: StreamPermit,
}

/// `GET …/events`.
pub(super) fn stream(app: &AppState, access: PageAccess) -> Response {
    let Some(permit) = StreamPermit::try_acquire() else {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        insert_base_headers(response.headers_mut());
        return response;
    };
    let page_stream = PageEventStream {
        access,
        pages: app.status_pages.subscribe_rendered(),
        sent_version: None,
        shutdown: app.shutdown.clone(),
        ended: false,
        _permit: permit,
    };
    let events = stream::unfold(page_stream, async |mut page_stream| {
        let event = page_stream.next_event().await?;
        Some((Ok::<_, Infallible>(event), page_stream))
    });
    let mut response = Sse::new(events).into_response();
    insert_base_headers(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, header_value("no-store"));
    // Keeps proxies from buffering the events.
    headers.insert("x-accel-buffering", header_value("no"));
    response
}

impl PageEventStream {
    /// The next event; `None` at the end.
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
            let pages = Arc::clone(&self.pages.borrow_and_update());
            let Some(page) = self.access.rendered_page(&pages) else {
                self.ended = true;
                return Event::default().event("gone").data("");
            };
            if self.sent_version.as_ref() != Some(&page.version) {
                return self.version_event(&page);
            }
            let waited = timeout(HEARTBEAT_INTERVAL, self.pages.changed()).await;
            match waited {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.ended = true,
                // Check the access again: the link may have expired.
                Err(_) => self.sent_version = None,
            }
            if self.ended {
                return Event::default().event("gone").data("");
            }
        }
    }

    fn version_event(&mut self, page: &RenderedPage) -> Event {
        self.sent_version = Some(page.version.clone());
        let now = now().unix_millis();
        let data = format!("{{\"version\":\"{}\",\"now\":{now}}}", page.version);
        Event::default().data(data)
    }
}
