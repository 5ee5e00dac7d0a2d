//! The log: structured events on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The format.
    pub format: LogFormat,
    /// A `tracing` filter.
    pub level: String,
}

/// The console's other crates, whose events belong to `galera_console` in a filter.
const PARTS: [&str; 6] = [
    "accounts",
    "console_core",
    "embedded_etcd",
    "history",
    "monitor",
    "notify",
];

/// Reads a log filter such as `info` or `info,galera_console=debug`.
///
/// # Errors
/// What is wrong with the text.
pub fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    // First as it was given, so that an error names nothing else.
    EnvFilter::builder().parse(text)?;
    EnvFilter::builder().parse(widened(text))
}

/// `text` with what it asks of the whole console asked of each of its crates. What it asks of one of them by name stands
/// behind that and overrides it.
fn widened(text: &str) -> String {
    let whole = text.split(',').filter_map(|directive| {
        let level = directive.trim().strip_prefix("galera_console")?;
        (level.is_empty() || level.starts_with('=')).then_some(level)
    });
    let mut directives: Vec<String> = whole
        .flat_map(|level| PARTS.map(|part| format!("{part}{level}")))
        .collect();
    directives.push(text.to_owned());
    directives.join(",")
}

/// Begins to log. A second call in the same process changes nothing.
pub fn init(log: &LogConfig) {
    let filter = filter(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = match log.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "The log is set up already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_the_console_is_that_of_all_its_crates() {
        let widened = widened("info,galera_console=debug");
        for part in PARTS {
            assert!(widened.contains(&format!("{part}=debug,")), "{widened}");
        }
        assert!(widened.ends_with("info,galera_console=debug"), "{widened}");
    }

    #[test]
    fn other_levels_are_left_alone() {
        for text in ["info", "warn,registry=debug", "galera_console::http=trace"] {
            assert_eq!(widened(text), text);
        }
    }
}
