//! Logging: structured events on standard error, as text or JSON. The export of traces and metrics is in `export`.

mod export;

use std::sync::OnceLock;

use registry::spans;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

pub use export::{ExportMetrics, MetricsSource, OtlpConfig, RunningExport, TelemetryExport};

/// What collects spans, beside the log.
pub type SpanLayer = Box<dyn Layer<tracing_subscriber::Registry> + Send + Sync>;

/// The log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human-readable.
    Text,
    /// One JSON object per line.
    Json,
}

/// Log settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A `tracing` filter directive.
    pub level: String,
}

/// The console's other crates; a filter for `galera_console` includes their events.
const PARTS: [&str; 8] = [
    "accounts",
    "actions",
    "console_core",
    "embedded_etcd",
    "history",
    "monitor",
    "notify",
    "otlp_export",
];

/// Parses a log filter such as `info` or `info,galera_console=debug`.
///
/// # Errors
/// The parser's error.
pub fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    // Parsed as given first, so that an error names only the user's text.
    EnvFilter::builder().parse(text)?;
    // Spans that are exported are no part of the log.
    EnvFilter::builder().parse(format!("{},{}=off", widened(text), spans::TARGET))
}

/// `text` with every directive for `galera_console` extended to all of the console's crates. A directive for one of
/// them by name follows and overrides it.
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

/// Replaces the filter of the running log.
type FilterSwitch = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

static FILTER: OnceLock<FilterSwitch> = OnceLock::new();

/// Logs by the filter `level` from now on; `false` if that cannot be changed in this process.
pub(crate) fn set_level(level: &str) -> bool {
    match (FILTER.get(), filter(level)) {
        (Some(switch), Ok(filter)) => switch(filter).is_ok(),
        _ => false,
    }
}

/// Starts logging. A second call in the same process has no effect.
pub fn init(log: &LogConfig) {
    init_with(log, None);
}

/// Starts logging, and collects spans in `spans`.
pub fn init_with(log: &LogConfig, spans: Option<SpanLayer>) {
    let filter = filter(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(spans);
    let (filter, handle) = reload::Layer::new(filter);
    let switch: FilterSwitch = Box::new(move |filter| handle.reload(filter));
    let result = match log.format {
        LogFormat::Json => {
            let json = fmt::layer()
                .with_writer(std::io::stderr)
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_filter(filter);
            registry.with(json).try_init()
        }
        LogFormat::Text => {
            let text = fmt::layer()
                .with_ansi(false)
                .with_writer(|| galera::log_line::LineWriter)
                .with_filter(filter);
            registry.with(text).try_init()
        }
    };
    if result.is_ok() {
        let _ = FILTER.set(switch);
    }
    if let Err(error) = result {
        tracing::debug!(%error, "Logging is initialized already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_the_console_applies_to_all_its_crates() {
        let widened = widened("info,galera_console=debug");
        for part in PARTS {
            assert!(widened.contains(&format!("{part}=debug,")), "{widened}");
        }
        assert!(widened.ends_with("info,galera_console=debug"), "{widened}");
    }

    #[test]
    fn exported_spans_are_no_part_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = fmt::layer()
            .with_writer(std::fs::File::create(&path).unwrap())
            .with_filter(filter("trace,traced_work=trace").unwrap());
        let subscriber = tracing_subscriber::registry().with(log);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(target: spans::TARGET, "traced", action.id = "a1");
            let _entered = span.entered();
            tracing::info!("line");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("line") && !text.contains("traced"), "{text}");
    }

    #[test]
    fn other_levels_are_unchanged() {
        for text in ["info", "warn,registry=debug", "galera_console::http=trace"] {
            assert_eq!(widened(text), text);
        }
    }
}
