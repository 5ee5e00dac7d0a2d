//! The browser's end of the live channel: one WebSocket a tab, reconnected for as long as the tab lives.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use galera::publish::api::{CLOSE_SESSION_ENDED, LIVE_VERSION, Overview, Subscribe};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CloseEvent, Event, MessageEvent, WebSocket};

use super::message::{Brief, Message};
use super::{Link, Live};
use crate::browser;
use crate::data::session_is_over;

/// Silence after which what is shown is called stale, in milliseconds, unless messages usually come more slowly.
const STALE_AFTER: i64 = 5_000;
/// Silence after which the server is asked for the present state, in milliseconds.
const ASK_AFTER: i64 = 15_000;
/// How long the answer, or a new connection, may take, in milliseconds.
const PATIENCE: i64 = 8_000;
/// The first and the longest pause between attempts, in milliseconds.
const PAUSE: (f64, f64) = (500.0, 15_000.0);

thread_local! {
    static CHANNEL: RefCell<Option<Channel>> = const { RefCell::new(None) };
}

struct Channel {
    live: Live,
    /// Hears everything: the socket, the window and the clock. Lives as long as the tab.
    ear: Closure<dyn FnMut(JsValue)>,
    socket: Option<WebSocket>,
    topics: Vec<String>,
    /// Failed attempts since the last open connection.
    attempts: i32,
    /// When the present attempt began or the connection opened, by the browser's clock.
    since: i64,
    open: bool,
    /// When the last data came, by the browser's clock.
    heard: i64,
    /// The usual time between data, in milliseconds.
    rhythm: i64,
    asked: bool,
    /// Server's clock minus browser's clock, in milliseconds.
    offset: i64,
    /// Newest revision of the overview and of the cluster within this connection.
    revisions: (u64, u64),
    /// Actions that wait for approval.
    pending: Vec<String>,
}

/// Subscribes to `topics`; the first call connects.
pub(super) fn follow(live: Live, topics: Vec<String>) {
    with_channel(|slot| match slot {
        Some(channel) => channel.subscribe(topics),
        None => {
            let mut channel = Channel::new(live);
            channel.topics = topics;
            channel.listen();
            channel.tick();
            if !channel.topics.is_empty() {
                live.link.set(Link::Connecting);
                channel.connect();
            }
            *slot = Some(channel);
        }
    });
}

/// Ends the pause between attempts.
pub(super) fn retry_now() {
    with_channel(|slot| slot.iter_mut().for_each(Channel::hurry));
}

fn with_channel(act: impl FnOnce(&mut Option<Channel>)) {
    // Setting a signal never runs an effect at once, so that nobody enters twice; if somebody does, the next tick heals.
    CHANNEL.with(|channel| {
        channel
            .try_borrow_mut()
            .map(|mut slot| act(&mut slot))
            .unwrap_or_default()
    });
}

impl Channel {
    fn new(live: Live) -> Self {
        let now = browser::clock();
        let made_at = browser::page_made_at().map_or(now, Timestamp::unix_millis);
        Self {
            live,
            ear: Closure::new(|event| {
                with_channel(|slot| slot.iter_mut().for_each(|channel| channel.hear(&event)))
            }),
            socket: None,
            topics: Vec::new(),
            attempts: 0,
            since: now,
            open: false,
            heard: now,
            rhythm: 1_000,
            asked: false,
            offset: made_at - now,
            revisions: (0, 0),
            pending: Vec::new(),
        }
    }

    /// The server's clock.
    fn server_time(&self, at: i64) -> Timestamp {
        Timestamp::from_unix_millis(at + self.offset)
    }

    fn listen(&self) {
        let Some(window) = web_sys::window() else {
            return;
        };
        let ear = self.ear.as_ref().unchecked_ref();
        // These fail only where the browser has no such events; the clock alone suffices then.
        let _ = window.set_interval_with_callback_and_timeout_and_arguments_0(ear, 1_000);
        let _ = window.add_event_listener_with_callback("online", ear);
        if let Some(document) = window.document() {
            let _ = document.add_event_listener_with_callback("visibilitychange", ear);
        }
    }

    fn connect(&mut self) {
        self.since = browser::clock();
        self.open = false;
        let Some(socket) =
            browser::live_address().and_then(|address| WebSocket::new(&address).ok())
        else {
            self.lose();
            return;
        };
        let ear = self.ear.as_ref().unchecked_ref();
        socket.set_onopen(Some(ear));
        socket.set_onmessage(Some(ear));
        socket.set_onclose(Some(ear));
        self.socket = Some(socket);
    }

    fn hear(&mut self, event: &JsValue) {
        let Some(event) = event.dyn_ref::<Event>() else {
            self.tick();
            return;
        };
        match event.type_().as_str() {
            "online" => self.hurry(),
            "visibilitychange" if browser::is_visible() => {
                self.tick();
                self.hurry();
            }
            kind => {
                let mine = self
                    .socket
                    .as_ref()
                    .is_some_and(|socket| event.target().as_ref() == Some(socket.as_ref()));
                if mine {
                    self.hear_socket(kind, event);
                }
            }
        }
    }

    fn hear_socket(&mut self, kind: &str, event: &Event) {
        match kind {
            "open" => {
                self.open = true;
                self.attempts = 0;
                self.since = browser::clock();
                self.live.link.set(Link::Open);
                self.send_subscription();
            }
            "message" => {
                let text = event
                    .dyn_ref::<MessageEvent>()
                    .and_then(|message| message.data().as_string());
                if let Some(text) = text {
                    self.hear_message(&text);
                }
            }
            "close" => {
                let ended = event
                    .dyn_ref::<CloseEvent>()
                    .is_some_and(|close| close.code() == CLOSE_SESSION_ENDED);
                if ended {
                    browser::go_to_sign_in();
                }
                self.lose();
            }
            _ => {}
        }
    }

    fn hear_message(&mut self, text: &str) {
        match serde_json::from_str::<Message>(text) {
            Ok(message) => self.take(message),
            Err(_) => self.live.notice.set(Some(outdated())),
        }
        self.tick();
    }

    fn take(&mut self, message: Message) {
        match message.kind.as_str() {
            "hello" => {
                if let Some(time) = message.server_time {
                    self.offset = time.unix_millis() - browser::clock();
                }
                self.revisions = (0, 0);
                // What ended meanwhile is not told any more.
                self.pending.clear();
                self.live.pending.set(0);
                self.live.actions.update(|changes| *changes += 1);
                self.live
                    .notice
                    .set((message.version != Some(LIVE_VERSION)).then(outdated));
            }
            "overview" if self.take_revision(message.revision, |revisions| &mut revisions.0) => {
                let (clusters, notices) = (message.clusters, message.notices);
                self.live
                    .overview
                    .set(Some(Arc::new(Overview { clusters, notices })));
            }
            "cluster" => {
                let Some(cluster) = message.cluster else {
                    return;
                };
                let wanted = self
                    .topics
                    .iter()
                    .any(|topic| topic.strip_prefix("cluster/") == Some(cluster.name.as_str()));
                if wanted && self.take_revision(message.revision, |revisions| &mut revisions.1) {
                    self.live.cluster.set(Some(Arc::from(cluster)));
                }
            }
            "action" => self.take_action(message.action),
            "error" => self.live.notice.set(message.detail),
            _ => {}
        }
    }

    fn take_action(&mut self, action: Option<Brief>) {
        let Some(action) = action else {
            return;
        };
        self.pending.retain(|id| *id != action.id);
        if action.state == "pending" {
            self.pending.push(action.id);
        }
        self.live.pending.set(self.pending.len());
        self.live.actions.update(|changes| *changes += 1);
    }

    /// Notes that data came; whether they are newer than what is shown.
    fn take_revision(&mut self, revision: u64, slot: impl Fn(&mut (u64, u64)) -> &mut u64) -> bool {
        let now = browser::clock();
        self.rhythm = (self.rhythm * 3 + (now - self.heard).max(0)) / 4;
        self.heard = now;
        self.asked = false;
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
        self.heard = browser::clock();
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
        let message = Subscribe {
            subscribe: self.topics.clone(),
        };
        if let (Some(socket), Ok(text)) = (&self.socket, serde_json::to_string(&message)) {
            // Fails only while the socket closes, which is heard on its own.
            let _ = socket.send_with_str(&text);
        }
    }

    /// Once a second, and with every message.
    fn tick(&mut self) {
        let now = browser::clock();
        self.live.now.set(Some(self.server_time(now)));
        let silence = now - self.heard;
        let limit = STALE_AFTER.max(self.rhythm * 2 + 1_000);
        match self.live.link.get_untracked() {
            Link::Lost { retry_at, .. }
                if self.socket.is_none() && self.server_time(now) >= retry_at =>
            {
                self.connect()
            }
            Link::Open if self.asked && silence > ASK_AFTER.max(limit) + PATIENCE => self.lose(),
            Link::Open
                if !self.asked && silence > ASK_AFTER.max(limit) && !self.topics.is_empty() =>
            {
                self.asked = true;
                self.send_subscription();
            }
            Link::Connecting | Link::Lost { .. }
                if self.socket.is_some() && now - self.since > PATIENCE =>
            {
                self.lose()
            }
            _ => {}
        }
        let lost = matches!(self.live.link.get_untracked(), Link::Lost { .. });
        let stale = (lost || silence > limit) && !self.topics.is_empty();
        let since = stale.then(|| self.server_time(self.heard));
        if self.live.stale_since.get_untracked() != since {
            self.live.stale_since.set(since);
        }
    }

    /// Lets go of the connection, or of the attempt, and appoints the next one.
    fn lose(&mut self) {
        let was_open = std::mem::take(&mut self.open);
        if let Some(socket) = self.socket.take() {
            socket.set_onopen(None);
            socket.set_onmessage(None);
            socket.set_onclose(None);
            // Fails only for codes that may not be sent.
            let _ = socket.close();
        }
        if !was_open {
            // The server refuses the upgrade when the session has ended, but the browser does not say so.
            spawn_local(async {
                if session_is_over().await {
                    browser::go_to_sign_in();
                }
            });
        }
        let pause = (PAUSE.0 * f64::from(2_i32.pow(self.attempts.clamp(0, 10).unsigned_abs())))
            .min(PAUSE.1);
        // Between half and the whole, so that many tabs do not come back at once.
        let pause = pause * (0.5 + js_sys::Math::random() / 2.0);
        self.attempts += 1;
        let now = self.server_time(browser::clock());
        let since = match self.live.link.get_untracked() {
            Link::Lost { since, .. } => since,
            _ => now,
        };
        let retry_at = now.plus(Duration::from_millis(pause as u64));
        self.live.link.set(Link::Lost { since, retry_at });
    }

    fn hurry(&mut self) {
        let lost = matches!(self.live.link.get_untracked(), Link::Lost { .. });
        if lost && self.socket.is_none() {
            self.connect();
        } else if self.open && browser::clock() - self.heard > STALE_AFTER {
            self.asked = true;
            self.send_subscription();
        }
    }
}

fn outdated() -> String {
    "The console has been updated. Reload the page to see everything right.".to_owned()
}
