use galera::access::Role;
use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::fixtures;

fn status_page() -> StatusPageView {
    let at = fixtures::fixed_now().to_string();
    let link = |id: &str, valid: bool| {
        json!({"id": id, "label": format!("Partner {id}"), "created_by": "ada", "created_at": at, "expires_at": at,
            "revoked_at": (!valid).then_some(&at), "valid": valid})
    };
    serde_json::from_value(json!({
        "slug": "shop", "title": "Shop", "clusters": [{"cluster": "lab", "name": "Orders"}], "visibility": "link",
        "show": {"hosts": true}, "embed": [], "automatic": {"after_secs": 300},
        "links": [link("1", false), link("2", true)], "created_by": "ada", "created_at": at, "changed_at": at,
        "revision": 42, "url": "https://console.example.org/status/shop",
    }))
    .unwrap()
}

#[test]
fn list_of_status_pages() {
    let pages = StatusPageList {
        pages: vec![status_page()],
    };
    let overview = Overview {
        clusters: vec![fixtures::healthy("lab", 2_881).summary()],
        notices: Vec::new(),
    };
    let session = fixtures::session("olga", &[Role::Operator]);
    let page = list_page(&pages, &overview, &session, fixtures::fixed_now());
    assert_snapshot!(fixtures::by_lines(&page.html()));
}

#[test]
fn status_page_with_links() {
    let session = fixtures::session("ada", &[Role::Admin]);
    let page = detail_page(
        &status_page(),
        Some("s3cret"),
        &session,
        fixtures::fixed_now(),
    );
    assert_snapshot!(fixtures::by_lines(&page.html()));
}
