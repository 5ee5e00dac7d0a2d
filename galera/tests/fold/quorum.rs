//! Majorities out of sight (I43) and frozen statuses (I42).

use galera::observe::observation::LastPrimaryVotes;
use galera::observe::registration::NO_POSITION;
use galera::view::{
    ClusterStatus, NodeState, QuorumSummary, ReasonCode, VerdictReason, VerdictState,
};

use crate::fixture::{
    FakeServer, FoldFixture, HISTORY, RUNNING_FIELDS, id, node, reason, refused, timed_out,
};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// The provider options of a server with this weight, among others.
fn options(weight: &str, more: &str) -> String {
    format!(
        "base_dir = /var/lib/mysql/; evs.suspect_timeout = PT5S; pc.ignore_quorum = false; pc.ignore_sb = false; pc.weight = {weight}; {more}"
    )
}

fn survivor(weight: &str) -> FakeServer {
    FakeServer::non_primary("db1").with_row("wsrep_provider_options", &options(weight, ""))
}

fn message(fixture: &FoldFixture, code: ReasonCode) -> String {
    let view = fixture.view();
    reason(&view, code)
        .unwrap_or_else(|| panic!("{:#?}", view.verdict))
        .message
        .clone()
}

#[test]
fn i43_a_minority_in_sight_does_not_prove_that_there_is_no_primary() {
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", FakeServer::non_primary("db1"))
        .fails("10.0.0.2", 4.0, timed_out())
        .fails("10.0.0.3", 4.0, timed_out());
    assert_eq!(fixture.verdict(), VerdictState::Unknown);
    assert_eq!(
        message(&fixture, ReasonCode::NoPrimaryInSight),
        "db1 (10.0.0.1) is non-Primary; 10.0.0.2 and 10.0.0.3, which could be Primary together, do not answer this console \
         (unreachable members hold 2 of 3 votes). Whether the cluster accepts writes is unknown."
    );
    // Closed ports and ended leases: both were killed.
    let killed = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", FakeServer::non_primary("db1"))
        .fails("10.0.0.2", 4.0, refused())
        .fails("10.0.0.3", 4.0, refused());
    assert_eq!(killed.verdict(), VerdictState::NoPrimary);
}

#[test]
fn i43_a_visible_majority_proves_it() {
    let pair = |name: &str, index| {
        FakeServer::non_primary(name).view(&["10.0.0.1:3306", "10.0.0.2:3306"], index)
    };
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", pair("db1", 0))
        .answers("10.0.0.2", pair("db2", 1))
        .fails("10.0.0.3", 4.0, timed_out());
    assert_eq!(fixture.verdict(), VerdictState::NoPrimary);
    // The second does not answer, but the first lists it in its own component.
    let listed = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", pair("db1", 0))
        .fails("10.0.0.2", 4.0, timed_out())
        .fails("10.0.0.3", 4.0, timed_out());
    assert_eq!(listed.verdict(), VerdictState::NoPrimary);
}

#[test]
fn i43_weights_and_arbitrators_count() {
    let with_votes = |weights: &[(&str, u8)], total: u64, size: u64, own: &str, others: &[&str]| {
        let members: Vec<&str> = std::iter::once("10.0.0.1")
            .chain(others.iter().copied())
            .collect();
        let mut fixture = FoldFixture::expecting(&members).answers("10.0.0.1", survivor(own));
        fixture.evidence.last_primary_members = members.iter().map(|member| id(member)).collect();
        fixture.evidence.last_primary_votes = LastPrimaryVotes {
            weights: weights
                .iter()
                .map(|(node, weight)| (id(node), *weight))
                .collect(),
            total: Some(total),
            size: Some(size),
        };
        others.iter().fold(fixture, |fixture, node| {
            fixture.fails(node, 4.0, timed_out())
        })
    };
    let heavy = with_votes(
        &[("10.0.0.2", 1), ("10.0.0.3", 1)],
        5,
        3,
        "3",
        &["10.0.0.2", "10.0.0.3"],
    );
    assert_eq!(
        heavy.verdict(),
        VerdictState::NoPrimary,
        "3 of 5 votes are in sight"
    );
    let voteless = with_votes(
        &[("10.0.0.2", 0), ("10.0.0.3", 0)],
        1,
        3,
        "1",
        &["10.0.0.2", "10.0.0.3"],
    );
    assert_eq!(voteless.verdict(), VerdictState::NoPrimary);
    let light = with_votes(&[("10.0.0.2", 3)], 4, 2, "1", &["10.0.0.2"]);
    assert_eq!(light.verdict(), VerdictState::Unknown);
    let arbitrated = with_votes(&[("10.0.0.2", 1)], 3, 3, "1", &["10.0.0.2"]);
    assert_eq!(arbitrated.verdict(), VerdictState::Unknown);
    let text = message(&arbitrated, ReasonCode::NoPrimaryInSight);
    assert!(
        text.contains("10.0.0.2 and an arbitrator, which could be Primary together")
            && text.contains("2 of 3 votes"),
        "{text}"
    );
    let alone = with_votes(&[("10.0.0.2", 1)], 2, 2, "1", &["10.0.0.2"]);
    assert_eq!(alone.verdict(), VerdictState::NoPrimary, "an even split");
}

/// Empty containers have joined the member without quorum; Galera gives it no addresses of them.
#[test]
fn i43_a_member_without_a_known_address_is_no_arbitrator() {
    let with_list = |list: &[&str]| {
        let server = survivor("1").view(list, 0);
        let others = &MEMBERS[1..];
        let mut fixture = FoldFixture::expecting(&MEMBERS).answers("10.0.0.1", server);
        fixture.evidence.last_primary_members = MEMBERS.iter().map(|member| id(member)).collect();
        fixture.evidence.last_primary_votes = LastPrimaryVotes {
            weights: others.iter().map(|member| (id(member), 1)).collect(),
            total: Some(4),
            size: Some(4),
        };
        others.iter().fold(fixture, |fixture, node| {
            fixture.fails(node, 4.0, timed_out())
        })
    };
    for list in [
        &["10.0.0.1:3306"][..],
        &["10.0.0.1:3306", "unspecified"],
        &["10.0.0.1:3306", "unspecified", "unspecified"],
        &["10.0.0.1:3306", "AUTO", "10.0.0.9:3306"],
    ] {
        let fixture = with_list(list);
        assert_eq!(fixture.verdict(), VerdictState::Unknown, "{list:?}");
        let text = message(&fixture, ReasonCode::NoPrimaryInSight);
        assert!(text.contains("3 of 4 votes"), "{text}");
    }
    for list in [
        &["10.0.0.1:3306", ""][..],
        &["10.0.0.1:3306", "", "unspecified"],
    ] {
        let fixture = with_list(list);
        assert_eq!(fixture.verdict(), VerdictState::NoPrimary, "{list:?}");
    }
}

/// The weight of a member out of sight was changed since, or the last answer came from other data at its address.
#[test]
fn i43_the_recorded_or_the_reported_weight_counts_whichever_permits_a_hidden_majority() {
    let fixture = |recorded: u8, reported: &str| {
        let last = FakeServer::non_primary("db2")
            .with_row("wsrep_provider_options", &options(reported, ""));
        let mut fixture = FoldFixture::expecting(&MEMBERS[..2])
            .answers("10.0.0.1", survivor("2"))
            .answers_between("10.0.0.2", last, 0.0, 3.0)
            .fails("10.0.0.2", 4.0, timed_out());
        fixture.evidence.last_primary_members =
            MEMBERS[..2].iter().map(|member| id(member)).collect();
        fixture.evidence.last_primary_votes = LastPrimaryVotes {
            weights: [(id("10.0.0.1"), 2), (id("10.0.0.2"), recorded)].into(),
            total: Some(2 + u64::from(recorded)),
            size: Some(2),
        };
        fixture.verdict()
    };
    assert_eq!(fixture(3, "1"), VerdictState::Unknown);
    assert_eq!(fixture(1, "3"), VerdictState::Unknown);
    assert_eq!(fixture(1, "1"), VerdictState::NoPrimary);
}

#[test]
fn i43_a_member_without_quorum_as_its_agent_reports_is_in_sight() {
    let fields = [
        ("phase", "running"),
        ("wsrep_local_state_comment", "Initialized"),
        ("wsrep_cluster_status", "non-Primary"),
    ];
    let fixture = |fields: &[(&str, &str)]| {
        FoldFixture::expecting(&MEMBERS)
            .answers("10.0.0.1", FakeServer::non_primary("db1"))
            .fails("10.0.0.2", 4.0, timed_out())
            .registered("10.0.0.2", 9.0, fields)
            .fails("10.0.0.3", 4.0, timed_out())
    };
    assert_eq!(fixture(&fields).verdict(), VerdictState::NoPrimary);
    assert_eq!(fixture(&RUNNING_FIELDS).verdict(), VerdictState::Unknown);
}

/// Empty containers wait, or joined the survivor, under the addresses of members that live on out of sight.
#[test]
fn i43_other_data_at_the_addresses_of_members_do_not_bring_them_into_sight() {
    let fields = [
        ("phase", "waiting"),
        ("registered", r#"{"id":"d1"}"#),
        ("data_id", "new"),
    ];
    let waiting = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", FakeServer::non_primary("db1"))
        .fails("10.0.0.2", 4.0, refused())
        .registered("10.0.0.2", 9.0, &fields)
        .fails("10.0.0.3", 4.0, refused())
        .registered("10.0.0.3", 9.0, &fields);
    assert_eq!(waiting.verdict(), VerdictState::Unknown);
    let message = message(&waiting, ReasonCode::NoPrimaryInSight);
    assert!(
        message.contains(
            "the former 10.0.0.2 and the former 10.0.0.3, which could be Primary together"
        ),
        "{message}"
    );
    let members = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];
    let joined = waiting.answers("10.0.0.1", FakeServer::non_primary("db1").view(&members, 0));
    assert_eq!(joined.verdict(), VerdictState::Unknown);
}

/// No server listens at any address, and some of the addresses are of containers that were created again.
#[test]
fn i43_closed_ports_of_other_data_do_not_show_that_the_members_are_down() {
    let all_refuse = || {
        MEMBERS
            .iter()
            .fold(FoldFixture::expecting(&MEMBERS), |fixture, node| {
                fixture.fails(node, 4.0, refused())
            })
    };
    assert_eq!(all_refuse().verdict(), VerdictState::Down);
    let fields = |registered: &'static str| {
        [
            ("phase", "waiting"),
            ("recovered_position", NO_POSITION),
            ("registered", registered),
            ("data_id", "new"),
        ]
    };
    let replaced = all_refuse().registered("10.0.0.2", 9.0, &fields(r#"{"id":"d1"}"#));
    assert_eq!(replaced.verdict(), VerdictState::Unknown);
    let view = replaced.view();
    let names_it = |reason: &VerdictReason| {
        let message = "The address of 10.0.0.2 is used by other data than those of the member";
        reason.message.starts_with(message)
    };
    assert!(
        view.verdict.reasons.iter().any(names_it),
        "{:#?}",
        view.verdict
    );
    let same = all_refuse().registered("10.0.0.2", 9.0, &fields(r#"{"id":"new"}"#));
    assert_eq!(same.verdict(), VerdictState::Down);
    // etcd lost the registrations too; the console remembers the members.
    let mut unregistered = all_refuse().registered("10.0.0.2", 9.0, &fields("")[..2]);
    assert_eq!(unregistered.verdict(), VerdictState::Down, "never a member");
    unregistered.evidence.last_primary_members = MEMBERS.iter().map(|node| id(node)).collect();
    assert_eq!(unregistered.verdict(), VerdictState::Unknown);
}

/// n3 stopped in order, so that n2 and n4 have quorum without n1; empty containers under all their addresses joined n1.
#[test]
fn i43_a_member_that_left_in_order_is_not_in_sight_because_its_address_is_used() {
    let members = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let list = members.map(|node| format!("{node}:3306"));
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let stopped = format!(
        r#"{{"id":"d1","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":7}},"at":null}}}}"#
    );
    let mut fixture = FoldFixture::expecting(&members);
    for (index, node) in members.iter().enumerate() {
        let server = FakeServer::non_primary(&format!("db{index}")).view(&list, index);
        fixture = fixture.answers(node, server);
        if index > 0 {
            let registered = match index {
                2 => stopped.as_str(),
                _ => r#"{"id":"d1"}"#,
            };
            let fields = [
                ("phase", "running"),
                ("registered", registered),
                ("data_id", "new"),
            ];
            fixture = fixture.registered(node, 9.0, &fields);
        }
    }
    assert_eq!(fixture.verdict(), VerdictState::Unknown);
    let text = message(&fixture, ReasonCode::NoPrimaryInSight);
    assert!(
        text.contains("unreachable members hold 3 of 4 votes"),
        "{text}"
    );
}

#[test]
fn i43_options_that_ignore_quorum_are_named() {
    let server = |option: &str| {
        FakeServer::non_primary("db1").with_row(
            "wsrep_provider_options",
            &options("1", &format!("{option} = true")),
        )
    };
    let fixture = |option: &str| {
        FoldFixture::expecting(&MEMBERS[..2])
            .answers("10.0.0.1", server(option))
            .fails("10.0.0.2", 4.0, timed_out())
    };
    assert_eq!(fixture("pc.linger").verdict(), VerdictState::NoPrimary);
    for option in ["pc.ignore_sb", "pc.ignore_quorum"] {
        let fixture = fixture(option);
        assert_eq!(fixture.verdict(), VerdictState::Unknown, "{option}");
        assert!(message(&fixture, ReasonCode::NoPrimaryInSight).contains(option));
        assert!(message(&fixture, ReasonCode::QuorumIgnored).contains(option));
    }
}

/// A server that cannot process the view in which it lost its peers, with the rows of MariaDB 10.11.
fn frozen(name: &str) -> FakeServer {
    FakeServer::synced(name)
        .view(&["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"], 0)
        .state("2", "Donor/Desynced")
        .with_row("wsrep_desync_count", "1")
        .with_row("wsrep_cluster_weight", "0")
        .with_row("wsrep_local_recv_queue", "1")
}

#[test]
fn i42_a_status_that_a_lock_holds_is_not_primary() {
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", frozen("db1"))
        .fails("10.0.0.2", 4.0, refused())
        .fails("10.0.0.3", 4.0, refused());
    let view = fixture.view();
    assert_eq!(
        view.verdict.state,
        VerdictState::NoPrimary,
        "{:#?}",
        view.verdict
    );
    let found = node(&view, "10.0.0.1");
    assert_eq!(
        (found.state, found.cluster_status),
        (NodeState::Initialized, Some(ClusterStatus::NonPrimary))
    );
    assert_eq!(
        view.components[0].members,
        [id("10.0.0.1")],
        "its list is out of date"
    );
    assert_eq!(
        found.sources[0].cluster_status.as_deref(),
        Some("Primary"),
        "as it reports"
    );
    let text = message(&fixture, ReasonCode::StatusFrozen);
    assert!(
        text.contains("wsrep_cluster_weight 0") && text.contains("UNLOCK TABLES"),
        "{text}"
    );
    let silent = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", frozen("db1"))
        .fails("10.0.0.2", 4.0, timed_out())
        .fails("10.0.0.3", 4.0, timed_out());
    assert_eq!(silent.verdict(), VerdictState::Unknown);
}

#[test]
fn i42_a_view_change_is_not_frozen() {
    let briefly = FoldFixture::healthy().answers_between("10.0.0.1", frozen("db1"), 9.0, 10.0);
    let view = briefly.view();
    assert!(
        reason(&view, ReasonCode::StatusFrozen).is_none(),
        "{:#?}",
        view.verdict
    );
    let forming = FoldFixture::healthy().answers(
        "10.0.0.1",
        frozen("db1").with_row("wsrep_evs_state", "GATHER"),
    );
    assert!(reason(&forming.view(), ReasonCode::StatusFrozen).is_none());
    // A Primary component of servers without votes, after a bootstrap.
    let voteless = frozen("db1")
        .with_row("wsrep_local_recv_queue", "0")
        .with_row("wsrep_provider_options", &options("0", ""));
    let fixture = FoldFixture::healthy().answers("10.0.0.1", voteless);
    assert!(reason(&fixture.view(), ReasonCode::StatusFrozen).is_none());
}

/// The line about the quorum of a cluster of these members.
fn quorum(fixture: &FoldFixture) -> QuorumSummary {
    let view = fixture.view();
    let text = format!("{view:#?}");
    view.quorum.unwrap_or_else(|| panic!("{text}"))
}

/// A Synced member of a Primary component of `addresses`, with `pc.weight` and `wsrep_cluster_weight`.
fn member(addresses: &[&str], index: usize, own: &str, all: &str) -> FakeServer {
    FakeServer::synced(&format!("db{}", index + 1))
        .view(addresses, index)
        .with_row("wsrep_provider_options", &options(own, ""))
        .with_row("wsrep_cluster_weight", all)
}

const ADDRESSES: [&str; 3] = ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"];

#[test]
fn the_votes_of_a_primary_component_and_what_it_can_lose() {
    let all = (0..3).fold(FoldFixture::expecting(&MEMBERS), |fixture, index| {
        fixture.answers(MEMBERS[index], member(&ADDRESSES, index, "1", "3"))
    });
    let line = quorum(&all);
    assert_eq!((line.votes, line.total, line.spare), (3, 3, Some(1)));
    assert_eq!(line.summary, "3 of 3 votes; one member can fail");

    let pair = (0..2)
        .fold(FoldFixture::expecting(&MEMBERS), |fixture, index| {
            fixture.answers(MEMBERS[index], member(&ADDRESSES[..2], index, "1", "2"))
        })
        .fails("10.0.0.3", 4.0, refused());
    let line = quorum(&pair);
    assert_eq!((line.votes, line.total, line.spare), (2, 3, Some(0)));
    assert_eq!(line.summary, "2 of 3 votes; losing one more stops writes");
}

#[test]
fn weights_name_the_member_that_writes_depend_on() {
    let heavy = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", member(&ADDRESSES[..2], 0, "3", "4"))
        .answers("10.0.0.2", member(&ADDRESSES[..2], 1, "1", "4"));
    let line = quorum(&heavy);
    assert_eq!((line.votes, line.spare), (4, Some(1)));
    assert_eq!(
        line.summary,
        "4 of 4 votes; losing db1 (10.0.0.1) (3 votes) stops writes"
    );
}

#[test]
fn arbitrators_are_voters() {
    let fixture = (0..2).fold(FoldFixture::expecting(&MEMBERS[..2]), |fixture, index| {
        let server = member(&ADDRESSES[..2], index, "1", "3").with_row("wsrep_cluster_size", "3");
        fixture.answers(MEMBERS[index], server)
    });
    let line = quorum(&fixture);
    assert_eq!((line.votes, line.arbitrators, line.spare), (3, 1, Some(1)));
    assert_eq!(
        line.summary,
        "3 of 3 votes, one of them of an arbitrator; one member can fail"
    );
}

#[test]
fn without_a_primary_component_the_missing_votes_are_named() {
    let fixture = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", FakeServer::non_primary("db1"))
        .fails("10.0.0.2", 4.0, refused())
        .fails("10.0.0.3", 4.0, timed_out());
    let line = quorum(&fixture);
    assert_eq!((line.votes, line.total, line.spare), (1, 3, None));
    assert_eq!(line.summary, "1 of 3 votes in sight; 2 are needed");
    let down = FoldFixture::expecting(&MEMBERS[..1]).fails("10.0.0.1", 4.0, refused());
    assert_eq!(down.view().quorum, None, "no member answers");
}

#[test]
fn options_that_ignore_quorum_take_the_place_of_the_margin() {
    for (option, who) in [
        ("pc.ignore_sb", "each half"),
        ("pc.ignore_quorum", "every part"),
    ] {
        let fixture = (0..2).fold(FoldFixture::expecting(&MEMBERS[..2]), |fixture, index| {
            let server = member(&ADDRESSES[..2], index, "1", "2").with_row(
                "wsrep_provider_options",
                &options("1", &format!("{option} = true")),
            );
            fixture.answers(MEMBERS[index], server)
        });
        let line = quorum(&fixture).summary;
        assert!(line.contains(option) && line.contains(who), "{line}");
    }
}
