//! Plans for a stopped cluster whose members are on different branches of one history (I35).

use galera::observe::fork::{ForkRecord, OBSERVED};
use galera::observe::registration::{CleanStop, NO_POSITION, RegistrationRecord};
use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::{NoEpochLeft, fork_of_proven_statement, fork_of_statement};
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::action_fixture::action_id;
use crate::fixture::{
    FakeStatusRows, HISTORY, RecoveryFixture, at, check, failing, id, position, status,
};

/// n1 waits at `ahead` with data of before fork 1, n2 and n3 at 100 and 99 with data of fork 1, which continued at 66.
fn after_a_fork(ahead: u64) -> RecoveryFixture {
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"]);
    for (node, seqno, epoch) in [("n1", ahead, "0"), ("n2", 100, "1"), ("n3", 99, "1")] {
        let position = format!("{HISTORY}:{seqno}");
        let fields = [
            ("phase", "waiting"),
            ("recovered_position", position.as_str()),
            ("fork_epoch", epoch),
            (
                "waiting_for",
                "Transactions 67 to 134 are not those\nof the cluster",
            ),
        ];
        fixture = fixture.refuses_connections(node).registered(node, &fields);
    }
    let record = ForkRecord {
        state_uuid: HISTORY.parse().unwrap(),
        seqno: 66,
        members: [id("n2")].into(),
        action_id: OBSERVED.to_owned(),
        parent: 0,
        at: None,
    };
    let value = record.to_value();
    fixture.context.forks.insert(1, value.as_bytes());
    fixture
}

#[test]
fn i35_the_branch_that_was_continued_is_never_given_up_for_a_higher_number() {
    let plan = after_a_fork(134).plan();
    let fork = check(&plan, &CheckCode::NO_FORK);
    assert_eq!(fork.status, CheckStatus::Fail);
    assert!(
        fork.message
            .starts_with("n1 has transactions 67 to 134, which fork 1 continued without at 66."),
        "{}",
        fork.message
    );
    assert!(!plan.executable);
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
    let mut unrecorded = after_a_fork(134);
    unrecorded.context.forks = galera::observe::fork::ForkRecords::default();
    let plan = unrecorded.plan();
    assert_eq!(status(&plan, &CheckCode::NO_FORK), CheckStatus::Fail);
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
}

/// `node` stopped cleanly at `seqno`, with data of the fork `epoch` if its agent recorded that.
fn stopped_cleanly(
    fixture: RecoveryFixture,
    node: &str,
    seqno: u64,
    epoch: Option<u64>,
) -> RecoveryFixture {
    let record = RegistrationRecord {
        id: Some(format!("id-{node}")),
        stopped: Some(CleanStop {
            position: position(seqno),
            at: None,
            fork_epoch: epoch,
        }),
        ..RegistrationRecord::default()
    };
    let mut fixture = fixture
        .refuses_connections(node)
        .registered(node, &[("registered", &record.to_value())]);
    let seen = fixture.evidence.registrations.get_mut(&id(node)).unwrap();
    (seen.leased, seen.ttl, seen.durable) = (false, None, true);
    fixture
}

/// n1 is ahead of fork 1; n2 and n3, which continued it, have stopped in order.
fn stopped_after_a_fork(n1: RecoveryFixture, epoch: Option<u64>) -> RecoveryFixture {
    let mut fixture = stopped_cleanly(n1, "n2", 100, epoch);
    fixture = stopped_cleanly(fixture, "n3", 99, epoch);
    fixture.context.forks = after_a_fork(134).context.forks;
    fixture
}

#[test]
fn i35_a_member_ahead_of_the_fork_is_no_candidate_once_the_members_of_the_fork_have_stopped() {
    let ahead = || {
        let position = format!("{HISTORY}:134");
        let fields = [
            ("phase", "waiting"),
            ("recovered_position", position.as_str()),
            ("fork_epoch", "0"),
        ];
        RecoveryFixture::expecting(&["n1", "n2", "n3"])
            .refuses_connections("n1")
            .registered("n1", &fields)
    };
    // An older agent records no epoch, but the fork names n2.
    for epoch in [Some(1), None] {
        let plan = stopped_after_a_fork(ahead(), epoch).plan();
        assert_eq!(status(&plan, &CheckCode::NO_FORK), CheckStatus::Fail);
        assert!(!plan.executable);
        assert_eq!(plan.target.unwrap().node, Some(id("n2")));
    }
}

#[test]
fn i35_a_running_component_ahead_of_the_fork_is_no_candidate_either() {
    let ahead = || {
        RecoveryFixture::expecting(&["n1", "n2", "n3"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 134))
            .registered("n1", &[("phase", "running"), ("fork_epoch", "0")])
    };
    for epoch in [Some(1), None] {
        let plan = stopped_after_a_fork(ahead(), epoch).plan();
        let fork = check(&plan, &CheckCode::NO_FORK);
        assert_eq!(fork.status, CheckStatus::Fail);
        assert!(
            fork.message.starts_with(
                "n1 has transactions 67 to 134, which fork 1 continued without at 66."
            ),
            "{}",
            fork.message
        );
        assert_eq!(plan.loss.transactions, None, "{}", plan.loss.explanation);
    }
    // Members of two branches that are connected again are one component, which must not become Primary.
    let mut merged = RecoveryFixture::expecting(&["n1", "n2", "n3"]);
    for (node, index, seqno, epoch) in [("n1", 0, 134, "0"), ("n2", 1, 200, "1")] {
        let rows = FakeStatusRows::non_primary(&["n1", "n2"], index, seqno);
        let fields = [("phase", "running"), ("fork_epoch", epoch)];
        merged = merged.answers(node, rows).registered(node, &fields);
    }
    let mut merged = stopped_cleanly(merged, "n3", 99, Some(1));
    merged.context.forks = after_a_fork(134).context.forks;
    let plan = merged.plan();
    assert_eq!(status(&plan, &CheckCode::NO_FORK), CheckStatus::Fail);
    assert!(!plan.executable);
    // Without a member ahead of it, the newest fork is continued.
    let ready = stopped_after_a_fork(
        RecoveryFixture::expecting(&["n1", "n2", "n3"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 134))
            .registered("n1", &[("phase", "running"), ("fork_epoch", "1")]),
        Some(1),
    );
    let plan = ready.plan();
    assert_eq!(status(&plan, &CheckCode::NO_FORK), CheckStatus::Pass);
    assert!(plan.executable, "{:?}", failing(&plan));
}

#[test]
fn i35_a_member_below_the_fork_is_merely_behind() {
    let plan = after_a_fork(66).plan();
    assert!(plan.executable, "{:?}", failing(&plan));
    assert_eq!(status(&plan, &CheckCode::NO_FORK), CheckStatus::Pass);
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
}

#[test]
fn what_agents_say_is_quoted_and_decides_nothing() {
    let plan = after_a_fork(66).plan();
    assert_eq!(
        plan.agents[0].waiting_for,
        "Transactions 67 to 134 are not those of the cluster"
    );
    let mut silent = after_a_fork(66);
    for seen in silent.evidence.registrations.values_mut() {
        let mut fields = (*seen.fields).clone();
        fields.remove("waiting_for");
        seen.fields = fields.into();
    }
    let quiet = silent.plan();
    assert!(quiet.agents.is_empty());
    assert_eq!(plan.digest, quiet.digest);
}

#[test]
fn i35_a_statement_to_a_running_component_is_recorded_once() {
    let mut fixture = RecoveryFixture::two_of_three_lost()
        .registered("n1", &[("phase", "running"), ("fork_epoch", "3")]);
    fixture.settings.fold.default_port = 23_306;
    let target = fixture.plan().target.unwrap();
    let fork = fork_of_statement(&target, &action_id(), &fixture.case()).unwrap();
    let (epoch, record) = fork.unwrap();
    assert_eq!((epoch, record.parent, record.seqno), (4, 3, 100));
    assert_eq!(record.members, [id("n1:23306")].into());
    let value = record.to_value();
    fixture.context.forks.insert(4, value.as_bytes());
    assert_eq!(
        fork_of_statement(&target, &action_id(), &fixture.case()),
        Ok(None)
    );
    let forks = &fixture.context.forks;
    assert_eq!(
        forks.newest_of_member(&id("n1:23306"), record.state_uuid),
        4
    );
    // An agent records the order that it obeys itself.
    let stopped = RecoveryFixture::all_stopped();
    let target = stopped.plan().target.unwrap();
    assert_eq!(
        fork_of_statement(&target, &action_id(), &stopped.case()),
        Ok(None)
    );
}

#[test]
fn i35_a_bootstrap_that_was_observed_is_not_recorded_again_once_proven() {
    let mut fixture = RecoveryFixture::two_of_three_lost().registered("n1", &[]);
    let target = fixture.plan().target.unwrap();
    let statement = |fixture: &RecoveryFixture| {
        let before = fork_of_statement(&target, &action_id(), &fixture.case()).unwrap();
        let after = fork_of_proven_statement(&target, &action_id(), &fixture.case()).unwrap();
        (before.map(|fork| fork.0), after.map(|fork| fork.0))
    };
    assert_eq!(statement(&fixture), (Some(1), Some(1)));
    let observed = ForkRecord {
        action_id: OBSERVED.to_owned(),
        ..fork_of_statement(&target, &action_id(), &fixture.case())
            .unwrap()
            .unwrap()
            .1
    };
    let value = observed.to_value();
    fixture.context.forks.insert(1, value.as_bytes());
    assert_eq!(statement(&fixture), (Some(2), None));
}

#[test]
fn i35_no_bootstrap_is_planned_whose_fork_could_not_be_recorded() {
    let highest = u64::MAX.to_string();
    let forged = |stopped: bool, key: bool| {
        let mut fixture = match stopped {
            true => RecoveryFixture::all_stopped(),
            false => RecoveryFixture::two_of_three_lost(),
        };
        assert!(fixture.plan().executable);
        if key {
            fixture.context.forks.insert(u64::MAX, b"{}");
            return (fixture, format!("the key forks/{highest}"));
        }
        let node = fixture.plan().target.unwrap().node.unwrap();
        let registrations = &mut fixture.evidence.registrations;
        if let Some(seen) = registrations.get_mut(&node) {
            let mut fields = (*seen.fields).clone();
            fields.insert("fork_epoch".to_owned(), highest.clone());
            seen.fields = fields.into();
        } else {
            fixture = fixture.registered(node.host(), &[("fork_epoch", &highest)]);
        }
        (fixture, format!("the key fork_epoch of {node}"))
    };
    for (stopped, key) in [(true, true), (true, false), (false, true), (false, false)] {
        let (fixture, named) = forged(stopped, key);
        let plan = fixture.plan();
        let fork = check(&plan, &CheckCode::NO_FORK);
        assert_eq!(fork.status, CheckStatus::Fail);
        assert!(fork.message.contains(&named), "{}", fork.message);
        assert!(!plan.executable);
        if !stopped {
            let target = plan.target.unwrap();
            assert_eq!(
                fork_of_statement(&target, &action_id(), &fixture.case()),
                Err(NoEpochLeft)
            );
        }
    }
}

#[test]
fn i35_a_record_with_the_id_of_the_action_and_another_position_is_not_its_fork() {
    let mut fixture = RecoveryFixture::two_of_three_lost().registered("n1", &[]);
    let target = fixture.plan().target.unwrap();
    let fork = |fixture: &RecoveryFixture| {
        fork_of_statement(&target, &action_id(), &fixture.case()).unwrap()
    };
    let (_, genuine) = fork(&fixture).unwrap();
    for forged in [
        ForkRecord {
            seqno: genuine.seqno + 50,
            ..genuine.clone()
        },
        ForkRecord {
            members: [id("n9")].into(),
            ..genuine.clone()
        },
    ] {
        let value = forged.to_value();
        fixture.context.forks.insert(1, value.as_bytes());
        assert_eq!(fork(&fixture).map(|fork| fork.0), Some(2), "{forged:?}");
    }
    let value = genuine.to_value();
    fixture.context.forks.insert(2, value.as_bytes());
    assert_eq!(fork(&fixture), None);
}

/// The members of fork 1 are gone, with what they committed after 66: more than the difference of the numbers.
#[test]
fn i37_the_loss_counts_from_where_another_branch_began() {
    let mut gone = after_a_fork(134);
    for node in ["n2", "n3"] {
        gone.evidence.registrations.remove(&id(node));
        gone = gone.attest(node, AttestedState::Decommissioned);
    }
    gone.history
        .record_highest(&id("n2"), &position(140), at(0));
    let plan = gone.plan();
    let target = plan.target.and_then(|target| target.node);
    assert_eq!(target, Some(id("n1")));
    assert_eq!(plan.loss.transactions, Some(74), "{:?}", plan.loss);
    assert!(plan.loss.explanation.contains("Fork 1"), "{:?}", plan.loss);

    // What another branch lost may have lower numbers.
    gone.history = Default::default();
    gone.history
        .record_highest(&id("n2"), &position(100), at(0));
    let loss = gone.plan().loss;
    assert_eq!(loss.transactions, Some(34), "{loss:?}");
}

/// n1 stopped cleanly with transactions that fork 1 continued without, and its directory is empty now.
#[test]
fn i35_data_of_another_branch_that_are_gone_do_not_block_for_good() {
    let mut fixture = stopped_cleanly(after_a_fork(134), "n1", 134, Some(0));
    let seen = fixture.evidence.registrations.get_mut(&id("n1")).unwrap();
    let mut fields = (*seen.fields).clone();
    for (name, value) in [
        ("phase", "waiting"),
        ("data_id", "new"),
        ("recovered_position", NO_POSITION),
    ] {
        fields.insert(name.to_owned(), value.to_owned());
    }
    (seen.fields, seen.leased, seen.ttl) = (fields.into(), true, Some(10));
    let plan = fixture.plan();
    let fork = check(&plan, &CheckCode::NO_FORK);
    assert_eq!(fork.status, CheckStatus::Fail);
    assert!(
        fork.message
            .contains("confirm that their member is permanently removed"),
        "{}",
        fork.message
    );
    let plan = fixture.attest("n1", AttestedState::Decommissioned).plan();
    assert_eq!(status(&plan, &CheckCode::NO_FORK), CheckStatus::Pass);
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
    // 67 to 134, not the difference of the numbers 134 and 100.
    let loss = plan.loss;
    assert_eq!((loss.transactions, loss.at_least), (Some(68), false));
    assert!(
        loss.explanation.contains("n1 has transactions 67 to 134"),
        "{loss:?}"
    );
}

/// The highest position is not kept for each branch: a fork below it is named, and lowers nothing.
#[test]
fn i35_what_a_fork_gave_up_is_not_called_lost_again() {
    let mut fixture = after_a_fork(134).attest("n1", AttestedState::Decommissioned);
    fixture.evidence.registrations.remove(&id("n1"));
    fixture
        .history
        .record_highest(&id("n1"), &position(134), at(0));
    let plan = fixture.plan();
    assert_eq!(plan.target.as_ref().unwrap().node, Some(id("n2")));
    let seen = check(&plan, &CheckCode::NO_REGRESSION);
    assert_eq!(seen.status, CheckStatus::Fail);
    assert!(
        seen.message.starts_with(
            "n1 was once seen at 134, which is 34 more than 100; transactions 67 to 134"
        ) && seen.message.contains("fork 1"),
        "{}",
        seen.message
    );
    // Data of before the fork lack what was seen.
    fixture.context.forks = Default::default();
    let message = check(&fixture.plan(), &CheckCode::NO_REGRESSION)
        .message
        .clone();
    assert!(
        message.ends_with("34 more than 100; those transactions would be lost."),
        "{message}"
    );
}
