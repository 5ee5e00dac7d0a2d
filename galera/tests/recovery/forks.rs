//! Plans for a stopped cluster whose members are on different branches of one history (I35).

use galera::observe::fork::{ForkRecord, OBSERVED};
use galera::recover::bootstrap::fork_of_statement;
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::action_fixture::action_id;
use crate::fixture::{HISTORY, RecoveryFixture, check, failing, id, status};

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
    let (epoch, record) = fork_of_statement(&target, &action_id(), &fixture.case()).unwrap();
    assert_eq!((epoch, record.parent, record.seqno), (4, 3, 100));
    assert_eq!(record.members, [id("n1:23306")].into());
    let value = record.to_value();
    fixture.context.forks.insert(4, value.as_bytes());
    assert_eq!(
        fork_of_statement(&target, &action_id(), &fixture.case()),
        None
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
        None
    );
}
