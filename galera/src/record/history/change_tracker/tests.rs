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

/// A chronicle, as etcd would hold it.
#[derive(Default)]
struct FakeLog(Vec<HistoryEvent>);

impl FakeLog {
    /// Whoever records writes what waits; everybody reads it.
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

    /// What the verdict was, one after the other.
    fn verdicts(&self) -> Vec<VerdictState> {
        let verdicts = self.0.iter().filter_map(|event| match event.change {
            StateChange::Verdict { to, .. } => Some(to),
            StateChange::Node { .. } => None,
        });
        verdicts.collect()
    }
}

#[test]
fn the_first_sight_is_recorded_and_the_same_again_is_not() {
    let (mut book, mut witness) = (FakeLog::default(), ChangeTracker::default());
    witness.observe(&view(0, Healthy, Synced));
    witness.observe(&view(1_000, Healthy, Synced));
    book.record(&mut witness);
    assert_eq!(book.new_states(), ["synced", "healthy"]);
    witness.observe(&view(2_000, Healthy, Synced));
    witness.reconcile(&view(2_000, Healthy, Synced), at(2_500));
    book.record(&mut witness);
    assert_eq!(book.0.len(), 2);
}

#[test]
fn a_successor_writes_what_happened_in_between_at_its_true_times() {
    let (mut book, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    for witness in [&mut first, &mut second] {
        witness.observe(&view(0, Healthy, Synced));
    }
    book.record(&mut first);
    book.replay_to(&mut second);
    // The first one dies; the other sees a node go and come back.
    second.observe(&view(10_000, Degraded, Unreachable));
    second.observe(&view(12_000, Healthy, Synced));
    second.reconcile(&view(12_000, Healthy, Synced), at(20_000));
    book.record(&mut second);
    assert_eq!(
        book.new_states()[2..],
        ["unreachable", "degraded", "synced", "healthy"]
    );
    let times: Vec<_> = book.0[2..].iter().map(|event| event.at).collect();
    assert_eq!(times, [10_000, 10_000, 12_000, 12_000].map(at));
    assert!(book.0.iter().zip(1..).all(|(event, n)| event.sequence == n));
}

#[test]
fn what_was_recorded_just_before_it_was_seen_here_is_not_written_again() {
    let (mut book, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    for witness in [&mut first, &mut second] {
        witness.observe(&view(0, Healthy, Synced));
    }
    first.observe(&view(10_000, Degraded, Unreachable));
    first.observe(&view(10_400, Healthy, Synced));
    book.record(&mut first);
    book.replay_to(&mut second);
    // The successor takes over before it saw any of it.
    second.reconcile(&view(0, Healthy, Synced), at(10_450));
    second.observe(&view(10_500, Degraded, Unreachable));
    second.observe(&view(10_900, Healthy, Synced));
    second.reconcile(&view(10_900, Healthy, Synced), at(11_000));
    book.record(&mut second);
    assert_eq!(book.verdicts(), [Healthy, Degraded, Healthy]);
}

#[test]
fn a_blip_that_only_one_replica_saw_leaves_nothing_behind() {
    let (mut book, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    for witness in [&mut first, &mut second] {
        witness.observe(&view(0, Healthy, Synced));
    }
    book.record(&mut first);
    book.replay_to(&mut second);
    second.observe(&view(10_000, Degraded, Synced));
    second.observe(&view(11_000, Healthy, Synced));
    second.mark_recorded_until(at(30_000));
    book.record(&mut second);
    assert_eq!(book.verdicts(), [Healthy], "the recording replica saw none");
    first.observe(&view(40_000, Degraded, Synced));
    first.observe(&view(41_000, Healthy, Synced));
    book.record(&mut first);
    book.replay_to(&mut second);
    second.observe(&view(60_000, Degraded, Synced));
    book.record(&mut second);
    assert_eq!(
        book.verdicts(),
        [Healthy, Degraded, Healthy, Degraded],
        "an old blip does not excuse a new one"
    );
}

#[test]
fn replicas_that_differ_record_what_the_recording_one_sees_from_then_on() {
    let (mut book, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    first.observe(&view(0, Degraded, Unreachable));
    second.observe(&view(100, Healthy, Synced));
    book.record(&mut first);
    book.replay_to(&mut second);
    second.mark_recorded_until(at(60_000));
    second.reconcile(&view(59_000, Healthy, Synced), at(60_500));
    book.record(&mut second);
    assert_eq!(book.verdicts(), [Degraded, Healthy]);
    assert_eq!(book.0.last().unwrap().at, at(60_500));
}

#[test]
fn blindness_is_unknown_from_its_beginning_to_its_end() {
    let (mut book, mut first, mut second) = <(FakeLog, ChangeTracker, ChangeTracker)>::default();
    first.observe(&view(0, Healthy, Synced));
    book.record(&mut first);
    book.replay_to(&mut second);
    let seen = view(600_000, Healthy, Synced);
    second.observe(&seen);
    second.insert_gap(at(5_000), at(600_000), Some(&seen));
    book.record(&mut second);
    assert_eq!(book.verdicts(), [Healthy, Unknown, Healthy]);
    let times: Vec<_> = book.0[2..].iter().map(|event| event.at).collect();
    assert_eq!(times, [5_000, 600_000].map(at));
}

#[test]
fn a_flapping_cluster_stays_within_bounds_and_counts_drops() {
    let mut witness = ChangeTracker::default();
    let rounds = i64::try_from(PENDING_MAX).unwrap();
    for round in 0..rounds {
        let verdict = if round % 2 == 0 { Healthy } else { Degraded };
        witness.observe(&view(round * 10, verdict, Synced));
    }
    assert_eq!(witness.pending().len(), PENDING_MAX);
    assert_eq!(witness.take_dropped(), 1);
    assert_eq!(witness.take_dropped(), 0);
    let mut book = FakeLog::default();
    book.record(&mut witness);
    assert_eq!(book.verdicts().last(), Some(&Degraded));
}

/// What happens in the life of three replicas.
#[derive(Clone, Debug)]
enum SimulatedEvent {
    /// The cluster changes; each replica sees it so many milliseconds later.
    Change(VerdictState, [i64; 3]),
    /// Another replica records from now on.
    Takeover(usize),
    /// The recording replica records nothing for a while.
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
    /// Whoever records whenever, and however far the replicas are apart: every change once, in order.
    #[test]
    fn nothing_is_lost_and_nothing_is_doubled(steps in prop::collection::vec(step(), 1..60), pause in 1_i64..4_000) {
        let (mut book, mut truth) = (FakeLog::default(), vec![Healthy]);
        let mut witnesses = <[ChangeTracker; 3]>::default();
        let mut views = [0, 1, 2].map(|_| view(-60_000, Healthy, Synced));
        for (witness, view) in witnesses.iter_mut().zip(&views) {
            witness.observe(view);
        }
        book.record(&mut witnesses[0]);
        witnesses.iter_mut().for_each(|witness| book.replay_to(witness));
        let mut sights: Vec<(i64, usize, VerdictState)> = Vec::new();
        let (mut writer, mut away, mut now) = (0, false, 0);
        let mut last_seen = [0_i64; 3];
        let mut steps = steps.into_iter();
        loop {
            let step = steps.next();
            match &step {
                Some(SimulatedEvent::Change(verdict, late)) if truth.last() != Some(verdict) => {
                    truth.push(*verdict);
                    for (replica, late) in late.iter().enumerate() {
                        // A replica sees changes in their order.
                        let when = (now + late).max(last_seen[replica] + 1);
                        last_seen[replica] = when;
                        sights.push((when, replica, *verdict));
                    }
                }
                Some(SimulatedEvent::Takeover(replica)) => writer = *replica,
                Some(SimulatedEvent::Outage(is)) => away = *is,
                Some(SimulatedEvent::Change(..)) => {}
                None => away = false,
            }
            now += if step.is_some() { pause } else { 20_000 };
            sights.sort_by_key(|(when, ..)| *when);
            let due = sights.partition_point(|(when, ..)| *when <= now);
            let mut record = |witnesses: &mut [ChangeTracker; 3], views: &[ClusterView; 3], now| {
                if !away {
                    witnesses[writer].reconcile(&views[writer], at(now));
                    book.record(&mut witnesses[writer]);
                    witnesses.iter_mut().for_each(|witness| book.replay_to(witness));
                }
            };
            for (when, replica, verdict) in sights.drain(..due) {
                let seen = view(when, verdict, Synced);
                witnesses[replica].observe(&seen);
                views[replica] = seen;
                record(&mut witnesses, &views, when);
            }
            record(&mut witnesses, &views, now);
            if step.is_none() {
                break;
            }
        }
        prop_assert_eq!(book.verdicts(), truth);
        prop_assert!(book.0.is_sorted_by_key(|event| event.at));
        prop_assert!(book.0.iter().zip(1..).all(|(event, number)| event.sequence == number));
    }
}
