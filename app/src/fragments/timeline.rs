//! The states of a cluster and its nodes over time, and the cluster as it was at one.

mod strip;

use galera::Timestamp;
use galera::publish::api::{HistoryPage, ProblemDetails, RecordedClusterView};
use galera::record::history::HistoryEvent;
use galera::view::ClusterView;

use super::api_client::PageQuery;
use super::time_range::TimeRange;
use super::widgets::hidden_field;
use super::{Fragment, FragmentRequest};
use crate::data::encode_segment;
use crate::format::{absolute, age, elapsed, link, quiet};
use crate::links::cluster_href;
use crate::marks::{state_badge, verdict_mark};
use crate::markup::{El, el};
use crate::pages::{key_figures, node_table, reason_item};
use crate::topology::topology;
pub(super) use strip::{StateStrip, StripSubjects, TimelineSpan};

/// How fast recorded views are played.
const SPEEDS: [i64; 3] = [1, 10, 60];
/// Positions of the slider over a range.
const SLIDER_STEPS: i64 = 300;
/// Events that are read at most; more would be drawn narrower than a pixel.
const EVENTS_MAX: usize = 5_000;
/// Events of one request.
const PAGE: usize = 1_000;
/// Steps of the time that is shown: what the link says, and milliseconds.
const STEPS: [(&str, i64); 6] = [
    ("− 10 min", -600_000),
    ("− 1 min", -60_000),
    ("− 10 s", -10_000),
    ("+ 10 s", 10_000),
    ("+ 1 min", 60_000),
    ("+ 10 min", 600_000),
];

/// The events of a range, and the view of a time.
struct TimelineRead {
    range: TimeRange,
    from: Timestamp,
    /// Now, unless the slider holds the range where it was.
    to: Timestamp,
    /// Oldest first.
    events: Vec<HistoryEvent>,
    /// Since when `events` has all of them; `None` if they could not be read.
    complete_since: Option<Timestamp>,
    /// The time in the address, as it was typed; while it plays, the time that it has reached.
    at: Option<String>,
    /// How many times as fast the time passes, if it does.
    speed: Option<i64>,
    recorded: Option<Result<RecordedClusterView, ProblemDetails>>,
}

impl FragmentRequest<'_> {
    pub(super) async fn timeline(&self, name: &str) -> Result<Fragment, ProblemDetails> {
        let path = format!("/api/v1/clusters/{name}");
        let view: ClusterView = self.client.get(&path).await?;
        let range = TimeRange::from_query(self.query);
        let slider = SliderPosition::from_query(self.query, range, self.now);
        let from = match &slider {
            Some(slider) => slider.from,
            None => self.now.shifted(-range.millis()),
        };
        let at = self.query.get("at").map(str::trim);
        let at = at.filter(|at| !at.is_empty()).map(complete_time);
        let at = at.or_else(|| Some(slider.as_ref()?.time(range).min(self.now).to_string()));
        let playback = TimePlayback::from_query(self.query);
        let at = match (&playback, at.as_deref().and_then(Timestamp::parse)) {
            (Some(playback), Some(begin)) => Some(playback.time(begin, self.now).to_string()),
            _ => at,
        };
        let moment = async {
            let at = encode_segment(at.as_deref()?);
            Some(self.client.get(&format!("{path}?at={at}")).await)
        };
        let (recorded, (events, complete_since)) =
            futures::join!(moment, self.events_since(&path, from));
        let read = TimelineRead {
            range,
            from,
            to: from.shifted(range.millis()).min(self.now),
            events,
            complete_since,
            at,
            speed: playback.map(|playback| playback.speed),
            recorded,
        };
        let title = format!("Timeline · {}", view.name.display_name());
        Ok(Fragment::new(&title, &page(&view, &read, self.now)))
    }

    /// The newest events back to `from`, oldest first, and since when they are complete.
    async fn events_since(
        &self,
        path: &str,
        from: Timestamp,
    ) -> (Vec<HistoryEvent>, Option<Timestamp>) {
        let mut events: Vec<HistoryEvent> = Vec::new();
        let mut complete_since = None;
        let mut before = String::new();
        while events.len() < EVENTS_MAX {
            let path = format!("{path}/events?limit={PAGE}{before}");
            // What cannot be read is shown as missing, and the rest of the page as it is.
            let Ok(page) = self.client.get::<HistoryPage>(&path).await else {
                break;
            };
            let oldest = page.events.last().map(|event| event.at);
            events.extend(page.events.into_iter().filter(|event| event.at >= from));
            match page.next_before {
                Some(next) if oldest.is_none_or(|oldest| oldest >= from) => {
                    complete_since = oldest.or(complete_since);
                    before = format!("&before={next}");
                }
                _ => {
                    complete_since = Some(from);
                    break;
                }
            }
        }
        events.reverse();
        (events, complete_since)
    }
}

/// A time chosen by the slider below the strips: `step` of [`SLIDER_STEPS`] of the range that begins at `from`.
struct SliderPosition {
    from: Timestamp,
    step: i64,
}

impl SliderPosition {
    /// From the parameters `from` and `step`; `None` without them, and for a range that does not end by `now`.
    fn from_query(query: &PageQuery, range: TimeRange, now: Timestamp) -> Option<Self> {
        let from = Timestamp::parse(query.get("from")?)?;
        let step: i64 = query.get("step")?.parse().ok()?;
        let in_range = (0..=SLIDER_STEPS).contains(&step) && from.shifted(range.millis()) <= now;
        in_range.then_some(Self { from, step })
    }

    fn time(&self, range: TimeRange) -> Timestamp {
        self.from.shifted(range.millis() / SLIDER_STEPS * self.step)
    }
}

/// A shown time that advances with every refresh of the page.
struct TimePlayback {
    speed: i64,
    started: Timestamp,
}

impl TimePlayback {
    /// From the parameters `play` and `started`.
    fn from_query(query: &PageQuery) -> Option<Self> {
        let speed = query.get("play")?.parse().ok();
        Some(Self {
            speed: speed.filter(|speed| SPEEDS.contains(speed))?,
            started: Timestamp::parse(query.get("started")?)?,
        })
    }

    /// The time that playing from `begin` has reached.
    fn time(&self, begin: Timestamp, now: Timestamp) -> Timestamp {
        let passed = now.unix_millis().saturating_sub(self.started.unix_millis());
        let played = passed.max(0).saturating_mul(self.speed);
        let limit = now.unix_millis().saturating_sub(begin.unix_millis());
        begin.shifted(played.min(limit.max(0)))
    }
}

/// Completes a time: UTC unless a zone is given, at the start of the given day or minute.
fn complete_time(text: &str) -> String {
    let text = text.replace(" UTC", "").replace(' ', "T");
    match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text,
    }
}

fn page(view: &ClusterView, read: &TimelineRead, now: Timestamp) -> El {
    let at = read.at.as_deref();
    let kept_at = at.map_or_else(String::new, |at| format!("&at={}", encode_segment(at)));
    let intro = "States over time, from the events. Choose a block, move the slider, or enter a time, to see the cluster as it was then.";
    el("div")
        .class("page")
        .child(el("h2").class("vh").child("Timeline"))
        .child(el("p").class("quiet").child(intro))
        .child(read.range.tabs("Range of the timeline", &kept_at))
        .child(strips(view, read))
        .child(time_form(view, read, now))
        .child(recorded_view(read))
}

fn strips(view: &ClusterView, read: &TimelineRead) -> El {
    let span = TimelineSpan {
        from: read.from,
        to: read.to,
        complete_since: read.complete_since,
        at: read.at.as_deref().and_then(Timestamp::parse),
        range: read.range.name(),
    };
    let subjects = StripSubjects {
        cluster: &view.name,
        verdict: Some(verdict_mark(view.verdict.state)),
        nodes: &view.nodes,
    };
    let strips = StateStrip::all(&subjects, &read.events, &span);
    let incomplete = match read.complete_since {
        None => Some("The events cannot be read at the moment.".to_owned()),
        Some(since) if since > read.from => Some(format!(
            "Before {} there were more events than can be drawn: choose a shorter range.",
            absolute(since)
        )),
        Some(_) => None,
    };
    let events = link(
        format!("{}/events", cluster_href(&view.name)),
        "Events of this cluster",
    );
    el("section")
        .class("strips")
        .child(strips.iter().map(StateStrip::figure).collect::<Vec<_>>())
        .child(slider_form(view, read))
        .child(
            el("p")
                .class("quiet")
                .child(format!(
                    "{} to {}. Higher blocks are worse states; blank: not known. ",
                    absolute(read.from),
                    absolute(read.to)
                ))
                .child(events)
                .child("."),
        )
        .child(incomplete.map(|text| el("p").class("notice").child(text)))
}

/// A slider below the strips. Script applies it while it is moved; the range stays where it was meanwhile.
fn slider_form(view: &ClusterView, read: &TimelineRead) -> El {
    let at = read.at.as_deref().and_then(Timestamp::parse);
    let at = at.unwrap_or(read.to);
    let passed = at.unix_millis() - read.from.unix_millis();
    let step = (passed * SLIDER_STEPS / read.range.millis()).clamp(0, SLIDER_STEPS);
    let slider = el("input")
        .attr("type", "range")
        .attr("name", "step")
        .attr("aria-label", "Time in the range")
        .attr("aria-valuetext", absolute(at))
        .attr("max", SLIDER_STEPS.to_string())
        .attr("value", step.to_string());
    el("form")
        .class("slider")
        .attr("method", "get")
        .attr("action", format!("{}/timeline", cluster_href(&view.name)))
        .attr("role", "search")
        .attr("aria-label", "Slider over the timeline")
        .child(hidden_field("range", read.range.name().to_owned()))
        .child(hidden_field("from", read.from.to_string()))
        .child(slider)
        .child(el("noscript").child(el("button").attr("type", "submit").child("Show")))
}

/// Entering a time, and steps from the one that is shown.
fn time_form(view: &ClusterView, read: &TimelineRead, now: Timestamp) -> El {
    let action = format!("{}/timeline", cluster_href(&view.name));
    let shown = read.at.as_deref().and_then(Timestamp::parse);
    let value = match shown {
        Some(at) => absolute(at).replace(" UTC", ""),
        None => read.at.clone().unwrap_or_default(),
    };
    let input = el("input")
        .attr("id", "at")
        .attr("name", "at")
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .attr("placeholder", "2026-11-24 08:00:00")
        .attr("value", value);
    let form = el("form")
        .class("filter")
        .attr("method", "get")
        .attr("action", action)
        .child(hidden_field("range", read.range.name().to_owned()))
        .child(el("label").attr("for", "at").child("Time (UTC)"))
        .child(input)
        .child(el("button").attr("type", "submit").child("Show"));
    let Some(at) = shown else {
        return form;
    };
    let href = |at: Timestamp| format!("?range={}&at={at}", read.range.name());
    let changes = read.events.iter().map(|event| event.at);
    let before = changes.clone().filter(|time| *time < at).max();
    let after = changes.filter(|time| *time > at).min();
    let changes = [("Previous change", before), ("Next change", after)];
    let changes = changes
        .into_iter()
        .filter_map(|(label, at)| Some(link(href(at?), label)));
    let steps = STEPS
        .into_iter()
        .map(|(label, step)| (label, at.shifted(step)))
        .filter(|(_, at)| *at <= now)
        .map(|(label, at)| link(href(at), label));
    let play: Vec<El> = match read.speed {
        Some(speed) => vec![
            el("span").child(format!("Playing {speed}×")),
            link(href(at), "Stop"),
        ],
        None => SPEEDS
            .into_iter()
            .map(|speed| {
                let href = format!("{}&play={speed}&started={now}", href(at));
                link(href, format!("Play {speed}×"))
            })
            .collect(),
    };
    let now_link = link(format!("?range={}", read.range.name()), "Now");
    let items = changes
        .chain(steps)
        .chain(play)
        .chain([now_link])
        .map(|step| el("li").child(step));
    el("div").child(form).child(
        el("nav")
            .attr("aria-label", "Other times")
            .child(el("ul").class("tally").child(items.collect::<Vec<_>>())),
    )
}

/// The cluster at the time that was asked for. Ages are those of that time.
fn recorded_view(read: &TimelineRead) -> Option<El> {
    let recorded = match read.recorded.as_ref()? {
        Ok(recorded) => recorded,
        Err(problem) => {
            let text = format!("{}. {}", problem.title, problem.detail);
            return Some(el("p").class("notice").child(text));
        }
    };
    let (then, asked) = (
        &recorded.view,
        read.at.as_deref().and_then(Timestamp::parse),
    );
    let at = asked.unwrap_or(recorded.recorded_at);
    let heading = format!("{} at {}", then.name.display_name(), absolute(at));
    Some(
        el("section")
            .class("page then")
            .attr("aria-labelledby", "then")
            .child(el("h2").attr("id", "then").child(heading))
            .child(past_view(then, recorded.recorded_at, at)),
    )
}

/// The cluster at `at` as it was recorded at `recorded_at`, with the ages of then.
pub(super) fn past_view(then: &ClusterView, recorded_at: Timestamp, at: Timestamp) -> Vec<El> {
    let since_recording = at.unix_millis() - recorded_at.unix_millis();
    let freshness = match since_recording >= 1_000 {
        true => format!(
            "States as of then; numbers were recorded {} before.",
            age(since_recording)
        ),
        false => "As recorded then.".to_owned(),
    };
    let reasons = then.verdict.reasons.iter();
    let reasons: Vec<El> = reasons.map(|reason| reason_item(then, reason)).collect();
    let parts = vec![
        el("p")
            .child(state_badge(verdict_mark(then.verdict.state)))
            .child(" ")
            .child(elapsed(then.verdict.since, Some(at)))
            .child(quiet(format!(" {freshness}"))),
        el("ul").class("reasons").child(reasons),
        key_figures(then),
        el("div").child(topology(then, Some(at))),
        node_table(then, Some(at)),
    ];
    parts.into_iter().map(El::without_ticking_ages).collect()
}

#[cfg(test)]
mod tests;
