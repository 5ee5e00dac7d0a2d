//! Keys of chunks: tier, time, node and part in one number, so that consecutive chunks are appended to the table and the
//! oldest are its first rows.

use crate::head::SeriesId;

/// How closely a chunk describes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkTier {
    /// Single readings.
    Readings,
    /// Minimum, mean and maximum of each minute.
    Minutes,
}

const MINUTES_BIT: i64 = 1 << 62;
const SLOT_SHIFT: u32 = 32;
const SERIES_SHIFT: u32 = 8;
/// Slots beyond this are refused: their times are absurd.
const SLOT_MAX: i64 = (1 << 30) - 1;
/// Nodes beyond this are not recorded.
pub(crate) const SERIES_MAX: SeriesId = (1 << 24) - 1;
/// Chunks of one node and slot: more than one after a restart or when the clock was set back.
pub(crate) const PART_MAX: i64 = (1 << SERIES_SHIFT) - 1;

impl ChunkTier {
    /// The length of a chunk, in milliseconds.
    pub(crate) const fn slot_ms(self) -> i64 {
        match self {
            Self::Readings => 300_000,
            Self::Minutes => 3_600_000,
        }
    }

    const fn bits(self) -> i64 {
        match self {
            Self::Readings => 0,
            Self::Minutes => MINUTES_BIT,
        }
    }

    /// The slot of a time; `None` for an absurd one.
    pub(crate) fn slot(self, time: i64) -> Option<i64> {
        let slot = time.div_euclid(self.slot_ms());
        (0..=SLOT_MAX).contains(&slot).then_some(slot)
    }

    /// The first and last key of a node's chunks in a slot.
    pub(crate) const fn keys(self, slot: i64, series: SeriesId) -> (i64, i64) {
        let first = self.bits() | (slot << SLOT_SHIFT) | ((series as i64) << SERIES_SHIFT);
        (first, first + PART_MAX)
    }

    /// The first and last key of all chunks in a slot.
    pub(crate) const fn slot_keys(self, slot: i64) -> (i64, i64) {
        let first = self.bits() | (slot << SLOT_SHIFT);
        (first, first + ((1 << SLOT_SHIFT) - 1))
    }

    /// The first and last key of the tier.
    pub(crate) const fn all_keys(self) -> (i64, i64) {
        (self.bits(), self.slot_keys(SLOT_MAX).1)
    }

    /// The slot of a key of this tier.
    pub(crate) const fn slot_of(self, key: i64) -> i64 {
        (key & !MINUTES_BIT) >> SLOT_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_by_tier_slot_series_and_part() {
        let keys = |tier: ChunkTier, slot, series| tier.keys(slot, series);
        let ordered = [
            keys(ChunkTier::Readings, 0, 1),
            keys(ChunkTier::Readings, 0, 2),
            keys(ChunkTier::Readings, 1, 0),
            keys(ChunkTier::Readings, SLOT_MAX, SERIES_MAX),
            keys(ChunkTier::Minutes, 0, 0),
            keys(ChunkTier::Minutes, SLOT_MAX, SERIES_MAX),
        ];
        for pair in ordered.windows(2) {
            assert!(pair[0].1 < pair[1].0, "{pair:?}");
        }
        assert_eq!(ChunkTier::Minutes.slot_of(ordered[5].1), SLOT_MAX);
        assert_eq!(ChunkTier::Readings.slot(-1), None);
        assert_eq!(ChunkTier::Readings.slot(i64::MAX), None);
        assert_eq!(ChunkTier::Minutes.slot(3_600_000), Some(1));
    }
}
