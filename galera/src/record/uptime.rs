//! Uptime per day (UTC), computed from the changes of the verdict alone: it depends on no probe interval, and counting
//! may be interrupted anywhere.
//!
//! `healthy` and `degraded` are up: a Primary component serves. `no_primary`, `down`, `split_brain` and `diverged` are
//! down: no component serves, or none that can be trusted. `unknown` is neither and counts in no ratio. Time before the
//! first verdict and the rest of today are not counted.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::timestamp::Timestamp;
use crate::view::VerdictState;

/// A day in milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// Maximum number of days in a list, and closed by one step; a clock that jumped further is ignored.
const MAX_DAYS: i64 = 4_000;

/// A calendar day in UTC; `2026-11-24` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i64);

impl Date {
    /// The day of `at`.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.unix_millis().div_euclid(DAY_MS))
    }

    /// Its first millisecond.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.saturating_mul(DAY_MS))
    }

    /// The day `days` days earlier.
    #[must_use]
    pub const fn minus(self, days: i64) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        self.minus(-1)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = self.start().to_string();
        // Years outside the calendar have no shorter form.
        f.write_str(midnight.split('T').next().unwrap_or(&midnight))
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&format!("{text}T00:00:00Z"))
            .map(Self::of)
            .ok_or_else(|| de::Error::custom("not a date like 2026-11-24"))
    }
}

/// What a verdict counts as in the uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AvailabilityState {
    /// Up, with every member.
    Ok,
    /// Up, with a member missing.
    Degraded,
    Down,
    /// Neither up nor down.
    Unknown,
}

impl AvailabilityState {
    /// The only mapping from verdicts to availability.
    #[must_use]
    pub const fn of(verdict: VerdictState) -> Self {
        match verdict {
            VerdictState::Healthy => Self::Ok,
            VerdictState::Degraded => Self::Degraded,
            VerdictState::NoPrimary
            | VerdictState::Down
            | VerdictState::SplitBrain
            | VerdictState::Diverged => Self::Down,
            VerdictState::Unknown => Self::Unknown,
        }
    }
}

/// Milliseconds spent in each availability state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailabilityTotals {
    pub ok: u64,
    pub degraded: u64,
    pub down: u64,
    pub unknown: u64,
}

impl AvailabilityTotals {
    /// All counted time, in milliseconds.
    #[must_use]
    pub const fn counted(&self) -> u64 {
        self.known() + self.unknown
    }

    /// All time except unknown, in milliseconds.
    #[must_use]
    pub const fn known(&self) -> u64 {
        self.ok + self.degraded + self.down
    }

    /// The fraction of the known time that the cluster was up, from 0 to 1; `None` if nothing is known.
    #[must_use]
    pub fn uptime_ratio(&self) -> Option<f64> {
        let known = self.known();
        (known > 0).then(|| (self.ok + self.degraded) as f64 / known as f64)
    }

    fn add_time(&mut self, state: AvailabilityState, millis: u64) {
        let total = match state {
            AvailabilityState::Ok => &mut self.ok,
            AvailabilityState::Degraded => &mut self.degraded,
            AvailabilityState::Down => &mut self.down,
            AvailabilityState::Unknown => &mut self.unknown,
        };
        *total += millis;
    }
}

impl Add for AvailabilityTotals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ok: self.ok + other.ok,
            degraded: self.degraded + other.degraded,
            down: self.down + other.down,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// The availability of a cluster on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UptimeDay {
    pub date: Date,
    /// Less than 24 hours for today and for the day of the first verdict.
    #[serde(flatten)]
    pub spent: AvailabilityTotals,
}

impl UptimeDay {
    /// A day without counted time.
    #[must_use]
    pub fn empty(date: Date) -> Self {
        Self {
            date,
            spent: AvailabilityTotals::default(),
        }
    }
}

/// The sum of `days`.
#[must_use]
pub fn total(days: &[UptimeDay]) -> AvailabilityTotals {
    days.iter()
        .map(|day| day.spent)
        .fold(AvailabilityTotals::default(), Add::add)
}

/// The sum of the last `count` of `days`, which are oldest first: "over 7 days" includes today.
#[must_use]
pub fn total_of_last(days: &[UptimeDay], count: usize) -> AvailabilityTotals {
    total(days.get(days.len().saturating_sub(count)..).unwrap_or(days))
}

/// The state of counting: the current verdict, until when it is counted, and the day in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UptimeCounter {
    pub verdict: VerdictState,
    /// Until when time is counted.
    pub until: Timestamp,
    /// The day of `until` so far.
    pub today: UptimeDay,
}

impl UptimeCounter {
    /// Starts counting with the first verdict.
    #[must_use]
    pub fn start(verdict: VerdictState, at: Timestamp) -> Self {
        Self {
            verdict,
            until: at,
            today: UptimeDay::empty(Date::of(at)),
        }
    }

    /// Counts up to `to` and returns the days completed by it, oldest first. An earlier `to` has no effect.
    pub fn advance(&mut self, to: Timestamp) -> Vec<UptimeDay> {
        let mut over = Vec::new();
        let last = Date::of(to);
        if last.0.saturating_sub(self.today.date.0) > MAX_DAYS {
            self.until = to;
            over.push(std::mem::replace(&mut self.today, UptimeDay::empty(last)));
            return over;
        }
        while self.today.date < last {
            let next = self.today.date.next();
            self.count_until(next.start());
            over.push(std::mem::replace(&mut self.today, UptimeDay::empty(next)));
        }
        self.count_until(to);
        over
    }

    fn count_until(&mut self, to: Timestamp) {
        let millis = u64::try_from(self.until.age(to).as_millis()).unwrap_or(u64::MAX);
        self.today
            .spent
            .add_time(AvailabilityState::of(self.verdict), millis);
        self.until = self.until.max(to);
    }

    /// Counts up to `at`, when the verdict became `verdict`, and returns the days completed by it.
    pub fn change_verdict(&mut self, at: Timestamp, verdict: VerdictState) -> Vec<UptimeDay> {
        let over = self.advance(at);
        self.verdict = verdict;
        over
    }
}

/// The `count` days up to the day of `now`, oldest first: the `closed` days (oldest first), then the time since as
/// counted by `counter`. Days without counted time are included, empty.
#[must_use]
pub fn days(
    closed: &[UptimeDay],
    counter: Option<UptimeCounter>,
    now: Timestamp,
    count: usize,
) -> Vec<UptimeDay> {
    let today = Date::of(now);
    let count = i64::try_from(count).unwrap_or(MAX_DAYS).min(MAX_DAYS);
    let first = today.minus(count.saturating_sub(1));
    let mut days: Vec<UptimeDay> = (0..count)
        .map(|back| UptimeDay::empty(first.minus(-back)))
        .collect();
    let mut set = |day: &UptimeDay| {
        let index = usize::try_from(day.date.0.saturating_sub(first.0)).ok();
        if let Some(place) = index.and_then(|index| days.get_mut(index)) {
            *place = *day;
        }
    };
    closed.iter().for_each(&mut set);
    if let Some(mut counter) = counter {
        counter.advance(now).iter().for_each(&mut set);
        set(&counter.today);
    }
    days
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_795_435_200_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    /// The days of a whole log up to `now`: closed ones and the rest.
    fn counted(log: &[(Timestamp, VerdictState)], now: Timestamp, count: usize) -> Vec<UptimeDay> {
        let (mut closed, mut counter) = (Vec::new(), None::<UptimeCounter>);
        for (at, verdict) in log {
            match &mut counter {
                Some(counter) => closed.extend(counter.change_verdict(*at, *verdict)),
                None => counter = Some(UptimeCounter::start(*verdict, *at)),
            }
        }
        days(&closed, counter, now, count)
    }

    #[test]
    fn a_day_is_what_happened_on_it() {
        let hour = 3_600_000;
        let log = [
            (at(NOON), VerdictState::Healthy),
            (at(NOON + hour), VerdictState::NoPrimary),
            (at(NOON + 3 * hour), VerdictState::Degraded),
            (at(NOON + 20 * hour), VerdictState::Unknown),
            (at(NOON + 21 * hour), VerdictState::Healthy),
        ];
        let days = counted(&log, at(NOON + 24 * hour), 3);
        let hours = |ok: u64, degraded: u64, down: u64, unknown: u64| AvailabilityTotals {
            ok: ok * 3_600_000,
            degraded: degraded * 3_600_000,
            down: down * 3_600_000,
            unknown: unknown * 3_600_000,
        };
        let names: Vec<String> = days.iter().map(|day| day.date.to_string()).collect();
        assert_eq!(names, ["2026-11-22", "2026-11-23", "2026-11-24"]);
        let spent: Vec<AvailabilityTotals> = days.iter().map(|day| day.spent).collect();
        assert_eq!(
            spent,
            [
                AvailabilityTotals::default(),
                hours(1, 9, 2, 0),
                hours(3, 8, 0, 1)
            ]
        );
        assert_eq!(total_of_last(&days, 1).uptime_ratio(), Some(1.0));
        assert_eq!(total_of_last(&days, 90).uptime_ratio(), Some(21.0 / 23.0));
        assert_eq!(days[0].spent.uptime_ratio(), None, "nothing is known of it");
    }

    #[test]
    fn dates_and_days_in_json() {
        let day = UptimeDay::empty(Date::of(at(NOON)));
        let json = r#"{"date":"2026-11-23","ok":0,"degraded":0,"down":0,"unknown":0}"#;
        assert_eq!(serde_json::to_string(&day).unwrap(), json);
        assert_eq!(serde_json::from_str::<UptimeDay>(json).unwrap(), day);
        assert!(serde_json::from_str::<Date>("\"2026-13-01\"").is_err());
    }

    #[test]
    fn a_clock_that_jumped_far_makes_no_endless_list() {
        let mut counter = UptimeCounter::start(VerdictState::Healthy, at(0));
        assert_eq!(counter.advance(at(i64::MAX)).len(), 1);
        assert_eq!(
            days(&[], Some(counter), at(i64::MAX), usize::MAX).len(),
            4_000
        );
    }

    fn log() -> impl Strategy<Value = Vec<(Timestamp, VerdictState)>> {
        let verdict = prop::sample::select(VerdictState::ALL.to_vec());
        let pause = prop_oneof![0..1_000_i64, 0..2 * DAY_MS];
        prop::collection::vec((pause, verdict), 1..40).prop_map(|parts| {
            let mut now = NOON;
            let part = |(pause, verdict)| {
                now += pause;
                (at(now), verdict)
            };
            parts.into_iter().map(part).collect()
        })
    }

    proptest! {
        #[test]
        fn every_moment_is_counted_once(log in log(), rest in 0..3 * DAY_MS) {
            let (first, last) = (log[0].0, log[log.len() - 1].0);
            let now = at(last.unix_millis() + rest);
            let days = counted(&log, now, 120);
            for day in &days {
                let begin = first.max(day.date.start());
                let end = now.min(day.date.next().start());
                let millis = u64::try_from(begin.age(end).as_millis()).unwrap();
                prop_assert_eq!(day.spent.counted(), millis, "{}", day.date);
            }
            prop_assert_eq!(total(&days).counted(), u64::try_from(first.age(now).as_millis()).unwrap());
            prop_assert_eq!(days.last().unwrap().date, Date::of(now));
        }

        /// A check interval is nothing but the same verdict again, and a restart nothing but a pause in the counting.
        #[test]
        fn neither_checks_nor_cuts_change_a_day(log in log(), cuts in prop::collection::vec(0..60 * DAY_MS, 0..20)) {
            let now = at(log[log.len() - 1].0.unix_millis() + DAY_MS);
            let whole = counted(&log, now, 120);
            let (mut closed, mut counter) = (Vec::new(), UptimeCounter::start(log[0].1, log[0].0));
            let mut moments: Vec<(Timestamp, Option<VerdictState>)> =
                log.iter().map(|(at, verdict)| (*at, Some(*verdict))).collect();
            let cuts = cuts.into_iter().map(|cut| (at(NOON + cut).min(now), None));
            moments.extend(cuts);
            moments.sort_by_key(|(at, verdict)| (*at, verdict.is_none()));
            for (at, verdict) in moments {
                // Written down and read again in between.
                let text = serde_json::to_string(&counter).unwrap();
                counter = serde_json::from_str(&text).unwrap();
                closed.extend(match verdict {
                    Some(verdict) => counter.change_verdict(at, verdict),
                    None => counter.advance(at),
                });
            }
            prop_assert_eq!(days(&closed, Some(counter), now, 120), whole);
        }
    }
}
