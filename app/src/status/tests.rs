use galera::publish::status_pages::{DayFigures, IncidentState, ToldIncident, ToldUpdate, Uptime};
use galera::record::uptime::Date;

use super::*;

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn told(state: ToldState) -> Told {
    let today = Date::of(at("2026-11-24T12:00:00Z"));
    let day = |back| DayFigures {
        date: today.minus(back),
        up: Some(10_000),
        down: 0,
        degraded: 0,
        unknown: 0,
    };
    Told {
        slug: "shop".parse().unwrap(),
        title: "Shop <b>databases</b>".to_owned(),
        overall: state,
        clusters: vec![ToldCluster {
            id: "orders".to_owned(),
            name: "Orders".to_owned(),
            state,
            actual: state,
            apart: None,
            since: Some(at("2026-11-24T11:00:00Z")),
            nodes: Vec::new(),
            days: (0..90).rev().map(day).collect(),
            uptime: Uptime::default(),
        }],
        incidents: Vec::new(),
        maintenance: Vec::new(),
        announcements: Vec::new(),
        unread_since: None,
    }
}

fn html(told: &Told) -> String {
    let page = StatusPage {
        told,
        version: "1",
        as_of: at("2026-11-24T12:00:00Z"),
        base: "shop/",
        css: "/pkg/s.css",
        js: "/pkg/s.js",
        listed: false,
    };
    page.html()
}

#[test]
fn every_state_is_a_word_a_shape_and_a_tone() {
    for (state, word, tone, sentence) in [
        (
            ToldState::Operational,
            "Operational",
            "t-ok",
            "The database works",
        ),
        (
            ToldState::Maintenance,
            "Maintenance",
            "t-busy",
            "The database is under maintenance",
        ),
        (
            ToldState::Unknown,
            "Unknown",
            "t-off",
            "The database is in an unknown state",
        ),
        (
            ToldState::Degraded,
            "Degraded",
            "t-warn",
            "The database is degraded, but working",
        ),
        (
            ToldState::Outage,
            "Outage",
            "t-bad",
            "The database is not available",
        ),
    ] {
        let html = html(&told(state));
        let expected = format!("<span class=\"state {tone}\">{word}<svg");
        assert!(html.contains(&expected), "{html}");
        assert!(html.contains(&format!("<title>{sentence} · ")), "{html}");
    }
}

#[test]
fn words_of_people_are_text() {
    let mut told = told(ToldState::Operational);
    told.incidents.push(ToldIncident {
        id: "1-1".to_owned(),
        title: "<img src=x onerror=alert(1)>".to_owned(),
        clusters: vec!["Orders".to_owned()],
        state: IncidentState::Investigating,
        opened_at: at("2026-11-24T11:00:00Z"),
        resolved_at: None,
        updates: vec![ToldUpdate {
            at: at("2026-11-24T11:00:00Z"),
            state: IncidentState::Investigating,
            text: "</p><script>alert(1)</script>".to_owned(),
        }],
    });
    let html = html(&told);
    assert!(!html.contains("<img") && !html.contains("<script>") && !html.contains("<b>databases"));
    assert!(
        html.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{html}"
    );
}

#[test]
fn ninety_days_are_one_group_of_choices() {
    let html = html(&told(ToldState::Operational));
    assert_eq!(html.matches("type=\"radio\" name=\"c0\"").count(), 90);
    assert_eq!(html.matches(" checked=\"\"").count(), 1);
    assert!(html.contains("value=\"2026-11-24\" checked=\"\"><span>2026-11-24: 100 % up</span>"));
}
