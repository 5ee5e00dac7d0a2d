//! Any sequence of views, received with any frames missed, gives the document of the last one.

use std::sync::Arc;

use galera::publish::api::Overview;
use galera::publish::live::{
    OverviewQuery, OverviewRow, OverviewSort, TopicDocument, TopicFrame, head_document, merge_patch,
};
use galera::view::{
    ClusterStatus, ClusterView, NodeState, NodeView, ReasonCode, RegistryHealth, SourceKind,
    SourceView, Verdict, VerdictReason, VerdictState,
};
use galera::{Position, Timestamp};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

use super::{TopicContent, TopicPublication};

const HISTORIES: [&str; 2] = [
    "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b",
    "00000001-0001-11ef-a1b2-c3d4e5f60718",
];

fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..5).prop_map(|second| Timestamp::from_unix_millis(1_700_000_000_000 + second * 1_000))
}

fn source(kind: SourceKind) -> impl Strategy<Value = SourceView> {
    let text = || of(select(vec!["Synced", "refused"]).prop_map(str::to_owned));
    (of(time()), any::<bool>(), text(), text(), of(0_u64..3)).prop_map(
        move |(observed_at, stale, error, state, seqno)| SourceView {
            kind,
            observed_at,
            stale,
            error_code: error.clone(),
            error,
            failing_since: None,
            state,
            cluster_status: None,
            seqno,
            phase: None,
        },
    )
}

/// A node; some ids are names of fields.
fn node() -> impl Strategy<Value = NodeView> {
    let states = (
        select(vec!["seqno", "nodes", "db1:3307", "10.0.0.1"]),
        of(Just("n1".to_owned())),
        select(NodeState::ALL.to_vec()),
        of(Just(ClusterStatus::Primary)),
        any::<bool>(),
        of(any::<bool>()),
        vec(Just("db9".parse().unwrap()), 0..2),
    );
    let position = of((select(HISTORIES.to_vec()), 0_u64..4));
    let numbers = (
        of(0_u64..3),
        of(0..3_i32),
        vec(0..3_i32, 0..3),
        of(0_u64..3),
    );
    let sources = (source(SourceKind::Sql), source(SourceKind::Registry));
    (states, position, numbers, sources).prop_map(|(states, position, numbers, sources)| {
        let (id, name, state, cluster_status, fresh, ready, names) = states;
        let (behind, rate, rates, queue) = numbers;
        NodeView {
            id: id.parse().unwrap(),
            name,
            state,
            state_comment: None,
            cluster_status,
            position: position.map(|(uuid, seqno)| Position {
                uuid: uuid.parse().unwrap(),
                seqno,
            }),
            position_fresh: fresh,
            behind,
            commit_rate: rate.map(f64::from),
            recent_rates: rates.into_iter().map(f64::from).collect(),
            recv_queue: queue,
            send_queue: queue,
            flow_control_paused: rate.map(f64::from),
            ready,
            connected: ready,
            segment: None,
            votes: None,
            cached_from: behind,
            version: None,
            gcomm_uuid: None,
            evs_state: None,
            expected: fresh,
            registered: true,
            unconfirmed: false,
            names,
            findings: Vec::new(),
            transfer: None,
            sources: vec![sources.0, sources.1],
        }
    })
}

fn view_of(name: &'static str) -> impl Strategy<Value = ClusterView> {
    let reasons = vec(
        of(Just("db1".parse().unwrap())).prop_map(|node| VerdictReason {
            code: ReasonCode::MemberAbsent,
            node,
            message: "m".to_owned(),
        }),
        0..2,
    );
    let registry = of(Just("refused".to_owned()));
    let parts = (
        select(VerdictState::ALL.to_vec()),
        reasons,
        vec(node(), 0..4),
        registry,
        (time(), time(), 0_u64..4),
    );
    parts.prop_map(move |(state, reasons, mut nodes, error, times)| {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes.dedup_by(|a, b| a.id == b.id);
        ClusterView {
            name: name.parse().unwrap(),
            revision: times.2,
            observed_at: times.0,
            verdict: Verdict {
                state,
                reasons,
                since: times.1,
            },
            expected_members: nodes.iter().map(|node| node.id.clone()).collect(),
            components: Vec::new(),
            nodes,
            registry: RegistryHealth {
                reachable: error.is_none(),
                since: times.1,
                error,
            },
            quorum: None,
            arbitrators: Vec::new(),
            last_transfer: None,
            labels: std::collections::BTreeMap::new(),
        }
    })
}

fn overview() -> impl Strategy<Value = Overview> {
    let clusters = ["revision", "lab", "zeta"].map(|name| of(view_of(name)));
    (clusters, vec(Just("notice".to_owned()), 0..2)).prop_map(|(views, notices)| {
        let views = views.into_iter().flatten();
        let mut clusters: Vec<_> = views.map(|view| view.summary()).collect();
        clusters.sort_by_key(|cluster| std::cmp::Reverse(cluster.verdict.state));
        Overview { clusters, notices }
    })
}

fn query() -> impl Strategy<Value = OverviewQuery> {
    let sorts = vec![
        OverviewSort::Worst,
        OverviewSort::Name,
        OverviewSort::Commits,
    ];
    let filter = select(vec!["", "A", "nodes", "none"]);
    let parts = (filter, select(sorts), 0_usize..2, 1_usize..4);
    parts.prop_map(|(filter, sort, from, count)| OverviewQuery {
        filter: filter.to_owned(),
        sort,
        from,
        count,
        ..OverviewQuery::default()
    })
}

/// What happens to a viewer after a publication.
#[derive(Clone, Copy, Debug)]
enum ViewerBehavior {
    Reads,
    /// It is too slow: the publication is superseded before it reads.
    Misses,
    /// It has lost its document and subscribes again.
    Resubscribes,
    /// The cluster vanishes and returns.
    Interrupted,
}

fn readings() -> impl Strategy<Value = Vec<ViewerBehavior>> {
    let reading = prop_oneof![
        4 => Just(ViewerBehavior::Reads),
        6 => Just(ViewerBehavior::Misses),
        1 => Just(ViewerBehavior::Resubscribes),
        1 => Just(ViewerBehavior::Interrupted),
    ];
    vec(reading, 40)
}

fn check(documents: Vec<TopicDocument>, readings: Vec<ViewerBehavior>) {
    let mut publication = TopicPublication::pending("topic");
    let (mut sent, mut state) = (None, Map::new());
    for (document, reading) in documents.into_iter().zip(readings) {
        if matches!(reading, ViewerBehavior::Interrupted) {
            publication = publication.next(TopicContent::UnknownCluster);
            sent = None;
        }
        let expected = document.to_value();
        publication = publication.next(TopicContent::Document(Arc::new(document)));
        match reading {
            ViewerBehavior::Misses => continue,
            ViewerBehavior::Resubscribes => sent = None,
            ViewerBehavior::Reads | ViewerBehavior::Interrupted => {}
        }
        let frame = publication.frame_since(sent).expect("a newer value");
        let text = frame.message(None).into_text().unwrap();
        match serde_json::from_str(&text).unwrap() {
            TopicFrame::Full {
                rows: Value::Object(rows),
                ..
            } => state = rows,
            TopicFrame::Patch {
                base,
                rows: Value::Object(rows),
                ..
            } => {
                assert_eq!(Some(base), sent);
                merge_patch::apply(&mut state, &rows);
            }
            other => panic!("{other:?}"),
        }
        sent = Some(publication.revision);
        assert_eq!(Value::Object(state.clone()), expected);
        assert!(publication.frame_since(sent).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_of_views_gives_the_last(
        views in vec(view_of("lab"), 1..40),
        readings in readings(),
    ) {
        let documents = views.iter().map(TopicDocument::of_cluster).collect();
        check(documents, readings);
    }

    #[test]
    fn any_sequence_of_overviews_gives_the_last_window(
        overviews in vec(overview(), 1..40),
        query in query(),
        readings in readings(),
    ) {
        let mut rows = Vec::new();
        let mut documents = Vec::new();
        for overview in &overviews {
            rows = OverviewRow::all(overview, &rows);
            let shared = query.document(&rows, &overview.notices);
            let fresh = query.document(&OverviewRow::all(overview, &[]), &overview.notices);
            prop_assert_eq!(shared.to_value(), fresh.to_value());
            documents.push(shared);
        }
        check(documents, readings.clone());
        check(overviews.iter().map(head_document).collect(), readings);
    }

    #[test]
    fn a_document_has_everything_that_the_view_has(view in view_of("lab")) {
        let document = TopicDocument::of_cluster(&view).to_value();
        prop_assert_eq!(TopicDocument::cluster_view(document.as_object().unwrap().clone()), Some(view));
    }

    #[test]
    fn a_change_of_state_is_what_the_monitor_publishes_immediately(
        before in view_of("lab"),
        after in view_of("lab"),
        same in any::<bool>(),
    ) {
        // Two independent views rarely have the same states.
        let after = match same {
            true => ClusterView {
                nodes: before.nodes.iter().cloned().map(with_other_numbers).collect(),
                ..before.clone()
            },
            false => after,
        };
        let change = TopicDocument::of_cluster(&after)
            .change_since(&TopicDocument::of_cluster(&before));
        prop_assert_eq!(!change.states, after.has_same_states(&before));
    }
}

fn with_other_numbers(mut node: NodeView) -> NodeView {
    if let Some(position) = &mut node.position {
        position.seqno += 1;
    }
    node.commit_rate = node.commit_rate.map_or(Some(1.0), |_| None);
    node.recent_rates.push(1.0);
    node.behind = Some(9);
    for source in &mut node.sources {
        source.seqno = Some(9);
        source.observed_at = Some(Timestamp::from_unix_millis(1));
    }
    node
}
