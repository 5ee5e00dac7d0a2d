use galera::publish::status_pages::{
    DayFigures, IncidentState, PublicAnnouncement, PublicIncident, PublicMaintenance, PublicUpdate,
    UptimeFigures,
};
use galera::record::uptime::Date;
use galera::view::NodeState;
use insta::assert_snapshot;

use super::*;

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn sample_page(state: PublicState) -> PublicPage {
    let today = Date::of(at("2026-11-24T12:00:00Z"));
    let day = |back| DayFigures {
        date: today.minus(back),
        up: Some(10_000),
        down: 0,
        degraded: 0,
        unknown: 0,
    };
    PublicPage {
        slug: "shop".parse().unwrap(),
        title: "Shop <b>databases</b>".to_owned(),
        overall: state,
        clusters: vec![PublicCluster {
            id: "orders".to_owned(),
            name: "Orders".to_owned(),
            state,
            state_without_maintenance: state,
            inconsistency: None,
            since: Some(at("2026-11-24T11:00:00Z")),
            nodes: Vec::new(),
            days: (0..90).rev().map(day).collect(),
            uptime: UptimeFigures::default(),
        }],
        incidents: Vec::new(),
        maintenance: Vec::new(),
        announcements: Vec::new(),
        stale_since: None,
    }
}

fn html(page: &PublicPage) -> String {
    let page = StatusPage {
        status: page,
        version: "1",
        as_of: at("2026-11-24T12:00:00Z"),
        base_path: "shop/",
        css: "/pkg/s.css",
        js: "/pkg/s.js",
        listed: false,
    };
    page.html()
}

/// The same page with three days, so that a snapshot of it is short.
fn short_page(state: PublicState) -> PublicPage {
    let mut page = sample_page(state);
    page.clusters[0].days.drain(..87);
    page
}

fn by_lines(html: &str) -> String {
    crate::fixtures::by_lines(html)
}

#[test]
fn operational_page() {
    assert_snapshot!(by_lines(&html(&short_page(PublicState::Operational))));
}

#[test]
fn the_headline_is_not_green_above_an_open_incident() {
    let mut page = short_page(PublicState::Operational);
    assert!(html(&page).contains("overall t-ok"));
    page.incidents = vec![PublicIncident {
        id: "1-1".to_owned(),
        title: "Reports are late".to_owned(),
        clusters: vec!["Orders".to_owned()],
        state: IncidentState::Investigating,
        impact: None,
        opened_at: at("2026-11-24T11:00:00Z"),
        resolved_at: None,
        updates: Vec::new(),
    }];
    let open = html(&page);
    assert!(open.contains("overall t-warn"), "{open}");
    page.incidents[0].state = IncidentState::Resolved;
    page.incidents[0].resolved_at = Some(at("2026-11-24T11:30:00Z"));
    assert!(html(&page).contains("overall t-ok"));
}

#[test]
fn page_with_everything() {
    let opened = at("2026-11-24T11:00:00Z");
    let update = |state, text: &str| PublicUpdate {
        at: opened,
        state,
        text: text.to_owned(),
    };
    let incident = |id: &str, state, resolved_at| PublicIncident {
        id: id.to_owned(),
        title: format!("Slow writes, number {id}"),
        clusters: vec!["Orders".to_owned()],
        state,
        impact: None,
        opened_at: opened,
        resolved_at,
        updates: vec![
            update(state, "The disk."),
            update(IncidentState::Investigating, "We look."),
        ],
    };
    let mut page = short_page(PublicState::Outage);
    page.clusters[0].inconsistency = Some(DataInconsistency::SplitBrain);
    page.clusters[0].days[0].up = Some(9_993);
    page.clusters[0].days[0].down = 61;
    page.clusters[0].uptime.week = Some(9_995);
    page.clusters[0].nodes = vec![PublicNode {
        name: "n1".to_owned(),
        address: Some("127.0.0.1".to_owned()),
        state: NodeState::Synced,
        version: Some("10.11.19".to_owned()),
        position: Some(2_881),
    }];
    page.incidents = vec![
        incident("2-2", IncidentState::Identified, None),
        incident("1-1", IncidentState::Resolved, Some(opened)),
    ];
    page.maintenance = vec![PublicMaintenance {
        id: "3-3".to_owned(),
        title: "Upgrade".to_owned(),
        text: "One node after the other.".to_owned(),
        clusters: vec!["Orders".to_owned()],
        from: opened,
        until: at("2026-11-24T13:00:00Z"),
        planned_at: opened,
        current: true,
    }];
    page.announcements = vec![PublicAnnouncement {
        id: "4-4".to_owned(),
        title: "New address".to_owned(),
        text: "From Monday on.".to_owned(),
        at: opened,
    }];
    page.stale_since = Some(opened);
    assert_snapshot!(by_lines(&html(&page)));
}

#[test]
fn every_state_has_a_label_a_shape_and_a_tone() {
    for (state, label, tone, sentence) in [
        (
            PublicState::Operational,
            "Operational",
            "t-ok",
            "All systems operational",
        ),
        (
            PublicState::Maintenance,
            "Maintenance",
            "t-busy",
            "The database is under maintenance",
        ),
        (
            PublicState::Unknown,
            "Unknown",
            "t-off",
            "The database is in an unknown state",
        ),
        (
            PublicState::Degraded,
            "Degraded",
            "t-warn",
            "The database is degraded, but working",
        ),
        (
            PublicState::Outage,
            "Outage",
            "t-bad",
            "The database is unavailable",
        ),
    ] {
        let html = html(&sample_page(state));
        let expected = format!("<span class=\"state {tone}\">{label}<svg");
        assert!(html.contains(&expected), "{html}");
        assert!(html.contains(&format!("<title>{sentence} · ")), "{html}");
    }
}

#[test]
fn user_input_is_escaped() {
    let mut page = sample_page(PublicState::Operational);
    page.incidents.push(PublicIncident {
        id: "1-1".to_owned(),
        title: "<img src=x onerror=alert(1)>".to_owned(),
        clusters: vec!["Orders".to_owned()],
        state: IncidentState::Investigating,
        impact: None,
        opened_at: at("2026-11-24T11:00:00Z"),
        resolved_at: None,
        updates: vec![PublicUpdate {
            at: at("2026-11-24T11:00:00Z"),
            state: IncidentState::Investigating,
            text: "</p><script>alert(1)</script>".to_owned(),
        }],
    });
    let html = html(&page);
    assert!(!html.contains("<img") && !html.contains("<script>") && !html.contains("<b>databases"));
    assert!(
        html.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{html}"
    );
}

#[test]
fn ninety_days_form_one_radio_group() {
    let html = html(&sample_page(PublicState::Operational));
    assert_eq!(html.matches("type=\"radio\" name=\"c0\"").count(), 90);
    assert_eq!(html.matches(" checked=\"\"").count(), 1);
    assert!(html.contains("value=\"2026-11-24\" checked=\"\"><span>2026-11-24: 100 % up</span>"));
}

#[test]
fn nodes_of_an_inconsistent_cluster_are_not_green() {
    for (inconsistency, green) in [
        (None, true),
        (Some(DataInconsistency::Diverged), false),
        (Some(DataInconsistency::SplitBrain), false),
    ] {
        let mut page = short_page(PublicState::Outage);
        page.clusters[0].inconsistency = inconsistency;
        page.clusters[0].nodes = vec![PublicNode {
            name: "Node 1".to_owned(),
            address: None,
            state: NodeState::Synced,
            version: None,
            position: None,
        }];
        let html = html(&page);
        let list = html.split("class=\"nodes\"").nth(1).unwrap();
        let list = list.split("</ul>").next().unwrap();
        assert!(list.contains("Synced"), "{list}");
        assert_eq!(list.contains("t-ok"), green, "{inconsistency:?}: {list}");
    }
}
