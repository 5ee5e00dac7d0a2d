//! One line of blocks: the states of the cluster or of a node, each with its duration.

use galera::record::history::{HistoryEvent, HistorySubject, StateChange};
use galera::view::{NodeState, NodeView, ReasonCode, VerdictState};
use galera::{ClusterName, Timestamp};

use crate::format::{absolute, age, pluralize};
use crate::links::node_href;
use crate::marks::{StateMark, node_mark, verdict_mark};
use crate::markup::{El, el};

/// The box of a strip, in its own units; it is stretched to the width of the page.
const WIDTH: f64 = 1_000.0;
/// Blocks of a range; shorter ones are drawn together.
const BLOCKS_MAX: i64 = 250;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub(in crate::fragments) struct TimelineSpan {
    pub(in crate::fragments) from: Timestamp,
    pub(in crate::fragments) to: Timestamp,
    /// Since when the events are complete.
    pub(in crate::fragments) complete_since: Option<Timestamp>,
    /// The time that is shown below.
    pub(in crate::fragments) at: Option<Timestamp>,
    /// The range's name, for links.
    pub(in crate::fragments) range: &'static str,
}

impl TimelineSpan {
    fn x(&self, at: Timestamp) -> f64 {
        let whole = (self.to.unix_millis() - self.from.unix_millis()).max(1);
        let part = (at.unix_millis() - self.from.unix_millis()).clamp(0, whole);
        part as f64 / whole as f64 * WIDTH
    }
}

/// Whose states are drawn. A subject without an event had its last known state throughout.
#[derive(Clone, Copy, Debug)]
pub(in crate::fragments) struct StripSubjects<'a> {
    pub(in crate::fragments) cluster: &'a ClusterName,
    /// The last known verdict.
    pub(in crate::fragments) verdict: Option<StateMark>,
    /// With their last known states.
    pub(in crate::fragments) nodes: &'a [NodeView],
}

/// A state for a time.
#[derive(Clone, Debug, PartialEq)]
struct StateBlock {
    from: Timestamp,
    to: Timestamp,
    /// `None` for a time of which nothing is known.
    mark: Option<StateMark>,
    /// How many states are drawn together.
    states: usize,
}

/// The states of one subject.
#[derive(Clone, Debug)]
pub(in crate::fragments) struct StateStrip {
    label: String,
    /// The page of the node.
    href: Option<String>,
    blocks: Vec<StateBlock>,
    span: TimelineSpan,
}

/// A state from a time on.
type StateFrom = (Timestamp, Option<StateMark>);

impl StateStrip {
    /// The cluster's strip, then one for each node that is or was known.
    pub(in crate::fragments) fn all(
        subjects: &StripSubjects<'_>,
        events: &[HistoryEvent],
        span: &TimelineSpan,
    ) -> Vec<Self> {
        let verdict = subject_states(events, &HistorySubject::Verdict);
        let blind = blind_times(events, span);
        let verdicts = from_the_beginning(verdict.clone(), subjects.verdict);
        let mut strips = vec![Self {
            label: "Cluster".to_owned(),
            href: None,
            blocks: blocks(verdict, subjects.verdict, &[], span),
            span: *span,
        }];
        let mut nodes: Vec<_> = subjects
            .nodes
            .iter()
            .map(|node| {
                let label = node.name.clone().unwrap_or_else(|| node.id.to_string());
                (node.id.clone(), label, Some(node_mark(node.state)))
            })
            .collect();
        for event in events {
            if let StateChange::Node { node, name, .. } = &event.change
                && !nodes.iter().any(|(id, ..)| id == node)
            {
                let label = name.clone().unwrap_or_else(|| node.to_string());
                nodes.push((node.clone(), label, None));
            }
        }
        strips.extend(nodes.into_iter().map(|(id, label, current)| {
            let states = subject_states(events, &HistorySubject::Node(id.clone()));
            let states = under_verdict(from_the_beginning(states, current), &verdicts);
            Self {
                label,
                href: Some(node_href(subjects.cluster, &id)),
                blocks: blocks(states, current, &blind, span),
                span: *span,
            }
        }));
        strips
    }

    pub(in crate::fragments) fn figure(&self) -> El {
        let changes = self.blocks.iter().map(|block| block.states).sum::<usize>();
        let summary = match changes.saturating_sub(1) {
            0 => "no change".to_owned(),
            changes => pluralize(changes, "change"),
        };
        let label = match &self.href {
            Some(href) => crate::format::link(href.clone(), self.label.clone()),
            None => el("b").child(self.label.clone()),
        };
        let mark = self.span.at.map(|at| {
            let x = format!("{:.1}", self.span.x(at));
            el("path").class("mark").attr("d", format!("M{x} 0V20"))
        });
        let drawing = el("svg")
            .class("strip")
            .attr("role", "group")
            .attr("aria-label", format!("States of {}", self.label))
            .attr("viewBox", "0 0 1000 20")
            .attr("preserveAspectRatio", "none")
            .child(
                self.blocks
                    .iter()
                    .map(|block| self.block(block))
                    .collect::<Vec<_>>(),
            )
            .child(mark);
        el("figure")
            .child(
                el("figcaption")
                    .child(label)
                    .child(el("span").class("quiet").child(summary)),
            )
            .child(drawing)
    }

    /// A block, as a link to the cluster at its beginning.
    fn block(&self, block: &StateBlock) -> Option<El> {
        let mark = block.mark?;
        let (from, to) = (self.span.x(block.from), self.span.x(block.to));
        // As it was just after the change.
        let at = block.from.max(self.span.from).plus(MOMENT);
        let lasted = age(block.to.unix_millis() - block.from.unix_millis());
        let state = match block.states {
            1 => mark.label.to_owned(),
            several => format!("{}, {several} states", mark.label),
        };
        let begins = match block.from > self.span.from {
            true => absolute(block.from),
            false => format!("before {}", absolute(self.span.from)),
        };
        let title = format!("{state} since {begins}, for {lasted}");
        // Color alone would not tell states apart.
        let height = 2 + 3 * severity(block.mark);
        let rect = el("rect")
            .attr("x", format!("{from:.1}"))
            .attr("y", (20 - height).to_string())
            .attr("width", format!("{:.1}", (to - from).max(1.0)))
            .attr("height", height.to_string());
        Some(
            el("a")
                .attr("href", format!("?range={}&at={at}", self.span.range))
                .attr("class", format!("t-{}", mark.tone))
                .attr("aria-label", format!("{}: {title}", self.label))
                .child(el("title").child(title))
                .child(rect),
        )
    }
}

/// How long after a change the cluster is shown: views are recorded shortly after their events.
const MOMENT: std::time::Duration = std::time::Duration::from_secs(1);

/// The states of a subject, each from its time on. The first one is the state before the first event.
fn subject_states(events: &[HistoryEvent], subject: &HistorySubject) -> Vec<StateFrom> {
    let mut states = Vec::new();
    for event in events {
        if event.change.subject_and_state().0 != *subject {
            continue;
        }
        let (before, after) = match &event.change {
            StateChange::Verdict { from, to, .. } => {
                (from.map(verdict_mark), Some(verdict_mark(*to)))
            }
            StateChange::Node { from, to, .. } => (from.map(node_mark), to.map(node_mark)),
        };
        if states.is_empty() {
            states.push((Timestamp::from_unix_millis(i64::MIN / 2), before));
        }
        states.push((event.at, after));
    }
    states
}

/// The states of a subject; without an event its current one has been its state throughout.
fn from_the_beginning(mut states: Vec<StateFrom>, current: Option<StateMark>) -> Vec<StateFrom> {
    if states.is_empty() {
        states.push((Timestamp::from_unix_millis(i64::MIN / 2), current));
    }
    states
}

/// The states of a node, with the verdict in place of Synced while the histories of the cluster differed.
fn under_verdict(states: Vec<StateFrom>, verdicts: &[StateFrom]) -> Vec<StateFrom> {
    let torn =
        [VerdictState::Diverged, VerdictState::SplitBrain].map(|state| Some(verdict_mark(state)));
    if !verdicts.iter().any(|(_, mark)| torn.contains(mark)) {
        return states;
    }
    let mut times: Vec<Timestamp> = states.iter().chain(verdicts).map(|(at, _)| *at).collect();
    times.sort_unstable();
    times.dedup();
    let last_of = |all: &[StateFrom], time: Timestamp| {
        let next = all.partition_point(|(at, _)| *at <= time);
        next.checked_sub(1).and_then(|last| all[last].1)
    };
    let mut shown: Vec<StateFrom> = Vec::new();
    for time in times {
        let (mark, verdict) = (last_of(&states, time), last_of(verdicts, time));
        let is_overruled = mark == Some(node_mark(NodeState::Synced)) && torn.contains(&verdict);
        let mark = if is_overruled { verdict } else { mark };
        if shown.last().is_none_or(|(_, before)| *before != mark) {
            shown.push((time, mark));
        }
    }
    shown
}

/// Times in which no console observed.
fn blind_times(events: &[HistoryEvent], span: &TimelineSpan) -> Vec<(Timestamp, Timestamp)> {
    let mut times = Vec::new();
    let mut since = None;
    for event in events {
        if let StateChange::Verdict { reasons, .. } = &event.change {
            let blind = reasons
                .iter()
                .any(|reason| reason.code == ReasonCode::ConsoleBlind);
            match (since, blind) {
                (None, true) => since = Some(event.at),
                (Some(from), false) => {
                    times.push((from, event.at));
                    since = None;
                }
                _ => {}
            }
        }
    }
    times.extend(since.map(|from| (from, span.to)));
    times
}

/// The blocks of a subject in `span`. Without an event its state has been the current one throughout.
fn blocks(
    mut states: Vec<StateFrom>,
    current: Option<StateMark>,
    blind: &[(Timestamp, Timestamp)],
    span: &TimelineSpan,
) -> Vec<StateBlock> {
    if states.is_empty() {
        states.push((span.from, current));
    }
    for (from, to) in blind {
        let after = states
            .iter()
            .rev()
            .find(|(at, _)| at <= to)
            .and_then(|(_, mark)| *mark);
        states.retain(|(at, _)| at < from || at > to);
        states.extend([(*from, None), (*to, after)]);
        states.sort_by_key(|(at, _)| *at);
    }
    let begin = span.from.max(span.complete_since.unwrap_or(span.to));
    let ends = states.iter().skip(1).map(|(at, _)| *at).chain([span.to]);
    let blocks = states.iter().zip(ends).filter_map(|((from, mark), to)| {
        let (from, to) = ((*from).max(begin), to.min(span.to));
        (from < to).then_some(StateBlock {
            from,
            to,
            mark: *mark,
            states: 1,
        })
    });
    together(blocks, span)
}

/// Draws neighbors together that are too short to be seen or chosen, as the worst of them.
fn together(blocks: impl Iterator<Item = StateBlock>, span: &TimelineSpan) -> Vec<StateBlock> {
    let least = (span.to.unix_millis() - span.from.unix_millis()) / BLOCKS_MAX;
    let length = |block: &StateBlock| block.to.unix_millis() - block.from.unix_millis();
    let mut all: Vec<StateBlock> = Vec::new();
    for block in blocks {
        match all.last_mut() {
            Some(last) if length(last) < least && length(&block) < least => {
                last.to = block.to;
                last.states += block.states;
                if severity(block.mark) > severity(last.mark) {
                    last.mark = block.mark;
                }
            }
            _ => all.push(block),
        }
    }
    all
}

/// From 0 for a state that is not known to 6.
fn severity(mark: Option<StateMark>) -> usize {
    let tones = ["off", "ok", "busy", "warn", "rival", "bad"];
    mark.and_then(|mark| tones.iter().position(|tone| *tone == mark.tone))
        .map_or(0, |position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_790_000_000_000 + second * 1_000)
    }

    fn span() -> TimelineSpan {
        TimelineSpan {
            from: at(0),
            to: at(1_000),
            complete_since: Some(at(0)),
            at: None,
            range: "15m",
        }
    }

    fn tones(blocks: &[StateBlock]) -> Vec<(i64, i64, &'static str, usize)> {
        let second = |time: Timestamp| (time.unix_millis() - at(0).unix_millis()) / 1_000;
        let blocks = blocks.iter();
        blocks
            .map(|block| {
                let tone = block.mark.map_or("unknown", |mark| mark.tone);
                (second(block.from), second(block.to), tone, block.states)
            })
            .collect()
    }

    const OK: Option<StateMark> = Some(verdict_mark(galera::view::VerdictState::Healthy));
    const BAD: Option<StateMark> = Some(verdict_mark(galera::view::VerdictState::Down));

    #[test]
    fn a_state_without_a_change_lasts_throughout() {
        assert_eq!(
            tones(&blocks(Vec::new(), OK, &[], &span())),
            [(0, 1_000, "ok", 1)]
        );
    }

    #[test]
    fn states_last_from_change_to_change_and_the_first_is_what_was_before() {
        let states = vec![(at(-9_999), OK), (at(100), BAD), (at(200), OK)];
        assert_eq!(
            tones(&blocks(states, OK, &[], &span())),
            [
                (0, 100, "ok", 1),
                (100, 200, "bad", 1),
                (200, 1_000, "ok", 1)
            ]
        );
    }

    #[test]
    fn a_node_is_not_green_while_the_histories_of_its_cluster_differ() {
        let synced = Some(node_mark(NodeState::Synced));
        let split = Some(verdict_mark(VerdictState::SplitBrain));
        let verdicts = [(at(-9_999), OK), (at(300), split), (at(600), OK)];
        let states = |node: Vec<StateFrom>| {
            let states = under_verdict(from_the_beginning(node, synced), &verdicts);
            tones(&blocks(states, synced, &[], &span()))
        };
        assert_eq!(
            states(Vec::new()),
            [
                (0, 300, "ok", 1),
                (300, 600, "bad", 1),
                (600, 1_000, "ok", 1)
            ]
        );
        let donor = Some(node_mark(NodeState::Donor));
        assert_eq!(
            states(vec![(at(-9_999), synced), (at(400), donor)]),
            [
                (0, 300, "ok", 1),
                (300, 400, "bad", 1),
                (400, 1_000, "busy", 1)
            ]
        );
        let now = [(at(-9_999), split)];
        assert_eq!(
            under_verdict(vec![(at(-9_999), synced)], &now),
            [(at(-9_999), split)]
        );
        let fine = vec![(at(-9_999), synced), (at(400), donor)];
        assert_eq!(under_verdict(fine.clone(), &verdicts[..1]), fine);
    }

    #[test]
    fn what_was_not_read_or_not_observed_is_blank() {
        let unread = TimelineSpan {
            complete_since: Some(at(500)),
            ..span()
        };
        let states = vec![(at(-9_999), OK), (at(600), BAD)];
        assert_eq!(
            tones(&blocks(states.clone(), BAD, &[], &unread)),
            [(500, 600, "ok", 1), (600, 1_000, "bad", 1)]
        );
        let nothing = TimelineSpan {
            complete_since: None,
            ..span()
        };
        assert_eq!(tones(&blocks(states.clone(), BAD, &[], &nothing)), []);
        let blind = [(at(300), at(700))];
        assert_eq!(
            tones(&blocks(states, BAD, &blind, &span())),
            [
                (0, 300, "ok", 1),
                (300, 700, "unknown", 1),
                (700, 1_000, "bad", 1)
            ]
        );
    }

    #[test]
    fn a_bounce_is_one_block_with_the_worst_state() {
        let mut states = vec![(at(-9_999), OK)];
        for second in 0..10 {
            states.push((
                at(100).plus(std::time::Duration::from_millis(second * 300)),
                if second % 2 == 0 { BAD } else { OK },
            ));
        }
        assert_eq!(
            tones(&blocks(states, OK, &[], &span())),
            [
                (0, 100, "ok", 1),
                (100, 102, "bad", 9),
                (102, 1_000, "ok", 1)
            ]
        );
    }
}
