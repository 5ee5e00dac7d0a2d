//! What readings amount to in intervals of equal length: minimum, mean and maximum of each metric.

use galera::record::series::{FIGURES, Figure, METRICS, NodeFigures, SeriesMetric};

use crate::chunk::ChunkRows;

/// Columns of a chunk of readings.
pub(crate) const READING_COLUMNS: usize = FIGURES;
/// Columns of a chunk of minutes: minimum, mean and maximum of each metric.
pub(crate) const MINUTE_COLUMNS: usize = METRICS * 3;
/// Length of a minute, in milliseconds.
pub(crate) const MINUTE_MS: i64 = 60_000;

/// The values of one metric in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IntervalValue {
    weight: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl IntervalValue {
    fn add(&mut self, min: f64, mean: f64, max: f64, weight: f64) {
        if self.weight == 0.0 {
            (self.min, self.max) = (min, max);
        }
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        self.sum += mean * weight;
        self.weight += weight;
    }

    /// Minimum, mean and maximum; `None` without a reading.
    #[must_use]
    pub fn get(&self) -> Option<[f64; 3]> {
        (self.weight > 0.0).then(|| [self.min, self.sum / self.weight, self.max])
    }
}

/// Consecutive intervals.
#[derive(Clone, Debug)]
pub struct SeriesIntervals {
    from: i64,
    step: i64,
    count: usize,
    metrics: Vec<SeriesMetric>,
    /// By metric, then by interval.
    values: Vec<Vec<IntervalValue>>,
}

impl SeriesIntervals {
    /// `count` intervals of `step` milliseconds from `from` on.
    pub(crate) fn new(from: i64, step: i64, count: usize, metrics: &[SeriesMetric]) -> Self {
        Self {
            from,
            step: step.max(1),
            count,
            metrics: metrics.to_vec(),
            values: vec![vec![IntervalValue::default(); count]; metrics.len()],
        }
    }

    /// The values of each metric, in the order of the request.
    #[must_use]
    pub fn values(&self) -> &[Vec<IntervalValue>] {
        &self.values
    }

    fn index(&self, time: i64) -> Option<usize> {
        let index = usize::try_from(time.checked_sub(self.from)?.div_euclid(self.step)).ok()?;
        (index < self.count).then_some(index)
    }

    /// Adds readings. Times need not be ordered; of two readings at one time the first counts. No rate spans a gap of more
    /// than `gap_max` milliseconds.
    pub(crate) fn add_readings(&mut self, rows: &ChunkRows, gap_max: i64) {
        let mut order: Vec<usize> = (0..rows.times.len()).collect();
        order.sort_by_key(|row| rows.times[*row]);
        order.dedup_by_key(|row| rows.times[*row]);
        let mut before: Option<(i64, NodeFigures)> = None;
        for row in order {
            let (time, figures) = (rows.times[row], figures_of(rows, row));
            if let Some(index) = self.index(time) {
                let elapsed = before.map(|(at, figures)| (time.saturating_sub(at), figures));
                let elapsed = elapsed.filter(|(elapsed, _)| *elapsed <= gap_max);
                self.add_reading(index, &figures, elapsed);
            }
            before = Some((time, figures));
        }
    }

    fn add_reading(
        &mut self,
        index: usize,
        figures: &NodeFigures,
        before: Option<(i64, NodeFigures)>,
    ) {
        for (metric, values) in self.metrics.iter().zip(&mut self.values) {
            let rate = before.and_then(|(elapsed, before)| {
                let seconds = elapsed as f64 / 1000.0;
                Some((metric.rate(&before, figures, seconds)?, seconds))
            });
            let reading = metric.reading(figures).map(|value| (value, 1.0));
            if let Some((value, weight)) = reading.or(rate) {
                values[index].add(value, value, value, weight);
            }
        }
    }

    /// Adds minutes, as [`minutes`] made them.
    pub(crate) fn add_minutes(&mut self, rows: &ChunkRows) {
        for (row, time) in rows.times.iter().enumerate() {
            let Some(index) = self.index(*time) else {
                continue;
            };
            for (metric, values) in self.metrics.iter().zip(&mut self.values) {
                let column = |part: usize| {
                    let column = rows.columns.get(*metric as usize * 3 + part)?;
                    column.get(row).copied().flatten()
                };
                let parts = (column(0), column(1), column(2));
                if let (Some(min), Some(above), Some(range)) = parts {
                    let scale = scale(*metric);
                    let value = |number: u64| number as f64 / scale;
                    let (mean, max) = (min.saturating_add(above), min.saturating_add(range));
                    values[index].add(value(min), value(mean), value(max), 1.0);
                }
            }
        }
    }
}

/// The minutes that readings amount to.
pub(crate) fn minutes(rows: &ChunkRows, gap_max: i64) -> ChunkRows {
    let mut all = ChunkRows::new(MINUTE_COLUMNS);
    let (Some(first), Some(last)) = (rows.times.iter().min(), rows.times.iter().max()) else {
        return all;
    };
    let from = first.div_euclid(MINUTE_MS) * MINUTE_MS;
    let count = usize::try_from((last - from) / MINUTE_MS + 1).unwrap_or_default();
    let mut intervals =
        SeriesIntervals::new(from, MINUTE_MS, count.min(24 * 60), &SeriesMetric::ALL);
    intervals.add_readings(rows, gap_max);
    for index in 0..intervals.count {
        let mut values = [None; MINUTE_COLUMNS];
        for (metric, of_metric) in SeriesMetric::ALL.iter().zip(&intervals.values) {
            if let Some([min, mean, max]) = of_metric[index].get() {
                let fixed = |value: f64| (value * scale(*metric)).round().max(0.0) as u64;
                let at = *metric as usize * 3;
                // Above the minimum, so that these numbers are small.
                values[at] = Some(fixed(min));
                values[at + 1] = Some(fixed(mean).saturating_sub(fixed(min)));
                values[at + 2] = Some(fixed(max).saturating_sub(fixed(min)));
            }
        }
        if values.iter().any(Option::is_some) {
            let minute = i64::try_from(index).unwrap_or_default();
            all.push(from + minute * MINUTE_MS, &values);
        }
    }
    all
}

/// The columns of readings that `metrics` need.
pub(crate) fn reading_columns(metrics: &[SeriesMetric]) -> impl Fn(usize) -> bool {
    let all = NodeFigures([Some(1); FIGURES]);
    let mut needed = [false; FIGURES];
    for metric in metrics {
        match metric.counter() {
            Some((figure, _)) => {
                needed[figure as usize] = true;
                needed[Figure::Process as usize] = true;
            }
            None => {
                for (figure, needed) in needed.iter_mut().enumerate() {
                    let mut without = all;
                    without.0[figure] = None;
                    *needed |= metric.reading(&without).is_none();
                }
            }
        }
    }
    move |column| needed.get(column).copied().unwrap_or_default()
}

/// The columns of minutes that `metrics` need.
pub(crate) fn minute_columns(metrics: &[SeriesMetric]) -> impl Fn(usize) -> bool {
    move |column| metrics.iter().any(|metric| *metric as usize == column / 3)
}

/// What one unit of a stored minute is worth: more digits than that are noise.
const fn scale(metric: SeriesMetric) -> f64 {
    match metric {
        SeriesMetric::LastCommitted | SeriesMetric::WriteRate => 1.0,
        SeriesMetric::CommitRate => 100.0,
        SeriesMetric::RecvQueue | SeriesMetric::SendQueue | SeriesMetric::Connections => 10.0,
        SeriesMetric::CertFailures | SeriesMetric::BfAborts => 1_000.0,
        SeriesMetric::FlowControlPaused => 10_000.0,
        SeriesMetric::ProbeLatency => 100_000.0,
    }
}

fn figures_of(rows: &ChunkRows, row: usize) -> NodeFigures {
    let mut figures = NodeFigures::default();
    for (figure, column) in figures.0.iter_mut().zip(&rows.columns) {
        *figure = column.get(row).copied().flatten();
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seqno: u64, queue: u64) -> [Option<u64>; FIGURES] {
        let mut figures = NodeFigures::default();
        figures.0[Figure::LastCommitted as usize] = Some(seqno);
        figures.0[Figure::RecvQueue as usize] = Some(queue);
        figures.0[Figure::Process as usize] = Some(1);
        figures.0
    }

    const METRICS: [SeriesMetric; 2] = [SeriesMetric::CommitRate, SeriesMetric::RecvQueue];

    fn means(intervals: &SeriesIntervals, metric: usize) -> Vec<Option<f64>> {
        let values = intervals.values()[metric].iter();
        values
            .map(|value| value.get().map(|[_, mean, _]| mean))
            .collect()
    }

    #[test]
    fn a_gap_is_a_gap_and_a_fallen_counter_is_no_rate() {
        let mut rows = ChunkRows::new(FIGURES);
        for (time, seqno) in [
            (0, 10),
            (1, 20),
            (2, 30),
            (20, 900),
            (21, 910),
            (22, 5),
            (23, 6),
        ] {
            rows.push(time * 1000, &reading(seqno, 4));
        }
        let mut intervals = SeriesIntervals::new(0, 1000, 25, &METRICS);
        intervals.add_readings(&rows, 3_500);
        let rates = means(&intervals, 0);
        assert_eq!(rates[..4], [None, Some(10.0), Some(10.0), None]);
        assert_eq!(rates[20..], [None, Some(10.0), None, Some(1.0), None]);
        assert_eq!(
            means(&intervals, 1)[3..21],
            [[None; 17].as_slice(), &[Some(4.0)]].concat()
        );
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_no_rate_is_negative() {
        let mut rows = ChunkRows::new(FIGURES);
        for (time, seqno) in [(5, 50), (6, 60), (2, 80), (3, 90), (6, 1)] {
            rows.push(time * 1000, &reading(seqno, 0));
        }
        let mut intervals = SeriesIntervals::new(0, 1000, 10, &METRICS);
        intervals.add_readings(&rows, 3_500);
        let rates = means(&intervals, 0);
        assert!(rates.iter().flatten().all(|rate| *rate >= 0.0), "{rates:?}");
        assert_eq!(
            (rates[3], rates[5], rates[6]),
            (Some(10.0), None, Some(10.0))
        );
    }

    #[test]
    fn minutes_keep_minimum_mean_and_maximum() {
        let mut rows = ChunkRows::new(FIGURES);
        for second in 0..180 {
            let burst = if second < 60 { 0 } else { second.min(120) - 60 };
            rows.push(
                second * 1000,
                &reading(burst.cast_unsigned() * 100, second.cast_unsigned() % 10),
            );
        }
        let packed = minutes(&rows, 3_500);
        assert_eq!(packed.times, [0, 60_000, 120_000]);
        let stored =
            ChunkRows::decode(&packed.encode(), MINUTE_COLUMNS, minute_columns(&METRICS)).unwrap();
        let mut intervals = SeriesIntervals::new(0, 60_000, 3, &METRICS);
        intervals.add_minutes(&stored);
        let [rates, queues] = [0, 1].map(|metric| intervals.values()[metric].clone());
        assert_eq!(queues[1].get().unwrap(), [0.0, 4.5, 9.0]);
        let [min, mean, max] = rates[1].get().unwrap();
        assert_eq!((min, max), (0.0, 100.0));
        assert!((98.0..99.0).contains(&mean), "{mean}");
        assert_eq!(rates[2].get().unwrap()[0], 0.0);
    }

    #[test]
    fn only_the_needed_columns_are_decoded() {
        let needed = reading_columns(&[SeriesMetric::Connections]);
        let columns: Vec<usize> = (0..FIGURES).filter(|column| needed(*column)).collect();
        assert_eq!(columns, [Figure::Connections as usize]);
        let needed = reading_columns(&[SeriesMetric::CommitRate]);
        let columns: Vec<usize> = (0..FIGURES).filter(|column| needed(*column)).collect();
        assert_eq!(
            columns,
            [Figure::LastCommitted as usize, Figure::Process as usize]
        );
    }
}
