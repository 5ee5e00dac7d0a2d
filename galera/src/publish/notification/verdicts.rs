//! Turns the changes of a cluster's verdict into notifications: only lasting changes, grouped, and muted during
//! maintenance.
//!
//! For each target, [`VerdictTracker`] compares the cluster's current verdict with that of the target's
//! [`LastNotification`]. When they have differed for the target's minimum duration, and the last notification is older
//! than the target's window, the current verdict is sent. So neither a short change nor its end is sent, changes in
//! quick succession become one notification, and nothing is sent twice. Split brain is sent immediately.

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

/// An unknown verdict is sent only when it lasts this long: every restart of the console begins with it.
pub const UNKNOWN_MIN_DURATION: Duration = Duration::from_secs(30);
/// Maximum number of changes kept to be listed in a notification.
const RECENT_MAX: usize = 16;
/// Maximum number of reasons kept per change.
const REASONS_MAX: usize = 8;

/// A change of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictChange {
    /// Its sequence number in the cluster's history.
    pub sequence: u64,
    pub at: Timestamp,
    pub to: VerdictState,
    /// In sentences.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// The last notification about a cluster that was sent to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastNotification {
    pub verdict: VerdictState,
    /// Sequence number of the change.
    pub sequence: u64,
    pub at: Timestamp,
    /// Since when the cluster was unhealthy then.
    pub since: Timestamp,
}

/// One cluster's recent verdicts and what was sent about them; stored in etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictTracker {
    /// The last event of the cluster's history that was applied.
    pub sequence: u64,
    /// Oldest first; the last one is the current verdict.
    recent: Vec<VerdictChange>,
    /// Since when the cluster has been unhealthy.
    #[serde(rename = "trouble")]
    unhealthy_since: Option<Timestamp>,
    /// By target.
    #[serde(rename = "told")]
    last_notification: BTreeMap<String, LastNotification>,
}

/// What decides about sending, apart from the changes.
pub struct NotificationContext<'a> {
    pub cluster: &'a ClusterName,
    /// Every enabled target, by id.
    pub targets: &'a BTreeMap<String, TargetRules>,
    /// Whether the cluster was in maintenance at a time.
    pub in_maintenance: &'a (dyn Fn(Timestamp) -> bool + Sync),
}

/// A target's id, and a notification for it.
pub type AddressedNotification = (String, Notification);

impl VerdictTracker {
    /// Starts with the events after `sequence`.
    #[must_use]
    pub fn starting_after(sequence: u64) -> Self {
        Self {
            sequence,
            ..Self::default()
        }
    }

    /// The change to the current verdict.
    #[must_use]
    pub fn current(&self) -> Option<&VerdictChange> {
        self.recent.last()
    }

    #[must_use]
    pub fn last_notification(&self, target: &str) -> Option<&LastNotification> {
        self.last_notification.get(target)
    }

    /// Every target whose last notification was about a verdict other than `healthy`.
    pub fn open_problems(&self) -> impl Iterator<Item = (&str, &LastNotification)> {
        self.last_notification
            .iter()
            .filter(|(_, last)| last.verdict != VerdictState::Healthy)
            .map(|(target, last)| (target.as_str(), last))
    }

    /// The open problem of each target as a notification again, for receivers that expire what is not repeated.
    #[must_use]
    pub fn open_notifications(&self, cluster: &ClusterName) -> Vec<AddressedNotification> {
        self.open_problems()
            .map(|(target, last)| {
                let change = self
                    .recent
                    .iter()
                    .find(|change| change.sequence == last.sequence);
                let problem = ClusterProblem {
                    phase: ProblemPhase::Opened,
                    since: last.since,
                    verdict: last.verdict,
                    before: VerdictState::Healthy,
                };
                let notification = Notification {
                    id: format!("{cluster}.{}", last.sequence),
                    kind: NotificationKind::Verdict,
                    at: change.map_or(last.at, |change| change.at),
                    cluster: Some(cluster.clone()),
                    severity: Severity::of(last.verdict),
                    title: format!(
                        "{} {}",
                        cluster.display_name(),
                        text::verdict_phrase(last.verdict)
                    ),
                    text: change.map_or_else(String::new, |change| change.reasons.join("\n")),
                    path: format!("/clusters/{cluster}"),
                    problem: Some(problem),
                    action: None,
                    finding: None,
                    audience: Audience::Everyone,
                };
                (target.to_owned(), notification)
            })
            .collect()
    }

    /// Applies a past change without sending anything.
    pub fn replay(&mut self, change: VerdictChange) {
        self.sequence = self.sequence.max(change.sequence);
        if change.to == VerdictState::Healthy {
            self.unhealthy_since = None;
        } else if self.unhealthy_since.is_none() {
            self.unhealthy_since = Some(change.at);
        }
        self.recent.push(VerdictChange {
            reasons: change.reasons.into_iter().take(REASONS_MAX).collect(),
            ..change
        });
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// Applies a change. Returns what was due before it happened, however late it is applied; except an unknown verdict,
    /// which is not reported in hindsight.
    pub fn apply(
        &mut self,
        change: VerdictChange,
        context: &NotificationContext<'_>,
    ) -> Vec<AddressedNotification> {
        let was_unknown = self
            .current()
            .is_some_and(|current| current.to == VerdictState::Unknown);
        let notifications = if was_unknown {
            Vec::new()
        } else {
            self.advance(change.at, context)
        };
        self.replay(change);
        notifications
    }

    /// Returns what is due by `now`.
    pub fn advance(
        &mut self,
        now: Timestamp,
        context: &NotificationContext<'_>,
    ) -> Vec<AddressedNotification> {
        let Some(current) = self.recent.last().cloned() else {
            return Vec::new();
        };
        let mut notifications = Vec::new();
        for (target, rules) in context.targets {
            let Some(due) = self.due_for(target, rules, &current, context.cluster) else {
                continue;
            };
            let urgent = matches!(current.to, VerdictState::SplitBrain | VerdictState::Healthy);
            if due > now || (!urgent && (context.in_maintenance)(now)) {
                continue;
            }
            let at = if urgent || !(context.in_maintenance)(due) {
                due
            } else {
                now
            };
            notifications.push((target.clone(), self.notify(target, &current, at, context)));
        }
        notifications
    }

    /// When the next notification is due; in the past if it is held back by maintenance.
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

    /// Drops targets that no longer exist. Returns whether there were any.
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
        let last = self.last_notification.get(target);
        let verdict = last.map_or(VerdictState::Healthy, |last| last.verdict);
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
        Some(last.map_or(lasted, |last| lasted.max(last.at.plus(window))))
    }

    fn notify(
        &mut self,
        target: &str,
        current: &VerdictChange,
        at: Timestamp,
        context: &NotificationContext<'_>,
    ) -> Notification {
        let last = self.last_notification.get(target);
        let before = last.map_or(VerdictState::Healthy, |last| last.verdict);
        let phase = match (before, current.to) {
            (_, VerdictState::Healthy) => ProblemPhase::Resolved,
            (VerdictState::Healthy, _) => ProblemPhase::Opened,
            _ => ProblemPhase::Changed,
        };
        // A later notification gives the same start of the problem as the first.
        let since = match (phase, last) {
            (ProblemPhase::Resolved | ProblemPhase::Changed, Some(last)) => last.since,
            _ => self.unhealthy_since.unwrap_or(current.at),
        };
        let after = last.map_or(0, |last| last.sequence);
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
        let (title, text) = text::verdict_text(context.cluster, current, &problem, &passed);
        let notification = Notification {
            id: format!("{}.{}", context.cluster, current.sequence),
            kind: NotificationKind::Verdict,
            at: current.at,
            cluster: Some(context.cluster.clone()),
            severity: Severity::of(current.to),
            title,
            text,
            path: format!("/clusters/{}", context.cluster),
            problem: Some(problem),
            action: None,
            finding: None,
            audience: Audience::Everyone,
        };
        let last = LastNotification {
            verdict: current.to,
            sequence: current.sequence,
            at,
            since,
        };
        self.last_notification.insert(target.to_owned(), last);
        notification
    }
}
