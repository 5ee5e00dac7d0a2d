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
        votes: None,
        cached_from: None,
        segment: None,
        version: Some("10.11.19-MariaDB".to_owned()),
        gcomm_uuid: None,
        evs_state: None,
        expected: true,
        registered: true,
        unconfirmed: false,
        names: Vec::new(),
        findings: Vec::new(),
        transfer: None,
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
        quorum: None,
        arbitrators: Vec::new(),
        last_transfer: None,
        labels: std::collections::BTreeMap::new(),
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
fn internal_details_are_shown_only_if_configured() {
    let views = [("lab", view(VerdictState::Healthy))];
    let secrets = ["lab", "10.1.2.3", "db-secret-1", "10.11.19", "4711"];
    let content = compose(
        &page(&[("lab", "Orders")], NodeDetailSettings::default()),
        &sources(&views),
        now(),
    );
    let text = format!("{content:?}");
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
        let content = compose(&page(&[("lab", "Orders")], show), &sources(&views), now());
        let text = format!("{:?}", content.clusters);
        for secret in secrets {
            assert_eq!(text.contains(secret), secret == shown, "{secret}: {text}");
        }
    }
}

#[test]
fn missing_evidence_is_unknown_and_never_down() {
    let views = [("lab", view(VerdictState::Unknown))];
    let two = page(
        &[("lab", "A"), ("nowhere", "B")],
        NodeDetailSettings::default(),
    );
    let content = compose(&two, &sources(&views), now());
    assert!(
        content
            .clusters
            .iter()
            .all(|c| c.state == PublicState::Unknown)
    );
    assert_eq!(content.summary(), "All databases are in an unknown state");
}

#[test]
fn an_inconsistent_database_is_an_outage_with_its_own_summary() {
    let only = page(&[("lab", "A")], NodeDetailSettings::default());
    let compose_state = |state| {
        let views = [("lab", view(state))];
        compose(&only, &sources(&views), now())
    };
    for (state, apart, sentence) in [
        (
            VerdictState::SplitBrain,
            Some(DataInconsistency::SplitBrain),
            "Data may be inconsistent: do not rely on it",
        ),
        (
            VerdictState::Diverged,
            Some(DataInconsistency::Diverged),
            "Data may be inconsistent: do not rely on it",
        ),
        (VerdictState::NoPrimary, None, "The database is unavailable"),
        (VerdictState::Down, None, "The database is unavailable"),
    ] {
        let content = compose_state(state);
        assert_eq!(content.overall, PublicState::Outage, "{state:?}");
        assert_eq!(content.clusters[0].inconsistency, apart, "{state:?}");
        assert_eq!(content.summary(), sentence, "{state:?}");
    }
    // With both kinds, no summary may be wrong about one of them.
    let views = [
        ("a", view(VerdictState::SplitBrain)),
        ("b", view(VerdictState::Down)),
    ];
    let both = page(&[("a", "A"), ("b", "B")], NodeDetailSettings::default());
    let content = compose(&both, &sources(&views), now());
    assert_eq!(content.summary(), "All databases are unavailable");
}

#[test]
fn an_open_incident_is_in_the_summary_of_operational_databases() {
    let only = page(&[("lab", "A")], NodeDetailSettings::default());
    let views = [("lab", view(VerdictState::Healthy))];
    let mut content = compose(&only, &sources(&views), now());
    assert_eq!(content.summary(), "All systems operational");
    let incident = |resolved_at| PublicIncident {
        id: "1".to_owned(),
        title: "Writes are slow".to_owned(),
        clusters: Vec::new(),
        state: IncidentState::Investigating,
        impact: None,
        opened_at: now(),
        resolved_at,
        updates: Vec::new(),
    };
    content.incidents = vec![incident(Some(now()))];
    assert_eq!(content.summary(), "All systems operational");
    content.incidents.push(incident(None));
    assert_eq!(
        content.summary(),
        "Open incident; all databases accept reads and writes"
    );
}

#[test]
fn the_headline_is_the_worse_of_what_is_measured_and_what_incidents_say() {
    let only = page(&[("lab", "A")], NodeDetailSettings::default());
    let headline = |verdict, impacts: &[Option<IncidentImpact>]| {
        let views = [("lab", view(verdict))];
        let mut content = compose(&only, &sources(&views), now());
        content.incidents = impacts
            .iter()
            .map(|impact| PublicIncident {
                id: "1".to_owned(),
                title: "Writes are slow".to_owned(),
                clusters: Vec::new(),
                state: IncidentState::Investigating,
                impact: *impact,
                opened_at: now(),
                resolved_at: None,
                updates: Vec::new(),
            })
            .collect();
        (content.headline_state(), content.summary())
    };
    use IncidentImpact::{Critical, Major, Minor};
    let measured = "Open incident; all databases accept reads and writes";
    for (verdict, impacts, state, summary) in [
        (
            VerdictState::Healthy,
            &[None][..],
            PublicState::Operational,
            measured,
        ),
        (
            VerdictState::Healthy,
            &[Some(IncidentImpact::None)],
            PublicState::Operational,
            measured,
        ),
        (
            VerdictState::Healthy,
            &[Some(Minor)],
            PublicState::Degraded,
            "Minor impact: Writes are slow",
        ),
        (
            VerdictState::Healthy,
            &[Some(Minor), Some(Critical), None],
            PublicState::Outage,
            "Critical impact: Writes are slow",
        ),
        (
            VerdictState::Degraded,
            &[Some(Minor)],
            PublicState::Degraded,
            "The database is degraded, but working",
        ),
        (
            VerdictState::Degraded,
            &[Some(Major)],
            PublicState::Outage,
            "Major impact: Writes are slow",
        ),
        (
            VerdictState::Down,
            &[Some(Major)],
            PublicState::Outage,
            "The database is unavailable",
        ),
    ] {
        assert_eq!(
            headline(verdict, impacts),
            (state, summary.to_owned()),
            "{verdict:?} {impacts:?}"
        );
    }
}

#[test]
fn the_worst_state_is_the_overall_state() {
    let views = [
        ("a", view(VerdictState::Healthy)),
        ("b", view(VerdictState::NoPrimary)),
        ("c", view(VerdictState::Unknown)),
    ];
    let three = page(
        &[("a", "A"), ("b", "B"), ("c", "C")],
        NodeDetailSettings::default(),
    );
    let content = compose(&three, &sources(&views), now());
    assert_eq!(content.overall, PublicState::Outage);
    assert_eq!(content.summary(), "1 of 3 databases is unavailable");
}

#[test]
fn maintenance_hides_the_state_except_a_split_brain() {
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
    let content = compose(&page, &sources, now());
    let shown = &content.clusters[0];
    assert_eq!(
        (shown.state, shown.state_without_maintenance),
        (PublicState::Maintenance, PublicState::Outage)
    );
    assert!(content.maintenance[0].current);
    let split = view(VerdictState::SplitBrain);
    let lab = "lab".parse().unwrap();
    sources.clusters.get_mut(&lab).unwrap().view = &split;
    let content = compose(&page, &sources, now());
    assert_eq!(content.overall, PublicState::Outage);
    assert!(content.maintenance[0].current);
    let content = compose(&page, &sources, now().plus(Duration::from_secs(60)));
    assert_eq!(content.overall, PublicState::Outage);
    assert!(content.maintenance.is_empty());
}

#[test]
fn incidents_are_shown_with_their_clusters_and_without_authors() {
    let new = NewIncident {
        clusters: vec!["lab".parse().unwrap(), "other".parse().unwrap()],
        title: "Slow".to_owned(),
        text: "We look.".to_owned(),
        state: IncidentState::Investigating,
        impact: None,
    };
    let incident = Incident::open(&new, "1-1", "olga", now()).unwrap();
    let mut sources = PageSources::default();
    sources.incidents.push(&incident);
    let content = compose(
        &page(&[("lab", "Orders")], NodeDetailSettings::default()),
        &sources,
        now(),
    );
    assert_eq!(content.incidents[0].clusters, ["Orders"]);
    assert!(!format!("{content:?}").contains("olga"));
    let elsewhere = compose(
        &page(&[("prod", "X")], NodeDetailSettings::default()),
        &sources,
        now(),
    );
    assert!(elsewhere.incidents.is_empty());
}

#[test]
fn old_incidents_are_dropped_unless_open() {
    let new = |state| NewIncident {
        clusters: vec!["lab".parse().unwrap()],
        title: "Slow".to_owned(),
        text: "We look.".to_owned(),
        state,
        impact: None,
    };
    let long_ago = Timestamp::from_unix_millis(now().unix_millis() - 91 * DAY_MS);
    let open = Incident::open(&new(IncidentState::Identified), "1-1", "olga", long_ago).unwrap();
    let over = Incident::open(&new(IncidentState::Resolved), "1-2", "olga", long_ago).unwrap();
    let mut sources = PageSources::default();
    sources.incidents.extend([&open, &over]);
    let content = compose(
        &page(&[("lab", "A")], NodeDetailSettings::default()),
        &sources,
        now(),
    );
    let ids: Vec<&str> = content.incidents.iter().map(|i| i.id.as_str()).collect();
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
fn a_lasting_state_does_not_change_every_second() {
    let lasting = |seconds: u64| rounded_seconds(seconds * 1_000);
    assert_eq!((lasting(61), lasting(119), lasting(120)), (60, 60, 120));
    assert_eq!((lasting(12), lasting(19)), (10, 10));
}

#[test]
fn public_names_become_url_ids() {
    let names = page(
        &[
            ("a", "Orders & more"),
            ("b", "orders: more"),
            ("c", "数据库"),
        ],
        NodeDetailSettings::default(),
    );
    let content = compose(&names, &PageSources::default(), now());
    let ids: Vec<&str> = content.clusters.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["orders-more", "orders-more-2", "cluster"]);
}
