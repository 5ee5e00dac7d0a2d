//! Which folds are published: every change of a state, numbers once a poll interval.

use proptest::collection::vec;
use proptest::{prop_assert_eq, proptest};
use serde_json::{Value, json};

use super::*;

/// A view without the revision and the times at which its sources reported, to be compared whole.
fn without_times(view: &ClusterView) -> ClusterView {
    let mut view = view.clone();
    view.revision = 0;
    view.observed_at = Timestamp::default();
    for source in view.nodes.iter_mut().flat_map(|node| &mut node.sources) {
        source.observed_at = None;
    }
    view
}

/// A view in which every kind of part occurs.
fn sample_view() -> ClusterView {
    let at = Timestamp::from_unix_millis(1_795_421_520_000);
    let health = RegistryHealth {
        reachable: true,
        since: at,
        error: None,
    };
    let mut evidence = Evidence::new("lab".parse().unwrap(), health);
    evidence.configured_members = ["db1", "db2"].map(|id| id.parse().unwrap()).into();
    let rows = [
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_local_state", "4"),
        ("wsrep_local_state_comment", "Synced"),
        (
            "wsrep_cluster_state_uuid",
            "6f1e27a1-0000-11ef-8a3c-1a2b3c4d5e6f",
        ),
        ("wsrep_cluster_size", "1"),
        ("wsrep_incoming_addresses", "db1:3306"),
        ("wsrep_last_committed", "7"),
    ];
    for second in 0..3 {
        let probe = evidence.probes.entry("db1".parse().unwrap()).or_default();
        probe.record_success(
            at.plus(Duration::from_secs(second)),
            WsrepStatus::from_rows(rows),
        );
    }
    fold(
        &evidence,
        at.plus(Duration::from_secs(3)),
        &FoldSettings::default(),
        None,
    )
}

/// Where the JSON of a view has values that are neither objects nor filled arrays.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{path}/{index}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// `view` with another value at one place, whatever fields a view has.
fn changed_at(view: &ClusterView, place: usize, choice: usize) -> ClusterView {
    let json = serde_json::to_value(view).unwrap();
    let mut places = Vec::new();
    leaves(&json, "", &mut places);
    let place = &places[place % places.len()];
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(choice),
        json!("synced"),
        json!("donor"),
        json!("degraded"),
        json!("primary"),
        json!("sql"),
        json!("2026-11-23T08:00:00Z"),
        json!("2026-11-23T09:00:00Z"),
        json!("7b2d4e10-0c2f-11ef-8d11-0242ac120002"),
        json!(["db1"]),
        json!([0.5]),
    ];
    for offset in 0..values.len() {
        let mut changed = json.clone();
        *changed.pointer_mut(place).unwrap() = values[(choice + offset) % values.len()].clone();
        match serde_json::from_value::<ClusterView>(changed) {
            Ok(changed) if changed != *view => return changed,
            _ => {}
        }
    }
    view.clone()
}

fn without_numbers(view: &ClusterView) -> ClusterView {
    let mut view = view.clone();
    for node in &mut view.nodes {
        if let Some(position) = &mut node.position {
            position.seqno = 0;
        }
        (node.behind, node.commit_rate, node.flow_control_paused) = (None, None, None);
        (node.recv_queue, node.send_queue) = (None, None);
        node.cached_from = None;
        node.recent_rates.clear();
        node.sources
            .iter_mut()
            .for_each(|source| source.seqno = None);
    }
    view
}

#[tokio::test(start_paused = true)]
async fn numbers_are_published_once_a_poll_interval_and_folded_at_once() {
    let fixture = MonitorFixture::start(&["db1"]);
    let mut feed = fixture.feed().await;
    fixture.report_status("db1", 1, "db1:3306").await;
    next_view(&mut feed).await;
    let before = feed.borrow().revision;
    for seqno in 2..=50 {
        fixture.report_status("db1", seqno, "db1:3306").await;
        sleep(POLL / 10).await;
        // Plans rest on the newest number nevertheless.
        let snapshot = fixture.publisher.snapshot(&"lab".parse().unwrap()).unwrap();
        let (_, status) = snapshot.evidence.probes[&"db1".parse().unwrap()]
            .status
            .clone()
            .unwrap();
        assert_eq!(status.last_committed, Some(seqno));
    }
    let published = feed.borrow().revision - before;
    assert!((4..=6).contains(&published), "{published} views in 5 s");
    fixture.stop.cancel();
}

proptest! {
    /// Every step changes a view at some places and lets time pass.
    #[test]
    fn a_view_is_published_exactly_when_a_comparison_of_copies_would_publish_it(
        steps in vec((vec((0..500_usize, 0..14_usize), 0..3), 0..700_u64), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let publisher = Arc::new(ViewPublisher::new());
            let (context, health) = (context(&publisher), publisher.health().borrow().clone());
            let mut monitor = ClusterMonitor::new(
                "lab".parse().unwrap(),
                BTreeSet::new(),
                health,
                Box::new(NoopProber),
                context,
            );
            let mut view = sample_view();
            let mut published: Option<(ClusterView, Instant)> = None;
            let mut count = 0;
            for (changes, passed) in &steps {
                tokio::time::advance(Duration::from_millis(*passed)).await;
                for (place, choice) in changes {
                    view = changed_at(&view, *place, *choice);
                }
                let comparable = without_times(&view);
                let states = without_numbers(&comparable);
                let same = published
                    .as_ref()
                    .is_some_and(|(before, _)| without_numbers(before) == states);
                let recent = published.as_ref().is_some_and(|(_, at)| at.elapsed() + JITTER < POLL);
                if !(same && recent) {
                    published = Some((comparable, Instant::now()));
                    count += 1;
                }
                monitor.publish(view.clone());
                let newest = monitor.view.clone().unwrap();
                prop_assert_eq!(newest.revision, count, "{:?}", changes);
                prop_assert_eq!(&without_times(&newest.value), &published.as_ref().unwrap().0);
            }
            Ok(())
        })?;
    }
}
