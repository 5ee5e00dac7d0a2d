//! The sentences of notifications.

use super::verdicts::VerdictChange;
use super::{ClusterProblem, ProblemPhase};
use crate::id::ClusterName;
use crate::timestamp::Timestamp;
use crate::view::VerdictState;

/// Longest text of a notification, in characters: reasons and comments may be long.
pub const TEXT_MAX: usize = 2_000;
/// Longest title of a notification, in characters.
pub const TITLE_MAX: usize = 200;

/// The verdict as a predicate after the cluster's name.
#[must_use]
pub const fn verdict_phrase(verdict: VerdictState) -> &'static str {
    match verdict {
        VerdictState::Healthy => "is healthy",
        VerdictState::Degraded => "is degraded",
        VerdictState::Unknown => "cannot be monitored",
        VerdictState::NoPrimary => "has no Primary component",
        VerdictState::Down => "is down",
        VerdictState::Diverged => "has diverged: its nodes hold different histories",
        VerdictState::SplitBrain => "is in split brain: two components are Primary",
    }
}

const fn verdict_name(verdict: VerdictState) -> &'static str {
    match verdict {
        VerdictState::Healthy => "healthy",
        VerdictState::Degraded => "degraded",
        VerdictState::Unknown => "unknown",
        VerdictState::NoPrimary => "no Primary component",
        VerdictState::Down => "down",
        VerdictState::Diverged => "diverged",
        VerdictState::SplitBrain => "split brain",
    }
}

/// The title and text of a verdict notification. `passed` are the changes since the last one.
pub(super) fn verdict_text(
    cluster: &ClusterName,
    current: &VerdictChange,
    problem: &ClusterProblem,
    passed: &[&VerdictChange],
) -> (String, String) {
    let phrase = verdict_phrase(current.to);
    let (title, mut lines) = match problem.phase {
        ProblemPhase::Resolved => {
            let duration = format_duration(problem.since.age(current.at).as_secs());
            let was = verdict_name(problem.before);
            let line = format!("Unhealthy for {duration}; previous notification: {was}.");
            (
                format!("{} is healthy again", cluster.display_name()),
                vec![line],
            )
        }
        ProblemPhase::Opened | ProblemPhase::Changed => (
            format!("{} {phrase}", cluster.display_name()),
            current.reasons.clone(),
        ),
    };
    if passed.len() > 1 {
        lines.push(format!(
            "Since the last notification: {}.",
            format_changes(passed, current.at)
        ));
    }
    if problem.phase == ProblemPhase::Changed {
        let since = problem.since.to_short_string(current.at);
        let before = verdict_name(problem.before);
        lines.push(format!(
            "Unhealthy since {since}; previous notification: {before}."
        ));
    }
    (
        truncate(&title, TITLE_MAX),
        truncate(&lines.join("\n"), TEXT_MAX),
    )
}

fn format_changes(passed: &[&VerdictChange], now: Timestamp) -> String {
    let steps: Vec<String> = passed
        .iter()
        .map(|change| {
            let at = change.at.to_short_string(now);
            format!("{} at {at}", verdict_name(change.to))
        })
        .collect();
    steps.join(", ")
}

/// A duration in its two largest units.
#[must_use]
pub fn format_duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `text` shortened to `limit` characters, with an ellipsis.
#[must_use]
pub fn truncate(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_two_units_that_matter() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(format_duration(seconds), text);
        }
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("äöüß", 3), "äö…");
    }
}
