//! Alerts for Prometheus Alertmanager, by its API v2.
//!
//! An alert is known by its labels. A problem is one alert for each verdict that it goes through: the one before ends
//! when the next begins. Alertmanager takes an alert for ended when it is not repeated, so what still holds is
//! repeated well before it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::publish::notification::{Kind, Notice, Phase, Severity};
use galera::view::VerdictState;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Serialize;

use crate::post::secret_value;

/// How often what still holds is repeated.
pub(crate) const REPEAT: Duration = Duration::from_secs(60);
/// How long an alert holds unless it is repeated: some repetitions may be lost.
const HOLDS: Duration = Duration::from_secs(300);
/// How long a request is an alert at most, unless its decision or end comes.
const WAITS: Duration = Duration::from_secs(3_600);
/// How long what merely happened is an alert.
const HAPPENED: Duration = Duration::from_secs(900);

/// A verdict that a target was told and that still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Firing {
    /// What was told.
    pub(crate) notice: Notice,
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
pub(super) fn alerts(notice: &Notice, link: &str, now: Timestamp) -> Vec<Alert> {
    match notice.kind {
        Kind::Verdict => verdict(notice, link, now),
        Kind::ActionRequested => vec![alert(
            notice,
            link,
            waiting(notice),
            notice.at,
            now.plus(WAITS),
        )],
        Kind::ActionDecided => vec![decided(notice, link, now)],
        Kind::ActionEnded => {
            let mut labels = labels("GaleraConsoleActionEnded", notice, notice.severity);
            let event = notice.action.as_ref().map(|action| action.event.clone());
            labels.extend(event.map(|event| ("state", event)));
            let ended = alert(notice, link, labels, notice.at, now.plus(HAPPENED));
            vec![decided(notice, link, now), ended]
        }
        Kind::Incident => {
            let labels = labels("GaleraConsoleIncident", notice, notice.severity);
            vec![alert(notice, link, labels, notice.at, now.plus(HAPPENED))]
        }
        Kind::Test => {
            let labels = labels("GaleraConsoleTest", notice, notice.severity);
            vec![alert(notice, link, labels, notice.at, now.plus(HOLDS))]
        }
    }
}

/// The alert of a verdict that still holds.
pub(super) fn still(firing: &Firing, link: &str, now: Timestamp) -> Option<Alert> {
    let problem = firing.notice.problem.as_ref()?;
    let labels = verdict_labels(&firing.notice, problem.verdict);
    Some(alert(
        &firing.notice,
        link,
        labels,
        firing.notice.at,
        now.plus(HOLDS),
    ))
}

fn verdict(notice: &Notice, link: &str, now: Timestamp) -> Vec<Alert> {
    let Some(problem) = &notice.problem else {
        return Vec::new();
    };
    let mut alerts = Vec::new();
    if problem.before != VerdictState::Healthy {
        let labels = verdict_labels(notice, problem.before);
        // Ended in the past whatever the clocks say, and not before it began.
        alerts.push(alert(
            notice,
            link,
            labels,
            problem.since,
            now.max(problem.since),
        ));
    }
    if problem.phase != Phase::Resolved {
        let labels = verdict_labels(notice, problem.verdict);
        alerts.push(alert(notice, link, labels, notice.at, now.plus(HOLDS)));
    }
    alerts
}

fn decided(notice: &Notice, link: &str, now: Timestamp) -> Alert {
    alert(notice, link, waiting(notice), notice.at, now.max(notice.at))
}

fn verdict_labels(notice: &Notice, verdict: VerdictState) -> BTreeMap<&'static str, String> {
    let mut labels = labels("GaleraClusterNotHealthy", notice, Severity::of(verdict));
    labels.insert("verdict", verdict.word().to_owned());
    labels
}

/// Of a request that waits: the same for the request, its decision and its end.
fn waiting(notice: &Notice) -> BTreeMap<&'static str, String> {
    let mut labels = labels("GaleraConsoleActionWaiting", notice, Severity::Warning);
    labels.extend(
        notice
            .action
            .as_ref()
            .map(|action| ("action", action.id.clone())),
    );
    labels
}

fn labels(name: &str, notice: &Notice, severity: Severity) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("alertname", name.to_owned()),
        ("severity", severity.word().to_owned()),
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

fn alert(
    notice: &Notice,
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
    let value = authorization.and_then(secret_value);
    value
        .into_iter()
        .map(|value| (AUTHORIZATION, value))
        .collect()
}
