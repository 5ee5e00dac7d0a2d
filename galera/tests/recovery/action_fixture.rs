//! An action under test: a plan, accounts with roles, and shorthands for events.

use std::sync::LazyLock;
use std::time::Duration;

use galera::access::{CredentialTag, Role};
use galera::recover::action::{
    Action, ActionEvent, ActionLimits, ActionRefusal, ActionRequest, Actor, BreakGlassRequest,
    CurrentAccount, CurrentAccounts, ObservedOutcome, StepResult, request_action, step,
};
use galera::recover::plan::{CheckCode, Plan};
use galera::{ActionId, ReplicaId, Timestamp};

use crate::fixture::{NOW, RecoveryFixture, at};

pub(crate) static R1: LazyLock<ReplicaId> = LazyLock::new(|| ReplicaId::new("r1"));
pub(crate) static R2: LazyLock<ReplicaId> = LazyLock::new(|| ReplicaId::new("r2"));

pub(crate) fn action_id() -> ActionId {
    "a1".parse().unwrap()
}

pub(crate) fn person(name: &str, roles: &[Role]) -> Actor {
    Actor {
        name: name.to_owned(),
        roles: roles.to_vec(),
        credential: CredentialTag::new(format!("password of {name}")),
        groups: Vec::new(),
    }
}

/// The accounts of `people`, unchanged since they signed in.
pub(crate) fn accounts(people: &[Actor]) -> CurrentAccounts {
    let mut accounts = CurrentAccounts::default();
    for actor in people {
        let account = CurrentAccount {
            roles: actor.roles.clone(),
            credential: actor.credential.clone(),
            groups: actor.groups.clone(),
        };
        accounts.insert(&actor.name, account);
    }
    accounts
}

/// Everybody who takes part in these tests.
pub(crate) static EVERYBODY: LazyLock<CurrentAccounts> =
    LazyLock::new(|| accounts(&[olga(), adam(), anna()]));

pub(crate) fn olga() -> Actor {
    person("olga", &[Role::Operator])
}

pub(crate) fn adam() -> Actor {
    person("adam", &[Role::Approver])
}

pub(crate) fn anna() -> Actor {
    person("anna", &[Role::Admin])
}

pub(crate) fn plan() -> Plan {
    RecoveryFixture::two_of_three_lost().plan()
}

/// Another plan of the same cluster.
pub(crate) fn other_plan() -> Plan {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture.context.registry_prefix = "/galera".to_owned();
    fixture.history.record_highest(
        &crate::fixture::id("n2"),
        &crate::fixture::position(50),
        at(0),
    );
    fixture.plan()
}

/// A request by `by` for `plan`, confirmed and with a reason.
pub(crate) fn requested(
    by: &Actor,
    plan: &Plan,
    limits: &ActionLimits,
) -> Result<Action, ActionRefusal> {
    requested_with(by, plan, limits, None)
}

pub(crate) fn requested_with(
    by: &Actor,
    plan: &Plan,
    limits: &ActionLimits,
    overrides: Option<&[CheckCode]>,
) -> Result<Action, ActionRefusal> {
    let request = ActionRequest {
        id: &action_id(),
        by,
        plan_digest: &plan.digest,
        confirm: "lab",
        reason: "two hosts lost power",
        break_glass: overrides.map(|codes| BreakGlassRequest {
            overrides: codes.to_vec(),
        }),
    };
    request_action(&request, plan, plan, limits, at(NOW))
}

pub(crate) fn pending() -> Action {
    requested(&olga(), &plan(), &ActionLimits::default()).unwrap()
}

/// `action` after `event`, `seconds` after the request.
pub(crate) fn after(
    action: &Action,
    event: &ActionEvent<'_>,
    seconds: i64,
) -> Result<Action, ActionRefusal> {
    step(action, event, &ActionLimits::default(), later(seconds))
}

pub(crate) fn later(seconds: i64) -> Timestamp {
    at(NOW).plus(Duration::from_secs(u64::try_from(seconds).unwrap()))
}

pub(crate) fn approved() -> Action {
    let digest = plan().digest;
    let adam = adam();
    let approve = ActionEvent::Approve {
        by: &adam,
        digest: &digest,
        comment: Some("seen it"),
    };
    after(&pending(), &approve, 10).unwrap()
}

pub(crate) fn begin<'a>(plan: &'a Plan, fence: i64) -> ActionEvent<'a> {
    ActionEvent::Begin {
        by: None,
        replica: &R1,
        fence,
        plan,
        accounts: &EVERYBODY,
        recovery_pause: None,
    }
}

pub(crate) fn intend(plan: &Plan, fence: i64) -> ActionEvent<'_> {
    ActionEvent::Intend {
        fence,
        step: 0,
        plan,
        accounts: &EVERYBODY,
        recovery_pause: None,
    }
}

pub(crate) fn answered(fence: i64, result: StepResult) -> ActionEvent<'static> {
    ActionEvent::Answered {
        fence,
        step: 0,
        result,
    }
}

pub(crate) fn observed(fence: i64, verdict: ObservedOutcome) -> ActionEvent<'static> {
    ActionEvent::Observed {
        fence,
        outcome: verdict,
    }
}

pub(crate) fn executing() -> Action {
    after(&approved(), &begin(&plan(), 7), 20).unwrap()
}

pub(crate) fn intended() -> Action {
    after(&executing(), &intend(&plan(), 7), 21).unwrap()
}

pub(crate) fn done() -> Action {
    after(
        &intended(),
        &answered(7, StepResult::Done("OK".to_owned())),
        22,
    )
    .unwrap()
}
