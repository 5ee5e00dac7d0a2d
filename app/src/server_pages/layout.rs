//! What every page has around its content.

use leptos::prelude::*;

use crate::format::link;
use crate::islands::AlertRegion;
use crate::live::{SIGN_IN_PATH, use_live};
use crate::loading::loaded;
use crate::markup::{El, el};
use crate::overview_window::{OverviewSelection, OverviewWindow};

/// What every page shows of all clusters, as the live channel continues it: those that are not healthy, and the notices.
const ALARMS_PATH: &str =
    "/api/v1/clusters?verdict=degraded,unknown,no_primary,down,diverged,split_brain";

/// Alerts, loaded with the page, so that they are there before the live channel connects and without scripts.
pub(crate) fn banners() -> AnyView {
    let live = use_live();
    if live.url.with_untracked(|url| url.path == SIGN_IN_PATH) {
        return ().into_any();
    }
    loaded(ALARMS_PATH, move |response| {
        if let Ok(alarms) = response.decode() {
            let window = OverviewWindow::of(&alarms, &OverviewSelection::default());
            live.head.set(Some(std::sync::Arc::new(window)));
        }
        view! { <AlertRegion /> }.into_any()
    })
}

/// The first focusable element.
pub(crate) fn skip_link() -> El {
    link("#main".to_owned(), "Skip to content").class("skip")
}

/// The footer of every page.
pub(crate) fn footer() -> El {
    let text = "Times are by the console's clock, in UTC unless chosen otherwise on the account page. Ages are measured from each \
                source's last report.";
    // Handled by `app/browser/page.js`.
    let copy = el("button")
        .attr("id", "copy")
        .attr("type", "button")
        .child("Copy link to this page");
    el("footer")
        .class("foot")
        .child(el("p").child(text))
        .child(link("/status-pages".to_owned(), "Status pages"))
        .child(link("/help".to_owned(), "Help"))
        .child(copy)
}
