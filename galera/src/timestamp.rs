//! Points in time, RFC 3339 in UTC.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time in milliseconds since the Unix epoch; RFC 3339 UTC in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 text with any offset; `None` if it is invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(instant.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Self)
    }

    /// How long before `later` this point lies; zero if it lies after it.
    #[must_use]
    pub fn age(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// A short form for messages: `08:12:03 UTC`, with the date unless that is the date of `now`.
    #[must_use]
    pub fn to_short_string(self, now: Self) -> String {
        const DAY: i64 = 86_400_000;
        let seconds = self.0.rem_euclid(DAY) / 1_000;
        if self.0.div_euclid(DAY) == now.0.div_euclid(DAY) {
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            return format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60);
        }
        Self(self.0.div_euclid(1_000).saturating_mul(1_000))
            .to_string()
            .replace('T', " ")
            .replace('Z', " UTC")
    }

    /// This point, `millis` milliseconds later, or earlier if negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|instant| instant.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            // Outside the years 0 to 9999 of the calendar: still unambiguous.
            None => write!(f, "@{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let at = Timestamp::from_unix_millis(1_795_420_800_123);
        assert_eq!(at.to_string(), "2026-11-23T08:00:00.123Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
    }

    #[test]
    fn normalises_offsets_to_utc() {
        assert_eq!(
            Timestamp::parse("2026-11-23T09:00:00+01:00"),
            Timestamp::parse("2026-11-23T08:00:00Z")
        );
    }

    #[test]
    fn short_string_has_the_date_only_on_another_day() {
        let at = Timestamp::parse("2026-11-23T08:12:03.456Z").unwrap();
        assert_eq!(
            at.to_short_string(at.plus(Duration::from_secs(60))),
            "08:12:03 UTC"
        );
        assert_eq!(
            at.to_short_string(at.plus(Duration::from_secs(86_400))),
            "2026-11-23 08:12:03 UTC"
        );
    }

    #[test]
    fn age_is_never_negative() {
        let early = Timestamp::from_unix_millis(1_000);
        let late = Timestamp::from_unix_millis(3_500);
        assert_eq!(early.age(late), Duration::from_millis(2_500));
        assert_eq!(late.age(early), Duration::ZERO);
    }
}
