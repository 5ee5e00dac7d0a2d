//! Stop checks on views of the real fold.

use galera::insight::stop_check::{
    ReturnTransfer, StopAnswer, StopCheck, StopEffect, StopFindingCode, stop_check,
};
use galera::view::{ArbitratorState, ArbitratorView, ClusterView, TransferRole, TransferView};
use proptest::prelude::*;

use crate::fixture::{FakeServer, FoldFixture, id, refused, timed_out};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

fn server(name: &str, index: usize, weight: &str) -> FakeServer {
    FakeServer::synced(name)
        .view(&["AUTO"; 3], index)
        .with_row("wsrep_provider_options", &format!("pc.weight = {weight}"))
        .with_row("wsrep_local_cached_downto", "881")
}

/// Three members with these weights.
fn weighted(weights: [&str; 3]) -> FoldFixture {
    let mut fixture = FoldFixture::expecting(&MEMBERS);
    for (index, (member, weight)) in MEMBERS.iter().zip(weights).enumerate() {
        fixture = fixture.answers(member, server(&format!("db{}", index + 1), index, weight));
    }
    fixture
}

fn check(view: &ClusterView, nodes: &[&str]) -> StopCheck {
    let nodes: Vec<_> = nodes.iter().map(|node| id(node)).collect();
    stop_check(view, &nodes)
}

fn codes(check: &StopCheck, effect: StopEffect) -> Vec<StopFindingCode> {
    let findings = check.findings.iter();
    findings
        .filter(|finding| finding.effect == effect)
        .map(|finding| finding.code)
        .collect()
}

#[test]
fn one_of_three_may_be_stopped_and_the_risk_until_it_returns_is_named() {
    let view = weighted(["1", "1", "1"]).view();
    let check = check(&view, &["10.0.0.2"]);
    assert_eq!(check.answer, StopAnswer::Yes, "{check:#?}");
    assert_eq!(
        check.summary,
        "Yes. 2 of 3 votes remain, and the others stay Primary after a clean shutdown."
    );
    assert_eq!(check.votes.primary_if_killed, Some(true));
    assert_eq!(check.votes.crashes_tolerated, Some(0));
    assert_eq!(
        codes(&check, StopEffect::Notice),
        [StopFindingCode::NoCrashTolerated]
    );
    let [forecast] = &check.returns[..] else {
        panic!("{:#?}", check.returns);
    };
    assert_eq!(forecast.transfer, ReturnTransfer::Incremental);
    assert_eq!(forecast.donor, Some(id("10.0.0.1")));
    assert_eq!(forecast.transactions_left, Some(2_001), "881 to 2881");
    assert_eq!(forecast.until, None, "without writes there is no rate");
    assert_eq!(
        forecast.message,
        "db2 (10.0.0.2) returns by an incremental state transfer (IST) from db1 (10.0.0.1) as long as at most 1600 \
         transactions of the present size follow, later by a full one (SST)."
    );
}

#[test]
fn two_of_three_may_leave_in_order_but_not_be_killed() {
    let view = weighted(["1", "1", "1"]).view();
    let check = check(&view, &["10.0.0.2", "10.0.0.1"]);
    assert_eq!(check.answer, StopAnswer::Yes);
    assert_eq!(check.nodes, [id("10.0.0.1"), id("10.0.0.2")]);
    assert_eq!(check.votes.primary_if_killed, Some(false));
    assert_eq!(
        codes(&check, StopEffect::Notice),
        [
            StopFindingCode::KillEndsPrimary,
            StopFindingCode::NoCrashTolerated
        ]
    );
}

#[test]
fn all_members_may_not_be_stopped() {
    let view = weighted(["1", "1", "1"]).view();
    let check = check(&view, &MEMBERS);
    assert_eq!(check.answer, StopAnswer::No);
    assert_eq!(check.summary, "No. No member would remain.");
}

#[test]
fn weights_decide() {
    for (weights, stopped, answer, killed) in [
        (["3", "1", "1"], vec!["10.0.0.1"], StopAnswer::Yes, false),
        (["3", "1", "1"], vec!["10.0.0.2"], StopAnswer::Yes, true),
        (["1", "0", "0"], vec!["10.0.0.1"], StopAnswer::No, false),
        (["1", "0", "1"], vec!["10.0.0.2"], StopAnswer::Yes, true),
        (["2", "1", "1"], vec!["10.0.0.1"], StopAnswer::Yes, false),
    ] {
        let check = check(&weighted(weights).view(), &stopped);
        assert_eq!(check.answer, answer, "{weights:?} {stopped:?} {check:#?}");
        assert_eq!(check.votes.primary_if_killed, Some(killed), "{weights:?}");
    }
}

#[test]
fn a_weight_that_is_not_known_is_not_assumed() {
    let unknown = FakeServer::synced("db1").view(&["AUTO"; 3], 0);
    let view = weighted(["1", "1", "1"])
        .answers("10.0.0.1", unknown)
        .view();
    let check = check(&view, &["10.0.0.3"]);
    assert_eq!(check.answer, StopAnswer::Yes, "db2 has a vote");
    assert_eq!((check.votes.before, check.votes.after), (None, None));
    assert_eq!(check.votes.primary_if_killed, None);
    assert!(codes(&check, StopEffect::Notice).contains(&StopFindingCode::VotesUnknown));
}

#[test]
fn a_member_that_alone_serves_may_not_be_stopped() {
    let donor = server("db2", 1, "1").state("2", "Donor/Desynced");
    let rejecting = server("db3", 2, "1").with_row("wsrep_ready", "OFF");
    let view = weighted(["1", "1", "1"])
        .answers("10.0.0.2", donor)
        .answers("10.0.0.3", rejecting)
        .view();
    let check = check(&view, &["10.0.0.1"]);
    assert_eq!(check.answer, StopAnswer::No, "{check:#?}");
    assert_eq!(
        check.summary,
        "No. None of the remaining members (db2 (10.0.0.2), db3 (10.0.0.3)) is Synced and accepts queries."
    );
}

#[test]
fn a_transfer_in_progress_is_not_broken() {
    let fixture = weighted(["1", "1", "1"])
        .answers(
            "10.0.0.2",
            server("db2", 1, "1").state("2", "Donor/Desynced"),
        )
        .answers(
            "10.0.0.3",
            server("db3", 2, "1").state("1", "Joining: receiving State Transfer"),
        );
    let view = fixture.view();
    for (stopped, code) in [
        (vec!["10.0.0.2"], StopFindingCode::SendsTransfer),
        (vec!["10.0.0.3"], StopFindingCode::ReceivesTransfer),
    ] {
        let check = check(&view, &stopped);
        assert_eq!(check.answer, StopAnswer::No, "{check:#?}");
        assert_eq!(codes(&check, StopEffect::Blocks), [code]);
    }
    // A backup's donor has no joiner.
    let backup = weighted(["1", "1", "1"])
        .answers(
            "10.0.0.2",
            server("db2", 1, "1").state("2", "Donor/Desynced"),
        )
        .view();
    assert_eq!(check(&backup, &["10.0.0.2"]).answer, StopAnswer::Yes);
}

#[test]
fn only_the_donor_whose_agent_reports_that_it_sends_blocks() {
    let donor = |name: &str, index| server(name, index, "1").state("2", "Donor/Desynced");
    let mut view = weighted(["1", "1", "1"])
        .answers("10.0.0.1", donor("db1", 0))
        .answers("10.0.0.2", donor("db2", 1))
        .answers(
            "10.0.0.3",
            server("db3", 2, "1").state("1", "Joining: receiving State Transfer"),
        )
        .view();
    let blocked = |view: &ClusterView, node: &str| {
        let check = check(view, &[node]);
        let code = StopFindingCode::SendsTransfer;
        let blocks = codes(&check, StopEffect::Blocks).contains(&code);
        assert_ne!(blocks, codes(&check, StopEffect::Notice).contains(&code));
        blocks
    };
    let transfer = |role, peer: &str| {
        Some(TransferView {
            role: Some(role),
            peer: Some(id(peer)),
            ..TransferView::default()
        })
    };
    assert!(blocked(&view, "10.0.0.1") && blocked(&view, "10.0.0.2"));
    // What is shown of the joiner alone may be a guess.
    view.nodes[2].transfer = transfer(TransferRole::Receives, "10.0.0.2");
    assert!(blocked(&view, "10.0.0.1") && blocked(&view, "10.0.0.2"));
    view.nodes[1].transfer = transfer(TransferRole::Sends, "10.0.0.3");
    assert!(!blocked(&view, "10.0.0.1"), "a backup's donor");
    assert!(blocked(&view, "10.0.0.2"));
}

#[test]
fn nothing_is_concluded_from_silence() {
    let view = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", server("db1", 0, "1"))
        .answers("10.0.0.2", server("db2", 1, "1"))
        .answers_between("10.0.0.3", server("db3", 2, "1"), 0.0, 3.0)
        .fails("10.0.0.3", 4.0, timed_out())
        .view();
    let silent = check(&view, &["10.0.0.3"]);
    assert_eq!(silent.answer, StopAnswer::CannotTell, "{silent:#?}");
    let beside_it = check(&view, &["10.0.0.2"]);
    assert_eq!(beside_it.answer, StopAnswer::CannotTell, "{beside_it:#?}");
    assert_eq!(
        codes(&beside_it, StopEffect::Unknown),
        [StopFindingCode::MemberNotFresh]
    );
}

#[test]
fn a_cluster_without_primary_is_recovered_first() {
    let view = FoldFixture::expecting(&MEMBERS)
        .answers("10.0.0.1", FakeServer::non_primary("db1"))
        .fails("10.0.0.2", 4.0, refused())
        .fails("10.0.0.3", 4.0, refused())
        .view();
    let check = check(&view, &["10.0.0.1"]);
    assert_eq!(check.answer, StopAnswer::No);
    assert!(
        check
            .summary
            .starts_with("No. The cluster has to be recovered first: "),
        "{}",
        check.summary
    );
}

#[test]
fn an_unnamed_member_counts_as_one_vote() {
    let member = |name: &str, index: usize| {
        server(name, index, "1")
            .with_row("wsrep_incoming_addresses", "AUTO,AUTO,")
            .with_row("wsrep_cluster_size", "3")
    };
    let view = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", member("db1", 0))
        .answers("10.0.0.2", member("db2", 1))
        .view();
    let check = check(&view, &["10.0.0.2"]);
    assert_eq!((check.votes.before, check.votes.after), (Some(3), Some(2)));
    assert!(codes(&check, StopEffect::Notice).contains(&StopFindingCode::UnnamedMembers));
}

#[test]
fn an_arbitrator_counts_with_the_votes_of_the_quorum() {
    let member = |name: &str, index: usize| {
        server(name, index, "1")
            .with_row("wsrep_incoming_addresses", "AUTO,AUTO,")
            .with_row("wsrep_cluster_size", "3")
            .with_row("wsrep_cluster_weight", "4")
    };
    let mut view = FoldFixture::expecting(&MEMBERS[..2])
        .answers("10.0.0.1", member("db1", 0))
        .answers("10.0.0.2", member("db2", 1))
        .view();
    let unnamed = check(&view, &["10.0.0.2"]);
    let quorum = view.quorum.as_ref().unwrap();
    assert_eq!(quorum.arbitrators, 2);
    assert_eq!(unnamed.votes.before, Some(quorum.votes));
    assert_eq!(unnamed.votes.after, Some(3));
    let mut messages = unnamed.findings.iter().map(|finding| &finding.message);
    assert!(
        messages.any(|message| message.ends_with("it is counted with 2 votes.")),
        "{unnamed:#?}"
    );
    view.arbitrators = vec![ArbitratorView {
        name: Some("garb1".to_owned()),
        state: ArbitratorState::Member,
        address: None,
        since: None,
        message: String::new(),
    }];
    let named = check(&view, &["10.0.0.2"]);
    assert_eq!(named.votes, unnamed.votes);
    assert!(!codes(&named, StopEffect::Notice).contains(&StopFindingCode::UnnamedMembers));
}

#[test]
fn a_cache_that_ends_below_the_position_means_a_full_transfer() {
    let ahead = |name, index| {
        server(name, index, "1")
            .with_row("wsrep_local_cached_downto", "2890")
            .seqno("2900")
    };
    let view = weighted(["1", "1", "1"])
        .answers("10.0.0.1", ahead("db1", 0))
        .answers("10.0.0.2", ahead("db2", 1))
        .view();
    let lagging = check(&view, &["10.0.0.3"]);
    assert_eq!(lagging.returns[0].transfer, ReturnTransfer::Full);
    let empty = weighted(["1", "1", "1"])
        .answers(
            "10.0.0.1",
            server("db1", 0, "1").with_row("wsrep_local_cached_downto", "18446744073709551615"),
        )
        .answers(
            "10.0.0.2",
            server("db2", 1, "1").with_row("wsrep_local_cached_downto", "-1"),
        )
        .view();
    let unknown = check(&empty, &["10.0.0.3"]);
    assert_eq!(unknown.returns[0].transfer, ReturnTransfer::Unknown);
}

proptest! {
    /// Stopping fewer members is never worse, and stopping all is never permitted.
    #[test]
    fn fewer_stops_are_never_worse(
        weights in prop::array::uniform3(0_u8..4),
        selected in prop::array::uniform3(any::<bool>()),
        spared in 0_usize..3,
    ) {
        let texts = weights.map(|weight| weight.to_string());
        let view = weighted([&texts[0], &texts[1], &texts[2]]).view();
        let of = |selected: [bool; 3]| {
            let nodes: Vec<_> = MEMBERS
                .iter()
                .zip(selected)
                .filter(|(_, selected)| *selected)
                .map(|(node, _)| *node)
                .collect();
            check(&view, &nodes)
        };
        let more = of(selected);
        let mut fewer = selected;
        fewer[spared] = false;
        let fewer = of(fewer);
        prop_assert!(fewer.answer <= more.answer, "{fewer:#?} {more:#?}");
        prop_assert!(more.answer != StopAnswer::Yes || selected.contains(&false));
    }
}
