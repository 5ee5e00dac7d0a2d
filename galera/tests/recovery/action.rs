//! Requests, approvals, rejections, cancellations and expiry: who is allowed, and when.

use galera::access::Role;
use galera::recover::action::{
    ActionEvent, ActionLimits, ActionRefusal, ActionRequest, ActionState, COMMENTS_MAX, StepState,
    TEXT_MAX, request_action,
};
use galera::recover::attestation::AttestedState;
use galera::recover::plan::PlanDigest;

use crate::action_fixture::{
    EVERYBODY, R1, R2, action_id, adam, after, anna, approved, begin, done, executing, intend,
    intended, later, observed, olga, other_plan, pending, person, plan, requested,
};
use crate::fixture::{FakeStatusRows, NOW, RecoveryFixture, at};

#[test]
fn a_request_waits_for_approval() {
    let action = pending();
    assert_eq!(
        (action.state, action.approvals_needed),
        (ActionState::Pending, 1)
    );
    assert_eq!(action.expires_at, Some(later(15 * 60)));
    assert_eq!(action.steps[0].state, StepState::Waiting);
    assert_eq!(action.attestations.len(), 2);
    let json = serde_json::to_string(&action).unwrap();
    assert_eq!(
        serde_json::from_str::<galera::recover::action::Action>(&json).unwrap(),
        action
    );
}

#[test]
fn i19_a_request_is_confirmed_by_the_clusters_exact_name() {
    let (olga, plan) = (olga(), plan());
    let ask = |confirm: &str, reason: &str, digest: &PlanDigest| {
        let request = ActionRequest {
            id: &action_id(),
            by: &olga,
            plan_digest: digest,
            confirm,
            reason,
            break_glass: None,
        };
        request_action(&request, &plan, &plan, &ActionLimits::default(), at(NOW))
            .map_err(|refusal| refusal.code())
    };
    assert!(ask("lab", "why", &plan.digest).is_ok());
    for typed in ["", "Lab", "lab ", "lab2"] {
        assert_eq!(
            ask(typed, "why", &plan.digest).unwrap_err(),
            "not_confirmed",
            "{typed:?}"
        );
    }
    assert_eq!(ask("lab", " \n", &plan.digest).unwrap_err(), "no_reason");
    assert_eq!(
        ask("lab", &"x".repeat(TEXT_MAX + 1), &plan.digest).unwrap_err(),
        "too_long"
    );
    assert_eq!(
        ask("lab", "why", &PlanDigest::new("stale")).unwrap_err(),
        "plan_changed"
    );
}

#[test]
fn the_digest_may_be_of_the_plan_before_the_attestations() {
    let olga = olga();
    let mut fixture = RecoveryFixture::two_of_three_lost();
    let with = fixture.plan();
    fixture.attestations.clear();
    let without = fixture.plan();
    assert_ne!(without.digest, with.digest);
    let request = ActionRequest {
        id: &action_id(),
        by: &olga,
        plan_digest: &without.digest,
        confirm: "lab",
        reason: "why",
        break_glass: None,
    };
    let action =
        request_action(&request, &without, &with, &ActionLimits::default(), at(NOW)).unwrap();
    assert_eq!(action.plan.digest, with.digest);
}

#[test]
fn a_plan_that_does_not_pass_cannot_be_requested() {
    let plan = RecoveryFixture::two_of_three_lost()
        .attest("n9", AttestedState::Stopped)
        .plan();
    let refusal = requested(&olga(), &plan, &ActionLimits::default()).unwrap_err();
    assert_eq!(refusal.code(), "plan_not_executable");
    assert!(
        refusal.to_string().contains("n9 is not a known member"),
        "{refusal}"
    );
    let healthy = RecoveryFixture::expecting(&["n1"])
        .answers("n1", FakeStatusRows::primary(&["n1"], 0, 5))
        .plan();
    assert!(requested(&olga(), &healthy, &ActionLimits::default()).is_err());
}

#[test]
fn i19_only_operators_request_and_only_approvers_approve() {
    for role in Role::ALL {
        let account = person("zoe", &[role]);
        let may = requested(&account, &plan(), &ActionLimits::default()).is_ok();
        assert_eq!(may, role == Role::Operator, "{role}");
        let digest = plan().digest;
        let approve = ActionEvent::Approve {
            by: &account,
            digest: &digest,
            comment: None,
        };
        assert_eq!(
            after(&pending(), &approve, 1).is_ok(),
            role == Role::Approver,
            "{role}"
        );
        let reject = ActionEvent::Reject {
            by: &account,
            comment: None,
        };
        assert_eq!(
            after(&pending(), &reject, 1).is_ok(),
            role == Role::Approver,
            "{role}"
        );
        let cancel = ActionEvent::Cancel {
            by: &account,
            comment: None,
        };
        assert_eq!(
            after(&pending(), &cancel, 1).is_ok(),
            role == Role::Admin,
            "{role}: not the requester"
        );
        let comment = ActionEvent::Comment {
            by: &account,
            text: "hm",
        };
        assert_eq!(
            after(&pending(), &comment, 1).is_ok(),
            role != Role::Viewer,
            "{role}"
        );
        let plan = plan();
        let execute = ActionEvent::Begin {
            by: Some(&account),
            replica: &R1,
            fence: 1,
            plan: &plan,
            accounts: &EVERYBODY,
            recovery_pause: None,
        };
        let may = after(&approved(), &execute, 11).is_ok();
        assert_eq!(
            may,
            matches!(role, Role::Operator | Role::Approver),
            "{role}"
        );
    }
}

#[test]
fn i19_the_requester_never_approves() {
    let digest = plan().digest;
    for name in ["olga", "Olga"] {
        let all = person(name, &Role::ALL);
        let approve = ActionEvent::Approve {
            by: &all,
            digest: &digest,
            comment: None,
        };
        assert_eq!(
            after(&pending(), &approve, 1).unwrap_err().code(),
            "own_request"
        );
    }
}

#[test]
fn i19_no_approval_counts_twice() {
    let limits = ActionLimits {
        approvals_needed: 2,
        ..ActionLimits::default()
    };
    let action = requested(&olga(), &plan(), &limits).unwrap();
    let digest = plan().digest;
    let (adam, eve) = (adam(), person("eve", &[Role::Approver]));
    let by = |account| ActionEvent::Approve {
        by: account,
        digest: &digest,
        comment: None,
    };
    let once = after(&action, &by(&adam), 1).unwrap();
    assert_eq!(once.state, ActionState::Pending);
    assert_eq!(
        after(&once, &by(&adam), 2).unwrap_err().code(),
        "already_approved"
    );
    let twice = after(&once, &by(&eve), 3).unwrap();
    assert_eq!(
        (twice.state, twice.approvals.len()),
        (ActionState::Approved, 2)
    );
    assert_eq!(
        after(&twice, &by(&adam), 4).unwrap_err().code(),
        "wrong_state"
    );
}

#[test]
fn i16_an_approval_binds_to_the_digest_that_was_seen() {
    let adam = adam();
    let approve = ActionEvent::Approve {
        by: &adam,
        digest: &PlanDigest::new("another"),
        comment: None,
    };
    assert_eq!(
        after(&pending(), &approve, 1).unwrap_err(),
        ActionRefusal::DigestChanged
    );
}

#[test]
fn zero_approvals_must_be_asked_for() {
    let limits = ActionLimits {
        approvals_needed: 0,
        ..ActionLimits::default()
    };
    let action = requested(&olga(), &plan(), &limits).unwrap();
    assert_eq!(
        (action.state, action.expires_at),
        (ActionState::Approved, Some(later(5 * 60)))
    );
}

#[test]
fn requests_and_approvals_expire() {
    for (action, seconds) in [(pending(), 15 * 60), (approved(), 10 + 5 * 60)] {
        assert_eq!(
            after(&action, &ActionEvent::Tick, seconds - 1)
                .unwrap_err()
                .code(),
            "nothing_due"
        );
        let expired = after(&action, &ActionEvent::Tick, seconds).unwrap();
        assert_eq!(expired.state, ActionState::Expired);
        assert_eq!(expired.ended_at, Some(later(seconds)));
        // Also before a replica has recorded the expiry.
        let adam = adam();
        let reject = ActionEvent::Reject {
            by: &adam,
            comment: None,
        };
        assert_eq!(
            after(&action, &reject, seconds).unwrap_err().code(),
            "action_expired"
        );
        assert_eq!(
            after(&action, &begin(&plan(), 1), seconds)
                .unwrap_err()
                .code(),
            "action_expired"
        );
    }
}

#[test]
fn the_requester_withdraws_until_it_begins() {
    let olga = olga();
    let cancel = ActionEvent::Cancel {
        by: &olga,
        comment: Some("n2 is back"),
    };
    for action in [pending(), approved()] {
        let cancelled = after(&action, &cancel, 11).unwrap();
        assert_eq!(cancelled.state, ActionState::Cancelled);
        assert_eq!(
            cancelled.outcome.as_deref(),
            Some("cancelled by olga: n2 is back")
        );
    }
    assert_eq!(
        after(&executing(), &cancel, 21).unwrap_err().code(),
        "wrong_state"
    );
    let other = person("otto", &[Role::Operator]);
    let theirs = ActionEvent::Cancel {
        by: &other,
        comment: None,
    };
    assert_eq!(
        after(&pending(), &theirs, 1).unwrap_err().code(),
        "not_yours"
    );
    let anna = anna();
    let admin = ActionEvent::Cancel {
        by: &anna,
        comment: None,
    };
    assert_eq!(
        after(&approved(), &admin, 11).unwrap().state,
        ActionState::Cancelled
    );
}

#[test]
fn final_states_refuse_everything() {
    let (olga, adam, anna) = (olga(), adam(), anna());
    let plan = plan();
    let reject = ActionEvent::Reject {
        by: &adam,
        comment: None,
    };
    let cancel = ActionEvent::Cancel {
        by: &olga,
        comment: None,
    };
    let ended = [
        after(&pending(), &reject, 1).unwrap(),
        after(&pending(), &cancel, 1).unwrap(),
        after(&pending(), &ActionEvent::Tick, 900).unwrap(),
        after(&approved(), &begin(&other_plan(), 7), 20).unwrap(),
        after(
            &done(),
            &observed(
                7,
                galera::recover::action::ObservedOutcome::Proven("Primary".to_owned()),
            ),
            23,
        )
        .unwrap(),
        after(&done(), &ActionEvent::Tick, 90).unwrap(),
        after(&executing(), &ActionEvent::Tick, 90).unwrap(),
    ];
    let states: Vec<ActionState> = ended.iter().map(|action| action.state).collect();
    let expected = [
        ActionState::Rejected,
        ActionState::Cancelled,
        ActionState::Expired,
        ActionState::Superseded,
        ActionState::Succeeded,
        ActionState::Unverified,
        ActionState::Failed,
    ];
    assert_eq!(states, expected);
    for action in &ended {
        let events = [
            ActionEvent::Approve {
                by: &adam,
                digest: &plan.digest,
                comment: None,
            },
            ActionEvent::Reject {
                by: &adam,
                comment: None,
            },
            ActionEvent::Cancel {
                by: &anna,
                comment: None,
            },
            ActionEvent::Comment {
                by: &olga,
                text: "late",
            },
            begin(&plan, 9),
            ActionEvent::TakeOver {
                replica: &R2,
                fence: 99,
            },
            intend(&plan, 7),
            observed(
                7,
                galera::recover::action::ObservedOutcome::Proven(String::new()),
            ),
            ActionEvent::Tick,
        ];
        for event in events {
            assert_eq!(
                after(action, &event, 100).unwrap_err().code(),
                "action_final",
                "{event:?}"
            );
        }
    }
}

#[test]
fn comments_are_kept_and_bounded() {
    let olga = olga();
    let mut action = pending();
    for number in 0..COMMENTS_MAX {
        let text = format!("comment {number}");
        action = after(
            &action,
            &ActionEvent::Comment {
                by: &olga,
                text: &text,
            },
            1,
        )
        .unwrap();
    }
    let more = ActionEvent::Comment {
        by: &olga,
        text: "more",
    };
    assert_eq!(
        after(&action, &more, 1).unwrap_err().code(),
        "too_many_comments"
    );
    let long = "x".repeat(1 << 20);
    let long = ActionEvent::Comment {
        by: &olga,
        text: &long,
    };
    assert_eq!(after(&pending(), &long, 1).unwrap_err().code(), "too_long");
    assert_eq!(
        after(
            &pending(),
            &ActionEvent::Comment {
                by: &olga,
                text: " "
            },
            1
        )
        .unwrap_err()
        .code(),
        "no_reason"
    );
    assert_eq!(
        after(&intended(), &more, 22).unwrap().comments.len(),
        1,
        "also while it executes"
    );
}

#[test]
fn refusals_name_the_thing_and_the_remedy() {
    let action = after(&pending(), &ActionEvent::Tick, 900).unwrap();
    let adam = adam();
    let reject = ActionEvent::Reject {
        by: &adam,
        comment: None,
    };
    assert_eq!(
        after(&action, &reject, 901).unwrap_err().to_string(),
        "action a1 is expired and can no longer change; request a new action"
    );
}

#[test]
fn i43_a_statement_counts_as_a_bootstrap_from_its_intention_until_it_is_proven() {
    let started = |action: &galera::recover::action::Action| action.started_bootstrap();
    assert_eq!(started(&pending()), None);
    assert_eq!(started(&approved()), None);
    assert_eq!(started(&executing()), None, "nothing was intended");
    let sent = started(&done()).unwrap();
    let target = plan().target.unwrap();
    assert_eq!(Some(sent.seqno), target.position.map(|at| at.seqno));
    assert_eq!(sent.members.into_iter().collect::<Vec<_>>(), target.members);
    assert!(sent.at.is_some());
    let unverified = after(&done(), &ActionEvent::Tick, 90).unwrap();
    assert_eq!(unverified.state, ActionState::Unverified);
    assert!(started(&unverified).is_some());
    let outcome = galera::recover::action::ObservedOutcome::Proven("Primary".to_owned());
    let proven = after(&done(), &observed(7, outcome), 23).unwrap();
    assert_eq!(started(&proven), None, "its fork is recorded");
}

#[test]
fn an_approval_link_is_used_once_by_who_may_approve_and_gives_nothing() {
    let action = pending();
    let open = |action: &galera::recover::action::Action, by, target, seconds| {
        let event = ActionEvent::OpenLink {
            by,
            target,
            target_name: "pager",
        };
        after(action, &event, seconds)
    };
    let (adam, olga) = (adam(), olga());
    let anna = person("anna", &[Role::Approver]);
    let viewer = person("vera", &[Role::Viewer]);
    let both = person("olga", &[Role::Operator, Role::Approver]);
    assert!(matches!(
        open(&action, &viewer, "t1", 5),
        Err(ActionRefusal::Denied(_))
    ));
    assert!(open(&action, &olga, "t1", 5).is_err());
    assert!(matches!(
        open(&action, &both, "t1", 5),
        Err(ActionRefusal::OwnRequest { .. })
    ));
    let opened = open(&action, &adam, "t1", 6).unwrap();
    assert_eq!(
        (opened.state, opened.approvals.len(), opened.expires_at),
        (ActionState::Pending, 0, action.expires_at)
    );
    for by in [&adam, &anna] {
        let used = open(&opened, by, "t1", 7);
        assert!(
            matches!(&used, Err(ActionRefusal::LinkUsed { by, .. }) if by == "adam"),
            "{used:?}"
        );
    }
    // Another target has another link.
    assert!(open(&opened, &anna, "t2", 7).is_ok());
    let plan = plan();
    let approve = |by| ActionEvent::Approve {
        by,
        digest: &plan.digest,
        comment: None,
    };
    let by_link = after(&opened, &approve(&adam), 8).unwrap();
    let target = by_link.approvals[0].notification_target.as_deref();
    assert_eq!(target, Some("pager"));
    let without = after(&opened, &approve(&anna), 8).unwrap();
    assert_eq!(without.approvals[0].notification_target, None);
    assert!(matches!(
        open(&by_link, &anna, "t2", 9),
        Err(ActionRefusal::WrongState { .. })
    ));
    assert!(matches!(
        open(&opened, &anna, "t2", 15 * 60),
        Err(ActionRefusal::Expired { .. })
    ));
}
