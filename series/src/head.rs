//! Readings that are not yet in a chunk, as differences of a few bytes each.

use std::collections::BTreeMap;

use galera::record::series::{FIGURES, NodeFigures};

use crate::chunk::{put_number, take_number};

/// The number of a node's series in the file.
pub(crate) type SeriesId = u32;

/// A reading: when, in milliseconds since 1970, and what.
pub(crate) type TimedFigures = (i64, NodeFigures);

/// Consecutive readings of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadingLog {
    bytes: Vec<u8>,
    count: usize,
    last: Option<TimedFigures>,
}

impl ReadingLog {
    pub(crate) fn push(&mut self, (time, figures): TimedFigures) {
        let before = match self.count {
            0 => TimedFigures::default(),
            _ => self.last.unwrap_or_default(),
        };
        put_number(&mut self.bytes, zigzag(time.wrapping_sub(before.0)));
        let mut present = 0_u64;
        for (index, value) in figures.0.iter().enumerate() {
            present |= u64::from(value.is_some()) << index;
        }
        put_number(&mut self.bytes, present);
        for (value, before) in figures.0.iter().zip(before.1.0) {
            if let Some(value) = value {
                let difference = value.wrapping_sub(before.unwrap_or(0));
                put_number(&mut self.bytes, zigzag(difference.cast_signed()));
            }
        }
        self.count += 1;
        self.last = Some((time, figures));
    }

    /// How many readings it has.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// The time of the first reading; `None` if there is none.
    pub(crate) fn first_time(&self) -> Option<i64> {
        let first = (self.count > 0).then_some(&self.bytes[..])?;
        take_number(&mut &*first).map(unzigzag)
    }

    pub(crate) const fn last(&self) -> Option<&TimedFigures> {
        self.last.as_ref()
    }

    pub(crate) fn readings(&self) -> Vec<TimedFigures> {
        take_readings(&mut self.bytes.as_slice(), self.count).unwrap_or_default()
    }

    /// Only the last reading stays known.
    fn clear(&mut self) {
        self.bytes = Vec::new();
        self.count = 0;
    }

    fn write(&self, series: SeriesId, bytes: &mut Vec<u8>) {
        put_number(bytes, u64::from(series));
        put_number(bytes, self.count as u64);
        bytes.extend_from_slice(&self.bytes);
    }
}

fn take_readings(bytes: &mut &[u8], count: usize) -> Option<Vec<TimedFigures>> {
    let mut readings = Vec::new();
    let mut before = TimedFigures::default();
    for _ in 0..count {
        let time = before.0.wrapping_add(unzigzag(take_number(bytes)?));
        let present = take_number(bytes)?;
        let mut figures = NodeFigures::default();
        for index in 0..FIGURES {
            if present & (1 << index) != 0 {
                let difference = unzigzag(take_number(bytes)?).cast_unsigned();
                let value = before.1.0[index].unwrap_or(0).wrapping_add(difference);
                figures.0[index] = Some(value);
            }
        }
        before = (time, figures);
        readings.push(before);
    }
    Some(readings)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    ((number >> 1) ^ (number & 1).wrapping_neg()).cast_signed()
}

/// Readings of all nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesHead(BTreeMap<SeriesId, ReadingLog>);

impl SeriesHead {
    pub(crate) fn push(&mut self, series: SeriesId, reading: TimedFigures) {
        self.0.entry(series).or_default().push(reading);
    }

    pub(crate) fn last(&self, series: SeriesId) -> Option<&TimedFigures> {
        self.0.get(&series)?.last()
    }

    pub(crate) fn readings(&self, series: SeriesId) -> Vec<TimedFigures> {
        self.0
            .get(&series)
            .map(ReadingLog::readings)
            .unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SeriesId, &ReadingLog)> {
        self.0.iter().map(|(series, log)| (*series, log))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(|log| log.count == 0)
    }

    /// Keeps `readings` of `series` only.
    pub(crate) fn replace(&mut self, series: SeriesId, readings: &[TimedFigures]) {
        if let Some(log) = self.0.get_mut(&series) {
            let last = log.last;
            log.clear();
            for reading in readings {
                log.push(*reading);
            }
            log.last = last;
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (series, log) in self.iter().filter(|(_, log)| log.count > 0) {
            log.write(series, &mut bytes);
        }
        bytes
    }

    /// Adds what [`Self::to_bytes`] wrote. `None` if the bytes are damaged; what precedes the damage is added.
    pub(crate) fn add_bytes(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let series = SeriesId::try_from(take_number(&mut bytes)?).ok()?;
            let count = usize::try_from(take_number(&mut bytes)?).ok()?;
            for reading in take_readings(&mut bytes, count)? {
                self.push(series, reading);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading() -> impl Strategy<Value = TimedFigures> {
        let value = prop_oneof![Just(None), any::<u64>().prop_map(Some)];
        (any::<i64>(), prop::array::uniform10(value))
            .prop_map(|(time, all)| (time, NodeFigures(all)))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(all in prop::collection::vec((0_u32..3, reading()), 0..20)) {
            let (mut head, mut read) = (SeriesHead::default(), SeriesHead::default());
            for (series, reading) in &all {
                head.push(*series, *reading);
            }
            read.add_bytes(&head.to_bytes()).unwrap();
            for series in 0..3 {
                let expected: Vec<TimedFigures> =
                    all.iter().filter(|(of, _)| *of == series).map(|(_, r)| *r).collect();
                prop_assert_eq!(&head.readings(series), &expected);
                prop_assert_eq!(&read.readings(series), &expected);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = SeriesHead::default().add_bytes(&bytes);
        }
    }
}
