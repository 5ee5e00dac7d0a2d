//! Node states, and the source that decides each.

use galera::observe::observation::ProbeErrorKind;
use galera::view::{ClusterStatus, NodeState, ReasonCode, SourceKind};

use crate::fixture::{
    FakeServer, FoldFixture, HISTORY, NIL, RUNNING_FIELDS, UNDEFINED, at, denied, failure, node,
    refused, state, timed_out,
};

#[test]
fn every_state_that_a_server_reports() {
    use NodeState as N;
    // wsrep_local_state, wsrep_local_state_comment, wsrep_cluster_status, the state.
    let table = [
        ("0", "Initialized", "non-Primary", N::Initialized),
        ("0", "Initialized", "Disconnected", N::Initialized),
        ("0", "Destroyed", "Disconnected", N::Initialized),
        ("0", "", "non-Primary", N::Initialized),
        (
            "0",
            "Joining: receiving State Transfer",
            "non-Primary",
            N::Joining,
        ),
        ("1", "Joining", "Primary", N::Joining),
        (
            "1",
            "Joining: receiving State Transfer",
            "Primary",
            N::Joining,
        ),
        (
            "1",
            "Joining: receiving State Transfer",
            "non-Primary",
            N::Joining,
        ),
        (
            "1",
            "Joining: State Transfer request failed",
            "Primary",
            N::Joining,
        ),
        (
            "1",
            "Joining: State Transfer failed",
            "non-Primary",
            N::Joining,
        ),
        ("1", "Joining:", "Primary", N::Joining),
        ("2", "Donor/Desynced", "Primary", N::Donor),
        ("3", "Joined", "Primary", N::Joined),
        ("4", "Synced", "Primary", N::Synced),
        ("4", "Synced", "Disconnected", N::Initialized),
        ("5", "Inconsistent", "Disconnected", N::Inconsistent),
        ("0", "Inconsistent", "Disconnected", N::Inconsistent),
        ("5", "", "Primary", N::Inconsistent),
        ("6", "Whatever comes next", "Primary", N::Unknown),
        ("", "", "Primary", N::Unknown),
        ("", "Synced", "Primary", N::Synced),
    ];
    for (number, comment, status, expected) in table {
        let server = FakeServer::synced("db1")
            .state(number, comment)
            .with_row("wsrep_cluster_status", status);
        let view = FoldFixture::expecting(&["10.0.0.1"])
            .answers("10.0.0.1", server)
            .view();
        let found = node(&view, "10.0.0.1");
        assert_eq!(found.state, expected, "{number} {comment:?} {status}");
        let comment = (!comment.is_empty()).then_some(comment);
        assert_eq!(found.state_comment.as_deref(), comment);
    }
}

#[test]
fn every_failure_of_a_probe() {
    for kind in ProbeErrorKind::ALL {
        let fixture = FoldFixture::expecting(&["10.0.0.1"]).fails(
            "10.0.0.1",
            4.0,
            failure(kind, "it failed"),
        );
        let expected = if kind.proves_running() {
            NodeState::Unknown
        } else {
            NodeState::Unreachable
        };
        let view = fixture.view();
        let found = node(&view, "10.0.0.1");
        assert_eq!(found.state, expected, "{}", kind.as_str());
        let sql = &found.sources[0];
        assert_eq!(
            (sql.kind, sql.stale, sql.error.as_deref()),
            (SourceKind::Sql, true, Some("it failed"))
        );
        assert_eq!(sql.failing_since, Some(at(4.0)));
        assert_eq!(sql.error_code.as_deref(), Some(kind.as_str()));
    }
}

/// The verdict says what the server answered, never that it does not.
#[test]
fn i2_a_server_that_answers_with_an_error_is_not_silent() {
    for kind in ProbeErrorKind::ALL
        .into_iter()
        .filter(|kind| kind.proves_running())
    {
        let error = failure(kind, "belongs to another cluster");
        let view = FoldFixture::healthy().fails("10.0.0.1", 4.0, error).view();
        let named = view
            .verdict
            .reasons
            .iter()
            .find(|reason| reason.node.is_some());
        let reason = named.unwrap();
        assert!(
            !reason.message.contains("unreachable"),
            "{}",
            reason.message
        );
        let expected = match kind {
            ProbeErrorKind::AccessDenied | ProbeErrorKind::TlsFailed => ReasonCode::AccessDenied,
            ProbeErrorKind::NotAMember => ReasonCode::SourcesDisagree,
            _ => ReasonCode::NoEvidence,
        };
        assert_eq!(reason.code, expected, "{}", reason.message);
    }
}

#[test]
fn stopped_needs_an_agent_report_and_a_refused_connection() {
    let recovered = format!("{HISTORY}:2881");
    let table: [(&[(&str, &str)], bool); 5] = [
        (&[("phase", "stopping")], true),
        (
            &[("phase", "waiting"), ("recovered_position", &recovered)],
            true,
        ),
        (&[("recovered_position", &recovered)], true),
        (
            &[("phase", "running"), ("recovered_position", &recovered)],
            false,
        ),
        (&[("phase", "starting")], false),
    ];
    for (fields, stopped) in table {
        let fixture = |error| {
            FoldFixture::expecting(&["a"])
                .fails("a", 2.0, error)
                .registered("a", 9.0, fields)
        };
        let expected = if stopped {
            NodeState::Stopped
        } else {
            NodeState::Unreachable
        };
        assert_eq!(
            state(&fixture(refused()).view(), "a"),
            expected,
            "{fields:?}"
        );
        assert_eq!(
            state(&fixture(timed_out()).view(), "a"),
            NodeState::Unreachable,
            "{fields:?}"
        );
        assert_ne!(
            state(&fixture(denied()).view(), "a"),
            NodeState::Stopped,
            "a server that answers is not stopped: {fields:?}"
        );
        // Two TTLs after its last write.
        let old = fixture(refused()).registered("a", -11.0, fields);
        assert_eq!(
            state(&old.view(), "a"),
            NodeState::Unreachable,
            "{fields:?}"
        );
    }
}

#[test]
fn absent_and_unknown() {
    let fixture = FoldFixture::expecting(&["a", "b"])
        .pending("b")
        .durable("c");
    let view = fixture.view();
    assert_eq!(state(&view, "a"), NodeState::Absent);
    assert_eq!(state(&view, "b"), NodeState::Unknown);
    assert_eq!(state(&view, "c"), NodeState::Unknown);
}

#[test]
fn a_fresh_registration_is_the_fallback_for_sql() {
    let joining = [("wsrep_local_state_comment", "Joining:"), ("seqno", "12")];
    for fixture in [
        FoldFixture::expecting(&["a"]),
        FoldFixture::expecting(&["a"]).fails("a", 0.0, denied()),
        FoldFixture::expecting(&["a"]).answers_between("a", FakeServer::synced("a"), -30.0, -20.0),
    ] {
        let view = fixture.registered("a", 9.0, &joining).view();
        assert_eq!(state(&view, "a"), NodeState::Joining);
        assert_eq!(node(&view, "a").sources[1].seqno, Some(12));
    }
    let silent = FoldFixture::expecting(&["a"])
        .fails("a", 1.0, timed_out())
        .registered("a", 9.0, &RUNNING_FIELDS)
        .view();
    let found = node(&silent, "a");
    assert_eq!(
        (found.state, &found.state_comment, found.cluster_status),
        (NodeState::Unreachable, &None, None)
    );
    let contradicted = FoldFixture::expecting(&["a"])
        .answers("a", FakeServer::synced("a"))
        .registered("a", 9.0, &joining);
    assert_eq!(state(&contradicted.view(), "a"), NodeState::Synced);
}

#[test]
fn an_old_answer_keeps_its_position_but_not_its_state() {
    let view = FoldFixture::healthy().at(17.0).view();
    let found = node(&view, "10.0.0.1");
    assert_eq!(
        (found.state, found.cluster_status),
        (NodeState::Unknown, None)
    );
    assert_eq!(
        found.position.as_ref().map(|position| position.seqno),
        Some(2881)
    );
    assert!(!found.position_fresh && found.sources[0].stale);
    assert_eq!(
        (found.recv_queue, found.ready, found.behind),
        (None, None, None)
    );
    assert_eq!(found.version.as_deref(), Some("10.11.19-MariaDB"));
}

#[test]
fn a_stopped_nodes_position_is_the_recovered_one() {
    let fields = [
        ("phase", "waiting"),
        (
            "recovered_position",
            "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:2900",
        ),
    ];
    let fixture = FoldFixture::expecting(&["a"])
        .answers_between("a", FakeServer::synced("a"), 0.0, 1.0)
        .fails("a", 2.0, refused())
        .registered("a", 9.0, &fields);
    let view = fixture.view();
    let found = node(&view, "a");
    assert_eq!(
        found.position.as_ref().map(|position| position.seqno),
        Some(2900)
    );
    assert!(found.position_fresh);
}

#[test]
fn behind_counts_within_one_history_only() {
    let fixture = FoldFixture::healthy()
        .answers(
            "10.0.0.2",
            FakeServer::synced("db2")
                .view(&["AUTO"; 3], 1)
                .seqno("2800"),
        )
        .answers(
            "10.0.0.3",
            FakeServer::synced("db3")
                .view(&["AUTO"; 3], 2)
                .with_row("wsrep_local_state_uuid", NIL)
                .with_row("wsrep_cluster_state_uuid", NIL),
        )
        .answers(
            "10.0.0.4",
            FakeServer::non_primary("db4")
                .history(HISTORY)
                .seqno("2890"),
        )
        .answers("10.0.0.5", FakeServer::non_primary("db5").seqno(UNDEFINED))
        .answers(
            "10.0.0.6",
            FakeServer::non_primary("db6")
                .history("7b2d4e10-0c2f-11ef-8d11-0242ac120002")
                .seqno("9"),
        );
    let view = fixture.view();
    let behind = |name: &str| node(&view, name).behind;
    assert_eq!(behind("10.0.0.1"), Some(0));
    assert_eq!(behind("10.0.0.2"), Some(81));
    assert_eq!(behind("10.0.0.3"), None);
    assert_eq!(
        behind("10.0.0.4"),
        Some(0),
        "a partitioned node may be ahead; it is not behind"
    );
    assert_eq!(behind("10.0.0.5"), None);
    assert_eq!(
        behind("10.0.0.6"),
        Some(0),
        "another history has its own head"
    );
}

#[test]
fn figures_come_from_the_fresh_answer() {
    let mut fixture = FoldFixture::expecting(&["a"]);
    let server = |seqno: &str, paused: &str| {
        FakeServer::synced("a")
            .view(&["AUTO"], 0)
            .seqno(seqno)
            .with_row("wsrep_flow_control_paused_ns", paused)
    };
    fixture = fixture.answers_between("a", server("100", "0"), 8.0, 8.0);
    fixture = fixture.answers_between("a", server("125", "500000000"), 10.0, 10.0);
    let view = fixture.view();
    let found = node(&view, "a");
    assert_eq!(
        (found.commit_rate, found.flow_control_paused),
        (Some(12.5), Some(0.25))
    );
    assert_eq!(found.recent_rates, [12.5]);
    assert_eq!(
        (found.ready, found.connected, found.segment),
        (Some(true), Some(true), Some(0))
    );
    assert_eq!(found.cluster_status, Some(ClusterStatus::Primary));
    let view = fixture.at(11.0).fails("a", 11.0, timed_out()).view();
    let found = node(&view, "a");
    assert_eq!((found.commit_rate, found.flow_control_paused), (None, None));
    assert_eq!(found.recent_rates, [12.5], "the line of recent rates stays");
}

#[test]
fn the_name_outlives_the_answer() {
    let view = FoldFixture::healthy()
        .fails("10.0.0.1", 9.0, refused())
        .view();
    assert_eq!(node(&view, "10.0.0.1").name.as_deref(), Some("db1"));
    let registered = [("wsrep_node_name", "db9")];
    let view = FoldFixture::expecting(&["a"])
        .registered("a", -100.0, &registered)
        .view();
    assert_eq!(node(&view, "a").name.as_deref(), Some("db9"));
    assert_eq!(
        node(
            &FoldFixture::healthy()
                .registered("10.0.0.1", 9.0, &RUNNING_FIELDS)
                .view(),
            "10.0.0.1"
        )
        .sources
        .len(),
        2
    );
}

#[test]
fn a_server_that_receives_its_state_is_seen_through_its_peers() {
    let list = ["10.0.0.1:3306", "10.0.0.2:3306"];
    let fixture = |failing: f64| {
        FoldFixture::expecting(&["10.0.0.1", "10.0.0.2"])
            .fails("10.0.0.2", failing, refused())
            .answers_between(
                "10.0.0.1",
                FakeServer::synced("db1").view(&list[..1], 0),
                0.0,
                4.0,
            )
            .answers_between(
                "10.0.0.1",
                FakeServer::synced("db1")
                    .view(&list, 0)
                    .state("2", "Donor/Desynced"),
                5.0,
                10.0,
            )
    };
    let view = fixture(1.0).view();
    assert_eq!(state(&view, "10.0.0.1"), NodeState::Donor);
    assert_eq!(state(&view, "10.0.0.2"), NodeState::Joining);
    assert_eq!(
        view.components[0].members.len(),
        2,
        "the joiner is a member already"
    );
    let view = fixture(4.5).view();
    assert_eq!(
        state(&view, "10.0.0.2"),
        NodeState::Unreachable,
        "a list that is older than the failure proves nothing"
    );
    let first_sight = FakeServer::synced("db1").view(&list, 0);
    let view = FoldFixture::expecting(&["10.0.0.1", "10.0.0.2"])
        .fails("10.0.0.2", 1.0, refused())
        .answers_between("10.0.0.1", first_sight, 5.0, 10.0)
        .view();
    assert_eq!(
        state(&view, "10.0.0.2"),
        NodeState::Unreachable,
        "nor does a list whose start was not observed"
    );
}

/// The fields of an agent in `phase` whose server has reported `comment`.
fn phase_and_comment<'a>(phase: &'a str, comment: &'a str) -> [(&'a str, &'a str); 2] {
    [("phase", phase), ("wsrep_local_state_comment", comment)]
}

#[test]
fn a_state_reported_after_the_last_answer_is_only_displayed() {
    use NodeState as N;
    // The comment of the last answer, at 10 s; the reported comment and its time; the displayed state.
    for (answered, reported, when, shown) in [
        ("Synced", "Donor/Desynced", 10.1, N::Donor),
        ("Synced", "Donor/Desynced", 9.9, N::Synced),
        ("Joining", "Joined", 10.1, N::Joined),
        ("Joining", "Synced", 10.1, N::Synced),
        // States outside of a transfer never replace an answer.
        ("Synced", "Inconsistent", 10.1, N::Synced),
        ("Initialized", "Synced", 10.1, N::Initialized),
    ] {
        let number = match answered {
            "Synced" => "4",
            "Joining" => "1",
            _ => "0",
        };
        let server = FakeServer::synced("db1").state(number, answered);
        let fixture = FoldFixture::expecting(&["a"]).answers("a", server).at(10.2);
        let silent = fixture.view();
        let view = fixture
            .registered("a", when, &phase_and_comment("running", reported))
            .view();
        assert_eq!(state(&view, "a"), shown, "{answered}, {reported} at {when}");
        assert_eq!(view.verdict.state, silent.verdict.state);
        if shown == N::Donor {
            let comment = node(&view, "a").state_comment.as_deref();
            assert_eq!(comment, Some("Donor/Desynced"));
        }
    }
}

#[test]
fn a_server_that_accepts_no_connection_has_the_state_its_agent_reports() {
    use NodeState as N;
    for (error, phase, reported, when, shown) in [
        (refused(), "joining", "Joining", 8.0, N::Joining),
        (refused(), "joining", "Joined", 8.0, N::Joined),
        (refused(), "joining", "Synced", 8.0, N::Synced),
        // The report may have been in flight while the server died.
        (refused(), "joining", "Joined", 4.5, N::Unreachable),
        // The agent reaches the server and the console does not: a network problem.
        (refused(), "running", "Synced", 8.0, N::Unreachable),
        (timed_out(), "joining", "Joined", 8.0, N::Unreachable),
    ] {
        let view = FoldFixture::expecting(&["a"])
            .fails("a", 4.0, error)
            .registered("a", when, &phase_and_comment(phase, reported))
            .view();
        assert_eq!(state(&view, "a"), shown, "{phase}, {reported} at {when}");
    }
}
