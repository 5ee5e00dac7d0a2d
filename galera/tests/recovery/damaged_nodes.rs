//! Nodes whose data or membership is damaged are neither the source of a bootstrap nor its executor (I14).

use galera::recover::plan::{CheckCode, CheckStatus, Plan};

use crate::fixture::{FakeStatusRows, RecoveryFixture, check, failing, id, status};

const PAIR: [&str; 2] = ["n1", "n2"];

/// `n1` and `n2` in one component; the test chooses what `n1` reports.
fn pair(n1: FakeStatusRows, n2_seqno: u64) -> RecoveryFixture {
    RecoveryFixture::expecting(&PAIR)
        .answers("n1", n1)
        .answers("n2", FakeStatusRows::non_primary(&PAIR, 1, n2_seqno))
}

fn n1(seqno: u64) -> FakeStatusRows {
    FakeStatusRows::non_primary(&PAIR, 0, seqno)
}

fn inconsistent(server: FakeStatusRows) -> FakeStatusRows {
    server
        .with_row("wsrep_local_state", "5")
        .with_row("wsrep_local_state_comment", "Inconsistent")
}

fn transfer_failed(server: FakeStatusRows) -> FakeStatusRows {
    let comment = "Joining: State Transfer failed";
    server.with_row("wsrep_local_state_comment", comment)
}

/// `n1` executes nothing, and the cluster does not continue from data that only it has.
fn assert_excluded(plan: &Plan, why: &str) {
    let candidate = check(plan, &CheckCode::CANDIDATE);
    assert_eq!(candidate.status, CheckStatus::Fail, "{candidate:?}");
    assert!(candidate.message.contains(why), "{}", candidate.message);
    assert!(!plan.executable);
    assert_eq!(plan.target.as_ref().unwrap().node, Some(id("n2")));
}

#[test]
fn i14_a_node_that_lost_a_vote_is_neither_source_nor_executor() {
    assert_excluded(
        &pair(inconsistent(n1(12)), 10).plan(),
        "n1 lost an inconsistency vote",
    );
}

#[test]
fn i14_a_failed_state_transfer_is_neither_source_nor_executor() {
    let plan = pair(transfer_failed(n1(12)), 10).plan();
    assert_excluded(&plan, "State Transfer failed");
    // It is over: no node waits for it.
    assert_eq!(
        status(&plan, &CheckCode::NO_STATE_TRANSFER),
        CheckStatus::Pass
    );
}

#[test]
fn i14_an_evicted_node_is_neither_source_nor_executor() {
    let process = "11110000-0c2f-11ef-a1b2-c3d4e5f60718";
    let listed = format!("22220000-0c2f-11ef-a1b2-c3d4e5f60718,{process}");
    let fixture = pair(n1(12).with_row("wsrep_gcomm_uuid", process), 10).answers(
        "n2",
        FakeStatusRows::non_primary(&PAIR, 1, 10).with_row("wsrep_evs_evict_list", &listed),
    );
    assert_excluded(
        &fixture.plan(),
        "n1 was evicted (wsrep_evs_evict_list of n2)",
    );
    let nonsense =
        FakeStatusRows::non_primary(&PAIR, 1, 10).with_row("wsrep_evs_evict_list", "n1,,;'");
    let plan = fixture.answers("n2", nonsense).plan();
    assert_eq!(
        plan.target.unwrap().node,
        Some(id("n1")),
        "no other node is named"
    );
}

#[test]
fn i14_a_node_that_left_its_group_is_neither_source_nor_executor() {
    for state in ["CLOSED", "leaving"] {
        let plan = pair(n1(12).with_row("wsrep_evs_state", state), 10).plan();
        assert_excluded(&plan, "has left its group");
    }
}

#[test]
fn i14_a_damaged_member_that_is_not_ahead_is_only_kept_from_executing() {
    for damaged in [
        inconsistent(n1(10)),
        transfer_failed(n1(10)),
        n1(10).with_row("wsrep_evs_state", "CLOSED"),
    ] {
        let plan = pair(damaged, 10).plan();
        assert!(plan.executable, "{:?}", failing(&plan));
        assert_eq!(plan.target.unwrap().node, Some(id("n2")));
    }
}

#[test]
fn i14_without_an_undamaged_member_nothing_is_executed() {
    let fixture = pair(inconsistent(n1(10)), 10).answers(
        "n2",
        inconsistent(FakeStatusRows::non_primary(&PAIR, 1, 10)),
    );
    let plan = fixture.plan();
    assert!(plan.steps.is_empty() && plan.commands.is_empty());
    assert_eq!(status(&plan, &CheckCode::EXECUTOR_READY), CheckStatus::Fail);
}
