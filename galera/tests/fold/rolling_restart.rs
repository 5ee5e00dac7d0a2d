//! Rolling restarts on views of the real fold.

use std::sync::Arc;

use galera::Timestamp;
use galera::insight::rolling_restart::{RestartState, RollingRestart, rolling_restart};
use galera::observe::server_details::ServerDetails;

use crate::fixture::{FakeServer, FoldFixture, at, id, refused};

use RestartState::{Blocked, Later, Next, Restarted, Returning};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
/// The restart began 100 s before the first answer.
const SINCE: f64 = -100.0;

/// A member whose server has run for `uptime` seconds and has this many clients.
fn member(index: usize) -> FakeServer {
    FakeServer::synced(&format!("db{}", index + 1))
        .view(&["AUTO"; 3], index)
        .with_row("wsrep_provider_options", "pc.weight = 1")
        .with_row("wsrep_local_cached_downto", "881")
}

fn answers(fixture: &mut FoldFixture, index: usize, server: FakeServer, uptime: u64, clients: u64) {
    let mut status = server.status();
    let details = ServerDetails::from_rows([
        ("Uptime", uptime.to_string()),
        ("Threads_connected", clients.to_string()),
    ]);
    status.details = Some(Arc::new(details.with_time(at(10.0))));
    let probe = fixture
        .evidence
        .probes
        .entry(id(MEMBERS[index]))
        .or_default();
    for second in 0..=10 {
        probe.record_success(at(f64::from(second)), status.clone());
    }
}

/// Members by uptime and number of clients; the restart began 110 s ago.
fn cluster(members: [(u64, u64); 3]) -> FoldFixture {
    let mut fixture = FoldFixture::expecting(&MEMBERS);
    for (index, (uptime, clients)) in members.into_iter().enumerate() {
        answers(&mut fixture, index, member(index), uptime, clients);
    }
    fixture
}

fn restart(fixture: &FoldFixture) -> RollingRestart {
    let since: Timestamp = at(SINCE);
    rolling_restart(&fixture.view(), &fixture.evidence, 3306, since)
}

fn states(restart: &RollingRestart) -> Vec<(String, RestartState)> {
    let steps = restart.steps.iter();
    steps
        .map(|step| (step.node.to_string(), step.state))
        .collect()
}

fn expected(steps: [(&str, RestartState); 3]) -> Vec<(String, RestartState)> {
    steps.map(|(node, state)| (node.to_owned(), state)).to_vec()
}

#[test]
fn the_member_with_the_fewest_clients_comes_first() {
    let restart = restart(&cluster([(5_000, 40), (5_000, 2), (5_000, 7)]));
    assert_eq!(
        states(&restart),
        expected([("10.0.0.2", Next), ("10.0.0.3", Later), ("10.0.0.1", Later)])
    );
    assert_eq!(
        restart.steps[0].message,
        "Restart db2 (10.0.0.2) now, by a clean shutdown (SIGTERM)."
    );
    assert!(restart.steps[0].stop_check.is_some());
    assert!(!restart.complete);
}

#[test]
fn restarted_members_are_done_and_the_next_follows() {
    let restart = restart(&cluster([(5_000, 40), (60, 2), (5_000, 7)]));
    assert_eq!(
        states(&restart),
        expected([
            ("10.0.0.2", Restarted),
            ("10.0.0.3", Next),
            ("10.0.0.1", Later)
        ])
    );
}

#[test]
fn it_is_complete_when_all_started_after_the_beginning() {
    let restart = restart(&cluster([(90, 40), (60, 2), (30, 7)]));
    assert!(restart.complete, "{restart:#?}");
}

#[test]
fn nothing_is_next_while_a_member_is_away_or_returns() {
    let away = cluster([(5_000, 40), (5_000, 2), (5_000, 7)]).fails("10.0.0.2", 4.0, refused());
    let restart = restart(&away);
    let of = |node: &str| {
        let found = restart.steps.iter().find(|step| step.node == id(node));
        found.map(|step| step.state)
    };
    assert_eq!(of("10.0.0.2"), Some(Returning));
    assert!(
        restart.steps.iter().all(|step| step.state != Next),
        "{restart:#?}"
    );

    let servers: [(FakeServer, RestartState); 3] = [
        (
            member(1).state("1", "Joining: receiving State Transfer"),
            Returning,
        ),
        (member(1).state("2", "Donor/Desynced"), Returning),
        (
            member(1).with_row("wsrep_local_recv_queue", "12"),
            Returning,
        ),
    ];
    for (server, state) in servers {
        let mut fixture = cluster([(5_000, 40), (5_000, 2), (5_000, 7)]);
        answers(&mut fixture, 1, server, 20, 0);
        let restart = self::restart(&fixture);
        let step = restart
            .steps
            .iter()
            .find(|step| step.node == id("10.0.0.2"));
        assert_eq!(step.map(|step| step.state), Some(state));
        assert!(
            restart.steps.iter().all(|step| step.state != Next),
            "{restart:#?}"
        );
    }
}

#[test]
fn a_member_whose_start_is_unknown_is_waited_for() {
    let mut fixture = cluster([(5_000, 40), (5_000, 2), (5_000, 7)]);
    fixture = fixture.answers("10.0.0.1", member(0));
    let restart = restart(&fixture);
    let step = restart
        .steps
        .iter()
        .find(|step| step.node == id("10.0.0.1"));
    assert_eq!(step.map(|step| step.state), Some(Returning));
    assert!(
        restart.steps.iter().all(|step| step.state != Next),
        "{restart:#?}"
    );
}

#[test]
fn a_member_that_must_not_be_stopped_comes_last_and_says_why() {
    // The others have no votes.
    let restart_with = |uptimes: [u64; 3]| {
        let mut fixture = FoldFixture::expecting(&MEMBERS);
        for (index, votes) in ["1", "0", "0"].into_iter().enumerate() {
            let server = member(index)
                .with_row("wsrep_provider_options", &format!("pc.weight = {votes}"))
                .with_row("wsrep_cluster_weight", "1");
            answers(&mut fixture, index, server, uptimes[index], index as u64);
        }
        restart(&fixture)
    };
    let begun = restart_with([5_000; 3]);
    assert_eq!(
        states(&begun),
        expected([("10.0.0.1", Later), ("10.0.0.2", Next), ("10.0.0.3", Later)])
    );
    let last = restart_with([5_000, 60, 30]);
    assert_eq!(
        states(&last),
        expected([
            ("10.0.0.2", Restarted),
            ("10.0.0.3", Restarted),
            ("10.0.0.1", Blocked)
        ])
    );
    assert!(
        last.steps[2]
            .message
            .contains("No remaining member has a vote"),
        "{last:#?}"
    );
}
