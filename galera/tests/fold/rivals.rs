//! Components and rivals: what is a view change, and what is a split brain (I5, I23).

use galera::view::{ClusterStatus, ReasonCode, VerdictState};

use crate::fixture::{FakeServer, FoldFixture, OTHER_HISTORY, UNDEFINED, id, reason, reason_codes};

const MEMBERS: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];

fn founder(name: &str) -> FakeServer {
    FakeServer::synced(name).view(&["AUTO"], 0).conf_id("1")
}

fn primaries(fixture: &FoldFixture) -> usize {
    let view = fixture.view();
    let primary = |component: &&galera::view::Component| component.status == ClusterStatus::Primary;
    view.components.iter().filter(primary).count()
}

#[test]
fn two_founders_are_split_brain_within_seconds() {
    let fixture = |seconds: f64| {
        FoldFixture::expecting(&MEMBERS[..2])
            .at(seconds)
            .answers("10.0.0.1", founder("db1"))
            .answers("10.0.0.2", founder("db2").history(OTHER_HISTORY))
    };
    for seconds in [0.0, 1.0] {
        let early = fixture(seconds).verdict();
        assert_eq!(
            early,
            VerdictState::Degraded,
            "after {seconds} s: not proven, and never healthy"
        );
    }
    let view = fixture(2.0).view();
    assert_eq!(view.verdict.state, VerdictState::SplitBrain);
    let found: Vec<ReasonCode> = reason_codes(&view)
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    assert!(
        found.starts_with(&[ReasonCode::RivalPrimaries, ReasonCode::StateUuidsDiffer]),
        "{found:?}"
    );
    assert_eq!(view.components.len(), 2);
}

#[test]
fn i23_rivals_may_share_state_uuid_and_conf_id() {
    let fixture = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", founder("db1"))
        .answers("10.0.0.2", founder("db2"));
    assert_eq!(fixture.verdict(), VerdictState::SplitBrain);
    assert_eq!(primaries(&fixture), 2);
}

#[test]
fn i23_two_rivals_may_report_identical_values() {
    let half = |name: &str, index| {
        FakeServer::synced(name)
            .view(&["AUTO"; 2], index)
            .conf_id("18")
    };
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", half("db1", 0))
        .answers("10.0.0.2", half("db2", 1))
        .answers("10.0.0.3", half("db3", 0))
        .answers("10.0.0.4", half("db4", 1));
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::SplitBrain);
    assert!(
        view.components
            .iter()
            .all(|component| component.size == Some(2))
    );
    let pairs: Vec<_> = view
        .verdict
        .reasons
        .iter()
        .filter(|reason| reason.code == ReasonCode::RivalPrimaries)
        .collect();
    assert_eq!(
        pairs.len(),
        2,
        "only the same index proves two components: {pairs:#?}"
    );
}

#[test]
fn i23_rivals_with_known_addresses_keep_their_members() {
    let half = |name: &str, list: [&str; 2], index| {
        FakeServer::synced(name).view(&list, index).conf_id("18")
    };
    let (one, other) = (
        ["10.0.0.1:3306", "10.0.0.2:3306"],
        ["10.0.0.3:3306", "10.0.0.4:3306"],
    );
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", half("db1", one, 0))
        .answers("10.0.0.2", half("db2", one, 1))
        .answers("10.0.0.3", half("db3", other, 0))
        .answers("10.0.0.4", half("db4", other, 1));
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::SplitBrain);
    let members: Vec<_> = view
        .components
        .iter()
        .map(|component| component.members.clone())
        .collect();
    assert_eq!(
        members,
        [
            vec![id("10.0.0.1"), id("10.0.0.2")],
            vec![id("10.0.0.3"), id("10.0.0.4")]
        ]
    );
    let message = &reason(&view, ReasonCode::RivalPrimaries).unwrap().message;
    assert!(
        message.contains("db1 (10.0.0.1), db2 (10.0.0.2) and db3 (10.0.0.3), db4 (10.0.0.4)"),
        "{message}"
    );
}

#[test]
fn rivals_need_time_together() {
    // The first stopped answering before the second was bootstrapped, but its last answer is still fresh.
    let fixture = FoldFixture::expecting(&MEMBERS[..2])
        .answers_between("10.0.0.1", founder("db1"), 0.0, 6.0)
        .answers_between("10.0.0.2", founder("db2"), 7.0, 10.0);
    assert_ne!(fixture.verdict(), VerdictState::SplitBrain);
    assert_ne!(fixture.verdict(), VerdictState::Healthy);
}

/// A view that changes between two polls: the member list before and after.
fn view_change(before: &[&str], after: &[&str]) -> FoldFixture {
    let old = |index: usize| {
        FakeServer::synced(MEMBERS[index])
            .view(before, index)
            .conf_id("17")
    };
    let new = |index: usize| {
        FakeServer::synced(MEMBERS[index])
            .view(after, index)
            .conf_id("18")
    };
    // db1 was polled just after the change, the others just before it.
    FoldFixture::expecting(&MEMBERS[..3])
        .answers_between("10.0.0.1", old(0), 0.0, 9.0)
        .answers_between("10.0.0.1", new(0), 10.0, 10.0)
        .answers_between("10.0.0.2", old(1), 0.0, 9.9)
        .answers_between("10.0.0.3", old(2), 0.0, 9.9)
}

#[test]
fn a_view_change_between_two_polls_raises_no_alarm() {
    let known = [
        "10.0.0.1:3306",
        "10.0.0.2:3306",
        "10.0.0.3:3306",
        "10.0.0.4:3306",
    ];
    for (before, after) in [
        (&["AUTO"; 4][..3], &["AUTO"; 4][..]),
        (&["AUTO"; 4][..], &["AUTO"; 4][..3]),
        (&known[..3], &known[..]),
        (&known[..], &known[..3]),
    ] {
        let fixture = view_change(before, after);
        let view = fixture.view();
        assert_eq!(
            view.verdict.state,
            VerdictState::Healthy,
            "{before:?} {:#?}",
            view.verdict
        );
        assert_eq!(view.components.len(), 1);
        assert_eq!(view.components[0].conf_id, Some(18));
    }
}

#[test]
fn a_departed_node_is_not_counted_while_it_still_reports_primary() {
    let known = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    let fixture = view_change(&known, &known[..2]);
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    assert_eq!(view.components[0].members, [id("10.0.0.1"), id("10.0.0.2")]);
    assert_eq!(
        reason_codes(&view),
        [(ReasonCode::MemberNotPrimary, Some("10.0.0.3".to_owned()))]
    );
}

#[test]
fn a_contradiction_that_lasts_is_not_healthy() {
    let fixture = |queue: &str, seconds: f64| {
        let mut fixture = FoldFixture::expecting(&MEMBERS[..3]).at(seconds);
        for (index, member) in MEMBERS.iter().enumerate().take(3) {
            let (list, conf) = if index == 0 {
                (&["AUTO"; 4][..], "18")
            } else {
                (&["AUTO"; 4][..3], "17")
            };
            let server = FakeServer::synced(member)
                .view(list, index)
                .conf_id(conf)
                .with_row("wsrep_local_recv_queue", queue);
            fixture = fixture.answers(member, server);
        }
        fixture
    };
    assert_eq!(fixture("0", 1.0).verdict(), VerdictState::Healthy);
    assert_eq!(fixture("0", 5.0).verdict(), VerdictState::Degraded);
    assert_eq!(fixture("0", 60.0).verdict(), VerdictState::SplitBrain);
    assert_eq!(
        fixture("900", 60.0).verdict(),
        VerdictState::Degraded,
        "a backlog explains an old view"
    );
}

#[test]
fn histories_that_are_proven_to_differ_stay_so_when_a_view_changes() {
    let side = |conf| {
        FakeServer::synced("db1")
            .view(&["AUTO"; 2], 0)
            .conf_id(conf)
    };
    let fixture = |changed: f64| {
        FoldFixture::expecting(&MEMBERS[..3])
            .at(changed + 0.5)
            .answers_between("10.0.0.1", side("17"), 0.0, changed - 1.0)
            .answers_between("10.0.0.1", side("18"), changed, changed + 0.5)
            .answers("10.0.0.3", founder("db3").history(OTHER_HISTORY))
    };
    assert_eq!(fixture(10.0).verdict(), VerdictState::Diverged);
    assert_eq!(
        fixture(1.0).verdict(),
        VerdictState::Degraded,
        "a view change does not prove what was not proven before"
    );
}

#[test]
fn histories_that_differ_without_two_primaries_are_diverged() {
    let fixture = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", founder("db1"))
        .answers(
            "10.0.0.2",
            FakeServer::non_primary("db2").history(OTHER_HISTORY),
        );
    let view = fixture.view();
    assert_eq!(view.verdict.state, VerdictState::Diverged);
    assert_eq!(view.verdict.reasons[0].code, ReasonCode::StateUuidsDiffer);
    let joiner = FakeServer::synced("db2")
        .history(OTHER_HISTORY)
        .state("0", "Joining: receiving State Transfer")
        .with_row("wsrep_cluster_status", "non-Primary");
    let joining = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", FakeServer::synced("db1").view(&["AUTO"; 2], 0))
        .answers("10.0.0.2", joiner);
    assert_ne!(
        joining.verdict(),
        VerdictState::Diverged,
        "a joiner's history is about to be replaced"
    );
}

#[test]
fn an_unexpected_founder_is_never_overlooked() {
    for (seconds, expected) in [
        (1.0, VerdictState::Degraded),
        (5.0, VerdictState::SplitBrain),
    ] {
        let fixture = FoldFixture::expecting(&MEMBERS[..1])
            .at(seconds)
            .answers("10.0.0.1", founder("db1"))
            .answers("10.0.0.9", founder("db9"));
        assert_eq!(fixture.verdict(), expected, "after {seconds} s");
    }
}

#[test]
fn groups_that_share_a_silent_member_may_be_one_for_a_while() {
    let fixture = |seconds: f64| {
        let one = ["10.0.0.1:3306", "10.0.0.3:3306"];
        let other = ["10.0.0.2:3306", "10.0.0.3:3306"];
        FoldFixture::expecting(&MEMBERS[..3])
            .at(seconds)
            .answers(
                "10.0.0.1",
                FakeServer::synced("db1").view(&one, 0).conf_id("17"),
            )
            .answers(
                "10.0.0.2",
                FakeServer::synced("db2").view(&other, 0).conf_id("18"),
            )
    };
    assert_eq!(fixture(10.0).verdict(), VerdictState::Degraded);
    assert_eq!(fixture(60.0).verdict(), VerdictState::SplitBrain);
}

#[test]
fn a_view_that_lags_without_a_backlog_is_not_healthy() {
    let known = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    let fixture = |queue: &str, seconds: f64| {
        let late = |name: &str, index| {
            let server = FakeServer::synced(name)
                .view(&known[1..], index)
                .conf_id("17");
            server.with_row("wsrep_local_recv_queue", queue)
        };
        FoldFixture::expecting(&MEMBERS[..3])
            .at(seconds)
            .answers(
                "10.0.0.1",
                FakeServer::synced("db1").view(&known, 0).conf_id("18"),
            )
            .answers("10.0.0.2", late("db2", 0))
            .answers("10.0.0.3", late("db3", 1))
    };
    assert_eq!(fixture("0", 1.0).verdict(), VerdictState::Degraded);
    assert_eq!(
        fixture("900", 60.0).verdict(),
        VerdictState::Healthy,
        "they are still applying their backlog"
    );
    assert_eq!(fixture("0", 5.0).verdict(), VerdictState::Degraded);
}

#[test]
fn reporters_without_an_index_fill_the_list() {
    let placeless = |name: &str| {
        let server = FakeServer::synced(name).view(&["AUTO"; 2], 0).conf_id("18");
        server.with_row("wsrep_local_index", "-1")
    };
    let fixture = FoldFixture::expecting(&MEMBERS[..3])
        .answers("10.0.0.1", placeless("db1"))
        .answers("10.0.0.2", placeless("db2"))
        .answers("10.0.0.3", founder("db3"));
    assert_eq!(fixture.verdict(), VerdictState::SplitBrain);
}

#[test]
fn i23_a_list_of_another_size_than_the_view_hides_no_rival() {
    // Read during a view change: the size is new, the list is still the old one.
    let known = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    let pair = |name: &str, list: &[&str], index| {
        let server = FakeServer::synced(name).view(list, index).conf_id("18");
        server.with_row("wsrep_cluster_size", "2")
    };
    let alone = |list: &[&str], index, conf| {
        let server = FakeServer::synced("db3").view(list, index).conf_id(conf);
        server.with_row("wsrep_cluster_size", "1")
    };
    for conf in ["17", "18", "19"] {
        for (pairs, own) in [
            (&known[..2], (&known[..], 2)),
            (&known[..], (&known[2..], 0)),
            (&known[..], (&known[..], 2)),
        ] {
            let fixture = FoldFixture::expecting(&MEMBERS[..3])
                .at(1.0)
                .answers("10.0.0.1", pair("db1", pairs, 0))
                .answers("10.0.0.2", pair("db2", pairs, 1))
                .answers("10.0.0.3", alone(own.0, own.1, conf));
            let view = fixture.view();
            assert_eq!(
                view.verdict.state,
                VerdictState::Degraded,
                "{pairs:?} {own:?} {conf}: {:#?}",
                view.components
            );
            assert_eq!(primaries(&fixture), 2, "{pairs:?} {own:?} {conf}");
        }
    }
}

#[test]
fn i23_members_that_do_not_all_list_each_other_are_never_healthy() {
    // A partitioned node was bootstrapped and the others have not dropped it yet, or its status was read during the
    // change: already Primary, but still without a conf_id.
    let parted =
        |conf: &str, address: &str| FakeServer::synced("db3").view(&[address], 0).conf_id(conf);
    for (third, own) in [("AUTO", "AUTO"), ("10.0.0.3:3306", "10.0.0.3:3306")] {
        for conf in ["1", "16", "17", "18", UNDEFINED] {
            let list = ["AUTO", "AUTO", third];
            let fixture = FoldFixture::expecting(&MEMBERS[..3])
                .at(1.0)
                .answers("10.0.0.1", FakeServer::synced("db1").view(&list, 0))
                .answers("10.0.0.2", FakeServer::synced("db2").view(&list, 1))
                .answers("10.0.0.3", parted(conf, own));
            let view = fixture.view();
            assert_eq!(
                view.verdict.state,
                VerdictState::Degraded,
                "{third} {conf}: {:#?}",
                view.components
            );
        }
    }
}

#[test]
fn a_node_with_an_old_list_after_ist_is_not_a_rival() {
    let known = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    for (all, old) in [
        (&known, &known[..2]),
        (&["AUTO"; 3], &["AUTO"; 2][..]),
        (&known, &[][..]),
    ] {
        let joined = FakeServer::synced("db3")
            .view(old, 2)
            .with_row("wsrep_cluster_size", "3");
        let fixture = FoldFixture::expecting(&MEMBERS[..3])
            .at(300.0)
            .answers("10.0.0.1", FakeServer::synced("db1").view(all, 0))
            .answers("10.0.0.2", FakeServer::synced("db2").view(all, 1))
            .answers("10.0.0.3", joined);
        let view = fixture.view();
        assert_eq!(
            view.verdict.state,
            VerdictState::Healthy,
            "{old:?}: {:#?}",
            view.verdict.reasons
        );
        assert_eq!(primaries(&fixture), 1, "{old:?}");
    }
}
