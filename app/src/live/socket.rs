//! Browser end of the live channel: one WebSocket per tab, reconnected for as long as the tab is open.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use galera::publish::api::CLOSE_SESSION_ENDED;
use galera::view::VerdictState;
use leptos::prelude::*;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CloseEvent, Event, MessageEvent, WebSocket};

use super::documents::{DocumentContent, LiveArrival, LiveDocuments, TopicContent};
use super::{ConnectionState, LiveState};
use crate::browser;

/// Time without data after which the page is marked stale, in milliseconds, unless data usually arrives less often.
const STALE_AFTER: i64 = 5_000;
/// Time without data after which the subscription is sent again as a probe, in milliseconds.
const PROBE_AFTER: i64 = 15_000;
/// Timeout for the reply to a probe and for a new connection, in milliseconds.
const RESPONSE_TIMEOUT: i64 = 8_000;
/// Initial and maximum delay between connection attempts, in milliseconds.
const RETRY_DELAY: (f64, f64) = (500.0, 4_000.0);

thread_local! {
    static CHANNEL: RefCell<Option<LiveChannel>> = const { RefCell::new(None) };
}

struct LiveChannel {
    live: LiveState,
    /// Callback of the socket with an event, and of updates without one. Lives as long as the tab.
    handler: Closure<dyn FnMut(JsValue)>,
    socket: Option<WebSocket>,
    topics: Vec<String>,
    /// Failed attempts since the last open connection.
    attempts: i32,
    /// When the current attempt began or the connection opened, by the browser's clock.
    state_since: i64,
    open: bool,
    /// When the last data arrived, by the browser's clock.
    last_data_at: i64,
    /// Moving average of the interval between data, in milliseconds.
    expected_interval: i64,
    probing: bool,
    /// Server clock minus browser clock, in milliseconds.
    clock_offset: i64,
    documents: LiveDocuments,
}

/// Creates the channel, which connects with the first topics. Without any, only the clock runs.
pub(super) fn connect(live: LiveState) {
    with_channel(|slot| {
        let channel = slot.insert(LiveChannel::new(live));
        browser::start_updates(channel.handler.as_ref().unchecked_ref());
        channel.tick();
    });
}

/// Subscribes to `topics` instead of the previous ones.
pub(super) fn subscribe(topics: &[String]) {
    with_channel(|slot| {
        slot.iter_mut()
            .for_each(|channel| channel.subscribe(topics));
    });
}

/// Ends the delay before the next attempt.
pub(crate) fn retry_now() {
    with_channel(|slot| slot.iter_mut().for_each(LiveChannel::retry_or_probe));
}

fn with_channel(act: impl FnOnce(&mut Option<LiveChannel>)) {
    // Setting a signal defers its effects, so borrows do not nest. If they ever did, the next tick would recover.
    CHANNEL.with(|channel| {
        channel
            .try_borrow_mut()
            .map(|mut slot| act(&mut slot))
            .unwrap_or_default()
    });
}

impl LiveChannel {
    fn new(live: LiveState) -> Self {
        let now = browser::now_millis();
        let rendered_at = browser::page_rendered_at().map_or(now, Timestamp::unix_millis);
        Self {
            live,
            handler: Closure::new(|event| {
                with_channel(|slot| slot.iter_mut().for_each(|channel| channel.on_event(&event)))
            }),
            socket: None,
            topics: Vec::new(),
            attempts: 0,
            state_since: now,
            open: false,
            last_data_at: now,
            expected_interval: 1_000,
            probing: false,
            clock_offset: rendered_at - now,
            documents: LiveDocuments::default(),
        }
    }

    fn server_time(&self, at: i64) -> Timestamp {
        Timestamp::from_unix_millis(at + self.clock_offset)
    }

    fn subscribe(&mut self, topics: &[String]) {
        if topics == self.topics {
            return;
        }
        self.topics = topics.to_vec();
        if self.open {
            self.send_subscription();
        } else if self.socket.is_none() {
            self.live.connection.set(ConnectionState::Connecting);
            self.connect();
        }
    }

    fn connect(&mut self) {
        self.state_since = browser::now_millis();
        self.open = false;
        let Ok(socket) = WebSocket::new(&browser::live_socket_url()) else {
            self.disconnect();
            return;
        };
        let handler = self.handler.as_ref().unchecked_ref();
        socket.set_onopen(Some(handler));
        socket.set_onmessage(Some(handler));
        socket.set_onclose(Some(handler));
        self.socket = Some(socket);
    }

    fn on_event(&mut self, event: &JsValue) {
        let Some(event) = event.dyn_ref::<Event>() else {
            self.update();
            return;
        };
        match event.type_().as_str() {
            "open" => {
                self.open = true;
                self.attempts = 0;
                self.state_since = browser::now_millis();
                self.live.connection.set(ConnectionState::Open);
                self.send_subscription();
            }
            "message" => {
                let text = event
                    .dyn_ref::<MessageEvent>()
                    .and_then(|message| message.data().as_string());
                if let Some(text) = text {
                    self.on_message(&text);
                }
            }
            "close" => {
                let ended = event
                    .dyn_ref::<CloseEvent>()
                    .is_some_and(|close| close.code() == CLOSE_SESSION_ENDED);
                if ended {
                    browser::redirect_to_sign_in();
                }
                self.disconnect();
            }
            _ => {}
        }
    }

    /// What arrives is shown by the next update, together with what arrives until then.
    fn on_message(&mut self, text: &str) {
        match self.documents.accept(text) {
            Some(LiveArrival::Hello(Some(time))) => {
                self.clock_offset = time.unix_millis() - browser::now_millis();
                self.live.notice.set(None);
            }
            Some(LiveArrival::Hello(None) | LiveArrival::Unreadable) => {
                self.live.notice.set(Some(outdated_notice()));
            }
            Some(LiveArrival::Error(detail)) => self.live.notice.set(Some(detail)),
            // A change of actions does not show that monitoring continues.
            Some(LiveArrival::Document(topic)) if topic != "actions" => self.record_arrival(),
            _ => {}
        }
        browser::request_update();
    }

    /// Shows what has arrived. Called once a second, and after messages as often as the browser can show them.
    fn update(&mut self) {
        while let Some(changed) = self.documents.next_change() {
            self.show(changed);
        }
        self.tick();
    }

    fn show(
        &mut self,
        TopicContent {
            topic,
            is_first,
            content,
        }: TopicContent,
    ) {
        // Of a selection before, some may still be on their way.
        if !self.topics.contains(&topic) {
            return;
        }
        let calm = matches!(&content, DocumentContent::Cluster(view) if view.verdict.state <= VerdictState::Degraded);
        match content {
            DocumentContent::Overview(window) => {
                let shown = match topic.as_str() {
                    "head" => self.live.head,
                    _ => self.live.overview,
                };
                shown.set(Some(Arc::new(window)));
            }
            DocumentContent::Cluster(view) => self.live.cluster.set(Some(Arc::from(view))),
            DocumentContent::Pending(count) => self.live.pending_actions.set(count),
            DocumentContent::Unreadable => self.live.notice.set(Some(outdated_notice())),
        }
        browser::topic_changed(&topic, is_first, calm);
    }

    /// Records the arrival of data.
    fn record_arrival(&mut self) {
        let now = browser::now_millis();
        self.expected_interval =
            (self.expected_interval * 3 + (now - self.last_data_at).max(0)) / 4;
        self.last_data_at = now;
        self.probing = false;
    }

    fn send_subscription(&self) {
        // Topics need no escaping: `ClusterName` admits no quotes.
        let topics = self.topics.join("\",\"");
        let message = ["{\"version\":2,\"subscribe\":[\"", &topics, "\"]}"].concat();
        if let Some(socket) = &self.socket {
            // Fails only while the socket is closing, which raises its own event.
            let _ = socket.send_with_str(&message);
        }
    }

    /// Sets the clock, and decides whether data are stale and the connection is lost.
    fn tick(&mut self) {
        let now = browser::now_millis();
        self.live.now.set(Some(self.server_time(now)));
        let idle = now - self.last_data_at;
        let limit = STALE_AFTER.max(self.expected_interval * 2 + 1_000);
        match self.live.connection.get_untracked() {
            ConnectionState::Lost { retry_at, .. }
                if self.socket.is_none() && self.server_time(now) >= retry_at =>
            {
                self.connect()
            }
            ConnectionState::Open
                if self.probing && idle > PROBE_AFTER.max(limit) + RESPONSE_TIMEOUT =>
            {
                self.disconnect()
            }
            ConnectionState::Open
                if !self.probing && idle > PROBE_AFTER.max(limit) && !self.topics.is_empty() =>
            {
                self.probing = true;
                self.send_subscription();
            }
            ConnectionState::Connecting | ConnectionState::Lost { .. }
                if self.socket.is_some() && now - self.state_since > RESPONSE_TIMEOUT =>
            {
                self.disconnect()
            }
            _ => {}
        }
        let lost = matches!(
            self.live.connection.get_untracked(),
            ConnectionState::Lost { .. }
        );
        let stale = (lost || idle > limit) && !self.topics.is_empty();
        let since = stale.then(|| self.server_time(self.last_data_at));
        if self.live.stale_since.get_untracked() != since {
            self.live.stale_since.set(since);
        }
    }

    /// Drops the connection or the attempt and schedules the next one.
    fn disconnect(&mut self) {
        let was_open = std::mem::take(&mut self.open);
        if let Some(socket) = self.socket.take() {
            socket.set_onopen(None);
            socket.set_onmessage(None);
            socket.set_onclose(None);
            // Fails only for invalid close codes.
            let _ = socket.close();
        }
        if !was_open {
            // A server that rejects the session refuses the upgrade, but the browser does not expose the reason.
            browser::check_session();
        }
        let pause = (RETRY_DELAY.0
            * f64::from(2_i32.pow(self.attempts.clamp(0, 10).unsigned_abs())))
        .min(RETRY_DELAY.1);
        // Random between half the delay and all of it, so that many tabs do not reconnect simultaneously.
        let pause = pause * (0.5 + js_sys::Math::random() / 2.0);
        self.attempts += 1;
        let now = self.server_time(browser::now_millis());
        let since = match self.live.connection.get_untracked() {
            ConnectionState::Lost { since, .. } => since,
            _ => now,
        };
        let retry_at = now.plus(Duration::from_millis(pause as u64));
        self.live
            .connection
            .set(ConnectionState::Lost { since, retry_at });
    }

    fn retry_or_probe(&mut self) {
        let lost = matches!(
            self.live.connection.get_untracked(),
            ConnectionState::Lost { .. }
        );
        if lost && self.socket.is_none() {
            self.connect();
        } else if self.open && browser::now_millis() - self.last_data_at > STALE_AFTER {
            self.probing = true;
            self.send_subscription();
        }
    }
}

fn outdated_notice() -> String {
    "The console has been updated. Reload the page.".to_owned()
}
