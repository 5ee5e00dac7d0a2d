use galera::access::Role;
use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::fixtures;
use crate::fragments::api_client::PageQuery;

fn html(roles: &[Role]) -> String {
    html_with("", roles)
}

/// The page with the query `query`.
fn html_with(query: &str, roles: &[Role]) -> String {
    let at = fixtures::fixed_now();
    let hours = |hours: i64| Timestamp::from_unix_millis(at.unix_millis() + hours * 3_600_000);
    let update = |hour, by: &str, state: &str, text: &str| json!({"at": hours(hour), "by": by, "state": state, "text": text});
    let incidents = json!({"incidents": [
        {"id": "2-2", "title": "Slow <b>writes</b>", "clusters": ["lab"], "state": "identified", "opened_at": hours(-2),
            "updates": [update(-2, "olga", "investigating", "We look."), update(-1, "ada", "identified", "The disk.")]},
        {"id": "1-1", "title": "Database unavailable", "clusters": ["lab", "shop"], "state": "resolved",
            "opened_at": hours(-9), "resolved_at": hours(-8), "automatic": 300,
            "updates": [update(-8, "r1", "resolved", "It is available again.")]},
    ]});
    let maintenance = json!({"maintenance": [
        {"id": "3-3", "title": "Upgrade", "text": "One node after the other.", "clusters": ["lab"], "from": hours(-1),
            "until": hours(1), "planned_by": "olga", "planned_at": hours(-9), "phase": "current"},
        {"id": "4-4", "title": "Move", "text": "To another rack.", "clusters": ["lab"], "from": hours(24),
            "until": hours(25), "planned_by": "olga", "planned_at": hours(-9), "phase": "planned"},
    ]});
    let announcements = json!({"announcements": [
        {"id": "5-5", "title": "New address", "text": "From Monday on.", "pages": ["shop"], "at": hours(-3), "by": "ada"},
    ]});
    let pages = json!({"pages": [
        {"slug": "shop", "title": "Shop & more", "clusters": [{"cluster": "lab", "name": "Orders"}], "visibility": "public", "links": [],
            "created_by": "ada", "created_at": hours(-9), "changed_at": hours(-9), "revision": 1, "url": "https://console.example.org/status/shop"},
    ]});
    let overview = Overview {
        clusters: vec![fixtures::healthy("lab", 2_881).summary()],
        notices: Vec::new(),
    };
    let incidents: IncidentList = serde_json::from_value(incidents).unwrap();
    let query = PageQuery::from_uri(&format!("/incidents?{query}").parse().unwrap());
    let page = IncidentsPage {
        incidents: &incidents,
        maintenance: &serde_json::from_value(maintenance).unwrap(),
        announcements: &serde_json::from_value(announcements).unwrap(),
        pages: &serde_json::from_value(pages).unwrap(),
        overview: &overview,
        draft: &IncidentDraft::from_query(&query, &incidents.incidents),
        session: &fixtures::session("olga", roles),
        now: at,
    };
    fixtures::by_lines(&page.markup().html())
}

#[test]
fn incidents_page() {
    assert_snapshot!(html(&[Role::Operator]));
}

#[test]
fn a_new_incident_begins_with_a_template_an_earlier_incident_or_a_cluster() {
    let form = |query: &str| {
        let html = html_with(query, &[Role::Operator]);
        let from = html.find("id=\"new\"").unwrap();
        let to = html.find("id=\"maintenance\"").unwrap();
        html[from..to].to_owned()
    };
    let ticked = "value=\"lab\" checked";
    let template = form("template=unavailable&cluster=lab");
    assert!(template.contains("value=\"Database unavailable\"") && template.contains(ticked));
    assert!(
        template.contains("value=\"critical\" selected"),
        "{template}"
    );
    assert!(template.contains("accepts neither reads nor writes"));
    assert!(template.contains("?template=slow&amp;cluster=lab#new"));
    let earlier = form("like=2-2");
    assert!(
        earlier.contains("value=\"Slow &lt;b>writes&lt;/b>\"")
            || earlier.contains("Slow &lt;b&gt;writes"),
        "{earlier}"
    );
    assert!(earlier.contains("We look.") && earlier.contains(ticked));
    for nothing in ["", "template=x", "like=9-9", "cluster=%3Cb%3E"] {
        let form = form(nothing);
        assert!(
            !form.contains(ticked) && !form.contains("value=\"critical\" selected"),
            "{nothing}"
        );
    }
}
