//! Single sequences of verdicts, change by change.

use std::collections::BTreeMap;

use galera::Timestamp;
use galera::publish::notification::verdicts::{NotificationContext, VerdictChange, VerdictTracker};
use galera::publish::notification::{
    Notification, NotificationKind, ProblemPhase, Severity, TargetRules,
};
use galera::view::VerdictState::{self, Degraded, Down, Healthy, NoPrimary, SplitBrain, Unknown};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_795_420_800_000 + second * 1_000)
}

pub(crate) fn rules(minimum: u32, window: u32) -> TargetRules {
    TargetRules {
        kinds: NotificationKind::SELECTABLE.into(),
        clusters: [].into(),
        minimum_seconds: minimum,
        window_seconds: window,
    }
}

/// One target `t` and the cluster `lab`.
struct NotificationFixture {
    tracker: VerdictTracker,
    targets: BTreeMap<String, TargetRules>,
    maintenance: Vec<(i64, i64)>,
    next: u64,
}

impl NotificationFixture {
    fn new(minimum: u32, window: u32) -> Self {
        let targets = BTreeMap::from([("t".to_owned(), rules(minimum, window))]);
        Self {
            tracker: VerdictTracker::default(),
            targets,
            maintenance: Vec::new(),
            next: 1,
        }
    }

    fn with_context<T>(
        &mut self,
        act: impl FnOnce(&mut VerdictTracker, &NotificationContext<'_>) -> T,
    ) -> T {
        let cluster = "lab".parse().unwrap();
        let windows = self.maintenance.clone();
        let quiet = move |moment| {
            windows
                .iter()
                .any(|(from, to)| at(*from) <= moment && moment < at(*to))
        };
        let circumstances = NotificationContext {
            cluster: &cluster,
            targets: &self.targets,
            in_maintenance: &quiet,
        };
        act(&mut self.tracker, &circumstances)
    }

    fn change(&mut self, second: i64, to: VerdictState) -> Vec<Notification> {
        let change = VerdictChange {
            sequence: self.next,
            at: at(second),
            to,
            reasons: vec![format!("because of {}", to.as_str())],
        };
        self.next += 1;
        let sent = self.with_context(|tracker, context| tracker.apply(change, context));
        sent.into_iter().map(|(_, notice)| notice).collect()
    }

    fn advance_to(&mut self, second: i64) -> Vec<Notification> {
        let sent = self.with_context(|tracker, context| tracker.advance(at(second), context));
        sent.into_iter().map(|(_, notice)| notice).collect()
    }
}

fn verdicts(notices: &[Notification]) -> Vec<VerdictState> {
    let verdict = |notice: &Notification| notice.problem.as_ref().unwrap().verdict;
    notices.iter().map(verdict).collect()
}

#[test]
fn without_a_minimum_each_change_is_sent() {
    let mut fixture = NotificationFixture::new(0, 0);
    assert!(fixture.change(0, Healthy).is_empty() && fixture.advance_to(0).is_empty());
    assert!(fixture.change(10, Degraded).is_empty());
    let opened = fixture.advance_to(10);
    assert_eq!(verdicts(&opened), [Degraded]);
    let problem = opened[0].problem.as_ref().unwrap();
    assert_eq!(
        (problem.phase, problem.since),
        (ProblemPhase::Opened, at(10))
    );
    assert_eq!(opened[0].title, "lab is degraded");
    assert_eq!(opened[0].text, "because of degraded");
    assert_eq!(
        (opened[0].id.as_str(), opened[0].severity),
        ("lab.2", Severity::Warning)
    );
    fixture.change(20, NoPrimary);
    let changed = fixture.advance_to(20);
    assert_eq!(
        changed[0].problem.as_ref().unwrap().phase,
        ProblemPhase::Changed
    );
    assert_eq!(changed[0].problem.as_ref().unwrap().since, at(10));
    fixture.change(80, Healthy);
    let resolved = fixture.advance_to(80);
    assert_eq!(resolved[0].title, "lab is healthy again");
    assert_eq!(
        resolved[0].problem.as_ref().unwrap().phase,
        ProblemPhase::Resolved
    );
    assert!(
        resolved[0].text.contains("1 min 10 s"),
        "{}",
        resolved[0].text
    );
    assert!(fixture.advance_to(10_000).is_empty());
}

#[test]
fn changes_shorter_than_the_minimum_are_not_sent() {
    let mut fixture = NotificationFixture::new(30, 0);
    fixture.change(0, Healthy);
    fixture.change(100, Degraded);
    assert!(fixture.advance_to(129).is_empty());
    assert!(fixture.change(129, Healthy).is_empty());
    assert!(fixture.advance_to(1_000).is_empty());
    // Exactly the minimum is long enough, however late the tracker advances.
    fixture.change(2_000, Degraded);
    assert_eq!(verdicts(&fixture.change(2_030, Healthy)), [Degraded]);
    assert!(fixture.advance_to(2_059).is_empty());
    assert_eq!(verdicts(&fixture.advance_to(2_060)), [Healthy]);
}

#[test]
fn changes_within_the_window_are_one_notification() {
    let mut fixture = NotificationFixture::new(0, 60);
    fixture.change(0, Healthy);
    fixture.change(100, Degraded);
    assert_eq!(verdicts(&fixture.advance_to(100)), [Degraded]);
    for (second, verdict) in [(110, NoPrimary), (120, Degraded), (130, Down)] {
        assert!(fixture.change(second, verdict).is_empty());
        assert!(fixture.advance_to(second).is_empty());
    }
    assert!(fixture.advance_to(159).is_empty());
    let grouped = fixture.advance_to(160);
    assert_eq!(verdicts(&grouped), [Down]);
    for word in ["no Primary component at", "degraded at", "down at"] {
        assert!(grouped[0].text.contains(word), "{}", grouped[0].text);
    }
}

#[test]
fn maintenance_mutes_until_its_end() {
    let mut fixture = NotificationFixture::new(0, 0);
    fixture.maintenance = vec![(100, 200)];
    fixture.change(0, Healthy);
    fixture.change(110, Degraded);
    assert!(fixture.advance_to(199).is_empty());
    assert_eq!(verdicts(&fixture.advance_to(200)), [Degraded]);
    fixture.maintenance = vec![(300, 400)];
    fixture.change(310, Down);
    fixture.change(320, Degraded);
    assert!(fixture.advance_to(399).is_empty());
    assert!(
        fixture.advance_to(500).is_empty(),
        "it is what it was before"
    );
}

#[test]
fn a_resolution_is_sent_even_in_maintenance() {
    let mut fixture = NotificationFixture::new(0, 0);
    fixture.change(0, Degraded);
    assert_eq!(verdicts(&fixture.advance_to(0)), [Degraded]);
    fixture.maintenance = vec![(10, 100)];
    fixture.change(20, Healthy);
    assert_eq!(verdicts(&fixture.advance_to(20)), [Healthy]);
}

#[test]
fn split_brain_is_sent_immediately() {
    let mut fixture = NotificationFixture::new(3_600, 3_600);
    fixture.maintenance = vec![(0, 1_000)];
    fixture.change(0, Healthy);
    fixture.change(10, SplitBrain);
    let sent = fixture.advance_to(10);
    assert_eq!(verdicts(&sent), [SplitBrain]);
    assert_eq!(sent[0].severity, Severity::Critical);
}

#[test]
fn unknown_is_sent_only_while_it_lasts() {
    let mut fixture = NotificationFixture::new(0, 0);
    fixture.change(0, Unknown);
    assert!(fixture.advance_to(29).is_empty());
    assert!(
        fixture.change(500, Healthy).is_empty(),
        "no target was notified"
    );
    fixture.change(600, Unknown);
    assert_eq!(verdicts(&fixture.advance_to(630)), [Unknown]);
    fixture.change(640, Healthy);
    assert_eq!(verdicts(&fixture.advance_to(640)), [Healthy]);
}

#[test]
fn a_new_target_receives_the_open_problem() {
    let mut fixture = NotificationFixture::new(0, 0);
    fixture.change(0, Degraded);
    fixture.advance_to(0);
    fixture.targets.insert("late".to_owned(), rules(0, 0));
    let sent = fixture.with_context(|tracker, context| tracker.advance(at(100), context));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, "late");
    assert_eq!(
        sent[0].1.problem.as_ref().unwrap().phase,
        ProblemPhase::Opened
    );
    fixture.tracker.retain_targets(|target| target == "late");
    assert!(fixture.tracker.last_notification("t").is_none());
}

#[test]
fn only_selected_kinds_and_clusters_are_sent() {
    let mut fixture = NotificationFixture::new(0, 0);
    let only = |kinds: &[NotificationKind], clusters: &[&str]| TargetRules {
        kinds: kinds.iter().copied().collect(),
        clusters: clusters.iter().map(|name| name.parse().unwrap()).collect(),
        ..rules(0, 0)
    };
    fixture.targets = BTreeMap::from([
        (
            "actions".to_owned(),
            only(&[NotificationKind::ActionRequested], &[]),
        ),
        (
            "other".to_owned(),
            only(&[NotificationKind::Verdict], &["other"]),
        ),
        (
            "lab".to_owned(),
            only(&[NotificationKind::Verdict], &["lab", "other"]),
        ),
    ]);
    fixture.change(0, Down);
    let sent = fixture.with_context(|tracker, context| tracker.advance(at(0), context));
    let to: Vec<&str> = sent.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(to, ["lab"]);
}

/// The tracker is stored in etcd: its field names must stay readable for every version.
#[test]
fn the_stored_format_is_stable() {
    let mut fixture = NotificationFixture::new(0, 0);
    fixture.change(0, Degraded);
    fixture.advance_to(0);
    let json = serde_json::to_value(&fixture.tracker).unwrap();
    let fields: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(fields, ["recent", "sequence", "told", "trouble"]);
}
