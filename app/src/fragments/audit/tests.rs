use galera::access::Role;
use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::fixtures;

fn session(role: Role) -> SessionView {
    fixtures::session("olga", &[role])
}

#[test]
fn an_alarm_is_acknowledged_by_administrators_only() {
    let alarms = json!({"alarms": [
        {"kind": "audit_trail", "at": fixtures::fixed_now(), "text": "The head was <b>deleted</b>."}
    ]});
    let alarms: AlarmsView = serde_json::from_value(alarms).unwrap();
    let trail = serde_json::from_value(json!({"entries": [], "next_before": null})).unwrap();
    let show = |role| {
        let filter = AuditFilter::default();
        page(
            &trail,
            &alarms,
            &filter,
            &["lab"],
            &session(role),
            fixtures::fixed_now(),
        )
        .html()
    };
    let admin = show(Role::Admin);
    assert!(admin.contains("&lt;b&gt;deleted"), "{admin}");
    assert!(
        admin.contains("action=\"/audit/acknowledge\"") && !admin.contains("disabled"),
        "{admin}"
    );
    let viewer = show(Role::Viewer);
    assert!(
        viewer.contains("disabled") && viewer.contains("admin"),
        "{viewer}"
    );
}

#[test]
fn audit_page() {
    let at = fixtures::fixed_now().to_string();
    let entries = json!({
        "entries": [
            {"sequence": 2, "at": at, "actor": "olga", "event": "action_requested", "cluster": "lab",
                "subject": "019a00000001-00000001", "detail": {"kind": "bootstrap", "reason": "<b>quorum</b> lost"},
                "previous": "11".repeat(32), "hash": "22".repeat(32)},
            {"sequence": 1, "at": at, "actor": "olga", "event": "signed_in", "cluster": null, "subject": null,
                "detail": {}, "previous": "00".repeat(32), "hash": "11".repeat(32)},
        ],
        "next_before": 1,
    });
    let entries = serde_json::from_value(entries).unwrap();
    let query = PageQuery::from_uri(&"/audit?actor=olga".parse().unwrap());
    let page = page(
        &entries,
        &AlarmsView::default(),
        &AuditFilter::from_query(&query),
        &["lab"],
        &session(Role::Viewer),
        fixtures::fixed_now(),
    );
    assert_snapshot!(fixtures::by_lines(&page.html()));
}

#[test]
fn lists_of_names_have_spaces_and_other_text_is_shown_as_recorded() {
    for (name, value, shown) in [
        ("roles", "operator,approver", "operator, approver"),
        ("before", "viewer", "viewer"),
        ("clusters", "lab,shop", "lab, shop"),
        ("embed", "", "none"),
        (
            "show",
            r#"{"hosts":true,"positions":false,"versions":true}"#,
            "hosts, versions",
        ),
        ("show", r#"{"hosts":false}"#, "none"),
        ("reason", r#"{"hosts":true}"#, r#"{"hosts":true}"#),
        ("reason", "1,000 rows,at most", "1,000 rows,at most"),
    ] {
        assert_eq!(list_text(name, value), shown);
    }
}

#[test]
fn the_page_says_where_the_trail_begins() {
    let trail = |json| serde_json::from_value(json).unwrap();
    let show = |trail| {
        let (alarms, filter) = (AlarmsView::default(), AuditFilter::default());
        let session = session(Role::Viewer);
        page(
            &trail,
            &alarms,
            &filter,
            &["lab"],
            &session,
            fixtures::fixed_now(),
        )
        .html()
    };
    let archived = show(trail(
        json!({"entries": [], "next_before": null, "begins_at": 300}),
    ));
    assert!(
        archived.contains("The trail begins with entry 300"),
        "{archived}"
    );
    let whole = show(trail(json!({"entries": [], "next_before": null})));
    assert!(!whole.contains("begins with entry"), "{whole}");
}
