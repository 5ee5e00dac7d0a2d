//! From the changes of a cluster's verdict to notices: what lasted long enough, grouped, and quiet when it should be.
//!
//! For each target the cluster's present verdict is compared with the one that was told last. When they differ for the
//! target's minimum duration, and the last message is older than the target's window, the present one is told. So a
//! verdict that passes is never told, and neither is its end; changes in quick succession become one message; and
//! nothing is told twice. Split brain waits for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Audience, ClusterProblem, Notification, NotificationKind, ProblemPhase, Severity, TargetRules,
    text,
};
use crate::id::ClusterName;
use crate::timestamp::Timestamp;
use crate::view::VerdictState;

/// The console's own blindness is told only when it lasts: every restart begins with it.
pub const UNKNOWN_MIN_DURATION: Duration = Duration::from_secs(30);
/// Most changes that are remembered for the sake of a message that names them.
const RECENT_MAX: usize = 16;
/// Most reasons of a verdict that are remembered.
const REASONS_MAX: usize = 8;

/// One change of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictChange {
    /// Its place in the cluster's chronicle.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The verdict since.
    pub to: VerdictState,
    /// Why, in sentences.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// What a target was told last about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastNotification {
    /// The verdict.
    pub verdict: VerdictState,
    /// The change that led to it.
    pub sequence: u64,
    /// When it was told.
    pub at: Timestamp,
    /// Since when the cluster was not healthy then.
    pub since: Timestamp,
}

/// The verdict of one cluster as the notices know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictTracker {
    /// How far the cluster's chronicle was read.
    pub sequence: u64,
    /// The last changes, oldest first; the last one is the present verdict.
    recent: Vec<VerdictChange>,
    /// Since when the cluster is not healthy.
    trouble: Option<Timestamp>,
    /// By target.
    last_notification: BTreeMap<String, LastNotification>,
}

/// What decides about telling beside the changes themselves.
pub struct NotificationContext<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// Every target that is to be told anything, by its identity.
    pub targets: &'a BTreeMap<String, TargetRules>,
    /// Whether the cluster was in maintenance at a moment.
    pub in_maintenance: &'a (dyn Fn(Timestamp) -> bool + Sync),
}

/// A notice for one target.
pub type AddressedNotification = (String, Notification);

impl VerdictTracker {
    /// Nothing is known of what happened until `sequence`.
    #[must_use]
    pub fn starting_after(sequence: u64) -> Self {
        Self {
            sequence,
            ..Self::default()
        }
    }

    /// The verdict now.
    #[must_use]
    pub fn current(&self) -> Option<&VerdictChange> {
        self.recent.last()
    }

    /// What `target` was told last.
    #[must_use]
    pub fn last_notification(&self, target: &str) -> Option<&LastNotification> {
        self.last_notification.get(target)
    }

    /// Every target that was last told of a verdict other than `healthy`.
    pub fn open_problems(&self) -> impl Iterator<Item = (&str, &LastNotification)> {
        self.last_notification
            .iter()
            .filter(|(_, told)| told.verdict != VerdictState::Healthy)
            .map(|(target, told)| (target.as_str(), told))
    }

    /// What each target was told last and still holds, as a notice: for receivers that forget what is not repeated.
    #[must_use]
    pub fn open_notifications(&self, cluster: &ClusterName) -> Vec<AddressedNotification> {
        self.open_problems()
            .map(|(target, told)| {
                let change = self
                    .recent
                    .iter()
                    .find(|change| change.sequence == told.sequence);
                let problem = ClusterProblem {
                    phase: ProblemPhase::Opened,
                    since: told.since,
                    verdict: told.verdict,
                    before: VerdictState::Healthy,
                };
                let notice = Notification {
                    id: format!("{cluster}.{}", told.sequence),
                    kind: NotificationKind::Verdict,
                    at: change.map_or(told.at, |change| change.at),
                    cluster: Some(cluster.clone()),
                    severity: Severity::of(told.verdict),
                    title: format!("{cluster} {}", text::verdict_phrase(told.verdict)),
                    text: change.map_or_else(String::new, |change| change.reasons.join("\n")),
                    path: format!("/clusters/{cluster}"),
                    problem: Some(problem),
                    action: None,
                    audience: Audience::Everyone,
                };
                (target.to_owned(), notice)
            })
            .collect()
    }

    /// Takes a change in without telling anybody: how a cluster came to where it is.
    pub fn replay(&mut self, change: VerdictChange) {
        self.sequence = self.sequence.max(change.sequence);
        if change.to == VerdictState::Healthy {
            self.trouble = None;
        } else if self.trouble.is_none() {
            self.trouble = Some(change.at);
        }
        self.recent.push(VerdictChange {
            reasons: change.reasons.into_iter().take(REASONS_MAX).collect(),
            ..change
        });
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// Takes a change in. What was due before it happened is told, however late it is taken in; except that the console
    /// was blind, which nobody has to learn afterwards.
    pub fn apply(
        &mut self,
        change: VerdictChange,
        circumstances: &NotificationContext<'_>,
    ) -> Vec<AddressedNotification> {
        let blind = self
            .current()
            .is_some_and(|current| current.to == VerdictState::Unknown);
        let told = if blind {
            Vec::new()
        } else {
            self.advance(change.at, circumstances)
        };
        self.replay(change);
        told
    }

    /// Tells what is due until `now`.
    pub fn advance(
        &mut self,
        now: Timestamp,
        circumstances: &NotificationContext<'_>,
    ) -> Vec<AddressedNotification> {
        let Some(current) = self.recent.last().cloned() else {
            return Vec::new();
        };
        let mut notices = Vec::new();
        for (target, rules) in circumstances.targets {
            let Some(due) = self.due_for(target, rules, &current, circumstances.cluster) else {
                continue;
            };
            let urgent = matches!(current.to, VerdictState::SplitBrain | VerdictState::Healthy);
            if due > now || (!urgent && (circumstances.in_maintenance)(now)) {
                continue;
            }
            let at = if urgent || !(circumstances.in_maintenance)(due) {
                due
            } else {
                now
            };
            notices.push((
                target.clone(),
                self.notify(target, &current, at, circumstances),
            ));
        }
        notices
    }

    /// When the next thing is due; it may be held back by maintenance, and then lies in the past.
    #[must_use]
    pub fn next_due(
        &self,
        cluster: &ClusterName,
        targets: &BTreeMap<String, TargetRules>,
    ) -> Option<Timestamp> {
        let current = self.current()?;
        targets
            .iter()
            .filter_map(|(target, rules)| self.due_for(target, rules, current, cluster))
            .min()
    }

    /// Forgets targets that are gone. Returns whether there were any.
    pub fn retain_targets(&mut self, exists: impl Fn(&str) -> bool) -> bool {
        let before = self.last_notification.len();
        self.last_notification.retain(|target, _| exists(target));
        self.last_notification.len() != before
    }

    fn due_for(
        &self,
        target: &str,
        rules: &TargetRules,
        current: &VerdictChange,
        cluster: &ClusterName,
    ) -> Option<Timestamp> {
        let told = self.last_notification.get(target);
        let verdict = told.map_or(VerdictState::Healthy, |told| told.verdict);
        if current.to == verdict || !rules.accepts(NotificationKind::Verdict, Some(cluster)) {
            return None;
        }
        if current.to == VerdictState::SplitBrain {
            return Some(current.at);
        }
        let mut minimum = Duration::from_secs(rules.minimum_seconds.into());
        if current.to == VerdictState::Unknown {
            minimum = minimum.max(UNKNOWN_MIN_DURATION);
        }
        let window = Duration::from_secs(rules.window_seconds.into());
        let lasted = current.at.plus(minimum);
        Some(told.map_or(lasted, |told| lasted.max(told.at.plus(window))))
    }

    fn notify(
        &mut self,
        target: &str,
        current: &VerdictChange,
        at: Timestamp,
        circumstances: &NotificationContext<'_>,
    ) -> Notification {
        let told = self.last_notification.get(target);
        let before = told.map_or(VerdictState::Healthy, |told| told.verdict);
        let phase = match (before, current.to) {
            (_, VerdictState::Healthy) => ProblemPhase::Resolved,
            (VerdictState::Healthy, _) => ProblemPhase::Opened,
            _ => ProblemPhase::Changed,
        };
        // A problem that is over began when it was told to have begun.
        let since = match (phase, told) {
            (ProblemPhase::Resolved | ProblemPhase::Changed, Some(told)) => told.since,
            _ => self.trouble.unwrap_or(current.at),
        };
        let after = told.map_or(0, |told| told.sequence);
        let passed: Vec<&VerdictChange> = self
            .recent
            .iter()
            .filter(|change| change.sequence > after && change.at >= since)
            .collect();
        let problem = ClusterProblem {
            phase,
            since,
            verdict: current.to,
            before,
        };
        let (title, text) = text::verdict_text(circumstances.cluster, current, &problem, &passed);
        let notice = Notification {
            id: format!("{}.{}", circumstances.cluster, current.sequence),
            kind: NotificationKind::Verdict,
            at: current.at,
            cluster: Some(circumstances.cluster.clone()),
            severity: Severity::of(current.to),
            title,
            text,
            path: format!("/clusters/{}", circumstances.cluster),
            problem: Some(problem),
            action: None,
            audience: Audience::Everyone,
        };
        let told = LastNotification {
            verdict: current.to,
            sequence: current.sequence,
            at,
            since,
        };
        self.last_notification.insert(target.to_owned(), told);
        notice
    }
}
