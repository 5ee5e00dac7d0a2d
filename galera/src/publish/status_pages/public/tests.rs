use std::time::Duration;

use super::*;
use crate::publish::status_pages::{NewIncident, NewMaintenance, PageSettings, PageVisibility};
use crate::record::uptime::DAY_MS;
use crate::view::{RegistryHealth, Verdict, VerdictState};

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T12:00:00Z").unwrap()
}

fn page(clusters: &[(&str, &str)], show: NodeDetailSettings) -> StatusPageRecord {
    let listed = clusters.iter().map(|(cluster, name)| PageCluster {
        cluster: cluster.parse().unwrap(),
        name: (*name).to_owned(),
    });
    let settings = PageSettings {
        title: "Shop".to_owned(),
        clusters: listed.collect(),
        visibility: PageVisibility::Public,
        show,
        ..PageSettings::default()
    };
    StatusPageRecord::new("shop".parse().unwrap(), settings, "ada", now()).unwrap()
}

fn view(state: VerdictState) -> ClusterView {
    let node = NodeView {
        id: "10.1.2.3".parse().unwrap(),
        name: Some("db-secret-1".to_owned()),
        state: NodeState::Synced,
        state_comment: None,
        cluster_status: None,
        position: crate::Position::new(uuid::Uuid::from_u128(7), 4_711),
        position_fresh: true,
        behind: None,
        commit_rate: None,
        recent_rates: Vec::new(),
        recv_queue: None,
        send_queue: None,
        flow_control_paused: None,
        ready: None,
        connected: None,
        segment: None,
        version: Some("10.11.19-MariaDB".to_owned()),
        gcomm_uuid: None,
        evs_state: None,
        expected: true,
        registered: true,
        sources: Vec::new(),
    };
    ClusterView {
        name: "lab".parse().unwrap(),
        revision: 1,
        observed_at: now(),
        verdict: Verdict {
            state,
            reasons: Vec::new(),
            since: now(),
        },
        expected_members: Vec::new(),
        components: Vec::new(),
        nodes: vec![node],
        registry: RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        },
    }
}

fn sources<'a>(views: &'a [(&str, ClusterView)]) -> PageSources<'a> {
    let known = |view| PageClusterSource {
        view,
        since: now(),
        days: Vec::new(),
    };
    PageSources {
        clusters: views
            .iter()
            .map(|(name, view)| (name.parse().unwrap(), known(view)))
            .collect(),
        ..PageSources::default()
    }
}

#[test]
fn nothing_of_the_inside_gets_out_unless_the_page_says_so() {
    let views = [("lab", view(VerdictState::Healthy))];
    let secrets = ["lab", "10.1.2.3", "db-secret-1", "10.11.19", "4711"];
    let told = compose(
        &page(&[("lab", "Orders")], NodeDetailSettings::default()),
        &sources(&views),
        now(),
    );
    let text = format!("{told:?}");
    for secret in secrets {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    for (show, shown) in [
        (
            NodeDetailSettings {
                hosts: true,
                ..NodeDetailSettings::default()
            },
            "db-secret-1",
        ),
        (
            NodeDetailSettings {
                addresses: true,
                ..NodeDetailSettings::default()
            },
            "10.1.2.3",
        ),
        (
            NodeDetailSettings {
                versions: true,
                ..NodeDetailSettings::default()
            },
            "10.11.19",
        ),
        (
            NodeDetailSettings {
                positions: true,
                ..NodeDetailSettings::default()
            },
            "4711",
        ),
    ] {
        let told = compose(&page(&[("lab", "Orders")], show), &sources(&views), now());
        let text = format!("{:?}", told.clusters);
        for secret in secrets {
            assert_eq!(text.contains(secret), secret == shown, "{secret}: {text}");
        }
    }
}

#[test]
fn what_the_console_does_not_know_is_unknown_and_never_down() {
    let views = [("lab", view(VerdictState::Unknown))];
    let two = page(
        &[("lab", "A"), ("nowhere", "B")],
        NodeDetailSettings::default(),
    );
    let told = compose(&two, &sources(&views), now());
    assert!(
        told.clusters
            .iter()
            .all(|c| c.state == PublicState::Unknown)
    );
    assert_eq!(told.summary(), "All databases are in an unknown state");
}

#[test]
fn a_database_that_answers_and_must_not_be_relied_on_is_an_outage_with_its_own_words() {
    let only = page(&[("lab", "A")], NodeDetailSettings::default());
    let told = |state| {
        let views = [("lab", view(state))];
        compose(&only, &sources(&views), now())
    };
    for (state, apart, sentence) in [
        (
            VerdictState::SplitBrain,
            Some(DataInconsistency::SplitBrain),
            "The database is not to be relied on",
        ),
        (
            VerdictState::Diverged,
            Some(DataInconsistency::Diverged),
            "The database is not to be relied on",
        ),
        (
            VerdictState::NoPrimary,
            None,
            "The database is not available",
        ),
        (VerdictState::Down, None, "The database is not available"),
    ] {
        let told = told(state);
        assert_eq!(told.overall, PublicState::Outage, "{state:?}");
        assert_eq!(told.clusters[0].inconsistency, apart, "{state:?}");
        assert_eq!(told.summary(), sentence, "{state:?}");
    }
    // Of both kinds nothing is said that one of them is not.
    let views = [
        ("a", view(VerdictState::SplitBrain)),
        ("b", view(VerdictState::Down)),
    ];
    let both = page(&[("a", "A"), ("b", "B")], NodeDetailSettings::default());
    let told = compose(&both, &sources(&views), now());
    assert_eq!(told.summary(), "All databases are not available");
}

#[test]
fn the_worst_state_stands_above_all() {
    let views = [
        ("a", view(VerdictState::Healthy)),
        ("b", view(VerdictState::NoPrimary)),
        ("c", view(VerdictState::Unknown)),
    ];
    let three = page(
        &[("a", "A"), ("b", "B"), ("c", "C")],
        NodeDetailSettings::default(),
    );
    let told = compose(&three, &sources(&views), now());
    assert_eq!(told.overall, PublicState::Outage);
    assert_eq!(told.summary(), "1 of 3 databases is not available");
}

#[test]
fn maintenance_stands_before_the_state_and_says_what_it_is_meanwhile() {
    let new = NewMaintenance {
        clusters: vec!["lab".parse().unwrap()],
        title: "Upgrade".to_owned(),
        text: "Soon.".to_owned(),
        from: None,
        until: now().plus(Duration::from_secs(60)),
    };
    let maintenance = Maintenance::plan(&new, "1-1", "olga", now()).unwrap();
    let views = [("lab", view(VerdictState::Down))];
    let mut sources = sources(&views);
    sources.maintenance.push(&maintenance);
    let page = page(&[("lab", "A")], NodeDetailSettings::default());
    let told = compose(&page, &sources, now());
    let shown = &told.clusters[0];
    assert_eq!(
        (shown.state, shown.state_without_maintenance),
        (PublicState::Maintenance, PublicState::Outage)
    );
    assert!(told.maintenance[0].current);
    let split = view(VerdictState::SplitBrain);
    let lab = "lab".parse().unwrap();
    sources.clusters.get_mut(&lab).unwrap().view = &split;
    let told = compose(&page, &sources, now());
    assert_eq!(told.overall, PublicState::Outage);
    assert!(told.maintenance[0].current);
    let told = compose(&page, &sources, now().plus(Duration::from_secs(60)));
    assert_eq!(told.overall, PublicState::Outage);
    assert!(told.maintenance.is_empty());
}

#[test]
fn incidents_are_told_where_their_clusters_are_shown_without_who_wrote_them() {
    let new = NewIncident {
        clusters: vec!["lab".parse().unwrap(), "other".parse().unwrap()],
        title: "Slow".to_owned(),
        text: "We look.".to_owned(),
        state: IncidentState::Investigating,
    };
    let incident = Incident::open(&new, "1-1", "olga", now()).unwrap();
    let mut sources = PageSources::default();
    sources.incidents.push(&incident);
    let told = compose(
        &page(&[("lab", "Orders")], NodeDetailSettings::default()),
        &sources,
        now(),
    );
    assert_eq!(told.incidents[0].clusters, ["Orders"]);
    assert!(!format!("{told:?}").contains("olga"));
    let elsewhere = compose(
        &page(&[("prod", "X")], NodeDetailSettings::default()),
        &sources,
        now(),
    );
    assert!(elsewhere.incidents.is_empty());
}

#[test]
fn old_incidents_are_forgotten_and_open_ones_are_not() {
    let new = |state| NewIncident {
        clusters: vec!["lab".parse().unwrap()],
        title: "Slow".to_owned(),
        text: "We look.".to_owned(),
        state,
    };
    let long_ago = Timestamp::from_unix_millis(now().unix_millis() - 91 * DAY_MS);
    let open = Incident::open(&new(IncidentState::Identified), "1-1", "olga", long_ago).unwrap();
    let over = Incident::open(&new(IncidentState::Resolved), "1-2", "olga", long_ago).unwrap();
    let mut sources = PageSources::default();
    sources.incidents.extend([&open, &over]);
    let told = compose(
        &page(&[("lab", "A")], NodeDetailSettings::default()),
        &sources,
        now(),
    );
    let ids: Vec<&str> = told.incidents.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["1-1"]);
}

#[test]
fn a_second_of_outage_is_never_rounded_away() {
    let day = UptimeDay {
        date: Date::of(now()),
        spent: AvailabilityTotals {
            ok: 86_399_000,
            down: 1_000,
            ..AvailabilityTotals::default()
        },
    };
    let figures = DayFigures::of(&day);
    assert_eq!((figures.up, figures.down), (Some(9_999), 1));
    assert_eq!(figures.worst(), Some(PublicState::Outage));
}

#[test]
fn what_lasts_is_not_news_every_second() {
    let lasting = |seconds: u64| rounded_seconds(seconds * 1_000);
    assert_eq!((lasting(61), lasting(119), lasting(120)), (60, 60, 120));
    assert_eq!((lasting(12), lasting(19)), (10, 10));
}

#[test]
fn public_names_become_parts_of_addresses() {
    let names = page(
        &[
            ("a", "Orders & more"),
            ("b", "orders: more"),
            ("c", "数据库"),
        ],
        NodeDetailSettings::default(),
    );
    let told = compose(&names, &PageSources::default(), now());
    let ids: Vec<&str> = told.clusters.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["orders-more", "orders-more-2", "cluster"]);
}
