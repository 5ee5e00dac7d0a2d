use galera::publish::status_pages::NewIncident;
use galera::record::history::StateChange;
use galera::view::{NodeState, VerdictState};
use serde_json::json;

use super::*;
use crate::fixtures::{fixed_now, id, state_transfer};
use crate::fragments::action_detail::tests::view as action_view;

/// Markup in every text that a person, a server or etcd provides.
const HOSTILE: &str = "\"><script>alert(1)</script></style><base href=//evil.example>";

fn minutes_ago(minutes: i64) -> Timestamp {
    fixed_now().shifted(-minutes * 60_000)
}

fn incident() -> Incident {
    let new = NewIncident {
        clusters: vec!["lab".parse().unwrap()],
        title: HOSTILE.to_owned(),
        text: HOSTILE.to_owned(),
        state: galera::publish::status_pages::IncidentState::Investigating,
        impact: Some(IncidentImpact::Minor),
    };
    let mut incident = Incident::open(&new, "01-a", "otto", minutes_ago(20)).unwrap();
    incident.resolved_at = Some(minutes_ago(5));
    incident
}

fn report() -> IncidentReport {
    let node = StateChange::Node {
        node: id("127.0.0.2"),
        name: Some(HOSTILE.to_owned()),
        from: Some(NodeState::Synced),
        to: Some(NodeState::Unreachable),
    };
    let verdict = StateChange::Verdict {
        from: Some(VerdictState::Healthy),
        to: VerdictState::Degraded,
        reasons: Vec::new(),
    };
    let event = |sequence, change| HistoryEvent {
        sequence,
        at: minutes_ago(21),
        change,
    };
    let recorded = RecordedClusterView {
        view: state_transfer("lab", 90_000),
        recorded_at: minutes_ago(20),
    };
    let moment = |at, label: &str, view| ReportMoment {
        at,
        label: label.to_owned(),
        view,
    };
    let entry = json!({
        "sequence": 7, "at": minutes_ago(20), "actor": "otto", "event": "incident_opened", "cluster": "lab",
        "subject": "01-a", "detail": {"title": HOSTILE}, "previous": "0", "hash": "abcdef0123456789",
    });
    IncidentReport {
        incident: incident(),
        from: minutes_ago(35),
        to: fixed_now(),
        exported_at: fixed_now(),
        clusters: vec![ClusterReport {
            name: "lab".parse().unwrap(),
            events: vec![event(8, node), event(9, verdict)],
            complete_since: Some(minutes_ago(35)),
            moments: vec![
                moment(minutes_ago(20), "incident opened", Ok(recorded)),
                moment(
                    minutes_ago(5),
                    "incident resolved",
                    Err("Not recorded.".to_owned()),
                ),
            ],
            series: Err("No figures.".to_owned()),
        }],
        actions: vec![action_view("succeeded").action],
        audit: vec![serde_json::from_value(entry).unwrap()],
        missing: vec!["Events before: too many.".to_owned()],
    }
}

#[test]
fn it_has_everything_that_is_recorded_with_times_instead_of_ages() {
    let html = report().document(None);
    for expected in [
        "<!DOCTYPE html>\n<html lang=\"en\">",
        "2026-11-23 07:40:00 UTC, by otto",
        "2026-11-23 07:55:00 UTC, after 15 min",
        "Events before: too many.",
        "2026-11-23 07:40:00 UTC incident opened",
        "class=\"topology\"",
        "2026-11-23 07:55:00 UTC incident resolved",
        "Not recorded.",
        "No figures.",
        "Unreachable since 2026-11-23 07:39:00 UTC, for 21 min",
        "21 min or more",
        "SET GLOBAL x=1",
        "Requested.",
        "7 2026-11-23 07:40:00 UTC",
        "abcdef012345",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
    assert!(!html.contains("data-age"), "nothing in it ticks: {html}");
}

#[test]
fn it_loads_and_executes_nothing_whatever_the_texts_are() {
    let html = report().document(Some("https://console.example.org"));
    let style = html.split("</style>").nth(1).unwrap();
    for markup in [
        "<script", "<base", "<form", "<button", "<img", "<link", "<iframe", " src=",
    ] {
        assert!(!style.contains(markup), "{markup} in {html}");
    }
    assert_eq!(html.matches("</style>").count(), 1, "{html}");
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'"));
}

#[test]
fn links_lead_to_the_console_or_are_none() {
    let with_console = report().document(Some("https://console.example.org"));
    assert!(with_console.contains("href=\"https://console.example.org/clusters/lab/nodes/"));
    for document in [with_console, report().document(None)] {
        let targets = document.split("href=\"").skip(1);
        for target in targets.map(|rest| rest.split('"').next().unwrap()) {
            let leads_somewhere = target.starts_with('#') || target.starts_with("https://");
            assert!(leads_somewhere, "{target}");
        }
    }
}

#[test]
fn what_has_no_content_says_so() {
    let mut report = report();
    report.actions.clear();
    report.audit.clear();
    report.missing.clear();
    report.clusters[0].events.clear();
    report.clusters[0].complete_since = None;
    report.incident.resolved_at = None;
    let html = report.document(None);
    for expected in [
        "open at the export, for 20 min",
        "No actions were requested in this period.",
        "The audit trail has no entries about it in this period.",
        "The events could not be read.",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
    assert!(!html.contains("Not in this report"), "{html}");
}
