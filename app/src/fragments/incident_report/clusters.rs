//! A cluster during the incident: states over time, views, charts and events.

use galera::record::history::{HistoryEvent, StateChange};
use galera::view::ClusterView;
use galera::{NodeId, Timestamp};

use super::{ClusterReport, IncidentReport, ReportMoment};
use crate::format::{absolute, age, unknown};
use crate::fragments::events::ChangeCells;
use crate::fragments::series::{self, Annotation, Annotations, ChartCaption};
use crate::fragments::timeline::{StateStrip, StripSubjects, TimelineSpan, past_view};
use crate::marks::{action_kind_label, verdict_mark};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const EVENT_COLUMNS: [&str; 5] = ["Time", "Object", "New state", "Lasted", "Reason"];

impl ClusterReport {
    pub(super) fn section(&self, report: &IncidentReport) -> El {
        el("section")
            .child(el("h2").child(self.name.to_string()))
            .child(self.strips(report))
            .child(self.views())
            .child(self.charts(report))
            .child(self.event_table(report.to))
    }

    /// The newest recorded view: it names the nodes.
    fn last_view(&self) -> Option<&ClusterView> {
        let mut views = self.moments.iter().rev();
        views.find_map(|moment| Some(&moment.view.as_ref().ok()?.view))
    }

    fn node_label(&self, node: &NodeId) -> String {
        let of_view = self
            .last_view()
            .and_then(|view| view.nodes.iter().find(|known| known.id == *node));
        let of_events = || {
            let mut changes = self.events.iter().map(|event| &event.change);
            changes.find_map(|change| match change {
                StateChange::Node { node: of, name, .. } if of == node => name.clone(),
                _ => None,
            })
        };
        let label = of_view.map(galera::view::NodeView::label);
        label.or_else(of_events).unwrap_or_else(|| node.to_string())
    }

    fn strips(&self, report: &IncidentReport) -> El {
        let span = TimelineSpan {
            from: report.from,
            to: report.to,
            complete_since: self.complete_since,
            at: Some(report.incident.opened_at),
            range: "",
        };
        let subjects = StripSubjects {
            cluster: &self.name,
            verdict: self
                .last_view()
                .map(|view| verdict_mark(view.verdict.state)),
            nodes: self.last_view().map_or(&[], |view| view.nodes.as_slice()),
        };
        let strips = StateStrip::all(&subjects, &self.events, &span);
        let legend = format!(
            "{} to {}. Higher blocks are worse states; blank: not known. The line is the time at which the incident was opened.",
            absolute(report.from),
            absolute(report.to)
        );
        el("div")
            .class("strips")
            .child(strips.iter().map(StateStrip::figure).collect::<Vec<_>>())
            .child(el("p").class("quiet").child(legend))
    }

    fn views(&self) -> El {
        let moments: Vec<El> = self.moments.iter().map(moment).collect();
        el("div")
            .child(el("h3").child("Recorded cluster states"))
            .child(moments)
    }

    fn charts(&self, report: &IncidentReport) -> El {
        let content: Content = match &self.series {
            Ok(series) => {
                let caption = |node: &NodeId| ChartCaption {
                    label: self.node_label(node),
                    href: None,
                };
                series::metric_sections(series, &self.annotations(report), &caption).into()
            }
            Err(reason) => el("p").class("notice").child(reason.clone()).into(),
        };
        el("details")
            .attr("open", "")
            .child(el("summary").child("Recorded figures"))
            .child(content)
    }

    fn annotations(&self, report: &IncidentReport) -> Annotations {
        let mark = |at: Timestamp, text: String| Annotation {
            at,
            text,
            href: None,
        };
        let verdicts = self.events.iter().filter_map(|event| match &event.change {
            StateChange::Verdict { to, .. } => {
                let text = format!("Status {}", verdict_mark(*to).label);
                Some(mark(event.at, text))
            }
            StateChange::Node { .. } => None,
        });
        let actions = report.actions.iter();
        let actions = actions.filter(|action| action.cluster == self.name);
        let actions = actions.map(|action| {
            let text = format!("{} requested", action_kind_label(action.kind));
            mark(action.requested_at, text)
        });
        let opened = mark(report.incident.opened_at, "Incident opened".to_owned());
        let all = verdicts.chain(actions).chain([opened]).collect();
        Annotations::new(all, report.from, false)
    }

    fn event_table(&self, end: Timestamp) -> El {
        let rows: Vec<El> = self
            .events
            .iter()
            .enumerate()
            .map(|(index, event)| self.event_row(index, event, end))
            .collect();
        let heading = el("h3").child("Events");
        if rows.is_empty() {
            let text = match self.complete_since {
                Some(_) => "No events in this period.",
                None => "The events could not be read.",
            };
            return el("div")
                .child(heading)
                .child(el("p").class("quiet").child(text));
        }
        let caption = "Events, oldest first";
        el("div")
            .child(heading)
            .child(data_table("ledger", caption, &EVENT_COLUMNS, rows))
    }

    fn event_row(&self, index: usize, event: &HistoryEvent, end: Timestamp) -> El {
        let change = ChangeCells::of(&event.change, |_, label| el("span").child(label));
        let (subject, _) = event.change.subject_and_state();
        let mut later = self.events.iter().skip(index + 1);
        let next = later.find(|later| later.change.subject_and_state().0 == subject);
        let until = |at: Timestamp| age(at.unix_millis() - event.at.unix_millis());
        let lasted = match next {
            Some(next) => el("span").child(until(next.at)),
            None if end >= event.at => el("span").child(format!("{} or more", until(end))),
            None => unknown(),
        };
        row(absolute(event.at))
            .child(cell(EVENT_COLUMNS[1], change.object))
            .child(cell(EVENT_COLUMNS[2], change.state))
            .child(cell(EVENT_COLUMNS[3], lasted))
            .child(cell(EVENT_COLUMNS[4], change.reason))
    }
}

fn moment(moment: &ReportMoment) -> El {
    let title = format!("{} {}", absolute(moment.at), moment.label);
    let content: Content = match &moment.view {
        Ok(recorded) => past_view(&recorded.view, recorded.recorded_at, moment.at).into(),
        Err(reason) => el("p").class("notice").child(reason.clone()).into(),
    };
    el("details")
        .child(el("summary").child(title))
        .child(content)
}
