//! Properties of notifications for any sequence of verdicts and any target.

use std::collections::BTreeMap;

use galera::publish::notification::verdicts::{NotificationContext, VerdictChange, VerdictTracker};
use galera::publish::notification::{Notification, TargetRules};
use galera::view::VerdictState;
use proptest::prelude::*;

use crate::verdicts::{at, rules};

/// Seconds until the next change, and its verdict.
type Steps = Vec<(i64, VerdictState)>;

fn change_steps(verdicts: Vec<VerdictState>) -> impl Strategy<Value = Steps> {
    prop::collection::vec((0_i64..40, prop::sample::select(verdicts)), 1..30)
}

/// Every verdict except unknown, which is not reported in hindsight.
fn verdicts_without_unknown() -> Vec<VerdictState> {
    let blind = |verdict: &VerdictState| *verdict != VerdictState::Unknown;
    VerdictState::ALL.into_iter().filter(blind).collect()
}

fn changes(steps: &Steps) -> Vec<VerdictChange> {
    let mut second = 0;
    let mut before = None;
    let mut changes = Vec::new();
    for (pause, to) in steps {
        second += pause;
        // The history contains only changes.
        if before.replace(*to) != Some(*to) {
            changes.push(VerdictChange {
                sequence: changes.len() as u64 + 1,
                at: at(second),
                to: *to,
                reasons: vec![to.as_str().to_owned()],
            });
        }
    }
    changes
}

const END: i64 = 100_000;

/// What is sent to each target when the tracker advances every `pause` seconds, or only on changes.
fn notifications(
    changes: &[VerdictChange],
    targets: &BTreeMap<String, TargetRules>,
    pause: Option<i64>,
) -> Vec<(String, Notification)> {
    let cluster = "lab".parse().unwrap();
    let context = NotificationContext {
        cluster: &cluster,
        targets,
        in_maintenance: &|_| false,
    };
    let (mut tracker, mut notices, mut clock) = (VerdictTracker::default(), Vec::new(), at(0));
    for change in changes {
        if let Some(pause) = pause {
            while clock < change.at {
                notices.extend(tracker.advance(clock, &context));
                clock = clock.plus(std::time::Duration::from_secs(pause.unsigned_abs()));
            }
            // It is stored in etcd in between.
            let kept = serde_json::to_string(&tracker).unwrap();
            tracker = serde_json::from_str(&kept).unwrap();
        }
        notices.extend(tracker.apply(change.clone(), &context));
        if pause.is_some() {
            notices.extend(tracker.advance(change.at, &context));
        }
    }
    notices.extend(tracker.advance(at(END), &context));
    notices
}

fn for_target<'a>(notices: &'a [(String, Notification)], target: &str) -> Vec<&'a Notification> {
    notices
        .iter()
        .filter(|(to, _)| to == target)
        .map(|(_, notice)| notice)
        .collect()
}

proptest! {
    #[test]
    fn nothing_is_sent_twice_and_the_last_notification_is_true(
        steps in change_steps(VerdictState::ALL.to_vec()), minimum in 0_u32..60, window in 0_u32..60, pause in 1_i64..20,
    ) {
        let changes = changes(&steps);
        let targets = BTreeMap::from([("t".to_owned(), rules(minimum, window))]);
        let notices = notifications(&changes, &targets, Some(pause));
        let mut last = VerdictState::Healthy;
        let mut ids = std::collections::BTreeSet::new();
        for notice in for_target(&notices, "t") {
            let problem = notice.problem.as_ref().unwrap();
            prop_assert_eq!(problem.before, last);
            prop_assert_ne!(problem.verdict, last);
            prop_assert!(ids.insert(notice.id.clone()), "{} twice", notice.id);
            last = problem.verdict;
        }
        prop_assert_eq!(last, changes.last().unwrap().to);
    }

    #[test]
    fn the_times_of_advancing_do_not_matter(
        steps in change_steps(verdicts_without_unknown()), minimum in 0_u32..60, window in 0_u32..60, pause in 1_i64..20,
    ) {
        let changes = changes(&steps);
        let targets = BTreeMap::from([("t".to_owned(), rules(minimum, window))]);
        prop_assert_eq!(notifications(&changes, &targets, None), notifications(&changes, &targets, Some(pause)));
    }

    #[test]
    fn only_lasting_verdicts_are_sent_and_split_brain_immediately(
        steps in change_steps(verdicts_without_unknown()), minimum in 1_u32..60,
    ) {
        let changes = changes(&steps);
        let targets = BTreeMap::from([("t".to_owned(), rules(minimum, 0))]);
        let notices = notifications(&changes, &targets, None);
        let ids: Vec<&str> = for_target(&notices, "t").iter().map(|notice| notice.id.as_str()).collect();
        for (place, change) in changes.iter().enumerate() {
            let ended = changes.get(place + 1).map_or(at(END), |next| next.at);
            let lasted = change.at.age(ended).as_secs() >= u64::from(minimum);
            let id = format!("lab.{}", change.sequence);
            let is_told = ids.contains(&id.as_str());
            if change.to == VerdictState::SplitBrain {
                // Unless it was already sent, and its short end was not.
                let number = |notice: &&Notification| {
                    let (_, number) = notice.id.rsplit_once('.').unwrap();
                    number.parse::<u64>().unwrap() <= change.sequence
                };
                let last = for_target(&notices, "t").into_iter().rfind(number);
                let last = last.map(|notice| notice.problem.as_ref().unwrap().verdict);
                prop_assert_eq!(last, Some(VerdictState::SplitBrain), "{}", id);
            } else {
                prop_assert!(lasted || !is_told, "{id} was sent after {minimum} s");
            }
        }
    }

    #[test]
    fn targets_do_not_influence_each_other(
        steps in change_steps(VerdictState::ALL.to_vec()), one in (0_u32..60, 0_u32..60), other in (0_u32..60, 0_u32..60),
    ) {
        let changes = changes(&steps);
        let alone = BTreeMap::from([("t".to_owned(), rules(one.0, one.1))]);
        let mut both = alone.clone();
        both.insert("u".to_owned(), rules(other.0, other.1));
        let (alone, both) = (notifications(&changes, &alone, Some(5)), notifications(&changes, &both, Some(5)));
        prop_assert_eq!(for_target(&alone, "t"), for_target(&both, "t"));
    }
}
