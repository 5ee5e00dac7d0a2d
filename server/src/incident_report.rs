//! Collects what is recorded about an incident: events, views, figures, actions and the audit trail.

use std::collections::BTreeSet;

use ::series::{SeriesRequest, SeriesStore};
use app::fragments::incident_report::{ClusterReport, IncidentReport, ReportMoment};
use console_core::audit::{AUDIT_PAGE_MAX, AuditTrail, AuditTrailFilter};
use galera::publish::api::RecordedClusterView;
use galera::publish::series::SeriesView;
use galera::publish::status_pages::Incident;
use galera::record::audit::AuditEntry;
use galera::record::history::{HistoryEvent, StateChange};
use galera::record::series::SeriesMetric;
use galera::recover::action::Action;
use galera::{ClusterName, NodeId, Timestamp};
use history::{EventHistory, HistoryQuery};
use recorded_views::{ViewLookup, ViewStore};

use crate::series_sources::SeriesSources;
use crate::series_view::default_step;

/// The time before and after an incident that a report covers, unless another is chosen.
pub const MARGIN_MINUTES: u16 = 15;
/// Events of a cluster at most; of more, the newest.
const EVENTS_MAX: usize = 2_000;
/// Entries of the audit trail at most; of more, the newest.
const AUDIT_ENTRIES_MAX: usize = 2_000;
/// Views of a cluster at most: the first ones and the last ones.
const MOMENTS_MAX: usize = 16;
/// How long after a change the cluster is shown: views are recorded shortly after their events.
const MOMENT_DELAY_MS: i64 = 1_000;

/// Where the records are read.
#[derive(Clone, Copy, Debug)]
pub struct ReportSources<'a> {
    pub history: &'a EventHistory,
    pub trail: &'a AuditTrail,
    /// Every action, in any order.
    pub actions: &'a [Action],
    /// `None` if this host records no views.
    pub views: Option<&'a ViewStore>,
    /// `None` if this host records no figures.
    pub series: Option<&'a SeriesStore>,
}

/// The time that a report covers.
#[derive(Clone, Copy, Debug)]
struct ReportPeriod {
    from: Timestamp,
    to: Timestamp,
}

impl ReportPeriod {
    fn contains(self, at: Timestamp) -> bool {
        self.from <= at && at <= self.to
    }
}

impl ReportSources<'_> {
    /// Everything that is recorded about `incident`, from `margin_minutes` before it until as long after it. What cannot be
    /// read is named in the report.
    pub async fn collect(
        &self,
        incident: &Incident,
        margin_minutes: u16,
        now: Timestamp,
    ) -> IncidentReport {
        let margin = i64::from(margin_minutes) * 60_000;
        let end = incident.resolved_at.unwrap_or(now).shifted(margin);
        let period = ReportPeriod {
            from: incident.opened_at.shifted(-margin),
            to: end.min(now),
        };
        let mut missing = Vec::new();
        let mut clusters = Vec::with_capacity(incident.clusters.len());
        for name in &incident.clusters {
            let report = self.cluster(name, incident, period, now, &mut missing);
            clusters.push(report.await);
        }
        let concerns = |action: &&Action| {
            let ended = action.ended_at.unwrap_or(period.to);
            incident.clusters.contains(&action.cluster)
                && action.requested_at <= period.to
                && ended >= period.from
        };
        let mut actions: Vec<Action> = self.actions.iter().filter(concerns).cloned().collect();
        actions.sort_by_key(|action| action.requested_at);
        let audit = self.audit(incident, &actions, period, &mut missing).await;
        IncidentReport {
            incident: incident.clone(),
            from: period.from,
            to: period.to,
            exported_at: now,
            clusters,
            actions,
            audit,
            missing,
        }
    }

    async fn cluster(
        &self,
        name: &ClusterName,
        incident: &Incident,
        period: ReportPeriod,
        now: Timestamp,
        missing: &mut Vec<String>,
    ) -> ClusterReport {
        let (events, complete_since) = match self.events(name, period).await {
            Ok(found) => found,
            Err(reason) => {
                missing.push(format!("Events of {name}: {reason}."));
                (Vec::new(), None)
            }
        };
        if let Some(since) = complete_since.filter(|since| *since > period.from) {
            missing.push(format!(
                "Events of {name} before {since}: there are more than {EVENTS_MAX}."
            ));
        }
        let times = moments(incident, &events, period);
        if times.len() > MOMENTS_MAX {
            missing.push(format!(
                "{} of {} views of {name}: the first and the last ones are included.",
                times.len() - MOMENTS_MAX,
                times.len()
            ));
        }
        let mut moments = Vec::new();
        for (at, label) in first_and_last(times) {
            let view = self.view(name, at).await;
            moments.push(ReportMoment { at, label, view });
        }
        let nodes = nodes(&moments, &events);
        let series = self.series(name, &nodes, period, now).await;
        ClusterReport {
            name: name.clone(),
            complete_since,
            series,
            moments,
            events,
        }
    }

    /// The events of the period, oldest first, and since when they are complete.
    async fn events(
        &self,
        cluster: &ClusterName,
        period: ReportPeriod,
    ) -> Result<(Vec<HistoryEvent>, Option<Timestamp>), history::HistoryError> {
        let mut query = HistoryQuery {
            at: Some(period.to),
            limit: history::PAGE_MAX,
            ..HistoryQuery::default()
        };
        let mut events: Vec<HistoryEvent> = Vec::new();
        loop {
            let page = self.history.page(cluster, &query).await?;
            let reached = page.events.last().is_some_and(|last| last.at < period.from);
            let inside = page.events.into_iter();
            events.extend(inside.filter(|event| event.at >= period.from));
            let is_full = events.len() >= EVENTS_MAX;
            query.before = page.next_before;
            if reached || is_full || page.next_before.is_none() {
                events.truncate(EVENTS_MAX);
                events.reverse();
                let oldest = events.first().map(|event| event.at);
                let since = oldest.filter(|_| is_full && !reached);
                return Ok((events, Some(since.unwrap_or(period.from))));
            }
        }
    }

    async fn view(
        &self,
        cluster: &ClusterName,
        at: Timestamp,
    ) -> Result<RecordedClusterView, String> {
        let store = self
            .views
            .ok_or("This host does not record views of clusters (--data-dir).")?;
        match store.view_at(cluster, at).await {
            Ok(ViewLookup::Recorded(recorded)) => Ok(RecordedClusterView {
                view: recorded.view,
                recorded_at: recorded.at,
            }),
            Ok(ViewLookup::Gap { .. } | ViewLookup::NeverRecorded) => {
                Err("No view of this time was recorded on this host.".to_owned())
            }
            Err(error) => Err(format!("Recorded views cannot be read: {error}.")),
        }
    }

    async fn series(
        &self,
        cluster: &ClusterName,
        nodes: &[NodeId],
        period: ReportPeriod,
        now: Timestamp,
    ) -> Result<SeriesView, String> {
        let store = self
            .series
            .ok_or("This host does not record figures of nodes (--data-dir).")?;
        if nodes.is_empty() {
            return Err("No node of this time is known, so that there are no figures.".to_owned());
        }
        let (from, to) = (period.from.unix_millis(), period.to.unix_millis());
        let step = default_step(from, to, now);
        let step_ms = i64::from(step) * 1_000;
        let from = from.div_euclid(step_ms) * step_ms;
        let count = usize::try_from((to - from) / step_ms + 1).unwrap_or_default();
        let request = SeriesRequest {
            cluster: cluster.clone(),
            nodes: nodes.to_vec(),
            metrics: SeriesMetric::ALL.to_vec(),
            from,
            step: step_ms,
            count,
        };
        let sources = SeriesSources {
            store: Some(store),
            server: None,
        };
        let read = sources.read(request).await;
        let reading = read.map_err(|error| format!("Recorded figures cannot be read: {error}."))?;
        let series = reading.series();
        Ok(SeriesView {
            cluster: cluster.clone(),
            from: Timestamp::from_unix_millis(from),
            to: period.to,
            step,
            recorded_since: reading.recorded_since(),
            state: store.state(),
            metrics_server: None,
            sources: reading.parts(&series),
            series,
        })
    }

    /// The entries about the incident, its clusters and `actions`, oldest first.
    async fn audit(
        &self,
        incident: &Incident,
        actions: &[Action],
        period: ReportPeriod,
        missing: &mut Vec<String>,
    ) -> Vec<AuditEntry> {
        let concerns = |entry: &AuditEntry| {
            let record = &entry.record;
            let of_cluster = record
                .cluster
                .as_ref()
                .is_some_and(|cluster| incident.clusters.contains(cluster));
            let subject = record.subject.as_deref();
            let of_subject = subject.is_some_and(|subject| {
                subject == incident.id || actions.iter().any(|action| action.id.as_str() == subject)
            });
            period.contains(record.at) && (of_cluster || of_subject)
        };
        let mut entries = Vec::new();
        let mut filter = AuditTrailFilter {
            limit: AUDIT_PAGE_MAX,
            ..AuditTrailFilter::default()
        };
        loop {
            let page = match self.trail.page(&filter).await {
                Ok(page) => page,
                Err(error) => {
                    missing.push(format!("Entries of the audit trail: {error}."));
                    break;
                }
            };
            // Entries are in the order of time, as far as the clocks of the replicas agree.
            let older = page.entries.last().map(|entry| entry.record.at);
            let reached = older.is_some_and(|at| at < period.from);
            entries.extend(page.entries.into_iter().filter(concerns));
            if entries.len() > AUDIT_ENTRIES_MAX {
                entries.truncate(AUDIT_ENTRIES_MAX);
                missing.push(format!(
                    "Older entries of the audit trail: there are more than {AUDIT_ENTRIES_MAX}."
                ));
                break;
            }
            match page.next_before {
                Some(before) if !reached => filter.before = Some(before),
                None if !reached && page.begins_at.is_some() => {
                    let text = "Entries of the audit trail that are in an archive only.";
                    missing.push(text.to_owned());
                    break;
                }
                _ => break,
            }
        }
        entries.reverse();
        entries
    }
}

/// The times at which a cluster is shown, and what happened then: before the first change, at the opening, after each change
/// of the verdict, and at the end.
fn moments(
    incident: &Incident,
    events: &[HistoryEvent],
    period: ReportPeriod,
) -> Vec<(Timestamp, String)> {
    let verdicts = events.iter().filter_map(|event| match &event.change {
        StateChange::Verdict { to, .. } => Some((event.at, *to)),
        StateChange::Node { .. } => None,
    });
    let before = events.first().map(|first| {
        let at = first.at.shifted(-MOMENT_DELAY_MS).max(period.from);
        (at, "before the first change".to_owned())
    });
    let changes = verdicts.map(|(at, to)| {
        let at = at.shifted(MOMENT_DELAY_MS).min(period.to);
        (at, format!("verdict {}", to.as_str().replace('_', " ")))
    });
    let opened = (incident.opened_at, "incident opened".to_owned());
    let resolved = incident
        .resolved_at
        .map(|at| (at, "incident resolved".to_owned()));
    let mut all: Vec<(Timestamp, String)> = before
        .into_iter()
        .chain(changes)
        .chain([opened])
        .chain(resolved)
        .collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

fn first_and_last(mut times: Vec<(Timestamp, String)>) -> Vec<(Timestamp, String)> {
    if times.len() > MOMENTS_MAX {
        let last = times.split_off(times.len() - MOMENTS_MAX / 2);
        times.truncate(MOMENTS_MAX / 2);
        times.extend(last);
    }
    times
}

/// The nodes that the views and the events name.
fn nodes(moments: &[ReportMoment], events: &[HistoryEvent]) -> Vec<NodeId> {
    let viewed = moments
        .iter()
        .filter_map(|moment| moment.view.as_ref().ok())
        .flat_map(|recorded| recorded.view.nodes.iter().map(|node| &node.id));
    let changed = events.iter().filter_map(|event| event.change.node());
    let all: BTreeSet<&NodeId> = viewed.chain(changed).collect();
    all.into_iter().cloned().collect()
}
