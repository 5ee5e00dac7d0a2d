use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::fixtures;

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
        &AuditFilter::from_query(&query),
        fixtures::fixed_now(),
    );
    assert_snapshot!(fixtures::by_lines(&page.html()));
}

#[test]
fn the_page_says_where_the_trail_begins() {
    let trail = |json| serde_json::from_value(json).unwrap();
    let show = |trail| page(&trail, &AuditFilter::default(), fixtures::fixed_now()).html();
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
