//! State transfers: what agents and servers show of them is shown and estimated from, and decides nothing.

use galera::judge::cluster::fold;
use galera::view::{ClusterView, NodeState, SourceKind, TransferRole, TransferState, TransferView};
use proptest::prelude::*;

use crate::fixture::{FakeServer, FoldFixture, at, id, node, refused};

/// The value of `transfer` of an agent; `more`: further members.
fn record(role: &str, more: &str) -> String {
    format!(
        r#"{{"kind":"sst","role":"{role}","method":"mariabackup","address":"10.0.0.3:4444","since":"{}"{more}}}"#,
        at(2.0)
    )
}

fn received(done: u64) -> String {
    record("receives", &format!(r#","done":{done},"rate":110000000"#))
}

fn sent() -> String {
    record(
        "sends",
        r#","done":3300000000,"total":40000000000,"rate":110000000"#,
    )
}

/// db1 is Synced, db2 is a donor, and db3 receives, as their agents report.
fn under_way(donor: &str, joiner: &str) -> FoldFixture {
    let members = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let donor_server = FakeServer::synced("db2")
        .view(&["AUTO"; 3], 1)
        .state("2", "Donor/Desynced");
    FoldFixture::expecting(&members)
        .answers("10.0.0.1", FakeServer::synced("db1").view(&["AUTO"; 3], 0))
        .answers("10.0.0.2", donor_server)
        .fails("10.0.0.3", 1.0, refused())
        .registered(
            "10.0.0.2",
            9.0,
            &[
                ("wsrep_local_state_comment", "Donor/Desynced"),
                ("phase", "running"),
                ("transfer", donor),
            ],
        )
        .registered(
            "10.0.0.3",
            9.0,
            &[
                (
                    "wsrep_local_state_comment",
                    "Joining: receiving State Transfer",
                ),
                ("wsrep_node_name", "db3"),
                ("phase", "joining"),
                ("transfer", joiner),
            ],
        )
}

fn transfer<'a>(view: &'a ClusterView, name: &str) -> Option<&'a TransferView> {
    node(view, name).transfer.as_ref()
}

/// `fixture`, `seconds` after `previous`.
fn next(fixture: &FoldFixture, previous: &ClusterView) -> ClusterView {
    fold(
        &fixture.evidence,
        at(fixture.now),
        &fixture.settings,
        Some(previous),
    )
}

#[test]
fn a_joiner_shows_its_donor_and_what_is_left_of_the_donors_data() {
    let view = under_way(&sent(), &received(3_200_000_000)).view();
    let joiner = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(
        joiner.summary,
        "SST from db2: 3.2 of about 40 GB, 110 MB/s, about 6 min left"
    );
    assert_eq!(joiner.peer, Some(id("10.0.0.2")));
    assert_eq!((joiner.percent, joiner.seconds_left), (Some(8), Some(334)));
    assert_eq!(joiner.since, Some(at(2.0)));
    assert_eq!(
        (joiner.source, joiner.observed_at),
        (Some(SourceKind::Registry), Some(at(9.0)))
    );
    let donor = transfer(&view, "10.0.0.2").unwrap();
    assert_eq!(donor.role, Some(TransferRole::Sends));
    assert_eq!(
        donor.summary,
        "SST to db3: 3.3 of about 40 GB, 110 MB/s, about 6 min left"
    );
    assert_eq!(transfer(&view, "10.0.0.1"), None);
}

#[test]
fn without_the_donors_data_the_rest_is_unknown() {
    let view = under_way("", &received(3_200_000_000)).view();
    let joiner = transfer(&view, "10.0.0.3").unwrap();
    // The only donor.
    assert_eq!(joiner.summary, "SST from db2: 3.2 GB, 110 MB/s");
    assert_eq!(
        (joiner.total, joiner.percent, joiner.seconds_left),
        (None, None, None)
    );
    let stalled = record("receives", r#","done":3200000000,"rate":0"#);
    let view = under_way(&sent(), &stalled).view();
    let joiner = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(
        joiner.summary,
        "SST from db2: 3.2 of about 40 GB, no data at present"
    );
    let more = under_way(&sent(), &received(41_000_000_000)).view();
    let joiner = transfer(&more, "10.0.0.3").unwrap();
    assert_eq!(joiner.total, None, "more than the donor's data");
}

#[test]
fn two_donors_are_not_guessed() {
    let mut fixture = under_way("", &received(3_200_000_000));
    fixture = fixture.answers(
        "10.0.0.1",
        FakeServer::synced("db1")
            .view(&["AUTO"; 3], 0)
            .state("2", "Donor/Desynced"),
    );
    let summary = &transfer(&fixture.view(), "10.0.0.3")
        .unwrap()
        .summary
        .clone();
    assert_eq!(summary, "SST: 3.2 GB, 110 MB/s");
}

#[test]
fn a_joiner_that_is_gone_has_no_progress_but_a_failure() {
    let before = under_way(&sent(), &received(3_200_000_000)).view();
    let mut gone = under_way("", "");
    gone.evidence.registrations.remove(&id("10.0.0.3"));
    let view = next(&gone, &before);
    assert_eq!(node(&view, "10.0.0.3").state, NodeState::Unreachable);
    let failed = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(failed.state, TransferState::Failed);
    assert!(
        failed
            .summary
            .starts_with("SST from db2 failed or is no longer reported, after 3.2 GB:"),
        "{}",
        failed.summary
    );
    assert_eq!(
        (failed.rate, failed.seconds_left, failed.percent),
        (None, None, None)
    );
    assert_eq!(
        transfer(&next(&gone, &view), "10.0.0.3"),
        Some(failed),
        "it stays"
    );
    assert_eq!(view.last_transfer, None);
    // The console lost etcd: what became of the transfer is not known.
    let view = next(&gone.clone().registry_lost(5.0), &before);
    assert_eq!(transfer(&view, "10.0.0.3"), None);
    // The next attempt replaces it.
    let again = under_way(&sent(), &received(1_000_000_000));
    let again = next(&again, &next(&gone, &before));
    assert_eq!(
        transfer(&again, "10.0.0.3").unwrap().state,
        TransferState::Running
    );
}

#[test]
fn a_completed_transfer_is_kept_as_a_measure() {
    let before = under_way(&sent(), &received(39_000_000_000)).view();
    let applying = record("receives", r#","done":40000000000,"applying":true"#);
    let view = next(&under_way("", &applying), &before);
    let joiner = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(
        joiner.summary,
        "SST from db2: 40 GB received, not applied yet"
    );
    let healthy = FoldFixture::healthy().at(72.0);
    let healthy = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        .iter()
        .enumerate()
        .fold(healthy, |fixture, (index, member)| {
            let name = format!("db{}", index + 1);
            fixture.answers(member, FakeServer::synced(&name).view(&["AUTO"; 3], index))
        });
    let view = next(&healthy, &view);
    assert_eq!(transfer(&view, "10.0.0.3"), None);
    let last = view.last_transfer.clone().unwrap();
    assert_eq!((last.bytes, last.seconds), (40_000_000_000, 70));
    assert_eq!(last.node, id("10.0.0.3"));
    assert_eq!(
        next(&healthy, &view).last_transfer,
        Some(last),
        "it is kept"
    );
}

#[test]
fn a_transfer_is_completed_also_if_its_report_ends_before_the_node_is_seen_as_a_member() {
    let before = under_way(&sent(), &received(39_000_000_000)).view();
    let unreported = under_way("", "");
    let view = next(&unreported, &before);
    assert_eq!(node(&view, "10.0.0.3").state, NodeState::Joining);
    let joiner = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(joiner.summary, "SST from db2: 39 of about 40 GB");
    assert_eq!(
        transfer(&next(&unreported.clone().at(70.0), &view), "10.0.0.3"),
        None,
        "it has not been reported for a minute"
    );
    let member = FakeServer::synced("db3").view(&["AUTO"; 3], 2);
    let member = unreported.answers("10.0.0.3", member);
    let last = next(&member, &view).last_transfer.unwrap();
    assert_eq!((last.node, last.bytes), (id("10.0.0.3"), 39_000_000_000));
}

#[test]
fn a_synced_node_receives_nothing_whatever_its_registration_says() {
    let fields = [
        ("wsrep_local_state_comment", "Synced"),
        ("phase", "running"),
    ];
    let claim = received(3_200_000_000);
    let claiming = [&fields[..], &[("transfer", claim.as_str())]].concat();
    let view = FoldFixture::healthy()
        .registered("10.0.0.3", 9.0, &claiming)
        .view();
    assert_eq!(transfer(&view, "10.0.0.3"), None);
}

#[test]
fn an_incremental_transfer_is_shown_while_the_joiner_applies() {
    let joiner = |seqno: &str| {
        FakeServer::synced("db3")
            .view(&["AUTO"; 3], 2)
            .state("1", "Joining: receiving State Transfer")
            .seqno(seqno)
    };
    let fixture = under_way("", "");
    let applies = fixture
        .clone()
        .answers_between("10.0.0.3", joiner("1000"), 8.0, 9.0)
        .answers_between("10.0.0.3", joiner("1900"), 9.5, 9.5)
        .answers_between("10.0.0.3", joiner("2081"), 10.0, 10.0);
    let view = applies.view();
    let shown = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(
        shown.summary,
        "IST from db2: 800 transactions behind, 362 per second, about 2 s left"
    );
    let waits = fixture
        .clone()
        .answers_between("10.0.0.3", joiner("1000"), 8.0, 10.0);
    assert_eq!(
        transfer(&waits.view(), "10.0.0.3"),
        None,
        "nothing shows its kind"
    );
    // Percona XtraDB Cluster reports the range.
    let range = |start: &str, current: &str, end: &str| {
        let server = joiner("1000")
            .with_row("wsrep_ist_receive_seqno_start", start)
            .with_row("wsrep_ist_receive_seqno_current", current)
            .with_row("wsrep_ist_receive_seqno_end", end);
        fixture
            .clone()
            .answers_between("10.0.0.3", server, 8.0, 10.0)
            .view()
    };
    let view = range("100", "200", "600");
    let shown = transfer(&view, "10.0.0.3").unwrap();
    assert_eq!(shown.summary, "IST from db2: 100 of 500 transactions");
    assert_eq!(shown.percent, Some(20));
    for (start, current, end) in [
        ("600", "200", "100"),
        ("100", "700", "600"),
        ("-1", "-1", "-1"),
    ] {
        assert_eq!(transfer(&range(start, current, end), "10.0.0.3"), None);
    }
}

/// The view as it would be if no node reported a transfer.
fn without_transfers(mut view: ClusterView) -> ClusterView {
    view.nodes.iter_mut().for_each(|node| node.transfer = None);
    view.last_transfer = None;
    view
}

proptest! {
    /// Only the transfers of a view depend on what agents claim about them.
    #[test]
    fn no_claim_about_a_transfer_changes_anything_else(
        numbers in proptest::array::uniform4(prop_oneof![
            Just("-1".to_owned()), Just("10000000000000000000".to_owned()), Just("null".to_owned()),
            any::<u64>().prop_map(|number| number.to_string()), (0_u64..100).prop_map(|number| number.to_string()),
        ]),
        roles in proptest::array::uniform2("sends|receives|x"),
        since in prop_oneof![Just("9999-12-31T23:59:59Z"), Just("1970-01-01T00:00:00Z"), Just("")],
        garbage in ".{0,40}",
        is_garbage in any::<bool>(),
    ) {
        let [done, total, rate, other] = &numbers;
        let claim = |role: &str, done: &str| {
            let text = record(role, &format!(r#","done":{done},"total":{total},"rate":{rate}"#));
            text.replace(&at(2.0).to_string(), since)
        };
        let donor = if is_garbage { garbage } else { claim(&roles[0], done) };
        let view = under_way(&donor, &claim(&roles[1], other)).view();
        let plain = under_way("", "").view();
        for node in &view.nodes {
            if let Some(transfer) = &node.transfer {
                prop_assert!(transfer.percent.is_none_or(|percent| percent <= 100));
                prop_assert!(transfer.total.is_none_or(|total| transfer.done <= Some(total)));
                prop_assert!(transfer.since.is_none_or(|since| since <= view.observed_at));
                prop_assert!(transfer.summary.len() < 200, "{}", transfer.summary);
            }
        }
        prop_assert_eq!(without_transfers(view), without_transfers(plain));
    }
}
