//! What an executor rests on besides the record: the people behind it (I41), the plan that it computed itself, and the list
//! of what may be done at all.

use galera::access::{CredentialTag, Role};
use galera::observe::registration::RegistryKeys;
use galera::recover::action::{
    Action, ActionEvent, ActionLimits, ActionState, Actor, Approval, CurrentAccounts, step,
};
use galera::recover::allow_list::{PermittedStep, permitted_step};
use galera::recover::bootstrap::StatementDialect;
use galera::recover::plan::{ActionKind, CheckCode, CheckStatus, Plan, PlanStep};

use crate::action_fixture::{
    EVERYBODY, R1, accounts, action_id, adam, after, anna, answered, approved, begin, executing,
    later, olga, person, plan, requested_with,
};
use crate::cleanup_action::{cleanup_executing, cleanup_intend};
use crate::fixture::id;

/// `action` begun while `accounts` is what etcd says.
fn begun(action: &Action, accounts: &CurrentAccounts) -> Action {
    let plan = plan();
    let begin = ActionEvent::Begin {
        by: None,
        replica: &R1,
        fence: 7,
        plan: &plan,
        accounts,
        recovery_pause: None,
    };
    after(action, &begin, 20).unwrap()
}

fn intended_with(action: &Action, plan: &Plan, accounts: &CurrentAccounts) -> Action {
    let intend = ActionEvent::Intend {
        fence: 7,
        step: 0,
        plan,
        accounts,
        recovery_pause: None,
    };
    after(action, &intend, 21).unwrap()
}

fn assert_nothing_was_done(action: &Action, state: ActionState, reason: &str) {
    assert_eq!(action.state, state, "{:?}", action.outcome);
    assert!(!action.may_have_acted());
    let outcome = action.outcome.as_deref().unwrap();
    assert!(outcome.starts_with("nothing was done"), "{outcome}");
    assert!(outcome.contains(reason), "{outcome}");
}

/// Every way in which one of two people no longer stands for the action, and what is said.
fn lapses() -> Vec<(CurrentAccounts, &'static str)> {
    let other_password = |actor: Actor| Actor {
        credential: CredentialTag::new("another password"),
        ..actor
    };
    vec![
        (
            accounts(&[olga()]),
            "adam, who approved this, has been disabled or removed",
        ),
        (
            accounts(&[adam()]),
            "olga, who requested this, has been disabled or removed",
        ),
        (
            accounts(&[olga(), person("adam", &[Role::Operator])]),
            "adam, who approved this, no longer has the role",
        ),
        (
            accounts(&[person("olga", &[Role::Viewer, Role::Approver]), adam()]),
            "olga, who requested this, no longer has the role",
        ),
        (
            accounts(&[olga(), other_password(adam())]),
            "adam, who approved this, has been given another password",
        ),
        (
            accounts(&[other_password(olga()), adam()]),
            "olga, who requested this, has been given another password",
        ),
        (CurrentAccounts::default(), "olga, who requested this"),
    ]
}

#[test]
fn i41_people_are_looked_at_again_when_execution_begins() {
    for (accounts, reason) in lapses() {
        let action = begun(&approved(), &accounts);
        assert_nothing_was_done(&action, ActionState::Cancelled, reason);
    }
    assert_eq!(begun(&approved(), &EVERYBODY).state, ActionState::Executing);
}

#[test]
fn i41_people_are_looked_at_again_at_the_intention() {
    for (accounts, reason) in lapses() {
        let action = intended_with(&executing(), &plan(), &accounts);
        assert_nothing_was_done(&action, ActionState::Cancelled, reason);
    }
    assert!(intended_with(&executing(), &plan(), &EVERYBODY).may_have_acted());
}

#[test]
fn i41_a_later_step_stops_where_authority_ends() {
    let action = cleanup_executing();
    let action = after(&action, &cleanup_intend(&action, 0), 21).unwrap();
    let done = galera::recover::action::StepResult::Done("deleted".to_owned());
    let action = after(&action, &answered(7, done), 22).unwrap();
    let plan = action.plan.clone();
    let intend = ActionEvent::Intend {
        fence: 7,
        step: 1,
        plan: &plan,
        accounts: &accounts(&[olga()]),
        recovery_pause: None,
    };
    let stopped = after(&action, &intend, 23).unwrap();
    assert_eq!(stopped.state, ActionState::Failed);
    let outcome = stopped.outcome.unwrap();
    assert!(outcome.contains("adam"), "{outcome}");
    assert!(outcome.contains("1 of 2 steps completed"), "{outcome}");
}

#[test]
fn names_are_compared_without_case_and_people_counted_once() {
    let mut forged = approved();
    forged.approvals_needed = 2;
    let again = Approval {
        groups: Vec::new(),
        notification_target: None,
        by: "Adam".to_owned(),
        ..forged.approvals[0].clone()
    };
    forged.approvals.push(again);
    let action = begun(&forged, &EVERYBODY);
    assert_nothing_was_done(&action, ActionState::Cancelled, "1 of 2 approvals");
}

#[test]
fn the_requester_is_no_approver_of_a_forged_record() {
    let everything = accounts(&[person("olga", &Role::ALL)]);
    let mut forged = approved();
    forged.approvals[0].by = "OLGA".to_owned();
    forged.approvals[0].credential = None;
    let action = begun(&forged, &everything);
    assert_nothing_was_done(&action, ActionState::Cancelled, "0 of 1 approvals");
}

#[test]
fn a_record_that_needs_no_approval_is_held_to_the_setting() {
    let mut forged = approved();
    forged.approvals_needed = 0;
    forged.approvals.clear();
    let action = begun(&forged, &EVERYBODY);
    assert_nothing_was_done(&action, ActionState::Cancelled, "0 of 1 approvals");
    // The setting allows one person to act alone.
    let alone = ActionLimits {
        approvals_needed: 0,
        ..ActionLimits::default()
    };
    let plan = plan();
    let action = step(&forged, &begin(&plan, 7), &alone, later(20)).unwrap();
    assert_eq!(action.state, ActionState::Executing);
}

#[test]
fn an_override_always_needs_a_second_person() {
    let alone = ActionLimits {
        approvals_needed: 0,
        ..ActionLimits::default()
    };
    let (plan, overrides) = overridable();
    let mut forged = requested_with(&anna(), &plan, &alone, Some(&overrides)).unwrap();
    forged.state = ActionState::Approved;
    forged.approvals_needed = 0;
    let action = step(&forged, &begin(&plan, 7), &alone, later(20)).unwrap();
    assert_nothing_was_done(&action, ActionState::Cancelled, "0 of 1 approvals");
}

/// A plan that one overridable check blocks, and that check.
fn overridable() -> (Plan, Vec<CheckCode>) {
    let mut plan = plan();
    let settled = plan
        .checks
        .iter_mut()
        .find(|check| check.code == CheckCode::SETTLED)
        .unwrap();
    settled.status = CheckStatus::Fail;
    plan.executable = false;
    plan.digest = plan.computed_digest();
    (plan, vec![CheckCode::SETTLED])
}

#[test]
fn a_blocked_plan_is_executed_only_for_the_recorded_overrides() {
    let (plan, overrides) = overridable();
    let everybody = accounts(&[person("anna", &[Role::Admin]), adam()]);
    let overridden = |overrides: &[CheckCode]| {
        let limits = ActionLimits::default();
        let own = [CheckCode::SETTLED];
        let mut action = requested_with(&anna(), &plan, &limits, Some(&own)).unwrap();
        let approve = ActionEvent::Approve {
            by: &adam(),
            digest: &plan.digest,
            comment: None,
        };
        action = after(&action, &approve, 10).unwrap();
        action.break_glass.as_mut().unwrap().overrides = overrides.to_vec();
        let begin = ActionEvent::Begin {
            by: None,
            replica: &R1,
            fence: 7,
            plan: &plan,
            accounts: &everybody,
            recovery_pause: None,
        };
        after(&action, &begin, 20).unwrap()
    };
    assert_eq!(overridden(&overrides).state, ActionState::Executing);
    assert_eq!(overridden(&[]).state, ActionState::Failed);
    assert_eq!(
        overridden(&[CheckCode::MOST_ADVANCED]).state,
        ActionState::Failed
    );

    // A forged approval of a blocked plan: the digest is the current one.
    let mut forged = approved();
    forged.plan = plan.clone();
    let action = after(&forged, &begin(&plan, 7), 20).unwrap();
    assert_eq!(action.state, ActionState::Failed);
    assert!(!action.may_have_acted());
}

#[test]
fn a_record_with_other_steps_under_a_current_digest_does_nothing() {
    let hostile = PlanStep::Statement {
        node: id("n1"),
        statement: "CREATE USER mallory IDENTIFIED BY 'x'".to_owned(),
    };
    let honest = plan();
    let replaced = {
        let mut action = approved();
        action.plan.steps = vec![hostile.clone()];
        action
    };
    let added = {
        let mut action = approved();
        action.plan.steps.push(hostile);
        action.steps.push(action.steps[0].clone());
        action
    };
    let moved = {
        let mut action = approved();
        action.cluster = "other".parse().unwrap();
        action
    };
    let relabelled = {
        let mut action = approved();
        action.kind = ActionKind::Cleanup;
        action
    };
    let other_undo = {
        let mut action = approved();
        action.plan.undo.push(PlanStep::Key {
            key: "/galera-console/users/mallory".to_owned(),
            mod_revision: 0,
            value: Some("{}".to_owned()),
        });
        action
    };
    for forged in [replaced, added, moved, relabelled, other_undo] {
        let action = after(&forged, &begin(&honest, 7), 20).unwrap();
        assert_eq!(action.state, ActionState::Failed, "{:?}", action.outcome);
        assert!(!action.may_have_acted());
        // Altered after it was begun.
        let mut late = forged.clone();
        late.state = ActionState::Executing;
        late.execution = executing().execution;
        late.expires_at = None;
        let late = intended_with(&late, &honest, &EVERYBODY);
        assert_eq!(late.state, ActionState::Failed);
        assert!(!late.may_have_acted());
    }
}

#[test]
fn a_later_step_must_be_a_step_of_the_plan_computed_now() {
    let action = cleanup_executing();
    let honest = action.plan.clone();
    let action = after(&action, &cleanup_intend(&action, 0), 21).unwrap();
    let done = galera::recover::action::StepResult::Done("deleted".to_owned());
    let mut action = after(&action, &answered(7, done), 22).unwrap();
    action.plan.steps[1] = PlanStep::Key {
        key: "/galera-console/users/ann".to_owned(),
        mod_revision: 9,
        value: None,
    };
    action.plan.digest = action.plan.computed_digest();
    let intend = ActionEvent::Intend {
        fence: 7,
        step: 1,
        plan: &honest,
        accounts: &EVERYBODY,
        recovery_pause: None,
    };
    let stopped = after(&action, &intend, 23).unwrap();
    assert_eq!(stopped.state, ActionState::Failed);
    assert!(
        stopped
            .outcome
            .unwrap()
            .contains("step 2, /galera-console/users/ann, is not a step")
    );
}

fn permitted(plan: &Plan, index: usize) -> Result<PermittedStep, String> {
    let keys = RegistryKeys::new("/galera");
    permitted_step(plan, index, &action_id(), &keys, 3306).map_err(|error| error.to_string())
}

#[test]
fn the_allow_list_has_the_console_s_own_plans() {
    let step = permitted(&plan(), 0).unwrap();
    assert!(
        matches!(&step, PermittedStep::Statement { dialect, .. } if *dialect == StatementDialect::ProviderOptions),
        "{step:?}"
    );
}

#[test]
fn i20_no_other_statement_is_ever_permitted() {
    for statement in [
        "",
        // What an operator runs manually has no deadline.
        "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'",
        "SET GLOBAL wsrep_provider_pc_bootstrap=ON",
        "SET GLOBAL wsrep_provider_options=IF(SYSDATE(6)<@other,'pc.bootstrap=YES','galera_console.too_late=1')",
        "SET GLOBAL wsrep_provider_options=IF(SYSDATE(6)<@galera_console_deadline,'pc.bootstrap=YES','galera_console.too_late=1');",
        "set global wsrep_provider_options=if(sysdate(6)<@galera_console_deadline,'pc.bootstrap=YES','galera_console.too_late=1')",
        "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES,pc.ignore_sb=true'",
        "DROP DATABASE shop",
    ] {
        let mut forged = plan();
        let PlanStep::Statement { statement: own, .. } = &mut forged.steps[0] else {
            panic!("{:?}", forged.steps);
        };
        statement.clone_into(own);
        assert!(permitted(&forged, 0).is_err(), "{statement}");
    }
    let mut elsewhere = plan();
    let PlanStep::Statement { node, .. } = &mut elsewhere.steps[0] else {
        panic!("{:?}", elsewhere.steps);
    };
    *node = id("mallory");
    assert!(permitted(&elsewhere, 0).is_err());
    let mut twice = plan();
    twice.steps.push(twice.steps[0].clone());
    assert!(permitted(&twice, 0).is_err(), "a bootstrap has one step");
    assert!(permitted(&plan(), 1).is_err());
}

#[test]
fn only_keys_that_the_plan_removes_are_permitted() {
    let mut plan = plan();
    plan.kind = ActionKind::Cleanup;
    let target = plan.target.as_mut().unwrap();
    target.mechanism = galera::recover::plan::Mechanism::Registry;
    target.removes = vec![id("n3")];
    let mut with = |key: &str, mod_revision, value: Option<&str>| {
        plan.steps = vec![PlanStep::Key {
            key: key.to_owned(),
            mod_revision,
            value: value.map(str::to_owned),
        }];
        permitted(&plan, 0)
    };
    assert!(with("/galera/lab/n3/seqno", 4, None).is_ok());
    assert!(with("/galera/lab/n3:3306/seqno", 4, None).is_ok());
    for key in [
        "/galera/lab/n1/seqno",
        "/galera/lab/n3:3307/seqno",
        "/galera/other/n3/seqno",
        "/galera/lab/founder",
        "/galera/lab/bootstrap",
        "/galera-console/users/ann",
        "/galera/lab/n3",
        "",
    ] {
        assert!(with(key, 4, None).is_err(), "{key}");
    }
    assert!(
        with("/galera/lab/n3/seqno", 0, None).is_err(),
        "unconditional"
    );
    assert!(
        with("/galera/lab/n3/seqno", 4, Some("9")).is_err(),
        "a write"
    );
}
