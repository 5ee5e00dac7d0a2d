use std::time::Duration;

use galera::publish::status_pages::{
    AutoIncidentRule, AutoIncidentStep, DayFigures, HealthEpisode, IncidentState, Link,
    PageCluster, PageClusterSource, PageSettings, PageSources, PublicCluster, PublicIncident,
    PublicMaintenance, PublicState, PublicUpdate, UptimeFigures, compose, next_incident_step,
};
use galera::record::uptime::Date;
use galera::view::{ClusterView, RegistryHealth, Verdict, VerdictState};
use insta::{assert_json_snapshot, assert_snapshot};

use super::*;
use crate::status_pages::{ContentEncoding, LinkSecret};

/// The share of a page in the 20 kB budget of `xtask/src/size_budget.rs`.
const PAGE_BYTES: usize = 14_000;

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T12:00:00Z").unwrap()
}

/// A page with many databases, each with a different history, and much text.
fn sample_content(clusters: usize) -> PublicPage {
    // Numbers without a pattern that compression could exploit.
    let mut seed: u64 = 7;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut cluster = |number: usize| {
        let days = (0..90).rev().map(|back| {
            let bad = random(6) == 0;
            DayFigures {
                date: Date::of(now()).minus(back),
                up: Some(10_000 - if bad { random(400) as u32 } else { 0 }),
                down: if bad { random(200) * 60 } else { 0 },
                degraded: if bad { random(600) * 60 } else { 0 },
                unknown: if random(20) == 0 { random(90) * 60 } else { 0 },
            }
        });
        PublicCluster {
            id: format!("database-{number}"),
            name: format!("Database {number}"),
            state: PublicState::Operational,
            state_without_maintenance: PublicState::Operational,
            inconsistency: None,
            since: Some(now()),
            nodes: Vec::new(),
            days: days.collect(),
            uptime: UptimeFigures {
                week: Some(9_990),
                month: Some(9_954),
                quarter: Some(9_921),
            },
        }
    };
    let incident = |number: usize| {
        PublicIncident {
        id: format!("{number:012x}-00000000"),
        title: format!("Writes of shop {number} were slow"),
        clusters: vec![format!("Database {number}")],
        state: IncidentState::Resolved,
        impact: None,
        opened_at: now(),
        resolved_at: Some(now()),
        updates: (0..4)
            .map(|update| PublicUpdate {
                at: now().plus(Duration::from_secs(update * 977)),
                state: IncidentState::Monitoring,
                text: format!("Update {update}: the disk of node {number} was replaced, and we watch it for a while."),
            })
            .collect(),
    }
    };
    PublicPage {
        slug: "shop".parse().unwrap(),
        title: "Databases of the shop".to_owned(),
        overall: PublicState::Operational,
        clusters: (1..=clusters).map(&mut cluster).collect(),
        incidents: (1..=10).map(incident).collect(),
        maintenance: Vec::new(),
        announcements: Vec::new(),
        stale_since: None,
    }
}

fn sample_page(visibility: PageVisibility, links: Vec<Link>) -> Arc<Versioned<StatusPageRecord>> {
    let settings = PageSettings {
        title: "Databases of the shop".to_owned(),
        clusters: vec![PageCluster {
            cluster: "lab".parse().unwrap(),
            name: "Orders".to_owned(),
        }],
        visibility,
        ..PageSettings::default()
    };
    let page = StatusPageRecord::new("shop".parse().unwrap(), settings, "ada", now()).unwrap();
    Arc::new(Versioned {
        value: StatusPageRecord { links, ..page },
        revision: 1,
    })
}

fn render(content: PublicPage) -> RenderedPage {
    let page = sample_page(PageVisibility::Public, Vec::new());
    RenderedPage::new(page, content, now(), Arc::default())
}

/// A page of one database during an outage, with an open incident and planned maintenance.
fn outage() -> RenderedPage {
    let mut content = sample_content(1);
    content.overall = PublicState::Outage;
    content.clusters[0].state = PublicState::Outage;
    content.clusters[0].state_without_maintenance = PublicState::Outage;
    content.incidents.truncate(1);
    let update = |seconds, state, text: &str| PublicUpdate {
        at: now().minus(Duration::from_secs(seconds)),
        state,
        text: text.to_owned(),
    };
    let incident = &mut content.incidents[0];
    incident.state = IncidentState::Monitoring;
    incident.opened_at = now().minus(Duration::from_secs(1_200));
    incident.resolved_at = None;
    incident.updates = vec![
        update(60, IncidentState::Monitoring, "The disk was replaced."),
        update(1_200, IncidentState::Investigating, "Writes fail."),
    ];
    content.maintenance = vec![PublicMaintenance {
        id: "2-2".to_owned(),
        title: "Upgrade".to_owned(),
        text: "One node after the other.".to_owned(),
        clusters: vec!["Database 1".to_owned()],
        from: now().plus(Duration::from_secs(3_600)),
        until: now().plus(Duration::from_secs(7_200)),
        planned_at: now(),
        current: false,
    }];
    render(content)
}

fn text(body: &CompressedBody) -> String {
    String::from_utf8(body.body(ContentEncoding::Plain).to_vec()).unwrap()
}

#[test]
fn summary_of_an_outage() {
    let summary: serde_json::Value = serde_json::from_str(&text(outage().summary())).unwrap();
    assert_json_snapshot!(summary);
}

#[test]
fn feed_of_an_outage() {
    assert_snapshot!(text(outage().feed(PageLocation::Slug)));
}

#[test]
fn badge_of_an_outage() {
    let whole_page = BadgeSubject {
        cluster: None,
        days: None,
    };
    let badge = text(&outage().badge(whole_page).unwrap());
    assert_snapshot!(badge.replace("><", ">\n<"));
}

#[test]
fn a_page_of_a_dozen_databases_fits_the_size_budget() {
    let rendered = render(sample_content(12));
    for location in [PageLocation::Slug, PageLocation::Secret] {
        let size = rendered.html(location).body(ContentEncoding::Brotli).len();
        assert!(size <= PAGE_BYTES, "{size} bytes, at most {PAGE_BYTES}");
    }
}

/// A page of one cluster in each of its formats while the cluster's verdict is `verdict`.
fn rendered_forms(verdict: VerdictState) -> [String; 4] {
    let view = ClusterView {
        name: "lab".parse().unwrap(),
        revision: 1,
        observed_at: now(),
        verdict: Verdict {
            state: verdict,
            reasons: Vec::new(),
            since: now(),
        },
        expected_members: Vec::new(),
        components: Vec::new(),
        nodes: Vec::new(),
        quorum: None,
        arbitrators: Vec::new(),
        last_transfer: None,
        labels: std::collections::BTreeMap::new(),
        registry: RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        },
    };
    let known = PageClusterSource {
        view: &view,
        since: now(),
        days: Vec::new(),
    };
    let mut sources = PageSources::default();
    sources.clusters.insert(view.name.clone(), known);
    let mut episode = HealthEpisode::default();
    episode.observe(verdict, now());
    let rule = Some(AutoIncidentRule {
        after_secs: 0,
        degraded: true,
    });
    let step = next_incident_step(&view.name, &episode, rule, &[], false, "r1", now());
    if let Some(AutoIncidentStep::Open(incident)) = &step {
        sources.incidents.push(incident);
    }
    let page = sample_page(PageVisibility::Public, Vec::new());
    let content = compose(&page.value, &sources, now());
    let rendered = RenderedPage::new(page, content, now(), Arc::default());
    let badge = rendered.badge(BadgeSubject {
        cluster: None,
        days: None,
    });
    [
        rendered.html(PageLocation::Slug),
        rendered.summary(),
        rendered.feed(PageLocation::Slug),
        &badge.unwrap(),
    ]
    .map(text)
}

#[test]
fn every_verdict_is_shown_truthfully_in_every_format() {
    let split = "Parts of it accept writes independently of each other.";
    let diverged = "Parts of it hold different data.";
    let silent = "Unavailable: no reads or writes are accepted.";
    for (verdict, meaning, status, badge, entry) in [
        (
            VerdictState::SplitBrain,
            split,
            "major_outage",
            "outage",
            "Parts of the database accept writes independently",
        ),
        (
            VerdictState::Diverged,
            diverged,
            "major_outage",
            "outage",
            "Parts of the database hold different data",
        ),
        (
            VerdictState::NoPrimary,
            silent,
            "major_outage",
            "outage",
            "The database is not accepting reads or writes",
        ),
        (
            VerdictState::Down,
            silent,
            "major_outage",
            "outage",
            "The database is not accepting reads or writes",
        ),
        (
            VerdictState::Degraded,
            "with reduced redundancy",
            "degraded_performance",
            "degraded",
            "The database is working with reduced redundancy",
        ),
        (
            VerdictState::Unknown,
            "The database itself may be working.",
            "unknown",
            "unknown",
            "",
        ),
        (
            VerdictState::Healthy,
            "Accepting reads and writes.",
            "operational",
            "operational",
            "",
        ),
    ] {
        let [html, summary, feed, picture] = rendered_forms(verdict);
        assert!(html.contains(meaning), "{verdict:?}: {html}");
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        let component = &summary["components"][0]["status"];
        assert_eq!(component, status, "{verdict:?}: {summary}");
        let title = format!("<title>Databases of the shop: {badge}</title>");
        assert!(picture.contains(&title), "{verdict:?}: {picture}");
        if entry.is_empty() {
            assert!(!feed.contains("<entry>"), "{verdict:?}: {feed}");
        } else {
            assert!(feed.contains(entry), "{verdict:?}: {feed}");
        }
        if verdict != VerdictState::Healthy {
            let fine = summary["status"]["indicator"] == "none"
                || html.contains("Operational")
                || html.contains("All systems operational<")
                || picture.contains("operational");
            assert!(
                !fine,
                "{verdict:?} looks fine: {html}\n{summary}\n{picture}"
            );
        }
    }
}

#[test]
fn unchanged_formats_are_rendered_once() {
    let first = render(sample_content(1));
    let later = first.refreshed(now().plus(Duration::from_secs(20)));
    assert_eq!(first.version, later.version);
    assert_eq!(
        first.feed(PageLocation::Slug).etag.as_bytes().as_ptr(),
        later.feed(PageLocation::Slug).etag.as_bytes().as_ptr()
    );
    assert_ne!(
        first.html(PageLocation::Slug).etag,
        later.html(PageLocation::Slug).etag
    );
    assert_ne!(first.version, render(sample_content(2)).version);
}

#[test]
fn a_secret_opens_its_page_until_it_expires() {
    let secret = LinkSecret::generate();
    let link = Link {
        id: "1-1".to_owned(),
        label: "Partner".to_owned(),
        hash: secret.hash(),
        created_by: "ada".to_owned(),
        created_at: now(),
        expires_at: Some(now().plus(Duration::from_secs(60))),
        revoked_at: None,
    };
    let pages_with = |visibility, link: Link| {
        let page = sample_page(visibility, vec![link]);
        let rendered = RenderedPage::new(page, sample_content(1), now(), Arc::default());
        RenderedPages::new(BTreeMap::from([("shop".to_owned(), Arc::new(rendered))]))
    };
    let valid = pages_with(PageVisibility::Link, link.clone());
    assert!(valid.page_for_secret(secret.expose(), now()).is_some());
    assert!(valid.page_for_secret("", now()).is_none());
    assert!(valid.page_for_secret(&secret.hash(), now()).is_none());
    let late = now().plus(Duration::from_secs(60));
    assert!(valid.page_for_secret(secret.expose(), late).is_none());
    // Links of a page that needs none are ignored.
    let members = pages_with(PageVisibility::Members, link.clone());
    assert!(members.page_for_secret(secret.expose(), now()).is_none());
    let revoked = Link {
        revoked_at: Some(now()),
        ..link
    };
    let revoked = pages_with(PageVisibility::Link, revoked);
    assert!(revoked.page_for_secret(secret.expose(), now()).is_none());
}
