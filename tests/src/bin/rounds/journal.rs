//! The events of a round, printed if it fails.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use acceptance::lab::process::tail;
use acceptance::observer::StatusChange;
use anyhow::{Context, Result};

use crate::kind::RoundName;
use crate::rounds_lab::RoundsLab;

/// How much of each log is kept of a failed round.
const LOG_LINES: usize = 1_500;
/// What the writers leave behind on every server that refuses them.
const NOISE: &str = "[Warning] Aborted connection";

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

/// Where the journals of failed rounds are kept, with the ends of all logs.
pub(crate) struct FailureJournals {
    directory: PathBuf,
}

impl FailureJournals {
    pub(crate) const fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes the journal of a failed round, and returns its file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn keep(&self, name: RoundName, journal: &str, lab: &RoundsLab) -> Result<PathBuf> {
        let mut text = journal.to_owned();
        for log in lab.logs() {
            writeln!(text, "\n==== {}", log.display())?;
            let end = tail(&log, LOG_LINES);
            for line in end.lines().filter(|line| !line.contains(NOISE)) {
                writeln!(text, "{line}")?;
            }
        }
        let file = self
            .directory
            .join(format!("{}-{}.log", name.kind, name.seed));
        std::fs::create_dir_all(&self.directory)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("keeping the journal {}", file.display()))?;
        Ok(file)
    }
}
