//! Live parts of every page beside its content: state of the connection, alerts, announcements.

use galera::Timestamp;
use galera::view::VerdictState;
use leptos::prelude::*;

use crate::format::{age, ago, link, visually_hidden};
use crate::links::{cluster_href, cluster_label};
use crate::live::{ConnectionState, LiveState};
use crate::marks::{state_badge, verdict_mark};
use crate::markup::{El, el};
use crate::overview_window::OverviewWindow;

/// Clusters that an alert names: what fits a phone beside the page.
const ALARMS_MAX: usize = 10;

/// State of the connection to the console.
pub(crate) fn connection_indicator(live: LiveState) -> Option<El> {
    let (class, label, description) = match (live.connection.get(), live.stale_since.get()) {
        (ConnectionState::Snapshot, _) => (
            "link t-off",
            "Snapshot",
            "Data as of when the page was loaded; no live updates.",
        ),
        (ConnectionState::Connecting, _) => (
            "link t-off",
            "Connecting",
            "Connecting to the console for live updates.",
        ),
        (ConnectionState::Open, None) => (
            "link t-ok",
            "Live",
            "Connected; changes appear as they happen.",
        ),
        (ConnectionState::Open, Some(_)) => (
            "link t-warn",
            "No updates",
            "Connected, but no updates have arrived for a while.",
        ),
        (ConnectionState::Lost { .. }, _) => (
            "link t-warn",
            "Offline",
            "The connection to the console was lost.",
        ),
    };
    Some(el("p").class(class).attr("title", description).child(label))
}

/// The number of actions that wait for approval, if there are any.
pub(crate) fn pending_count(live: LiveState) -> Option<El> {
    let pending = live.pending_actions.get();
    Some(match pending {
        0 => el("span"),
        _ => el("span")
            .class("count")
            .child(pending.to_string())
            .child(visually_hidden(" waiting for approval")),
    })
}

/// Alerts, and what is wrong with the connection to the console.
pub(crate) fn alert_region(live: LiveState) -> Option<El> {
    let (connection, stale) = (live.connection.get(), live.stale_since.get());
    let banner = match (connection, stale) {
        // Only these change every second.
        (ConnectionState::Lost { since, retry_at }, stale) => live
            .now
            .get()
            .map(|now| connection_lost_banner(stale.unwrap_or(since), retry_at, now)),
        (ConnectionState::Open, Some(since)) => {
            live.now.get().map(|now| no_updates_banner(since, now))
        }
        _ => None,
    };
    let notice = live.notice.get().map(notice_banner);
    let overview = live.head.get();
    // Until something is known, what came with the page stays.
    if overview.is_none() && banner.is_none() && notice.is_none() {
        return None;
    }
    let overview = overview.as_deref();
    let url = live.url.read();
    let (alarm, notices) = (alarm_banner(&url.path, overview), notice_banners(overview));
    // Without updates the worst status is not known.
    let worst = if banner.is_some() {
        "off"
    } else {
        worst_tone(overview)
    };
    let anything = banner.is_some() || notice.is_some() || alarm.is_some() || !notices.is_empty();
    let place = el("div")
        .attr("data-worst", worst)
        .child(alarm)
        .child(banner)
        .child(notice)
        .child(notices);
    // A landmark only while it has content, so that screen readers do not find an empty one.
    Some(if anything {
        place
            .attr("role", "region")
            .attr("aria-label", "Alerts and connection")
    } else {
        place
    })
}

fn notice_banners(overview: Option<&OverviewWindow>) -> Vec<El> {
    let notices = overview.into_iter().flat_map(|overview| &overview.notices);
    notices
        .map(|text| el("p").class("banner").child(text.clone()))
        .collect()
}

/// The tone of the worst verdict, for the icon of the tab and notifications of the browser; empty while every cluster is healthy.
fn worst_tone(overview: Option<&OverviewWindow>) -> &'static str {
    let first = overview.and_then(|overview| overview.clusters.first());
    match first.map(|cluster| cluster.verdict.state) {
        Some(VerdictState::Healthy) | None => "",
        // Not `off`, which stands for missing updates.
        Some(VerdictState::Degraded | VerdictState::Unknown) => "warn",
        Some(_) => "bad",
    }
}

/// Clusters without exactly one Primary component and one history, on every page. A cluster's own pages show its verdict,
/// and a split brain all the same, because every further minute costs data.
fn alarm_banner(path: &str, overview: Option<&OverviewWindow>) -> Option<El> {
    let mut clusters = Vec::new();
    let mut text = "Clusters that need attention:";
    for cluster in overview.into_iter().flat_map(|overview| &overview.clusters) {
        let verdict = cluster.verdict.state;
        let href = cluster_href(&cluster.name);
        let torn = verdict == VerdictState::SplitBrain;
        if torn {
            text = "Split brain: two components are Primary and both may accept writes.";
        }
        if torn || (verdict >= VerdictState::NoPrimary && !is_within(path, &href)) {
            clusters.push(
                el("li")
                    .child(state_badge(verdict_mark(verdict)))
                    .child(" ")
                    .child(link(href, cluster_label(&cluster.name))),
            );
        }
    }
    let more = clusters.len() > ALARMS_MAX;
    clusters.truncate(ALARMS_MAX);
    (!clusters.is_empty()).then(|| {
        el("div")
            .attr("id", "torn")
            .class("banner alarm")
            .child(el("p").child(el("strong").child(text)))
            .child(
                el("ul")
                    .class("tally")
                    .child(clusters)
                    .child(more.then(|| el("li").child(link("/".to_owned(), "all clusters")))),
            )
    })
}

/// Whether the page at `path` is `href` or below it.
fn is_within(path: &str, href: &str) -> bool {
    let below = path.strip_prefix(href);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn connection_lost_banner(since: Timestamp, retry_at: Timestamp, now: Timestamp) -> El {
    let left = (retry_at.unix_millis() - now.unix_millis() + 999) / 1000;
    let next = if left > 0 {
        [
            ". Next attempt in ",
            &left.to_string(),
            " s. The data below is out of date.",
        ]
        .concat()
    } else {
        ". Retrying now. The data below is out of date.".to_owned()
    };
    let text = el("p")
        .child(el("strong").child("Connection lost"))
        .child("; last update ")
        .child(ago(since, Some(now)))
        .child(next);
    let retry = el("button")
        .attr("type", "button")
        .attr("data-reconnect", "")
        .child("Retry now");
    el("div")
        .attr("id", "lost")
        .class("banner")
        .child(text)
        .child(retry)
}

fn no_updates_banner(since: Timestamp, now: Timestamp) -> El {
    let duration = age(now.unix_millis() - since.unix_millis());
    let text = [
        " for ",
        &duration,
        ". The console is connected but sends no data. The data below is out of date.",
    ]
    .concat();
    el("div")
        .attr("id", "silent")
        .class("banner")
        .child(el("p").child(el("strong").child("No updates")).child(text))
}

fn notice_banner(text: String) -> El {
    let reload = link(String::new(), "Reload");
    el("p")
        .attr("id", "notice")
        .class("banner")
        .child(text)
        .child(" ")
        .child(reload)
}

/// Announcements for screen readers: significant changes only, never ticking numbers.
pub(crate) fn status_region(live: LiveState) -> Option<El> {
    let text = live.status_message.get();
    Some(el("div").class("vh").attr("role", "status").child(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pages_name_clusters_in_trouble() {
        let of = |views: &[galera::view::ClusterView]| OverviewWindow {
            clusters: views
                .iter()
                .map(galera::view::ClusterView::summary)
                .collect(),
            ..OverviewWindow::default()
        };
        let lost = of(&[
            crate::fixtures::no_primary("lab", 90_000),
            crate::fixtures::healthy("fine", 90_000),
        ]);
        let html = |path: &str| alarm_banner(path, Some(&lost)).map(|banner| banner.html());
        for path in ["/", "/audit", "/clusters/fine", "/clusters/laboratory"] {
            let html = html(path).unwrap();
            assert!(
                html.contains("No Primary") && html.contains("/clusters/lab\""),
                "{html}"
            );
            assert!(!html.contains("fine"), "{html}");
        }
        assert_eq!(html("/clusters/lab"), None);
        assert_eq!(html("/clusters/lab/events"), None);
        let names: Vec<String> = (0..200).map(|index| format!("c{index}")).collect();
        let views: Vec<_> = names
            .iter()
            .map(|name| crate::fixtures::no_primary(name, 90_000))
            .collect();
        let many = alarm_banner("/audit", Some(&of(&views))).unwrap().html();
        assert_eq!(many.matches("<li>").count(), ALARMS_MAX + 1);
        assert!(many.contains("<a href=\"/\">all clusters</a>"), "{many}");
        let torn = of(&[crate::fixtures::split_brain("lab", 90_000)]);
        assert!(alarm_banner("/clusters/lab", Some(&torn)).is_some());
        assert_eq!(worst_tone(Some(&lost)), "bad");
        assert_eq!(
            worst_tone(Some(&of(&[crate::fixtures::healthy("fine", 90_000)]))),
            ""
        );
        assert_eq!(worst_tone(None), "");
        for state in VerdictState::ALL {
            let mut view = crate::fixtures::healthy("lab", 90_000);
            view.verdict.state = state;
            assert_ne!(worst_tone(Some(&of(&[view]))), "off", "{state:?}");
        }
    }
}
