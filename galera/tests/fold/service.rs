//! Members that are Synced and refuse work, and flow control.

use galera::judge::service::{ServiceLimit, service_limits};
use galera::view::{ClusterView, ReasonCode, VerdictState};

use crate::fixture::{FakeServer, FoldFixture, at, id, node, reason};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

fn server(number: usize) -> FakeServer {
    FakeServer::synced(&format!("db{number}"))
        .view(&["AUTO"; 3], number - 1)
        .with_row("wsrep_on", "ON")
        .with_row("wsrep_reject_queries", "NONE")
        .with_row("read_only", "OFF")
        .with_row("wsrep_desync", "OFF")
}

/// A view of three members, of which `limited` have a row replaced.
fn view(limited: &[usize], name: &str, value: &str) -> ClusterView {
    let mut fixture = FoldFixture::expecting(&MEMBERS);
    for number in 1..=3 {
        let mut server = server(number);
        if limited.contains(&number) {
            server = server.with_row(name, value);
        }
        fixture = fixture.answers(MEMBERS[number - 1], server);
    }
    fixture.view()
}

#[test]
fn a_member_that_refuses_queries_is_not_healthy() {
    for (name, value, code) in [
        ("wsrep_ready", "OFF", "not_ready"),
        ("wsrep_reject_queries", "ALL", "queries_rejected"),
        ("wsrep_reject_queries", "ALL_KILL", "queries_rejected"),
        ("offline_mode", "ON", "offline"),
    ] {
        for limited in [&[2][..], &[1, 2, 3]] {
            let view = view(limited, name, value);
            assert_eq!(view.verdict.state, VerdictState::Degraded, "{name}");
            let refused = reason(&view, ReasonCode::QueriesRefused).unwrap();
            assert!(refused.message.contains(name), "{}", refused.message);
            assert_eq!(node(&view, "10.0.0.2").findings[0].code, code);
            assert_eq!(
                reason(&view, ReasonCode::WritesRefused).is_some(),
                limited.len() == 3
            );
        }
    }
}

#[test]
fn writes_that_are_not_replicated_are_named() {
    let view = view(&[2], "wsrep_on", "OFF");
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    let named = reason(&view, ReasonCode::WritesNotReplicated).unwrap();
    assert_eq!(named.node, Some(id("10.0.0.2")));
    assert!(
        named.message.contains("writes there are not replicated"),
        "{}",
        named.message
    );
}

/// MariaDB reports neither state nor position while `wsrep_on` is OFF.
#[test]
fn a_server_that_reports_no_state_because_wsrep_is_off_says_so() {
    let off = server(2)
        .state("", "")
        .with_row("wsrep_last_committed", "")
        .with_row("wsrep_evs_state", "")
        .with_row("wsrep_on", "OFF");
    let view = FoldFixture::healthy()
        .answers_between("10.0.0.2", off, 11.0, 12.0)
        .at(12.0)
        .view();
    let named = reason(&view, ReasonCode::WritesNotReplicated).unwrap();
    assert!(
        named.message.contains("SET GLOBAL wsrep_on=ON"),
        "{}",
        named.message
    );
    assert!(
        reason(&view, ReasonCode::NoEvidence)
            .is_none_or(|other| other.node != Some(id("10.0.0.2")))
    );
}

#[test]
fn a_read_only_member_is_shown_and_only_a_cluster_without_a_writer_is_degraded() {
    for (name, value) in [
        ("read_only", "ON"),
        ("super_read_only", "1"),
        ("read_only", "NO_LOCK"),
    ] {
        let single = view(&[3], name, value);
        assert_eq!(single.verdict.state, VerdictState::Healthy, "{name}");
        assert_eq!(node(&single, "10.0.0.3").findings[0].code, "read_only");
        let all = view(&[1, 2, 3], name, value);
        assert_eq!(all.verdict.state, VerdictState::Degraded, "{name}");
        assert!(reason(&all, ReasonCode::WritesRefused).is_some());
        assert!(reason(&all, ReasonCode::QueriesRefused).is_none());
    }
}

#[test]
fn maintenance_and_values_that_limit_nothing_change_no_verdict() {
    let maintained = view(&[1], "pxc_maint_mode", "MAINTENANCE");
    assert_eq!(maintained.verdict.state, VerdictState::Healthy);
    assert_eq!(
        node(&maintained, "10.0.0.1").findings[0].code,
        "maintenance"
    );
    for (name, value) in [
        ("pxc_maint_mode", "DISABLED"),
        ("wsrep_reject_queries", "none"),
        ("offline_mode", "0"),
    ] {
        let view = view(&[1], name, value);
        assert_eq!(view.verdict.state, VerdictState::Healthy, "{name}");
        assert!(node(&view, "10.0.0.1").findings.is_empty(), "{name}");
    }
}

#[test]
fn a_desynced_donor_is_named_as_one() {
    let desynced = server(3)
        .state("2", "Donor/Desynced")
        .with_row("wsrep_desync", "ON");
    let view = FoldFixture::healthy().answers("10.0.0.3", desynced).view();
    let named = reason(&view, ReasonCode::MemberNotSynced).unwrap();
    assert!(
        named.message.contains("as for a backup"),
        "{}",
        named.message
    );
}

#[test]
fn outside_a_primary_component_a_server_is_not_expected_to_be_ready() {
    assert!(service_limits(&FakeServer::non_primary("db1").status()).is_empty());
    let rejects = FakeServer::non_primary("db1").with_row("wsrep_reject_queries", "ALL");
    assert_eq!(
        service_limits(&rejects.status()),
        [ServiceLimit::QueriesRejected]
    );
}

/// One node asks, all are paused: the one that asks is named, and only while it lasts.
#[test]
fn lasting_flow_control_names_the_slow_node() {
    let mut fixture = FoldFixture::expecting(&MEMBERS);
    let observe = |fixture: &mut FoldFixture, second: u32, paused_ms: u64, sent: u64| {
        for number in 1..=3 {
            let own = if number == 2 { sent } else { 0 };
            let server = server(number)
                .with_row(
                    "wsrep_flow_control_paused_ns",
                    &(paused_ms * 1_000_000).to_string(),
                )
                .with_row("wsrep_flow_control_sent", &own.to_string());
            let probe = fixture
                .evidence
                .probes
                .entry(id(MEMBERS[number - 1]))
                .or_default();
            probe.record_success(at(second.into()), server.status());
        }
        fixture.now = second.into();
    };
    let (mut paused, mut sent) = (0, 0);
    let mut named = Vec::new();
    for second in 0..60 {
        observe(&mut fixture, second, paused, sent);
        let view = fixture.view();
        assert_eq!(view.verdict.state, VerdictState::Healthy);
        named.push(reason(&view, ReasonCode::FlowControl).map(|reason| reason.node.clone()));
        // One short pause, then ten seconds of long ones.
        match second {
            3 => paused += 300,
            20..30 => (paused, sent) = (paused + 600, sent + 40),
            _ => {}
        }
    }
    assert!(named[..21].iter().all(Option::is_none));
    assert!(
        named[25..30]
            .iter()
            .all(|node| *node == Some(Some(id("10.0.0.2"))))
    );
    assert!(named[50..].iter().all(Option::is_none));
    let changes = named.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes, 2, "the reason does not flap");
}
