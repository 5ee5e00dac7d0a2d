//! The invariants of docs/invariants.md about observation, by number.

use galera::observe::observation::ProbeErrorKind;
use galera::view::{NodeState, ReasonCode, VerdictState};

use crate::fixture::{
    FakeServer, FoldFixture, HISTORY, RUNNING_FIELDS, UNDEFINED, failure, id, node, reason,
    reason_codes, refused, state, timed_out,
};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

#[test]
fn i02_unknown_is_not_dead() {
    for kind in ProbeErrorKind::ALL {
        let fixture = MEMBERS
            .iter()
            .fold(FoldFixture::expecting(&MEMBERS), |fixture, member| {
                fixture.fails(member, 0.0, failure(kind, "it failed"))
            });
        let expected = if kind == ProbeErrorKind::Refused {
            VerdictState::Down
        } else {
            VerdictState::Unknown
        };
        assert_eq!(fixture.verdict(), expected, "{}", kind.as_str());
    }
}

#[test]
fn i03_a_registration_is_never_the_verdict() {
    let registered = |fixture: FoldFixture| {
        MEMBERS.iter().fold(fixture, |fixture, member| {
            fixture.registered(member, 9.0, &RUNNING_FIELDS)
        })
    };
    let unseen = registered(FoldFixture::expecting(&MEMBERS)).view();
    assert_eq!(
        unseen.verdict.state,
        VerdictState::Unknown,
        "registered as Synced, but not reachable"
    );
    assert!(unseen.components.is_empty());
    let gone = FoldFixture::healthy();
    assert_eq!(
        gone.verdict(),
        VerdictState::Healthy,
        "a missing registration is not a death"
    );
    let lost = registered(
        FoldFixture::expecting(&MEMBERS[..1]).answers("10.0.0.1", FakeServer::non_primary("db1")),
    );
    assert_eq!(
        lost.verdict(),
        VerdictState::Unknown,
        "other members may be Primary out of the console's sight"
    );
}

#[test]
fn i03_a_late_report_from_a_dead_server_is_ignored() {
    let fixture = |put: f64| {
        FoldFixture::expecting(&MEMBERS[..2])
            .answers("10.0.0.1", FakeServer::non_primary("db1"))
            .fails("10.0.0.2", 4.0, refused())
            .registered("10.0.0.2", put, &RUNNING_FIELDS)
            .verdict()
    };
    assert_eq!(fixture(4.5), VerdictState::NoPrimary);
    assert_eq!(fixture(5.5), VerdictState::Unknown);
}

#[test]
fn i04_expected_members_are_explicit() {
    let mut fixture = FoldFixture::expecting(&["10.0.0.1:3306"]).durable("10.0.0.2");
    fixture.evidence.last_primary_members.insert(id("10.0.0.3"));
    let view = fixture
        .answers("10.0.0.1", FakeServer::synced("db1").view(&["AUTO"], 0))
        .view();
    assert_eq!(view.expected_members, MEMBERS.map(id));
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    assert!(view.nodes.iter().all(|node| node.expected));
}

#[test]
fn i11_undefined_numbers_are_none() {
    let server = FakeServer::non_primary("db1")
        .seqno(UNDEFINED)
        .with_row("wsrep_local_index", UNDEFINED);
    let view = FoldFixture::expecting(&["10.0.0.1"])
        .answers("10.0.0.1", server)
        .view();
    let found = node(&view, "10.0.0.1");
    assert_eq!((&found.position, found.behind), (&None, None));
    assert_eq!(view.components[0].conf_id, None);
    let json = serde_json::to_string(&view).unwrap();
    assert!(!json.contains(UNDEFINED), "{json}");
}

/// Fixtures whose last probes were at `now`, with all members registered once at 1 s.
fn registered_fixtures(now: f64) -> Vec<(&'static str, FoldFixture)> {
    let empty = || FoldFixture::expecting(&MEMBERS).at(now);
    let synced = |count: usize| {
        (0..count).fold(empty(), |fixture, index| {
            fixture.answers(
                MEMBERS[index],
                FakeServer::synced(&format!("db{index}")).view(&["AUTO"; 3], index),
            )
        })
    };
    let blind = MEMBERS.iter().fold(empty(), |fixture, member| {
        fixture.fails(member, -0.5, refused())
    });
    let lost = empty()
        .answers("10.0.0.1", FakeServer::non_primary("db1"))
        .fails("10.0.0.2", -0.5, timed_out())
        .fails("10.0.0.3", -0.5, timed_out());
    let fixtures = vec![
        ("healthy", synced(3)),
        ("degraded", synced(2).fails("10.0.0.3", 5.0, refused())),
        ("blind", blind),
        ("no Primary in sight", lost),
    ];
    let register = |fixture| {
        MEMBERS
            .iter()
            .fold(fixture, |fixture: FoldFixture, member| {
                fixture
                    .registered(member, 1.0, &RUNNING_FIELDS)
                    .durable(member)
            })
    };
    fixtures
        .into_iter()
        .map(|(what, fixture)| (what, register(fixture)))
        .collect()
}

#[test]
fn i18_registry_loss_is_not_database_loss() {
    let before: Vec<VerdictState> = registered_fixtures(9.0)
        .into_iter()
        .map(|(_, fixture)| fixture.verdict())
        .collect();
    use VerdictState::{Degraded, Healthy, Unknown};
    assert_eq!(before, [Healthy, Degraded, Unknown, Unknown]);
    for (lost, now) in [(9.0, 9.5), (2.0, 10.0), (2.0, 13.0), (2.0, 3_600.0)] {
        for ((what, fixture), before) in registered_fixtures(now).into_iter().zip(&before) {
            let view = fixture.registry_lost(lost).view();
            assert_eq!(
                view.verdict.state, *before,
                "{what}, lost at {lost}, now {now}: {:#?}",
                view.verdict
            );
            assert!(reason(&view, ReasonCode::RegistryUnreachable).is_some());
        }
    }
}

#[test]
fn i18_registry_loss_has_a_start_time() {
    let view = FoldFixture::healthy()
        .registered("10.0.0.1", 1.0, &RUNNING_FIELDS)
        .registry_lost(4.0)
        .view();
    let message = &reason(&view, ReasonCode::RegistryUnreachable)
        .unwrap()
        .message;
    assert_eq!(
        message,
        "The registry has been unreachable since 08:12:04 UTC: connection refused. SQL monitoring continues."
    );
    let source = &node(&view, "10.0.0.1").sources[1];
    assert!(
        source
            .error
            .as_deref()
            .is_some_and(|error| error.contains("connection refused"))
    );
    assert!(!view.registry.reachable);
}

#[test]
fn i33_statuses_are_matched_in_any_case() {
    for status in ["Primary", "primary", "PRIMARY"] {
        let server = FakeServer::synced("db1")
            .view(&["AUTO"], 0)
            .with_row("wsrep_cluster_status", status);
        assert_eq!(
            FoldFixture::expecting(&["a"])
                .answers("a", server)
                .verdict(),
            VerdictState::Healthy
        );
    }
    for status in ["non-Primary", "Non-primary", "Non-Primary"] {
        let server = FakeServer::non_primary("db1").with_row("wsrep_cluster_status", status);
        assert_eq!(
            FoldFixture::expecting(&["a"])
                .answers("a", server)
                .verdict(),
            VerdictState::NoPrimary
        );
    }
}

#[test]
fn i33_every_value_carries_its_source_and_age() {
    let view = FoldFixture::healthy()
        .registered("10.0.0.1", 9.0, &RUNNING_FIELDS)
        .view();
    for source in &node(&view, "10.0.0.1").sources {
        assert!(source.observed_at.is_some() && !source.stale);
        assert_eq!(
            (source.state.as_deref(), source.seqno),
            (Some("Synced"), Some(2881))
        );
        assert_eq!(source.cluster_status.as_deref(), Some("Primary"));
    }
}

#[test]
fn a_registration_without_a_node_and_the_reverse() {
    let fixture = FoldFixture::healthy()
        .registered("10.0.0.1", 9.0, &RUNNING_FIELDS)
        .registered("10.0.0.2", 9.0, &RUNNING_FIELDS)
        .registered("10.9.9.9", 9.0, &RUNNING_FIELDS)
        .fails("10.9.9.9", 0.0, timed_out());
    let view = fixture.view();
    assert_eq!(
        view.verdict.state,
        VerdictState::Healthy,
        "neither changes the verdict"
    );
    assert_eq!(
        reason_codes(&view),
        [
            (ReasonCode::AllSynced, None),
            (
                ReasonCode::RegistrationWithoutNode,
                Some("10.9.9.9".to_owned())
            ),
            (
                ReasonCode::NodeWithoutRegistration,
                Some("10.0.0.3".to_owned())
            ),
        ]
    );
    assert_eq!(state(&view, "10.9.9.9"), NodeState::Unreachable);
    let message = &reason(&view, ReasonCode::RegistrationWithoutNode)
        .unwrap()
        .message;
    assert!(
        message.contains("a component that the console cannot see"),
        "{message}"
    );
}

#[test]
fn a_registration_that_contradicts_sql_is_reported() {
    let other = [
        ("wsrep_cluster_status", "non-Primary"),
        ("wsrep_cluster_state_uuid", HISTORY),
    ];
    let lagging = FoldFixture::healthy()
        .registered("10.0.0.1", 1.0, &other)
        .registered("10.0.0.2", 9.0, &RUNNING_FIELDS);
    assert!(
        reason(&lagging.view(), ReasonCode::SourcesDisagree).is_none(),
        "put before the view settled"
    );
    let view = lagging.registered("10.0.0.1", 9.0, &other).view();
    assert_eq!(view.verdict.state, VerdictState::Healthy);
    assert_eq!(
        reason(&view, ReasonCode::SourcesDisagree).unwrap().node,
        Some(id("10.0.0.1"))
    );
}

#[test]
fn unrecognized_keys_are_counted_and_harmless() {
    let mut fixture = FoldFixture::healthy();
    fixture.evidence.unrecognized_keys = 3;
    let fixture = fixture.registered(
        "10.0.0.1",
        9.0,
        &[
            ("wsrep_cluster_status", "\u{fffd}"),
            ("wsrep_last_committed", "many"),
            ("phase", "?"),
        ],
    );
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Healthy);
    assert!(
        reason(&view, ReasonCode::RegistryGarbage)
            .unwrap()
            .message
            .starts_with("3 registry keys")
    );
    assert_eq!(
        node(&view, "10.0.0.1").sources[1].phase.as_deref(),
        Some("?")
    );
}

#[test]
fn megabyte_values_are_truncated() {
    let huge = "x".repeat(2_000_000);
    let fields = [
        ("wsrep_local_state_comment", huge.as_str()),
        ("phase", &huge),
        ("wsrep_incoming_addresses", &huge),
    ];
    let view = FoldFixture::healthy()
        .registered("10.0.0.1", 9.0, &fields)
        .view();
    assert!(serde_json::to_string(&view).unwrap().len() < 10_000);
}
