use galera::access::Role;
use galera::publish::api::Overview;

use super::*;
use crate::fixtures;

fn overview() -> Overview {
    let clusters = [
        fixtures::no_primary("lab", 100),
        fixtures::healthy("orders", 200),
        fixtures::healthy("my-orders", 300),
    ];
    Overview {
        clusters: clusters.iter().map(|view| view.summary()).collect(),
        notices: Vec::new(),
    }
}

/// Texts of the results.
fn found(query: &str, roles: &[Role]) -> Vec<String> {
    let session = fixtures::session("ann", roles);
    let html = page(&overview(), &session, query).html();
    let list = html.split_once("id=\"results\"").unwrap().1;
    list.split("<a ")
        .skip(1)
        .map(|link| {
            let text = link.split_once('>').unwrap().1;
            text.split_once('<').unwrap().0.to_owned()
        })
        .collect()
}

#[test]
fn without_words_clusters_come_first_in_the_order_of_the_overview() {
    assert_eq!(
        found("  ", &[Role::Viewer])[..4],
        ["lab", "orders", "my-orders", "Clusters"]
    );
}

#[test]
fn a_label_finds_its_clusters_and_the_page_of_all_of_them() {
    let mut overview = overview();
    for cluster in &mut overview.clusters[..2] {
        let labels = &mut cluster.labels;
        labels.insert("env".to_owned(), "production".to_owned());
    }
    let session = fixtures::session("ann", &[Role::Viewer]);
    let html = results(&overview, &session, "env=production").html();
    assert_eq!(html.matches("<a ").count(), 3, "{html}");
    let first = "<ul class=\"found\"><li><a href=\"/?label=env%3Dproduction\">env=production</a>";
    assert!(html.contains(first), "{html}");
    // The label is beside the name of the link, not in it.
    assert!(html.contains("/clusters/orders\">orders</a>"), "{html}");
    assert!(
        html.contains("<span class=\"sub\">env=production</span>"),
        "{html}"
    );
    assert!(!html.contains("my-orders"), "{html}");
    let other = results(&overview, &session, "env=productions").html();
    assert!(!other.contains("<a "), "{other}");
}

#[test]
fn many_labels_are_counted() {
    let mut overview = overview();
    for index in 0..20 {
        let label = (format!("k{index:02}"), "v".repeat(63));
        overview.clusters[0].labels.extend([label]);
    }
    let session = fixtures::session("ann", &[Role::Viewer]);
    let html = results(&overview, &session, "lab k19").html();
    assert!(html.contains("/clusters/lab\">lab</a>"), "{html}");
    assert!(html.contains("and 15 more"), "{html}");
    assert!(!html.contains("k05"), "{html}");
}

#[test]
fn what_begins_with_the_words_comes_before_what_contains_them() {
    assert_eq!(
        found("ord recovery", &[Role::Viewer]),
        ["orders / Recovery", "my-orders / Recovery"]
    );
    assert_eq!(found("ord", &[Role::Viewer])[0], "orders");
}

#[test]
fn results_beyond_the_limit_are_counted() {
    let session = fixtures::session("ann", &[Role::Viewer]);
    let html = page(&overview(), &session, "").html();
    assert!(html.contains("The first 20 of "), "{html}");
}

#[test]
fn all_words_must_match_in_any_case() {
    assert_eq!(found("RECOVERY lab", &[Role::Viewer]), ["lab / Recovery"]);
    assert_eq!(found("n2 lab", &[Role::Viewer]), ["lab / n2 (127.0.0.2)"]);
    assert!(found("ist", &[Role::Viewer]).contains(&"IST".to_owned()));
    assert!(found("nothing-of-this-name", &[Role::Viewer]).is_empty());
}

#[test]
fn pages_that_the_account_may_not_open_are_not_found() {
    assert!(found("notifications", &[Role::Viewer]).is_empty());
    assert_eq!(found("notifications", &[Role::Admin]), ["Notifications"]);
}

#[test]
fn markup_in_a_query_is_text() {
    let session = fixtures::session("ann", &[Role::Viewer]);
    let html = page(&overview(), &session, "\"><script>").html();
    assert!(!html.contains("<script"), "{html}");
}

#[test]
fn nodes_of_a_split_brain_are_not_green() {
    let session = fixtures::session("ann", &[Role::Viewer]);
    let overview = Overview {
        clusters: vec![fixtures::split_brain("lab", 100).summary()],
        notices: Vec::new(),
    };
    let html = page(&overview, &session, "n1").html();
    assert!(html.contains("Synced") && !html.contains("t-ok"), "{html}");
}
