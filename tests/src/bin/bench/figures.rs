//! Samples, and figures beside their limits.

use std::fmt::Write;
use std::time::Duration;

/// Measured durations.
#[derive(Default)]
pub(crate) struct DurationSample(Vec<Duration>);

impl DurationSample {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration);
        self.0.sort_unstable();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least this share of the sample does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "samples have some hundred values"
        )]
        let index = (share * self.0.len() as f64).ceil() as usize;
        self.0
            .get(index.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// A measured figure and its limit, in the same unit.
pub(crate) struct MeasuredFigure {
    name: String,
    measured: f64,
    limit: Option<f64>,
    unit: &'static str,
    /// Whether the limit must be reached instead of kept.
    is_minimum: bool,
}

impl MeasuredFigure {
    /// Something of which there has to be so much.
    pub(crate) fn at_least(name: &str, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self {
            is_minimum: true,
            ..Self::new(name, measured, Some(limit), unit)
        }
    }

    /// Something that nothing is promised about.
    pub(crate) fn without_limit(name: &str, measured: f64, unit: &'static str) -> Self {
        Self::new(name, measured, None, unit)
    }

    pub(crate) fn duration(name: &str, measured: Duration, limit: Duration) -> Self {
        Self::new(
            name,
            measured.as_secs_f64() * 1e3,
            Some(limit.as_secs_f64() * 1e3),
            "ms",
        )
    }

    /// A duration that nothing is promised about.
    pub(crate) fn duration_without_limit(name: &str, measured: Duration) -> Self {
        Self::new(name, measured.as_secs_f64() * 1e3, None, "ms")
    }

    /// From bytes; the limit in megabytes (10^6 bytes).
    pub(crate) fn megabytes(name: &str, bytes: u64, limit: f64) -> Self {
        Self::new(
            name,
            f64::from(u32::try_from(bytes / 1_000).unwrap_or(u32::MAX)) / 1e3,
            Some(limit),
            "MB",
        )
    }

    /// From bytes; the limit in kilobytes (10^3 bytes).
    pub(crate) fn kilobytes(name: &str, bytes: usize, limit: f64) -> Self {
        Self::new(
            name,
            f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e3,
            Some(limit),
            "kB",
        )
    }

    /// A share of one processor core, in percent.
    pub(crate) fn percent(name: &str, percent: f64, limit: f64) -> Self {
        Self::new(name, percent, Some(limit), "%")
    }

    fn new(name: &str, measured: f64, limit: Option<f64>, unit: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            measured,
            limit,
            unit,
            is_minimum: false,
        }
    }
}

/// All figures, aligned.
pub(crate) fn table(figures: &[MeasuredFigure]) -> String {
    let mut text = format!("{:<58} {:>12} {:>12}\n", "figure", "measured", "limit");
    for MeasuredFigure {
        name,
        measured,
        limit,
        unit,
        is_minimum: least,
    } in figures
    {
        let kept = |limit: &f64| {
            if *least {
                measured >= limit
            } else {
                measured <= limit
            }
        };
        let (limit, word) = match limit {
            Some(limit) if kept(limit) => (format!("{limit:.1} {unit}"), "met"),
            Some(limit) => (format!("{limit:.1} {unit}"), "NOT MET"),
            None => (String::new(), ""),
        };
        let line = format!(
            "{name:<58} {:>12} {limit:>12}  {word}",
            // The limit is one percent, so the second digit matters.
            match *unit {
                "%" => format!("{measured:.2} {unit}"),
                _ => format!("{measured:.1} {unit}"),
            }
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
