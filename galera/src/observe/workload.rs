//! How much a node writes, and what conflicts cost it, as averages over about a minute.

use crate::observe::wsrep::ReplicationCounters;

/// Time constant of the averages, in seconds.
const AVERAGED_SECS: f64 = 60.0;
/// Observed time below which there is no average yet, in seconds: a single transaction would dominate it.
const OBSERVED_MIN_SECS: f64 = 10.0;

/// Averages of one node, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkloadAverages {
    observed_secs: f64,
    replicated: AveragedRate,
    written_bytes: AveragedRate,
    conflicts: AveragedRate,
}

/// An exponential average whose weight grows until the averaged time was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct AveragedRate(Option<f64>);

impl AveragedRate {
    /// A counter that is absent or fell, as after a restart, ends the average.
    fn update(&mut self, before: Option<u64>, now: Option<u64>, seconds: f64, share: f64) {
        let increase = before
            .zip(now)
            .and_then(|(before, now)| now.checked_sub(before));
        self.0 = increase.map(|increase| {
            let rate = increase as f64 / seconds;
            let average = self.0.unwrap_or(rate);
            average + (rate - average) * share
        });
    }
}

impl WorkloadAverages {
    /// Adds the `seconds` between two answers of one process.
    pub(crate) fn update(
        &mut self,
        seconds: f64,
        before: &ReplicationCounters,
        now: &ReplicationCounters,
    ) {
        self.observed_secs = (self.observed_secs + seconds).min(AVERAGED_SECS);
        let share = (seconds / self.observed_secs).min(1.0);
        let update = |rate: &mut AveragedRate, before, now| {
            rate.update(before, now, seconds, share);
        };
        update(&mut self.replicated, before.replicated, now.replicated);
        update(
            &mut self.written_bytes,
            before.written_bytes(),
            now.written_bytes(),
        );
        update(&mut self.conflicts, before.conflicts(), now.conflicts());
    }

    /// Write-sets of this node's clients, per second; `None` if unknown or observed for too short a time.
    #[must_use]
    pub fn replicated(&self) -> Option<f64> {
        self.observed(self.replicated)
    }

    /// Bytes of write-sets of all nodes that passed through this node, per second.
    #[must_use]
    pub fn written_bytes(&self) -> Option<f64> {
        self.observed(self.written_bytes)
    }

    /// Transactions of this node's clients that were lost to conflicts with other nodes, per second.
    #[must_use]
    pub fn conflicts(&self) -> Option<f64> {
        self.observed(self.conflicts)
    }

    fn observed(&self, rate: AveragedRate) -> Option<f64> {
        rate.0.filter(|_| self.observed_secs >= OBSERVED_MIN_SECS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(conflicts: Option<u64>) -> ReplicationCounters {
        ReplicationCounters {
            certification_failures: conflicts,
            aborts: Some(0),
            ..ReplicationCounters::default()
        }
    }

    /// The average after readings one second apart.
    fn average(readings: &[Option<u64>]) -> Option<f64> {
        let mut workload = WorkloadAverages::default();
        for pair in readings.windows(2) {
            workload.update(1.0, &counters(pair[0]), &counters(pair[1]));
        }
        workload.conflicts()
    }

    #[test]
    fn a_steady_rate_is_its_own_average() {
        let readings: Vec<_> = (0..30).map(|second| Some(second * 4)).collect();
        assert_eq!(average(&readings), Some(4.0));
    }

    #[test]
    fn nothing_is_said_before_ten_seconds() {
        let readings: Vec<_> = (0..10).map(|second| Some(second * 4)).collect();
        assert_eq!(average(&readings), None);
    }

    #[test]
    fn an_old_burst_fades_and_a_single_event_weighs_little() {
        let mut readings = vec![Some(0), Some(600)];
        readings.extend([Some(600); 59]);
        let after_a_minute = average(&readings).unwrap();
        assert!((9.0..11.0).contains(&after_a_minute), "{after_a_minute}");
        readings.extend([Some(600); 240]);
        assert!(average(&readings).unwrap() < 0.5);
    }

    #[test]
    fn a_counter_that_fell_or_is_absent_ends_the_average() {
        let mut readings: Vec<_> = (0..30).map(|second| Some(second * 4)).collect();
        readings.push(Some(3));
        assert_eq!(average(&readings), None);
        readings.pop();
        readings.push(None);
        assert_eq!(average(&readings), None);
    }
}
