//! Alerts for Prometheus Alertmanager, by its API v2.
//!
//! An alert is known by its labels. A problem is one alert for each verdict that it goes through: the one before ends
//! when the next begins. Alertmanager takes an alert for ended when it is not repeated, so what still holds is
//! repeated well before it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::publish::notification::{Notification, NotificationKind, ProblemPhase, Severity};
use galera::view::VerdictState;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Serialize;

use crate::webhook_client::sensitive_header_value;

/// How often what still holds is repeated.
pub(crate) const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// How long an alert holds unless it is repeated: some repetitions may be lost.
const FIRING_TTL: Duration = Duration::from_secs(300);
/// How long a request is an alert at most, unless its decision or end comes.
const REQUEST_TTL: Duration = Duration::from_secs(3_600);
/// How long what merely happened is an alert.
const EVENT_TTL: Duration = Duration::from_secs(900);

/// A verdict that a target was told and that still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FiringAlert {
    /// What was told.
    pub(crate) notification: Notification,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// The alerts that a notice begins and ends.
pub(super) fn alerts(notice: &Notification, link: &str, now: Timestamp) -> Vec<Alert> {
    match notice.kind {
        NotificationKind::Verdict => verdict_alerts(notice, link, now),
        NotificationKind::ActionRequested => vec![new_alert(
            notice,
            link,
            request_labels(notice),
            notice.at,
            now.plus(REQUEST_TTL),
        )],
        NotificationKind::ActionDecided => vec![resolved_request_alert(notice, link, now)],
        NotificationKind::ActionEnded => {
            let mut labels = base_labels("GaleraConsoleActionEnded", notice, notice.severity);
            let event = notice.action.as_ref().map(|action| action.event.clone());
            labels.extend(event.map(|event| ("state", event)));
            let ended = new_alert(notice, link, labels, notice.at, now.plus(EVENT_TTL));
            vec![resolved_request_alert(notice, link, now), ended]
        }
        NotificationKind::Incident => {
            let labels = base_labels("GaleraConsoleIncident", notice, notice.severity);
            vec![new_alert(
                notice,
                link,
                labels,
                notice.at,
                now.plus(EVENT_TTL),
            )]
        }
        NotificationKind::Test => {
            let labels = base_labels("GaleraConsoleTest", notice, notice.severity);
            vec![new_alert(
                notice,
                link,
                labels,
                notice.at,
                now.plus(FIRING_TTL),
            )]
        }
    }
}

/// The alert of a verdict that still holds.
pub(super) fn repeated_alert(firing: &FiringAlert, link: &str, now: Timestamp) -> Option<Alert> {
    let problem = firing.notification.problem.as_ref()?;
    let labels = verdict_labels(&firing.notification, problem.verdict);
    Some(new_alert(
        &firing.notification,
        link,
        labels,
        firing.notification.at,
        now.plus(FIRING_TTL),
    ))
}

fn verdict_alerts(notice: &Notification, link: &str, now: Timestamp) -> Vec<Alert> {
    let Some(problem) = &notice.problem else {
        return Vec::new();
    };
    let mut alerts = Vec::new();
    if problem.before != VerdictState::Healthy {
        let labels = verdict_labels(notice, problem.before);
        // Ended in the past whatever the clocks say, and not before it began.
        alerts.push(new_alert(
            notice,
            link,
            labels,
            problem.since,
            now.max(problem.since),
        ));
    }
    if problem.phase != ProblemPhase::Resolved {
        let labels = verdict_labels(notice, problem.verdict);
        alerts.push(new_alert(
            notice,
            link,
            labels,
            notice.at,
            now.plus(FIRING_TTL),
        ));
    }
    alerts
}

fn resolved_request_alert(notice: &Notification, link: &str, now: Timestamp) -> Alert {
    new_alert(
        notice,
        link,
        request_labels(notice),
        notice.at,
        now.max(notice.at),
    )
}

fn verdict_labels(notice: &Notification, verdict: VerdictState) -> BTreeMap<&'static str, String> {
    let mut labels = base_labels("GaleraClusterNotHealthy", notice, Severity::of(verdict));
    labels.insert("verdict", verdict.as_str().to_owned());
    labels
}

/// Of a request that waits: the same for the request, its decision and its end.
fn request_labels(notice: &Notification) -> BTreeMap<&'static str, String> {
    let mut labels = base_labels("GaleraConsoleActionWaiting", notice, Severity::Warning);
    labels.extend(
        notice
            .action
            .as_ref()
            .map(|action| ("action", action.id.clone())),
    );
    labels
}

fn base_labels(
    name: &str,
    notice: &Notification,
    severity: Severity,
) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("alertname", name.to_owned()),
        ("severity", severity.as_str().to_owned()),
        ("source", "galera-console".to_owned()),
    ]);
    labels.extend(
        notice
            .cluster
            .as_ref()
            .map(|cluster| ("cluster", cluster.to_string())),
    );
    labels
}

fn new_alert(
    notice: &Notification,
    link: &str,
    labels: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
) -> Alert {
    let annotations = BTreeMap::from([
        ("summary", notice.title.clone()),
        ("description", notice.text.clone()),
        ("notice", notice.id.clone()),
    ]);
    Alert {
        labels,
        annotations,
        starts_at: starts_at.min(ends_at),
        ends_at,
        // Alertmanager takes whole addresses only.
        generator_url: link.starts_with("http").then(|| link.to_owned()),
    }
}

pub(super) fn headers(authorization: Option<&str>) -> HeaderMap {
    let value = authorization.and_then(sensitive_header_value);
    value
        .into_iter()
        .map(|value| (AUTHORIZATION, value))
        .collect()
}
