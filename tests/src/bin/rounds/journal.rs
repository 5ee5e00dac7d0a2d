//! The events of a round, printed if it fails.

use std::time::Instant;

use acceptance::observer::StatusChange;

/// What the round did, with the time.
pub(crate) struct RoundJournal {
    began: Instant,
    lines: Vec<(Instant, String)>,
}

impl RoundJournal {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            lines: Vec::new(),
        }
    }

    /// Something happens now.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.lines.push((Instant::now(), text.into()));
    }

    /// The same, unless it was the last thing that happened.
    pub(crate) fn note_change(&mut self, text: String) {
        if self.lines.last().is_none_or(|(_, last)| *last != text) {
            self.note(text);
        }
    }

    /// All events in order of time, merged with the nodes' status changes.
    pub(crate) fn render(&self, reported: &[StatusChange]) -> String {
        let own = self
            .lines
            .iter()
            .map(|(at, text)| (*at, format!("* {text}")));
        let nodes = reported
            .iter()
            .map(|reported| (reported.at, reported.to_string()));
        let mut all: Vec<(Instant, String)> = own.chain(nodes).collect();
        all.sort_by_key(|(at, _)| *at);
        let line = |(at, text): &(Instant, String)| {
            let seconds = at.duration_since(self.began).as_secs_f64();
            format!("    {seconds:8.2} s  {text}\n")
        };
        all.iter().map(line).collect()
    }
}
