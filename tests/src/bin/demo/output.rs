//! The demo's output: with `--json`, standard output has only the one line of JSON.

use std::io::Write;
use std::time::Duration;

use acceptance::lab::LabProgress;

/// The demo's voice.
#[derive(Clone, Copy)]
pub(crate) struct DemoOutput {
    json: bool,
}

impl DemoOutput {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people.
    pub(crate) fn line(self, text: &str) {
        // Write errors are ignored: the reader may be gone.
        if self.json {
            writeln!(std::io::stderr(), "{text}").ok();
        } else {
            writeln!(std::io::stdout(), "{text}").ok();
        }
    }

    /// A line for people, with the current time.
    pub(crate) fn event(self, text: &str) {
        let now = galera::timestamp::Timestamp::from_unix_millis(millis()).to_string();
        let time = now.get(11..19).unwrap_or(&now);
        self.line(&format!("{time} UTC  {text}"));
    }

    /// The line for programs; nothing without `--json`.
    pub(crate) fn json(self, value: &serde_json::Value) {
        if self.json {
            writeln!(std::io::stdout(), "{value}").ok();
        }
    }

    /// A step of the start.
    pub(crate) fn progress(self, progress: LabProgress<'_>) {
        match progress {
            LabProgress::Started(name) => self.line(&format!("==> {name}")),
            LabProgress::Done(took) => self.step_done(took),
        }
    }

    /// The end of a step.
    pub(crate) fn step_done(self, took: Duration) {
        self.line(&format!("    done in {:.1} s", took.as_secs_f64()));
    }
}

fn millis() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
