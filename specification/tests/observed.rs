//! Facts about Galera that were observed on real servers, held against the specification.

use galera::NodeId;
use galera::observe::wsrep::WsrepStatus;
use galera::view::ClusterStatus;
use galera_specification::{
    GaleraCluster, GaleraTransaction, LateStatement, NodeData, ProbeResult, StartRefusal,
    WAIT_PRIM_TIMEOUT,
};

const WITHOUT_DEADLINE: LateStatement = LateStatement {
    deadline: None,
    number: 0,
};

fn ids(count: usize) -> impl Iterator<Item = NodeId> {
    (1..=count).filter_map(|number| format!("n{number}").parse().ok())
}

fn three() -> GaleraCluster {
    GaleraCluster::formed(ids(3))
}

fn primaries(cluster: &GaleraCluster) -> Vec<Vec<usize>> {
    let components = cluster.primary_components();
    components
        .into_iter()
        .map(|members| members.into_iter().collect())
        .collect()
}

fn status(cluster: &GaleraCluster, node: usize) -> WsrepStatus {
    match cluster.probe(node) {
        ProbeResult::Rows(rows) => WsrepStatus::from_rows(rows),
        other => panic!("{other:?}"),
    }
}

fn writes(data: &NodeData) -> Vec<u64> {
    let writes = data.transactions.iter().filter_map(|one| match one {
        GaleraTransaction::Write(write) => Some(*write),
        GaleraTransaction::View(_) => None,
    });
    writes.collect()
}

#[test]
fn a_formed_cluster_is_one_primary_component_that_replicates() {
    let mut cluster = three();
    assert_eq!(primaries(&cluster), [[0, 1, 2]]);
    assert!(cluster.write(1, 7));
    assert!(cluster.nodes().iter().all(|node| writes(&node.data) == [7]));
    assert!(!cluster.has_diverged());
}

#[test]
fn a_survivor_of_two_crashes_waits_for_a_bootstrap() {
    let mut cluster = three();
    assert!(cluster.write(0, 1));
    cluster.kill(1, 0);
    assert!(!cluster.write(0, 2), "not before the view has changed");
    cluster.kill(2, 0);
    cluster.settle();
    let answer = status(&cluster, 0);
    assert_eq!(answer.cluster_status, Some(ClusterStatus::NonPrimary));
    assert_eq!(answer.position(), cluster.nodes()[0].data.position());
    assert!(!cluster.write(0, 3));
    let before = cluster.nodes()[0].data.seqno();
    cluster.bootstrap(0, WITHOUT_DEADLINE, 0);
    assert_eq!(primaries(&cluster), [[0]]);
    assert_eq!(
        cluster.nodes()[0].data.seqno(),
        before + 1,
        "the view takes one"
    );
}

#[test]
fn clean_stops_take_their_votes_along() {
    let mut cluster = three();
    for node in [0, 1] {
        cluster.stop(node);
        cluster.settle();
    }
    assert_eq!(primaries(&cluster), [[2]]);
    cluster.stop(2);
    let safe = |node: usize| cluster.nodes()[node].data.safe_to_bootstrap;
    assert_eq!([safe(0), safe(1), safe(2)], [false, false, true]);
}

#[test]
fn an_even_split_stops_both_sides_and_heals_by_itself() {
    let mut cluster = GaleraCluster::formed(ids(4));
    for (one, other) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        cluster.set_cut(one, other, true);
    }
    cluster.settle();
    assert!(primaries(&cluster).is_empty());
    cluster.heal();
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0, 1, 2, 3]]);
}

/// A component that loses its quorum in the view change in which others join continues if its last Primary view is complete.
#[test]
fn a_component_without_votes_continues_with_the_node_that_joins_it() {
    let mut cluster = GaleraCluster::formed_with(ids(2), &[0, 1]);
    cluster.kill(1, 0);
    cluster.settle();
    assert!(primaries(&cluster).is_empty());
    cluster.bootstrap(0, WITHOUT_DEADLINE, 0);
    assert_eq!(primaries(&cluster), [[0]]);
    assert!(cluster.write(0, 7));
    cluster.start(1).unwrap();
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0, 1]]);
    assert!(!cluster.has_diverged());
}

/// The others know its Primary view, although they were never in it.
#[test]
fn a_primary_view_that_others_learned_of_is_incomplete_once_its_member_has_left() {
    let mut cluster = three();
    cluster.set_cut(0, 1, true);
    cluster.set_cut(0, 2, true);
    cluster.set_cut(1, 2, true);
    cluster.settle();
    cluster.bootstrap(0, WITHOUT_DEADLINE, 0);
    assert_eq!(primaries(&cluster), [[0]]);
    // It loses its quorum to a second node, which is restarted and has never met it.
    cluster.kill(1, 0);
    cluster.node_mut(1).data.saved_view = None;
    cluster.start(1).unwrap();
    cluster.set_cut(0, 1, false);
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0, 1]]);
    cluster.stop(0);
    cluster.kill(1, 0);
    cluster.start(1).unwrap();
    cluster.settle();
    // Its gvwstate.dat names a view whose other member has left.
    assert!(primaries(&cluster).is_empty());
}

/// The views of gvwstate.dat do not count beside one that a process was in, whatever their number.
#[test]
fn a_component_without_votes_continues_with_restarted_members_of_a_newer_view() {
    let mut cluster = GaleraCluster::formed_with(ids(3), &[0, 1, 1]);
    for node in 0..3 {
        cluster.kill(node, 0);
    }
    cluster.node_mut(0).data.safe_to_bootstrap = true;
    cluster.start_new_cluster(0).unwrap();
    cluster.settle();
    for node in [1, 2] {
        let saved = cluster.nodes()[node].data.saved_view.as_ref().unwrap();
        let new = cluster.nodes()[0].server.as_ref().unwrap();
        assert!(saved.view.conf_id > new.last_primary.as_ref().unwrap().conf_id);
        cluster.start(node).unwrap();
    }
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0, 1, 2]]);
}

#[test]
fn a_restarted_server_opens_its_port_once_it_is_a_member() {
    let mut cluster = three();
    for node in 0..3 {
        cluster.kill(node, 0);
    }
    for node in [1, 2] {
        cluster.start(node).unwrap();
        cluster.settle();
        assert_eq!(cluster.probe(node), ProbeResult::Refused);
    }
    // With the view of a gvwstate.dat it waits without a limit.
    cluster.advance_to(10 * WAIT_PRIM_TIMEOUT);
    cluster.settle();
    assert!(cluster.nodes()[1].server.is_some());
    cluster.start(0).unwrap();
    cluster.settle();
    for node in 0..3 {
        let answer = status(&cluster, node);
        assert_eq!(answer.cluster_status, Some(ClusterStatus::Primary));
    }
    // Once open, it stays so.
    cluster.kill(0, 0);
    cluster.kill(1, 0);
    cluster.settle();
    let answer = status(&cluster, 2);
    assert_eq!(answer.cluster_status, Some(ClusterStatus::NonPrimary));
}

#[test]
fn a_server_without_a_saved_view_ends_unless_it_reaches_a_primary_component() {
    let mut cluster = three();
    cluster.limit_waits();
    for node in 0..3 {
        cluster.kill(node, 0);
        cluster.node_mut(node).data.saved_view = None;
    }
    let before = cluster.nodes()[1].data.clone();
    cluster.start(1).unwrap();
    cluster.advance_to(WAIT_PRIM_TIMEOUT - 1);
    cluster.settle();
    assert!(cluster.nodes()[1].server.is_some());
    cluster.advance_to(WAIT_PRIM_TIMEOUT);
    cluster.settle();
    assert!(cluster.nodes()[1].server.is_none());
    assert_eq!(cluster.nodes()[1].data.transactions, before.transactions);
    // A member that loses its Primary component later does not end.
    cluster.node_mut(0).data.safe_to_bootstrap = true;
    cluster.start_new_cluster(0).unwrap();
    for node in [1, 2] {
        cluster.start(node).unwrap();
        cluster.settle();
    }
    cluster.kill(0, 0);
    cluster.kill(2, 0);
    cluster.advance_to(10 * WAIT_PRIM_TIMEOUT);
    cluster.settle();
    assert!(primaries(&cluster).is_empty());
    assert!(cluster.nodes()[1].server.is_some());
}

#[test]
fn weights_decide_which_side_goes_on() {
    let mut cluster = GaleraCluster::new(ids(3));
    cluster.node_mut(0).weight = 3;
    cluster.node_mut(0).data.safe_to_bootstrap = true;
    assert_eq!(cluster.start_new_cluster(0), Ok(()));
    for node in [1, 2] {
        assert_eq!(cluster.start(node), Ok(()));
        cluster.settle();
    }
    cluster.set_cut(0, 1, true);
    cluster.set_cut(0, 2, true);
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0]]);
}

#[test]
fn all_crashed_nodes_continue_once_all_of_them_are_back() {
    let mut cluster = three();
    for node in 0..3 {
        cluster.kill(node, 0);
    }
    for node in 0..3 {
        assert!(primaries(&cluster).is_empty());
        assert_eq!(cluster.start(node), Ok(()));
        cluster.settle();
    }
    assert_eq!(primaries(&cluster), [[0, 1, 2]]);
}

#[test]
fn a_new_cluster_needs_the_flag_in_grastate() {
    let mut cluster = three();
    for node in 0..3 {
        cluster.kill(node, 0);
    }
    assert_eq!(
        cluster.start_new_cluster(0),
        Err(StartRefusal::NotSafeToBootstrap)
    );
}

#[test]
fn a_bootstrap_beside_a_living_primary_splits_the_cluster() {
    let mut cluster = three();
    cluster.set_cut(0, 1, true);
    cluster.set_cut(0, 2, true);
    cluster.settle();
    assert_eq!(primaries(&cluster), [[1, 2]]);
    cluster.bootstrap(0, WITHOUT_DEADLINE, 0);
    assert_eq!(primaries(&cluster).len(), 2);
    cluster.heal();
    cluster.settle();
    assert_eq!(
        primaries(&cluster),
        [vec![0], vec![1, 2]],
        "each has forgotten the other"
    );
    // A restarted server connects to both.
    cluster.stop(2);
    cluster.settle();
    assert_eq!(cluster.start(2), Ok(()));
    cluster.settle();
    assert_eq!(
        primaries(&cluster),
        [[1, 2]],
        "the one with fewer views leaves"
    );
    let left = status(&cluster, 0);
    assert_eq!(left.cluster_status, Some(ClusterStatus::Disconnected));
}

#[test]
fn a_late_statement_runs_unless_the_server_judges_its_deadline() {
    for (deadline, split) in [(None, true), (Some(10), false)] {
        let mut cluster = three();
        cluster.kill(1, 0);
        cluster.kill(2, 0);
        cluster.settle();
        cluster.set_paused(0, true, 0);
        let statement = LateStatement {
            deadline,
            number: 0,
        };
        cluster.bootstrap(0, statement, 1);
        // The other side is bootstrapped while this server is fenced.
        cluster.set_cut(0, 1, true);
        cluster.set_cut(0, 2, true);
        for node in [1, 2] {
            cluster.node_mut(node).data.saved_view = None;
        }
        cluster.node_mut(1).data.safe_to_bootstrap = true;
        assert_eq!(cluster.start_new_cluster(1), Ok(()));
        assert_eq!(cluster.start(2), Ok(()));
        cluster.settle();
        cluster.set_paused(0, false, 60);
        cluster.settle();
        assert_eq!(primaries(&cluster).len() == 2, split, "{deadline:?}");
    }
}

#[test]
fn a_node_ahead_that_waits_joins_incrementally_and_diverges() {
    let mut cluster = three();
    // n1 is alone with two transactions that the others do not have.
    for node in [1, 2] {
        cluster.kill(node, 0);
    }
    cluster.settle();
    cluster.bootstrap(0, WITHOUT_DEADLINE, 0);
    assert!(cluster.write(0, 1) && cluster.write(0, 2));
    cluster.kill(0, 0);
    // The others are bootstrapped without it.
    cluster.node_mut(1).data.safe_to_bootstrap = true;
    assert_eq!(cluster.start_new_cluster(1), Ok(()));
    assert_eq!(cluster.start(2), Ok(()));
    cluster.settle();
    for write in 10..20 {
        assert!(cluster.write(1, write));
    }
    cluster.node_mut(0).data.saved_view = None;
    assert_eq!(cluster.start(0), Ok(()));
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0, 1, 2]]);
    assert!(cluster.has_diverged());
    assert_eq!(
        status(&cluster, 0).cluster_status,
        Some(ClusterStatus::Primary),
        "and every node says that it is Synced"
    );
}

#[test]
fn a_locked_survivor_still_says_primary() {
    let mut cluster = three();
    cluster.set_locked(0, true);
    cluster.kill(1, 0);
    cluster.kill(2, 0);
    cluster.settle();
    assert!(primaries(&cluster).is_empty());
    assert_eq!(
        status(&cluster, 0).cluster_status,
        Some(ClusterStatus::Primary)
    );
    cluster.set_locked(0, false);
    assert_eq!(
        status(&cluster, 0).cluster_status,
        Some(ClusterStatus::NonPrimary)
    );
}

#[test]
fn a_paused_node_is_expelled_and_returns_by_a_transfer() {
    let mut cluster = three();
    cluster.set_paused(2, true, 0);
    assert_eq!(cluster.probe(2), ProbeResult::Silent);
    cluster.settle();
    assert!(cluster.write(0, 5));
    cluster.set_paused(2, false, 9);
    cluster.settle();
    assert_eq!(primaries(&cluster), [[0, 1, 2]]);
    assert!(!cluster.has_diverged());
    assert_eq!(writes(&cluster.nodes()[2].data), [5]);
}
