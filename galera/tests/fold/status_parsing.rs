//! Parsing of status rows, and what follows from two consecutive answers.

use galera::observe::observation::{RECENT_RATES_MAX, SqlObservation};
use galera::observe::wsrep::{
    LocalState, MemberAddress, WsrepStatus, parse_cluster_status, parse_incoming_addresses,
};
use galera::view::ClusterStatus;

use crate::fixture::{FakeServer, HISTORY, NIL, OTHER_HISTORY, UNDEFINED, at, id, timed_out};

#[test]
fn names_are_parsed_in_any_case_and_order() {
    let status = WsrepStatus::from_rows([
        ("WSREP_LOCAL_STATE_COMMENT", "Synced"),
        ("Wsrep_Local_State", "4"),
        ("wsrep_cluster_status", "Primary"),
        ("Version", "10.11.19-MariaDB"),
        ("wsrep_something_that_has_a_very_long_name_indeed", "1"),
        ("uptime", "5"),
    ]);
    assert_eq!(status.local_state, Some(LocalState::Synced));
    assert_eq!(status.cluster_status, Some(ClusterStatus::Primary));
    assert_eq!(status.version.as_deref(), Some("10.11.19-MariaDB"));
    assert_eq!(
        WsrepStatus::from_rows::<&str, &str>([]),
        WsrepStatus::default()
    );
}

#[test]
fn a_survivor_without_quorum() {
    let status = FakeServer::non_primary("db1").status();
    assert_eq!(status.local_state, Some(LocalState::Undefined));
    assert_eq!(status.cluster_status, Some(ClusterStatus::NonPrimary));
    assert_eq!((status.conf_id, status.cluster_size), (None, Some(1)));
    assert_eq!(status.incoming_addresses, [MemberAddress::Unnamed]);
    assert_eq!((status.ready, status.connected), (Some(false), Some(true)));
    assert_eq!(status.position().map(|position| position.seqno), Some(2881));
}

#[test]
fn undefined_and_garbage_values_are_none() {
    let garbage = [
        "",
        UNDEFINED,
        "-1",
        "1e3",
        "0x10",
        "abc",
        "99999999999999999999",
    ];
    for value in garbage {
        let status = FakeServer::synced("a")
            .conf_id(value)
            .seqno(value)
            .with_row("wsrep_local_index", value)
            .status();
        let read = (
            status.conf_id,
            status.last_committed,
            status.local_index,
            status.position(),
        );
        assert_eq!(read, (None, None, None, None), "{value:?}");
    }
    for value in ["", NIL, "6f1a3c9e", "6f1a3c9e0c2f11ef9b6e5a3f2c1d0e4b"] {
        let status = FakeServer::synced("a")
            .history(value)
            .with_row("wsrep_gcomm_uuid", value)
            .status();
        let read = (
            status.cluster_state_uuid,
            status.local_state_uuid,
            status.gcomm_uuid,
        );
        assert_eq!(read, (None, None, None), "{value:?}");
    }
    let status = FakeServer::synced("a")
        .with_row("wsrep_ready", "maybe")
        .with_row("wsrep_cluster_status", "partly")
        .status();
    assert_eq!((status.ready, status.cluster_status), (None, None));
    assert_eq!(status.cluster_status_text.as_deref(), Some("partly"));
}

#[test]
fn member_lists() {
    use MemberAddress::{Arbitrator, Known, Unnamed, Unreadable};
    let table = [
        ("", vec![]),
        ("AUTO", vec![Unnamed]),
        ("AUTO,auto", vec![Unnamed, Unnamed]),
        (
            "10.0.0.1:3306, 10.0.0.2",
            vec![Known(id("10.0.0.1:3306")), Known(id("10.0.0.2"))],
        ),
        (
            "10.0.0.1:3306,undefined",
            vec![Known(id("10.0.0.1:3306")), Arbitrator],
        ),
        (
            "10.0.0.1:3306,",
            vec![Known(id("10.0.0.1:3306")), Arbitrator],
        ),
        (
            "[::1]:3306,db1:0",
            vec![Known(id("[::1]:3306")), Unreadable("db1:0".to_owned())],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(parse_incoming_addresses(text), expected, "{text:?}");
    }
    assert_eq!(parse_incoming_addresses(&",".repeat(100_000)).len(), 1);
}

#[test]
fn statuses_in_every_spelling() {
    for (text, expected) in [
        ("Primary", Some(ClusterStatus::Primary)),
        (" primary\n", Some(ClusterStatus::Primary)),
        ("non-Primary", Some(ClusterStatus::NonPrimary)),
        ("Non-primary", Some(ClusterStatus::NonPrimary)),
        ("Disconnected", Some(ClusterStatus::Disconnected)),
        ("", None),
        ("Primary component", None),
    ] {
        assert_eq!(parse_cluster_status(text), expected, "{text:?}");
    }
}

#[test]
fn a_view_lasts_until_it_changes_or_the_answers_are_interrupted() {
    let mut probe = SqlObservation::default();
    let server = FakeServer::synced("a");
    probe.record_success(at(0.0), server.clone().status());
    probe.record_success(
        at(1.0),
        server
            .clone()
            .seqno("2900")
            .state("2", "Donor/Desynced")
            .status(),
    );
    assert_eq!(
        probe.view_since,
        Some(at(0.0)),
        "commits and states do not change the view"
    );
    for (time, changed, history) in [
        (2.0, server.clone().conf_id("18"), 0.0),
        (3.0, server.clone().view(&["AUTO"; 2], 0), 0.0),
        (
            4.0,
            server
                .clone()
                .with_row("wsrep_cluster_status", "non-Primary"),
            0.0,
        ),
        (5.0, server.clone().history(OTHER_HISTORY), 5.0),
        (
            6.0,
            server.clone().with_row("wsrep_gcomm_uuid", HISTORY),
            6.0,
        ),
        (7.0, server.clone(), 6.0),
    ] {
        probe.record_success(at(time), changed.status());
        assert_eq!(probe.view_since, Some(at(time)));
        assert_eq!(probe.history_since, Some(at(history)));
    }
    probe.record_failure(at(8.0), timed_out());
    probe.record_failure(at(9.0), timed_out());
    assert_eq!(
        (probe.failing_since, probe.view_since),
        (Some(at(8.0)), Some(at(7.0)))
    );
    probe.record_success(at(10.0), server.status());
    assert_eq!(
        (probe.failing_since, probe.view_since),
        (None, Some(at(10.0)))
    );
    assert_eq!(probe.history_since, Some(at(10.0)));
    assert_eq!(probe.error, None);
}

#[test]
fn rates_are_differences_of_one_process_and_history() {
    let server = |seqno: &str| FakeServer::synced("a").seqno(seqno);
    let mut probe = SqlObservation::default();
    probe.record_success(at(0.0), server("100").status());
    assert_eq!(probe.rates.commit_rate, None);
    probe.record_success(at(2.0), server("150").status());
    assert_eq!(probe.rates.commit_rate, Some(25.0));
    probe.record_success(at(2.0), server("150").status());
    assert_eq!(probe.rates.commit_rate, None, "no time passed");
    probe.record_success(at(3.0), server("90").status());
    assert_eq!(
        probe.rates.commit_rate, None,
        "numbers never go back within one process"
    );
    probe.record_success(
        at(3.5),
        server("99")
            .with_row("wsrep_local_state_uuid", OTHER_HISTORY)
            .status(),
    );
    assert_eq!(probe.rates.commit_rate, None, "another history");
    probe.record_success(
        at(4.0),
        server("190").with_row("wsrep_gcomm_uuid", HISTORY).status(),
    );
    assert_eq!(
        (
            probe.rates.commit_rate,
            probe.rates.recent_commit_rates.len()
        ),
        (None, 0),
        "a restart"
    );
    for second in 0..100 {
        probe.record_success(
            at(5.0 + f64::from(second)),
            server("200").with_row("wsrep_gcomm_uuid", HISTORY).status(),
        );
    }
    assert_eq!(probe.rates.recent_commit_rates.len(), RECENT_RATES_MAX);
    assert_eq!(probe.rates.commit_rate, Some(0.0));
}
