//! A chunk: consecutive rows of one node in columns, as a few bytes for each value.
//!
//! Format: CRC-32 of the rest (4 bytes, little-endian), number of columns, number of rows, the column of times, then each
//! column of values with its length. A column is a tag (all rows have a value, none, or a bitmap follows) and the
//! differences between consecutive values, or the differences of these if that is shorter: zigzag, as LEB128; a zero is
//! followed by how many more zeros follow it. Parsers accept any bytes.

/// Rows in a chunk at most; a parser refuses more.
pub(crate) const ROWS_MAX: usize = 4_096;
/// Columns in a chunk at most; a parser refuses more.
const COLUMNS_MAX: usize = 128;

const ALL: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;
/// Added to the tag if differences of differences follow.
const SECOND_ORDER: u8 = 4;

/// Rows with a time each and the same columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkRows {
    /// In milliseconds since 1970; in any order.
    pub(crate) times: Vec<i64>,
    /// By column, then by row.
    pub(crate) columns: Vec<Vec<Option<u64>>>,
}

impl ChunkRows {
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            times: Vec::new(),
            columns: vec![Vec::new(); columns],
        }
    }

    /// Adds a row; `values` has one for each column.
    pub(crate) fn push(&mut self, time: i64, values: &[Option<u64>]) {
        self.times.push(time);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(*value);
        }
    }

    /// Appends the rows of the chunk `bytes`; nothing if it was damaged.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.append_columns(bytes, |_| true);
    }

    /// The same with the columns that `wanted` selects; the others have no values.
    pub(crate) fn append_columns(&mut self, bytes: &[u8], wanted: impl Fn(usize) -> bool) {
        let Some(chunk) = Self::decode(bytes, self.columns.len(), &wanted) else {
            tracing::warn!("A chunk of recorded figures is damaged and left out");
            return;
        };
        self.times.extend(chunk.times);
        for (column, values) in self.columns.iter_mut().zip(chunk.columns) {
            column.extend(values);
        }
    }

    /// Encodes at most [`ROWS_MAX`] rows; further ones are left out.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let rows = self.times.len().min(ROWS_MAX);
        let mut body = vec![0; 4];
        put_number(&mut body, self.columns.len() as u64);
        put_number(&mut body, rows as u64);
        let times: Vec<u64> = self.times[..rows]
            .iter()
            .map(|t| t.cast_unsigned())
            .collect();
        put_sized(&mut body, &values_bytes(&times, ALL));
        for column in &self.columns {
            put_sized(&mut body, &column_bytes(&column[..rows]));
        }
        let checksum = crc32fast::hash(&body[4..]);
        body[..4].copy_from_slice(&checksum.to_le_bytes());
        body
    }

    /// Decodes the columns that `wanted` selects; the others are empty. `None` if `bytes` is not a chunk of `columns`
    /// columns or was damaged.
    pub(crate) fn decode(
        bytes: &[u8],
        columns: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let (checksum, body) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*checksum) != crc32fast::hash(body) {
            return None;
        }
        let mut rest = body;
        let found = usize::try_from(take_number(&mut rest)?).ok()?;
        let rows = usize::try_from(take_number(&mut rest)?).ok()?;
        if found != columns || found > COLUMNS_MAX || rows > ROWS_MAX {
            return None;
        }
        let times = column_values(take_sized(&mut rest)?, rows)?;
        let times = times.into_iter().map(|time| time.map(u64::cast_signed));
        let times: Vec<i64> = times.collect::<Option<_>>()?;
        let mut decoded = Vec::with_capacity(columns);
        for index in 0..columns {
            let column = take_sized(&mut rest)?;
            decoded.push(match wanted(index) {
                true => column_values(column, rows)?,
                false => Vec::new(),
            });
        }
        Some(Self {
            times,
            columns: decoded,
        })
    }
}

fn column_bytes(column: &[Option<u64>]) -> Vec<u8> {
    let values: Vec<u64> = column.iter().copied().flatten().collect();
    if values.is_empty() {
        return vec![NONE];
    }
    if values.len() == column.len() {
        return values_bytes(&values, ALL);
    }
    let mut bitmap = vec![0_u8; column.len().div_ceil(8)];
    for (row, value) in column.iter().enumerate() {
        if value.is_some() {
            bitmap[row / 8] |= 1 << (row % 8);
        }
    }
    let mut bytes = values_bytes(&values, SOME);
    bytes.splice(1..1, bitmap);
    bytes
}

/// The tag and the shorter of both encodings.
fn values_bytes(values: &[u64], tag: u8) -> Vec<u8> {
    let first = differences(values);
    let second = differences(&first);
    let (first, second) = (packed(&first), packed(&second));
    let (tag, packed) = match second.len() < first.len() {
        true => (tag + SECOND_ORDER, second),
        false => (tag, first),
    };
    let mut bytes = vec![tag];
    bytes.extend(packed);
    bytes
}

fn differences(values: &[u64]) -> Vec<u64> {
    let mut before = 0;
    let difference = |value: &u64| {
        let difference = value.wrapping_sub(before);
        before = *value;
        difference
    };
    values.iter().map(difference).collect()
}

fn sums(differences: &mut [u64]) {
    let mut sum = 0_u64;
    for value in differences {
        sum = sum.wrapping_add(*value);
        *value = sum;
    }
}

fn packed(values: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len());
    let mut rest = values;
    while let Some((value, after)) = rest.split_first() {
        rest = after;
        put_number(&mut bytes, zigzag(*value));
        if *value == 0 {
            let zeros = rest.iter().take_while(|value| **value == 0).count();
            put_number(&mut bytes, zeros as u64);
            rest = &rest[zeros..];
        }
    }
    bytes
}

fn column_values(bytes: &[u8], rows: usize) -> Option<Vec<Option<u64>>> {
    let (tag, mut rest) = bytes.split_first()?;
    let second_order = tag & SECOND_ORDER != 0;
    match tag & !SECOND_ORDER {
        NONE => Some(vec![None; rows]),
        ALL => {
            let values = unpacked(rest, rows, second_order)?;
            Some(values.into_iter().map(Some).collect())
        }
        SOME => {
            let bitmap = rest.split_off(..rows.div_ceil(8))?;
            let has = |row: usize| bitmap[row / 8] & (1 << (row % 8)) != 0;
            let count = (0..rows).filter(|row| has(*row)).count();
            let mut values = unpacked(rest, count, second_order)?.into_iter();
            Some(
                (0..rows)
                    .map(|row| has(row).then(|| values.next()).flatten())
                    .collect(),
            )
        }
        _ => None,
    }
}

fn unpacked(mut bytes: &[u8], count: usize, second_order: bool) -> Option<Vec<u64>> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let value = unzigzag(take_number(&mut bytes)?);
        values.push(value);
        if value == 0 {
            let zeros = usize::try_from(take_number(&mut bytes)?).ok()?;
            if zeros > count - values.len() {
                return None;
            }
            values.resize(values.len() + zeros, 0);
        }
    }
    if second_order {
        sums(&mut values);
    }
    sums(&mut values);
    bytes.is_empty().then_some(values)
}

fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    ((signed << 1) ^ (signed >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Appends `number` as LEB128.
pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a LEB128 number from the front of `bytes`.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_sized(bytes: &mut Vec<u8>, part: &[u8]) {
    put_number(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(bytes)?).ok()?;
    bytes.split_off(..length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = ChunkRows> {
        let value = prop_oneof![
            Just(None),
            Just(Some(0)),
            Just(Some(u64::MAX)),
            any::<u64>().prop_map(Some),
            (1000_u64..1100).prop_map(Some),
        ];
        let row = (any::<i64>(), prop::collection::vec(value, 3));
        prop::collection::vec(row, 0..50).prop_map(|rows| {
            let mut all = ChunkRows::new(3);
            for (time, values) in rows {
                all.push(time, &values);
            }
            all
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(rows in rows()) {
            prop_assert_eq!(ChunkRows::decode(&rows.encode(), 3, |_| true), Some(rows));
        }

        #[test]
        fn any_bytes_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut sealed = crc32fast::hash(&bytes).to_le_bytes().to_vec();
            sealed.extend(&bytes);
            let _ = ChunkRows::decode(&sealed, 3, |_| true);
            let _ = ChunkRows::decode(&bytes, 3, |_| true);
        }

        #[test]
        fn a_changed_or_cut_chunk_is_refused(rows in rows(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = rows.encode();
            let index = at.index(bytes.len());
            prop_assert_eq!(ChunkRows::decode(&bytes[..index], 3, |_| true), None);
            bytes[index] ^= 1_u8 << bit;
            prop_assert_eq!(ChunkRows::decode(&bytes, 3, |_| true), None);
        }
    }

    #[test]
    fn steady_counters_take_few_bytes() {
        let mut rows = ChunkRows::new(2);
        for second in 0..300 {
            rows.push(
                second * 1000,
                &[Some(7_000_000 + second.cast_unsigned() * 512), Some(3)],
            );
        }
        assert!(rows.encode().len() < 60, "{}", rows.encode().len());
    }
}
