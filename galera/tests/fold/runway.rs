//! How long members may stay away, on views of the real fold.

use std::time::Duration;

use galera::insight::runway::{NodeRunway, runway};
use galera::insight::stop_check::ReturnTransfer;
use galera::view::{ClusterStatus, ClusterView, CompletedTransfer, NodeState};

use crate::fixture::{FakeServer, FoldFixture, HISTORY, OTHER_HISTORY, at, id, refused};

const MEMBERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// db1 and db2 are Synced at 2881, of which `caches` reach back to these transactions; db3 stopped at `position`.
fn away(caches: [&str; 2], position: &str) -> FoldFixture {
    let mut fixture = FoldFixture::expecting(&MEMBERS);
    for (index, cache) in caches.into_iter().enumerate() {
        let server = FakeServer::synced(&format!("db{}", index + 1))
            .view(&["AUTO"; 2], index)
            .with_row("wsrep_local_cached_downto", cache);
        fixture = fixture.answers(MEMBERS[index], server);
    }
    fixture.fails(MEMBERS[2], 1.0, refused()).registered(
        MEMBERS[2],
        9.0,
        &[("phase", "waiting"), ("recovered_position", position)],
    )
}

fn of(view: &ClusterView, node: &str) -> NodeRunway {
    let all = runway(view).nodes;
    all.into_iter().find(|one| one.node == id(node)).unwrap()
}

#[test]
fn a_missing_member_returns_incrementally_while_a_cache_reaches_its_position() {
    let view = away(["1500", "900"], &format!("{HISTORY}:1000")).view();
    let gone = of(&view, MEMBERS[2]);
    assert!(gone.away);
    assert_eq!(gone.forecast.transfer, ReturnTransfer::Incremental);
    assert_eq!(gone.forecast.donor, Some(id(MEMBERS[1])));
    // It lacks 1001 and what follows, and the cache begins at 900.
    assert_eq!(gone.forecast.transactions_left, Some(101));
    assert_eq!(gone.full_transfer_seconds, None);
    assert_eq!(
        gone.summary,
        "IST from db2 as long as at most 80 transactions of the present size follow, then SST of unknown duration: this console has observed none"
    );
    let present = of(&view, MEMBERS[0]);
    assert!(!present.away);
    assert_eq!(present.forecast.transfer, ReturnTransfer::Incremental);
}

#[test]
fn a_member_that_catches_up_does_not_shorten_the_forecast() {
    let mut view = away(["1500", "900"], &format!("{HISTORY}:1000")).view();
    let rates = [1.0, 1.0, 5_000.0];
    for (node, rate) in view.nodes.iter_mut().zip(rates) {
        node.commit_rate = Some(rate);
    }
    for state in [NodeState::Joining, NodeState::Joined] {
        view.nodes[2].state = state;
        view.nodes[2].cluster_status = Some(ClusterStatus::Primary);
        let present = of(&view, MEMBERS[0]).forecast;
        // 2881 and back to 900, of which 80 % are promised.
        assert_eq!(present.transactions_left, Some(1_982));
        let until = view.observed_at.plus(Duration::from_secs(1_585));
        assert_eq!(present.until, Some(until), "{state:?}");
    }
}

#[test]
fn a_full_transfer_is_measured_by_the_last_one() {
    let mut view = away(["1500", "1400"], &format!("{HISTORY}:1000")).view();
    view.last_transfer = Some(CompletedTransfer {
        node: id(MEMBERS[2]),
        bytes: 40_000_000_000,
        seconds: 720,
        ended_at: at(0.0),
    });
    let gone = of(&view, MEMBERS[2]);
    assert_eq!(gone.forecast.transfer, ReturnTransfer::Full);
    assert_eq!(gone.full_transfer_seconds, Some(720));
    assert_eq!(gone.summary, "SST of about 40 GB, 12 min");
}

#[test]
fn what_is_missing_is_named() {
    let other = away(["1500", "900"], &format!("{OTHER_HISTORY}:1000")).view();
    let gone = of(&other, MEMBERS[2]);
    assert_eq!(gone.forecast.transfer, ReturnTransfer::Full);
    assert!(
        gone.forecast.message.contains("has its history"),
        "{gone:?}"
    );
    let empty = away(["18446744073709551615", "0"], &format!("{HISTORY}:1000")).view();
    let gone = of(&empty, MEMBERS[2]);
    assert_eq!(gone.forecast.transfer, ReturnTransfer::Unknown);
    assert!(
        gone.summary.contains("No remaining member reports"),
        "{gone:?}"
    );
    let nowhere = away(["1500", "900"], "").view();
    let gone = of(&nowhere, MEMBERS[2]);
    assert_eq!(gone.forecast.transfer, ReturnTransfer::Unknown);
    assert!(gone.summary.starts_with("not known: Where"), "{gone:?}");
}
