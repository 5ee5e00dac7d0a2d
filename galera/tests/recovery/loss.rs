//! What a bootstrap may lose (I37), and which Primary view was the newest.

use galera::judge::known_positions::LastPrimaryView;
use galera::observe::registration::NO_POSITION;
use galera::recover::attestation::AttestedState;
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::fixture::{
    FakeStatusRows, HISTORY, RecoveryFixture, at, check, failing, id, position, status,
};

/// `node` was last seen Primary in the view `conf_id` of `members`, at `seqno`, `seconds` after the start.
fn seen_primary(
    mut fixture: RecoveryFixture,
    node: &str,
    (conf_id, members): (u64, &[&str]),
    seqno: u64,
    seconds: i64,
) -> RecoveryFixture {
    let view = LastPrimaryView {
        conf_id,
        position: position(seqno),
        members: std::sync::Arc::new(members.iter().map(|member| id(member)).collect()),
        at: at(seconds),
        since: Some(at(seconds)),
        weight: Some(1),
        total_weight: Some(members.len() as u64),
        size: Some(members.len() as u64),
    };
    fixture
        .history
        .record_highest(&id(node), &position(seqno), at(seconds));
    fixture.history.primary.insert(id(node), view);
    fixture
}

/// The agent of `node` has recorded that its server stopped in order, at `seqno`; no lease is left.
fn stopped_in_order(fixture: RecoveryFixture, node: &str, seqno: u64) -> RecoveryFixture {
    let record = format!(
        r#"{{"id":"d1","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":{seqno}}},"at":null}}}}"#
    );
    let mut fixture = fixture.registered(node, &[("registered", &record)]);
    let seen = fixture.evidence.registrations.entry(id(node)).or_default();
    (seen.leased, seen.last_put_at, seen.durable) = (false, None, true);
    fixture
}

const VIEW: (u64, &[&str]) = (4, &["n1", "n2", "n3"]);

#[test]
fn i37_the_loss_is_unknown_when_an_absent_member_was_last_seen_primary() {
    let fixture = RecoveryFixture::two_of_three_lost();
    let fixture = seen_primary(fixture, "n1", VIEW, 36, 0);
    let fixture = seen_primary(fixture, "n2", VIEW, 36, 5);
    let loss = fixture.plan().loss;
    assert_eq!(loss.transactions, None, "{loss:?}");
    assert!(
        loss.explanation.contains(
            "n2 was last seen Primary at 36 at 08:12:05 UTC; commits after that are unknown"
        ),
        "{loss:?}"
    );
    assert!(
        loss.explanation
            .contains("only n2, n3 may have are unknown"),
        "{loss:?}"
    );
}

#[test]
fn i37_zero_needs_the_data_of_every_member() {
    let pasted = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .refuses_connections("n2")
        .attest_with_paste("n2", &format!("{HISTORY}:100"));
    let complete = pasted.clone().agent_waiting("n3", 99);
    assert_eq!(complete.plan().loss.transactions, Some(0));
    let clean = stopped_in_order(pasted.clone().refuses_connections("n3"), "n3", 98);
    assert_eq!(
        clean.plan().loss.transactions,
        Some(0),
        "{:#?}",
        clean.plan()
    );
    let fenced = pasted
        .clone()
        .times_out("n3")
        .attest("n3", AttestedState::Fenced);
    assert_eq!(fenced.plan().loss.transactions, None);
    // Losses that are known are not hidden by what is unknown.
    let mut known = fenced;
    known
        .history
        .record_highest(&id("n3"), &position(107), at(0));
    let loss = known.plan().loss;
    assert_eq!((loss.transactions, loss.at_least), (Some(7), true));
}

#[test]
fn i37_a_stopped_cluster_without_one_member() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .agent_waiting("n1", 10)
        .agent_waiting("n2", 10)
        .times_out("n3")
        .attest("n3", AttestedState::Decommissioned);
    assert_eq!(fixture.plan().loss.transactions, None);
    assert_eq!(
        RecoveryFixture::all_stopped().plan().loss.transactions,
        Some(0)
    );
}

#[test]
fn a_recorded_clean_stop_accounts_for_a_member() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .agent_waiting("n1", 10)
        .agent_waiting("n2", 10);
    let stopped = stopped_in_order(fixture.clone().refuses_connections("n3"), "n3", 9);
    let plan = stopped.plan();
    assert!(
        failing(&plan).iter().all(|code| *code == "order_accepted"),
        "{:#?}",
        plan.checks
    );
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Pass
    );
    // etcd restored from a backup may have the record of a node that runs: silence is no proof.
    let silent = stopped_in_order(fixture.clone().times_out("n3"), "n3", 9);
    assert_eq!(
        status(&silent.plan(), &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Unknown
    );
    let attested = silent.attest("n3", AttestedState::Stopped);
    let plan = attested.plan();
    assert_eq!(
        status(&plan, &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Attested
    );
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Pass,
        "without a paste"
    );
    let ahead = stopped_in_order(fixture.refuses_connections("n3"), "n3", 11);
    let target = ahead.plan().target.unwrap();
    assert_eq!(target.node, Some(id("n3")));
}

#[test]
fn a_view_before_a_full_restart_is_not_the_newest() {
    // n9's address is gone; conf_ids began again at 1.
    let fixture = seen_primary(
        RecoveryFixture::three_isolated(),
        "n9",
        (57, &["n1", "n2", "n9"]),
        5,
        3_000,
    );
    let fixture = seen_primary(fixture, "n1", (2, &["n1", "n2", "n3"]), 9, 10);
    let fixture = seen_primary(fixture, "n2", (2, &["n1", "n2", "n3"]), 10, 10);
    let plan = fixture.plan();
    assert_eq!(
        check(&plan, &CheckCode::LAST_PRIMARY).status,
        CheckStatus::Pass,
        "{:#?}",
        plan.checks
    );
    // An equal conf_id of an earlier run does not make its node a member of the newest view.
    let fixture = seen_primary(fixture, "n8", (2, &["n8", "n9"]), 4, 1);
    let newest = fixture
        .history
        .newest_primary_view(&HISTORY.parse().unwrap())
        .unwrap();
    assert_eq!(
        (newest.conf_id, newest.nodes),
        (2, [id("n1"), id("n2")].into())
    );
}

#[test]
fn of_equal_positions_one_of_the_newest_primary_view_is_chosen() {
    let stopped = RecoveryFixture::expecting(&["n1", "n2"])
        .agent_waiting("n1", 10)
        .agent_waiting("n2", 10);
    let stopped = seen_primary(stopped, "n1", (3, &["n1", "n2"]), 8, 5);
    let stopped = seen_primary(stopped, "n2", (4, &["n2"]), 10, 20);
    let plan = stopped.plan();
    assert_eq!(
        plan.target.as_ref().unwrap().node,
        Some(id("n2")),
        "{:#?}",
        plan.checks
    );
    assert_eq!(status(&plan, &CheckCode::LAST_PRIMARY), CheckStatus::Pass);
    let running = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 10))
        .answers("n2", FakeStatusRows::non_primary(&["n2"], 0, 10));
    let running = seen_primary(running, "n1", (3, &["n1", "n2"]), 8, 5);
    let running = seen_primary(running, "n2", (4, &["n2"]), 10, 20);
    assert_eq!(running.plan().target.unwrap().node, Some(id("n2")));
}

#[test]
fn i31_a_newest_view_whose_members_are_given_up_or_stopped_does_not_block_for_good() {
    let base = || {
        let fixture = RecoveryFixture::expecting(&["n1", "n2"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100));
        seen_primary(fixture, "n2", (18, &["n2"]), 90, 5)
    };
    let stopped = base()
        .refuses_connections("n2")
        .attest("n2", AttestedState::Stopped);
    assert_eq!(failing(&stopped.plan()), ["last_primary"]);
    let lost = base()
        .times_out("n2")
        .attest("n2", AttestedState::Decommissioned);
    let plan = lost.plan();
    assert_eq!(
        status(&plan, &CheckCode::LAST_PRIMARY),
        CheckStatus::Attested
    );
    assert_eq!(plan.loss.transactions, None);
    let recovered = base().agent_waiting("n2", 95);
    assert_eq!(
        status(&recovered.plan(), &CheckCode::LAST_PRIMARY),
        CheckStatus::Pass
    );
    let ahead = base().agent_waiting("n2", 101);
    assert_eq!(
        status(&ahead.plan(), &CheckCode::LAST_PRIMARY),
        CheckStatus::Fail
    );
}

#[test]
fn i42_a_lock_is_named_as_what_blocks_the_executor() {
    let frozen = FakeStatusRows::primary(&["n1", "n2", "n3"], 0, 100)
        .with_row("wsrep_cluster_weight", "0")
        .with_row("wsrep_local_state", "2")
        .with_row("wsrep_local_state_comment", "Donor/Desynced")
        .with_row("wsrep_local_recv_queue", "1");
    let plan = RecoveryFixture::two_of_three_lost()
        .answers("n1", frozen)
        .plan();
    assert_eq!(failing(&plan), ["executor_ready"], "{:#?}", plan.checks);
    let message = &check(&plan, &CheckCode::EXECUTOR_READY).message;
    assert!(
        message.contains("FLUSH TABLES WITH READ LOCK")
            && message.contains("UNLOCK TABLES")
            && !message.contains("within seconds"),
        "{message}"
    );
}

#[test]
fn i43_an_attestation_states_what_it_implies() {
    let fixture = RecoveryFixture::two_of_three_lost();
    let message = |fixture: &RecoveryFixture| {
        check(&fixture.plan(), &CheckCode::MEMBERS_ACCOUNTED)
            .message
            .clone()
    };
    let text = message(&fixture);
    assert!(
        text.contains("n2 and n3, which could be Primary together, are all stopped or isolated"),
        "{text}"
    );
    let mut arbitrated = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .times_out("n2")
        .attest("n2", AttestedState::Fenced);
    assert!(
        !message(&arbitrated).contains("could be Primary"),
        "an even split"
    );
    arbitrated.evidence.last_primary_members = [id("n1"), id("n2")].into();
    arbitrated.evidence.last_primary_votes.size = Some(3);
    let text = message(&arbitrated);
    assert!(
        text.contains("n2 and an arbitrator, which could be Primary together"),
        "{text}"
    );
}

#[test]
fn i42_a_contradictory_status_records_no_primary_view() {
    let contradictory =
        FakeStatusRows::primary(&["n1", "n2"], 0, 10).with_row("wsrep_cluster_weight", "0");
    let fixture = RecoveryFixture::expecting(&["n1", "n2"]).answers_since("n1", contradictory, 59);
    let mut known = fixture.history.clone();
    known.update(&fixture.evidence, at(60), &fixture.settings.fold);
    assert!(
        known.primary.is_empty() && known.highest.len() == 1,
        "{known:?}"
    );
}

/// Each of these looked like known data: nothing, or a position that other data have.
#[test]
fn i37_what_replaced_data_says_nothing_about_them() {
    let waiting = |data_id: &str, at: &str| {
        let registered = [("registered", r#"{"id":"d1"}"#)];
        let fields = [
            ("phase", "waiting"),
            ("data_id", data_id),
            ("recovered_position", at),
        ];
        let known = registered.iter().filter(|_| data_id != "unregistered");
        let fields: Vec<(&str, &str)> = known.chain(&fields).copied().collect();
        RecoveryFixture::all_stopped()
            .refuses_connections("n3")
            .registered("n3", &fields)
    };
    let older = format!("{HISTORY}:5");
    let removed = AttestedState::Decommissioned;
    let seen = |fixture| seen_primary(fixture, "n3", VIEW, 9, 5);
    for (what, fixture) in [
        (
            "an empty volume",
            waiting("d2", NO_POSITION).attest("n3", removed),
        ),
        ("other data", waiting("d2", &older).attest("n3", removed)),
        (
            "an empty volume without a registration",
            seen(waiting("unregistered", NO_POSITION)).attest("n3", AttestedState::Stopped),
        ),
        ("an emptied directory", seen(waiting("d1", NO_POSITION))),
        ("a restored backup", seen(waiting("d1", &older))),
    ] {
        let loss = fixture.plan().loss;
        assert_eq!(loss.transactions, None, "{what}: {loss:?}");
        assert!(
            loss.explanation.contains("only n3 may have are unknown"),
            "{what}: {loss:?}"
        );
    }
    let behind = seen(waiting("d1", &older)).plan().loss;
    assert!(
        behind
            .explanation
            .contains("its data are at 5 now; commits after that are unknown"),
        "{behind:?}"
    );
    // A node that never was a member has nothing to lose, and one at its last position nothing more.
    for known in [
        waiting("d1", NO_POSITION),
        seen(waiting("d1", &format!("{HISTORY}:9"))),
    ] {
        assert_eq!(known.plan().loss.transactions, Some(0));
    }
}
