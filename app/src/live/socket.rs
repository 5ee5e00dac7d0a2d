//! Browser end of the live channel: one WebSocket per tab, reconnected for as long as the tab is open.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use galera::publish::api::{CLOSE_SESSION_ENDED, LIVE_VERSION, Overview};
use galera::publish::live::TopicSubscribeRequest;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CloseEvent, Event, MessageEvent, WebSocket};

use super::message::IncomingMessage;
use super::{ConnectionState, LiveState};
use crate::browser;
use crate::data::session_has_ended;

/// Time without data after which the page is marked stale, in milliseconds, unless data usually arrives less often.
const STALE_AFTER: i64 = 5_000;
/// Time without data after which the subscription is sent again as a probe, in milliseconds.
const PROBE_AFTER: i64 = 15_000;
/// Timeout for the reply to a probe and for a new connection, in milliseconds.
const RESPONSE_TIMEOUT: i64 = 8_000;
/// Initial and maximum delay between connection attempts, in milliseconds.
const RETRY_DELAY: (f64, f64) = (500.0, 4_000.0);

#[wasm_bindgen]
extern "C" {
    /// Of `app/live-documents.js`: the text of a message as [`IncomingMessage`] has it.
    #[wasm_bindgen(js_name = liveText)]
    fn live_text(data: &JsValue) -> JsValue;
}

thread_local! {
    static CHANNEL: RefCell<Option<LiveChannel>> = const { RefCell::new(None) };
}

struct LiveChannel {
    live: LiveState,
    /// Event callback shared by the socket, the window and the timer. Lives as long as the tab.
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
    /// Latest revisions of the overview and of the cluster on this connection.
    revisions: (u64, u64),
}

/// Subscribes to `topics`. The first call connects.
pub(super) fn subscribe(live: LiveState, topics: Vec<String>) {
    with_channel(|slot| match slot {
        Some(channel) => channel.subscribe(topics),
        None => {
            let mut channel = LiveChannel::new(live);
            channel.topics = topics;
            channel.register_listeners();
            channel.tick();
            if !channel.topics.is_empty() {
                live.connection.set(ConnectionState::Connecting);
                channel.connect();
            }
            *slot = Some(channel);
        }
    });
}

/// Ends the delay before the next attempt.
pub(super) fn retry_now() {
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
            revisions: (0, 0),
        }
    }

    fn server_time(&self, at: i64) -> Timestamp {
        Timestamp::from_unix_millis(at + self.clock_offset)
    }

    fn register_listeners(&self) {
        let Some(window) = web_sys::window() else {
            return;
        };
        let handler = self.handler.as_ref().unchecked_ref();
        // Fails only in browsers without these events; the timer is enough then.
        let _ = window.set_interval_with_callback_and_timeout_and_arguments_0(handler, 1_000);
        let _ = window.add_event_listener_with_callback("online", handler);
        if let Some(document) = window.document() {
            let _ = document.add_event_listener_with_callback("visibilitychange", handler);
        }
    }

    fn connect(&mut self) {
        self.state_since = browser::now_millis();
        self.open = false;
        let Some(socket) =
            browser::live_socket_url().and_then(|address| WebSocket::new(&address).ok())
        else {
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
            self.tick();
            return;
        };
        match event.type_().as_str() {
            "online" => self.retry_or_probe(),
            "visibilitychange" if browser::is_visible() => {
                self.tick();
                self.retry_or_probe();
            }
            kind => {
                let ours = self
                    .socket
                    .as_ref()
                    .is_some_and(|socket| event.target().as_ref() == Some(socket.as_ref()));
                if ours {
                    self.on_socket_event(kind, event);
                }
            }
        }
    }

    fn on_socket_event(&mut self, kind: &str, event: &Event) {
        match kind {
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
                    .and_then(|message| live_text(&message.data()).as_string());
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

    fn on_message(&mut self, text: &str) {
        match serde_json::from_str::<IncomingMessage>(text) {
            Ok(message) => self.apply_message(message),
            Err(_) => self.live.notice.set(Some(outdated_notice())),
        }
        self.tick();
    }

    fn apply_message(&mut self, message: IncomingMessage) {
        // Of the page before, some may still be on their way.
        if !message.topic.is_empty() && !self.topics.contains(&message.topic) {
            return;
        }
        match message.kind.as_str() {
            "hello" => {
                if let Some(time) = message.server_time {
                    self.clock_offset = time.unix_millis() - browser::now_millis();
                }
                self.revisions = (0, 0);
                self.live
                    .notice
                    .set((message.version != Some(LIVE_VERSION)).then(outdated_notice));
            }
            "overview" if self.record_revision(message.revision, |revisions| &mut revisions.0) => {
                let (clusters, notices) = (message.clusters, message.notices);
                self.live
                    .overview
                    .set(Some(Arc::new(Overview { clusters, notices })));
            }
            "cluster" if self.record_revision(message.revision, |revisions| &mut revisions.1) => {
                self.live.cluster.set(message.cluster.map(Arc::from));
            }
            "actions" => {
                self.live.pending_actions.set(message.pending);
                self.live.action_changes.update(|changes| *changes += 1);
            }
            "error" => self.live.notice.set(message.detail),
            _ => {}
        }
    }

    /// Records the arrival of data. Returns whether it is newer than what is shown.
    fn record_revision(
        &mut self,
        revision: u64,
        slot: impl Fn(&mut (u64, u64)) -> &mut u64,
    ) -> bool {
        let now = browser::now_millis();
        self.expected_interval =
            (self.expected_interval * 3 + (now - self.last_data_at).max(0)) / 4;
        self.last_data_at = now;
        self.probing = false;
        let last = slot(&mut self.revisions);
        let newer = revision > *last;
        *last = revision.max(*last);
        newer
    }

    fn subscribe(&mut self, topics: Vec<String>) {
        if topics == self.topics {
            return;
        }
        self.topics = topics;
        self.revisions = (0, 0);
        self.last_data_at = browser::now_millis();
        self.live.overview.set(None);
        self.live.cluster.set(None);
        self.live.notice.set(None);
        if self.open {
            self.send_subscription();
        } else if self.socket.is_none() && !self.topics.is_empty() {
            self.connect();
        }
    }

    fn send_subscription(&self) {
        let message = TopicSubscribeRequest {
            version: 2,
            encoding: None,
            subscribe: self.topics.clone(),
        };
        if let (Some(socket), Ok(text)) = (&self.socket, serde_json::to_string(&message)) {
            // Fails only while the socket is closing, which raises its own event.
            let _ = socket.send_with_str(&text);
        }
    }

    /// Called once a second and after every message.
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
            spawn_local(async {
                if session_has_ended().await {
                    browser::redirect_to_sign_in();
                }
            });
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
