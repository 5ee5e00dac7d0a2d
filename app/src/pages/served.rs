//! Pages whose content the server makes: plans, actions, the audit trail.
//!
//! They change rarely and are read once, by few; as HTML they cost the browser's module nothing. The browser asks for
//! them again when something changed, puts what is new in place, lets ages tick and sends forms. Without script they
//! are ordinary pages with ordinary forms.

use std::sync::Arc;

use galera::Timestamp;
use galera::publish::api::Problem;
use leptos::prelude::*;
use leptos_router::hooks::use_location;

use super::head::{cluster_head, cluster_title};
use super::problem::problem_page;
use super::scope::cluster_scope;
use crate::live::{Live, use_live};
use crate::markup::{El, el};
use crate::reactive::{Answer, all, live, load, loaded, title, watch};

/// The recovery tab of a cluster: below its live head the plans.
pub(crate) fn recovery_page() -> AnyView {
    tab("recovery")
}

/// The events tab of a cluster.
pub(crate) fn events_page() -> AnyView {
    tab("events")
}

fn tab(here: &'static str) -> AnyView {
    let part = Served::here();
    cluster_scope(move |shown| {
        let state = use_live();
        let head = move || {
            let stale = state.stale_since.get().is_some();
            el("div")
                .class("page")
                .with(cluster_head(&shown.read(), here, state.now.get(), stale))
        };
        watch(move || {
            shown.track();
            part.ask_again(AT_MOST_EVERY);
        });
        all(vec![cluster_title(shown), live(head), part.show(false)])
    })
}

/// Any other page that the server makes.
pub(crate) fn served_page() -> AnyView {
    let part = Served::here();
    let state = use_live();
    watch(move || {
        state.now.track();
        part.ask_again(NOW_AND_THEN);
    });
    part.show(true)
}

/// Shortest time between two readings for the sake of a cluster's view, in milliseconds.
const AT_MOST_EVERY: i64 = 2_000;
/// Time between readings that nothing asked for, in milliseconds.
const NOW_AND_THEN: i64 = 10_000;

/// A part of the page that the server makes, as it changes.
#[derive(Clone, Copy)]
struct Served {
    live: Live,
    path: Memo<String>,
    /// A later reading, and of which path.
    later: RwSignal<Option<(String, Arc<Answer>)>>,
    /// When it was read last, by the server's clock; `None` while it is being read.
    read_at: StoredValue<Option<i64>>,
    /// Why the last form was refused.
    refused: RwSignal<Option<Problem>>,
    sending: StoredValue<bool>,
}

impl Served {
    /// The part that belongs to the address.
    fn here() -> Self {
        let location = use_location();
        let path = Memo::new(move |_| {
            let (path, query) = (location.pathname.get(), location.search.get());
            let query = query.trim_start_matches('?');
            let mark = if query.is_empty() { "" } else { "?" };
            ["/fragments", &path, mark, query].concat()
        });
        let part = Self {
            live: use_live(),
            path,
            later: RwSignal::new(None),
            read_at: StoredValue::new(Some(0)),
            refused: RwSignal::new(None),
            sending: StoredValue::new(false),
        };
        part.follow_actions();
        part
    }

    fn follow_actions(self) {
        let state = self.live;
        let mut before: Option<u32> = None;
        watch(move || {
            let changes = state.actions.get();
            if before
                .replace(changes)
                .is_some_and(|before| before != changes)
            {
                self.ask_again(0);
            }
        });
        #[cfg(feature = "hydrate")]
        watch(move || {
            if let Some(now) = state.now.get() {
                crate::browser::tick_ages(now);
            }
        });
    }

    /// Reads it again unless it was read within the last `pause` milliseconds.
    fn ask_again(self, pause: i64) {
        let now = self
            .live
            .now
            .get_untracked()
            .map_or(0, Timestamp::unix_millis);
        let due = self
            .read_at
            .try_get_value()
            .flatten()
            .is_some_and(|at| now - at >= pause);
        if !due || (pause > 0 && !is_visible()) {
            return;
        }
        // The first time is when the page came.
        if pause > 0 && self.read_at.get_value() == Some(0) {
            self.read_at.set_value(Some(now));
            return;
        }
        self.read(now);
    }

    fn read(self, now: i64) {
        self.read_at.set_value(None);
        let path = self.path.get_untracked();
        let answer = crate::data::get_text(path.clone(), false);
        leptos::task::spawn_local(async move {
            let answer = Answer::from(answer.await);
            // The page may be gone by now.
            let _ = self.read_at.try_set_value(Some(now));
            // What cannot be read now stays as it was; the connection's banner says why.
            if answer.lines().is_ok() {
                let _ = self.later.try_set(Some((path, Arc::new(answer))));
            }
        });
    }

    fn show(self, titled: bool) -> AnyView {
        loaded(load(move || self.path.get()), move |first| {
            if let Err(problem) = first.lines() {
                return problem_page(problem);
            }
            let (first, path) = (Arc::new(first), self.path.get_untracked());
            let newest = Memo::new(move |_| match self.later.get() {
                Some((of, later)) if of == path => later,
                _ => Arc::clone(&first),
            });
            let heading = titled.then(|| {
                title(move || {
                    newest
                        .get()
                        .lines()
                        .map(|(title, _)| title.to_owned())
                        .unwrap_or_default()
                })
            });
            let content = live(move || self.markup(&newest.get()));
            all(heading.into_iter().chain([content]).collect())
        })
    }

    fn markup(self, answer: &Answer) -> El {
        let html = answer.lines().map(|(_, html)| html).unwrap_or_default();
        let refused = self.refused.get().map(|problem| {
            let text = [&problem.title, ": ", &problem.detail].concat();
            el("p").class("error").at("role", "alert").with(text)
        });
        let content = el("div")
            .class("page")
            .served(html.into())
            .on("submit", move |event| self.submit(&event));
        el("div")
            .class("page")
            .with(refused)
            .with(content.key("served".to_owned()))
    }

    #[cfg(feature = "hydrate")]
    fn submit(self, event: &leptos::web_sys::Event) {
        let Some(form) = crate::browser::take_submission(event) else {
            return;
        };
        if self.sending.get_value() {
            return;
        }
        self.sending.set_value(true);
        let answer = crate::data::send(form);
        leptos::task::spawn_local(async move {
            let answer = answer.await;
            let _ = self.sending.try_set_value(false);
            match answer {
                Ok(location) => crate::browser::go_to(&location),
                Err(problem) => {
                    let _ = self.refused.try_set(Some(problem));
                }
            }
        });
    }

    #[cfg(not(feature = "hydrate"))]
    fn submit(self, _event: &leptos::web_sys::Event) {
        let _ = (self.sending, self.refused);
    }
}

#[cfg(feature = "hydrate")]
fn is_visible() -> bool {
    crate::browser::is_visible()
}

#[cfg(not(feature = "hydrate"))]
fn is_visible() -> bool {
    false
}
