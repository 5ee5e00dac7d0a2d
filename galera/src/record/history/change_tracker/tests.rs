use super::*;
use crate::judge::cluster::{FoldSettings, fold};
use crate::observe::observation::Evidence;
use crate::view::{NodeState, NodeView, RegistryHealth};
use proptest::prelude::*;

use NodeState::{Synced, Unreachable};
use VerdictState::{Degraded, Healthy, Unknown};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_795_420_800_000 + millis)
}

fn node(id: &str, state: NodeState) -> NodeView {
    let view = serde_json::json!({
        "id": id, "name": null, "state": state, "state_comment": null, "cluster_status": null, "position": null,
        "position_fresh": false, "behind": null, "commit_rate": null, "recent_rates": [], "recv_queue": null,
        "send_queue": null, "flow_control_paused": null, "ready": null, "connected": null, "segment": null,
        "version": null, "gcomm_uuid": null, "evs_state": null, "expected": true, "registered": false, "sources": [],
    });
    serde_json::from_value(view).unwrap()
}

fn view(millis: i64, verdict: VerdictState, db1: NodeState) -> ClusterView {
    let health = RegistryHealth {
        reachable: true,
        since: at(0),
        error: None,
    };
    let evidence = Evidence::new("lab".parse().unwrap(), health);
    let mut view = fold(&evidence, at(millis), &FoldSettings::default(), None);
    view.verdict.state = verdict;
    view.nodes = vec![node("db1", db1)];
    view
}

/// The recorded history of a cluster, in place of etcd.
#[derive(Default)]
struct FakeLog(Vec<HistoryEvent>);

impl FakeLog {
    /// The recording replica writes its pending changes and applies them as recorded.
    fn record(&mut self, writer: &mut ChangeTracker) {
        let last = self.0.last().map(|event| event.at);
        for event in writer.next_events(usize::MAX, last) {
            self.0.push(event.clone());
            writer.apply_recorded(&event);
        }
    }

    fn replay_to(&self, reader: &mut ChangeTracker) {
        for event in &self.0 {
            reader.apply_recorded(event);
        }
    }

    fn new_states(&self) -> Vec<&'static str> {
        self.0
            .iter()
            .map(|event| event.change.new_state_str())
            .collect()
    }

    /// The recorded verdicts, in order.
    fn verdicts(&self) -> Vec<VerdictState> {
        let verdicts = self.0.iter().filter_map(|event| match event.change {
            StateChange::Verdict { to, .. } => Some(to),
            StateChange::Node { .. } => None,
        });
        verdicts.collect()
    }
}

#[test]
fn the_first_view_is_recorded_and_repetitions_are_not() {
    let (mut log, mut tracker) = (FakeLog::default(), ChangeTracker::default());
    tracker.observe(&view(0, Healthy, Synced));
    tracker.observe(&view(1_000, Healthy, Synced));
    log.record(&mut tracker);
    assert_eq!(log.new_states(), ["synced", "healthy"]);
    tracker.observe(&view(2_000, Healthy, Synced));
    tracker.reconcile(&view(2_000, Healthy, Synced), at(2_500));
    log.record(&mut tracker);
    assert_eq!(log.0.len(), 2);
}

#[test]
fn a_successor_records_what_happened_in_between_with_true_times() {
    let (mut log, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    for tracker in [&mut first, &mut second] {
        tracker.observe(&view(0, Healthy, Synced));
    }
    log.record(&mut first);
    log.replay_to(&mut second);
    // The first replica dies; the second observes a node leaving and returning.
    second.observe(&view(10_000, Degraded, Unreachable));
    second.observe(&view(12_000, Healthy, Synced));
    second.reconcile(&view(12_000, Healthy, Synced), at(20_000));
    log.record(&mut second);
    assert_eq!(
        log.new_states()[2..],
        ["unreachable", "degraded", "synced", "healthy"]
    );
    let times: Vec<_> = log.0[2..].iter().map(|event| event.at).collect();
    assert_eq!(times, [10_000, 10_000, 12_000, 12_000].map(at));
    assert!(log.0.iter().zip(1..).all(|(event, n)| event.sequence == n));
}

#[test]
fn a_change_recorded_before_it_was_observed_is_not_recorded_again() {
    let (mut log, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    for tracker in [&mut first, &mut second] {
        tracker.observe(&view(0, Healthy, Synced));
    }
    first.observe(&view(10_000, Degraded, Unreachable));
    first.observe(&view(10_400, Healthy, Synced));
    log.record(&mut first);
    log.replay_to(&mut second);
    // The successor takes over before it has observed any of it.
    second.reconcile(&view(0, Healthy, Synced), at(10_450));
    second.observe(&view(10_500, Degraded, Unreachable));
    second.observe(&view(10_900, Healthy, Synced));
    second.reconcile(&view(10_900, Healthy, Synced), at(11_000));
    log.record(&mut second);
    assert_eq!(log.verdicts(), [Healthy, Degraded, Healthy]);
}

#[test]
fn a_short_change_seen_by_one_replica_only_is_dropped() {
    let (mut log, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    for tracker in [&mut first, &mut second] {
        tracker.observe(&view(0, Healthy, Synced));
    }
    log.record(&mut first);
    log.replay_to(&mut second);
    second.observe(&view(10_000, Degraded, Synced));
    second.observe(&view(11_000, Healthy, Synced));
    second.mark_recorded_until(at(30_000));
    log.record(&mut second);
    assert_eq!(log.verdicts(), [Healthy], "the recording replica saw none");
    first.observe(&view(40_000, Degraded, Synced));
    first.observe(&view(41_000, Healthy, Synced));
    log.record(&mut first);
    log.replay_to(&mut second);
    second.observe(&view(60_000, Degraded, Synced));
    log.record(&mut second);
    assert_eq!(
        log.verdicts(),
        [Healthy, Degraded, Healthy, Degraded],
        "an old blip does not excuse a new one"
    );
}

#[test]
fn when_replicas_differ_the_recording_one_decides() {
    let (mut log, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    first.observe(&view(0, Degraded, Unreachable));
    second.observe(&view(100, Healthy, Synced));
    log.record(&mut first);
    log.replay_to(&mut second);
    second.mark_recorded_until(at(60_000));
    second.reconcile(&view(59_000, Healthy, Synced), at(60_500));
    log.record(&mut second);
    assert_eq!(log.verdicts(), [Degraded, Healthy]);
    assert_eq!(log.0.last().unwrap().at, at(60_500));
}

#[test]
fn an_observation_gap_is_unknown_from_start_to_end() {
    let (mut log, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    first.observe(&view(0, Healthy, Synced));
    log.record(&mut first);
    log.replay_to(&mut second);
    let seen = view(600_000, Healthy, Synced);
    second.observe(&seen);
    second.insert_gap(at(5_000), at(600_000), Some(&seen));
    log.record(&mut second);
    assert_eq!(log.verdicts(), [Healthy, Unknown, Healthy]);
    let times: Vec<_> = log.0[2..].iter().map(|event| event.at).collect();
    assert_eq!(times, [5_000, 600_000].map(at));
}

#[test]
fn a_flapping_cluster_stays_within_bounds_and_counts_drops() {
    let mut tracker = ChangeTracker::default();
    let rounds = i64::try_from(PENDING_MAX).unwrap();
    for round in 0..rounds {
        let verdict = if round % 2 == 0 { Healthy } else { Degraded };
        tracker.observe(&view(round * 10, verdict, Synced));
    }
    assert_eq!(tracker.pending().len(), PENDING_MAX);
    assert_eq!(tracker.take_dropped(), 1);
    assert_eq!(tracker.take_dropped(), 0);
    let mut log = FakeLog::default();
    log.record(&mut tracker);
    assert_eq!(log.verdicts().last(), Some(&Degraded));
}

/// One event in a simulation with three replicas.
#[derive(Clone, Debug)]
enum SimulatedEvent {
    /// The cluster changes; each replica observes it with a delay in milliseconds.
    Change(VerdictState, [i64; 3]),
    /// Another replica takes over recording.
    Takeover(usize),
    /// Starts or ends a time in which nothing is recorded.
    Outage(bool),
}

fn step() -> impl Strategy<Value = SimulatedEvent> {
    let verdict = prop::sample::select(VerdictState::ALL.to_vec());
    prop_oneof![
        6 => (verdict, prop::array::uniform3(0_i64..1_500)).prop_map(|(verdict, late)| SimulatedEvent::Change(verdict, late)),
        2 => (0_usize..3).prop_map(SimulatedEvent::Takeover),
        1 => any::<bool>().prop_map(SimulatedEvent::Outage),
    ]
}

proptest! {
    /// Every change is recorded once and in order, whichever replica records and however much the replicas lag.
    #[test]
    fn every_change_is_recorded_exactly_once(steps in prop::collection::vec(step(), 1..60), pause in 1_i64..4_000) {
        let (mut log, mut expected) = (FakeLog::default(), vec![Healthy]);
        let mut trackers = <[ChangeTracker; 3]>::default();
        let mut views = [0, 1, 2].map(|_| view(-60_000, Healthy, Synced));
        for (tracker, view) in trackers.iter_mut().zip(&views) {
            tracker.observe(view);
        }
        log.record(&mut trackers[0]);
        trackers.iter_mut().for_each(|tracker| log.replay_to(tracker));
        let mut observations: Vec<(i64, usize, VerdictState)> = Vec::new();
        let (mut writer, mut outage, mut now) = (0, false, 0);
        let mut last_seen = [0_i64; 3];
        let mut steps = steps.into_iter();
        loop {
            let step = steps.next();
            match &step {
                Some(SimulatedEvent::Change(verdict, late)) if expected.last() != Some(verdict) => {
                    expected.push(*verdict);
                    for (replica, late) in late.iter().enumerate() {
                        // A replica observes changes in order.
                        let when = (now + late).max(last_seen[replica] + 1);
                        last_seen[replica] = when;
                        observations.push((when, replica, *verdict));
                    }
                }
                Some(SimulatedEvent::Takeover(replica)) => writer = *replica,
                Some(SimulatedEvent::Outage(is)) => outage = *is,
                Some(SimulatedEvent::Change(..)) => {}
                None => outage = false,
            }
            now += if step.is_some() { pause } else { 20_000 };
            observations.sort_by_key(|(when, ..)| *when);
            let due = observations.partition_point(|(when, ..)| *when <= now);
            let mut record = |trackers: &mut [ChangeTracker; 3], views: &[ClusterView; 3], now| {
                if !outage {
                    trackers[writer].reconcile(&views[writer], at(now));
                    log.record(&mut trackers[writer]);
                    trackers.iter_mut().for_each(|tracker| log.replay_to(tracker));
                }
            };
            for (when, replica, verdict) in observations.drain(..due) {
                let seen = view(when, verdict, Synced);
                trackers[replica].observe(&seen);
                views[replica] = seen;
                record(&mut trackers, &views, when);
            }
            record(&mut trackers, &views, now);
            if step.is_none() {
                break;
            }
        }
        prop_assert_eq!(log.verdicts(), expected);
        prop_assert!(log.0.is_sorted_by_key(|event| event.at));
        prop_assert!(log.0.iter().zip(1..).all(|(event, number)| event.sequence == number));
    }
}
