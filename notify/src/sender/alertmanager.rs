//! Alerts for Prometheus Alertmanager, API v2.
//!
//! Alertmanager identifies an alert by its labels. A problem is one alert for each verdict that it passes through: the
//! previous one is resolved when the next fires. Alertmanager resolves alerts that are not repeated before `endsAt`, so
//! firing ones are repeated well before that.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::publish::notification::{
    FindingPhase, Notification, NotificationKind, ProblemPhase, Severity,
};
use galera::view::VerdictState;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Serialize;

use crate::webhook_client::sensitive_header_value;

/// How often firing alerts are repeated.
pub(crate) const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a verdict's alert fires unless it is repeated; several repetitions may be lost.
const FIRING_TTL: Duration = Duration::from_secs(300);
/// How long a requested action's alert fires at most, unless it is decided or ends.
const REQUEST_TTL: Duration = Duration::from_secs(3_600);
/// How long the alert of an event without a duration fires.
const EVENT_TTL: Duration = Duration::from_secs(900);

/// A notification about a verdict that still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FiringAlert {
    pub(crate) notification: Notification,
}

/// An alert as Alertmanager's API expects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertmanagerAlert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// The alerts that a notification fires and resolves. `approve` is the link of a request.
pub(super) fn alerts(
    notification: &Notification,
    link: &str,
    approve: Option<&str>,
    now: Timestamp,
) -> Vec<AlertmanagerAlert> {
    match notification.kind {
        NotificationKind::Verdict => verdict_alerts(notification, link, now),
        NotificationKind::ActionRequested => {
            let mut requested = new_alert(
                notification,
                link,
                request_labels(notification),
                notification.at,
                now.plus(REQUEST_TTL),
            );
            let approve = approve.map(|approve| ("approval_url", approve.to_owned()));
            requested.annotations.extend(approve);
            vec![requested]
        }
        NotificationKind::ActionDecided => vec![resolved_request_alert(notification, link, now)],
        NotificationKind::ActionEnded => {
            let mut labels = base_labels(
                "GaleraConsoleActionEnded",
                notification,
                notification.severity,
            );
            let event = notification
                .action
                .as_ref()
                .map(|action| action.event.clone());
            labels.extend(event.map(|event| ("state", event)));
            let ended = new_alert(
                notification,
                link,
                labels,
                notification.at,
                now.plus(EVENT_TTL),
            );
            vec![resolved_request_alert(notification, link, now), ended]
        }
        NotificationKind::Incident => {
            let labels = base_labels("GaleraConsoleIncident", notification, notification.severity);
            vec![new_alert(
                notification,
                link,
                labels,
                notification.at,
                now.plus(EVENT_TTL),
            )]
        }
        NotificationKind::Finding => finding_alerts(notification, link, now),
        NotificationKind::Test => {
            let labels = base_labels("GaleraConsoleTest", notification, notification.severity);
            vec![new_alert(
                notification,
                link,
                labels,
                notification.at,
                now.plus(FIRING_TTL),
            )]
        }
    }
}

/// One alert for each code, resolved when its findings ended. The metric of findings shows how long one lasts.
fn finding_alerts(
    notification: &Notification,
    link: &str,
    now: Timestamp,
) -> Vec<AlertmanagerAlert> {
    let Some(finding) = &notification.finding else {
        return Vec::new();
    };
    let alert = |(code, severity): (&String, &Severity)| {
        let mut labels = base_labels("GaleraFinding", notification, *severity);
        labels.insert("code", code.clone());
        let ends = match finding.phase {
            FindingPhase::Opened => now.plus(EVENT_TTL),
            FindingPhase::Ended => now.max(notification.at),
        };
        new_alert(notification, link, labels, notification.at, ends)
    };
    finding.codes.iter().map(alert).collect()
}

/// The alert of a verdict that still holds, with a later end.
pub(super) fn repeated_alert(
    firing: &FiringAlert,
    link: &str,
    now: Timestamp,
) -> Option<AlertmanagerAlert> {
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

fn verdict_alerts(
    notification: &Notification,
    link: &str,
    now: Timestamp,
) -> Vec<AlertmanagerAlert> {
    let Some(problem) = &notification.problem else {
        // An alarm about the data. The metric of open alarms shows how long one lasts.
        let labels = base_labels("GaleraDataAlarm", notification, notification.severity);
        let ends = now.plus(EVENT_TTL);
        return vec![new_alert(notification, link, labels, notification.at, ends)];
    };
    let mut alerts = Vec::new();
    if problem.before != VerdictState::Healthy {
        let labels = verdict_labels(notification, problem.before);
        // Resolved now, but never before it began, should the clocks differ.
        alerts.push(new_alert(
            notification,
            link,
            labels,
            problem.since,
            now.max(problem.since),
        ));
    }
    if problem.phase != ProblemPhase::Resolved {
        let labels = verdict_labels(notification, problem.verdict);
        alerts.push(new_alert(
            notification,
            link,
            labels,
            notification.at,
            now.plus(FIRING_TTL),
        ));
    }
    alerts
}

fn resolved_request_alert(
    notification: &Notification,
    link: &str,
    now: Timestamp,
) -> AlertmanagerAlert {
    new_alert(
        notification,
        link,
        request_labels(notification),
        notification.at,
        now.max(notification.at),
    )
}

fn verdict_labels(
    notification: &Notification,
    verdict: VerdictState,
) -> BTreeMap<&'static str, String> {
    let mut labels = base_labels(
        "GaleraClusterNotHealthy",
        notification,
        Severity::of(verdict),
    );
    labels.insert("verdict", verdict.as_str().to_owned());
    labels
}

/// Labels of a waiting request: the same for the request, its decision and its end.
fn request_labels(notification: &Notification) -> BTreeMap<&'static str, String> {
    let mut labels = base_labels(
        "GaleraConsoleActionWaiting",
        notification,
        Severity::Warning,
    );
    labels.extend(
        notification
            .action
            .as_ref()
            .map(|action| ("action", action.id.to_string())),
    );
    labels
}

fn base_labels(
    name: &str,
    notification: &Notification,
    severity: Severity,
) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("alertname", name.to_owned()),
        ("severity", severity.as_str().to_owned()),
        ("source", "galera-console".to_owned()),
    ]);
    labels.extend(
        notification
            .cluster
            .as_ref()
            .map(|cluster| ("cluster", cluster.to_string())),
    );
    labels
}

fn new_alert(
    notification: &Notification,
    link: &str,
    labels: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
) -> AlertmanagerAlert {
    let annotations = BTreeMap::from([
        ("summary", notification.title.clone()),
        ("description", notification.text.clone()),
        ("notice", notification.id.clone()),
    ]);
    AlertmanagerAlert {
        labels,
        annotations,
        starts_at: starts_at.min(ends_at),
        ends_at,
        // Alertmanager accepts absolute URLs only.
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
