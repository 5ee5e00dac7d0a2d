//! Blocks of five hundred events, a few bytes each.
//!
//! The same changes recur, only their times differ. A block therefore holds a dictionary of its distinct changes and, for
//! each event, an index into it and the milliseconds since the previous event. All of that is compressed with brotli.

use std::collections::HashMap;
use std::io::{Read, Write};

use brotli::enc::BrotliEncoderParams;
use galera::Timestamp;
use galera::record::history::{HistoryEvent, StateChange};

/// Block `n` holds the events from `n * EVENTS_PER_BLOCK + 1` on.
pub const EVENTS_PER_BLOCK: u64 = 500;

const VERSION: u8 = 1;
/// The format of a block with gaps: the distances of the sequences follow.
const VERSION_WITH_GAPS: u8 = 2;
/// Limit on a block's decompressed size, in bytes.
const DECOMPRESSED_MAX: u64 = 16 * 1024 * 1024;
/// Limit on the number of events that a block may declare.
const EVENTS_MAX: u64 = 100_000;

/// Number of the block that holds the event `sequence`.
pub(super) const fn containing(sequence: u64) -> u64 {
    sequence.saturating_sub(1) / EVENTS_PER_BLOCK
}

/// Sequence of the first event of a block.
pub(super) const fn first_sequence(block: u64) -> u64 {
    block * EVENTS_PER_BLOCK + 1
}

/// Encodes `events`, in order of their sequences, as one block.
///
/// # Errors
/// When a change cannot be serialized.
pub fn encode(events: &[HistoryEvent]) -> Result<Vec<u8>, String> {
    let mut numbers: HashMap<&StateChange, u64> = HashMap::new();
    let (mut changes, mut times, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = events.first().map_or(0, |event| event.at.unix_millis());
    for event in events {
        let next = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        let number = *numbers.entry(&event.change).or_insert_with(|| {
            changes.push(&event.change);
            next
        });
        write_varint(&mut indexes, number);
        let at = event.at.unix_millis();
        write_varint(
            &mut times,
            u64::try_from(at.saturating_sub(before)).unwrap_or(0),
        );
        before = at.max(before);
    }
    let distances: Vec<u64> = events
        .windows(2)
        .filter_map(|pair| Some(pair.last()?.sequence - pair.first()?.sequence))
        .collect();
    let has_gaps = distances.iter().any(|distance| *distance != 1);
    let mut plain = vec![if has_gaps { VERSION_WITH_GAPS } else { VERSION }];
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    write_varint(&mut plain, count);
    write_varint(&mut plain, events.first().map_or(0, |event| event.sequence));
    let began = events.first().map_or(0, |event| event.at.unix_millis());
    plain.extend(began.to_le_bytes());
    let changes = serde_json::to_vec(&changes).map_err(|error| error.to_string())?;
    write_varint(&mut plain, u64::try_from(changes.len()).unwrap_or(u64::MAX));
    plain.extend(changes);
    plain.extend(indexes);
    plain.extend(times);
    for distance in distances.iter().filter(|_| has_gaps) {
        write_varint(&mut plain, *distance);
    }
    compress(&plain).map_err(|error| error.to_string())
}

/// Decodes a block. Safe on any bytes.
///
/// # Errors
/// When `block` is not a valid block.
pub fn decode(block: &[u8]) -> Result<Vec<HistoryEvent>, String> {
    let mut plain = Vec::new();
    brotli::Decompressor::new(block, 4096)
        .take(DECOMPRESSED_MAX)
        .read_to_end(&mut plain)
        .map_err(|error| format!("decompression failed: {error}"))?;
    parse(&plain).ok_or_else(|| "unexpected format".to_owned())
}

fn parse(plain: &[u8]) -> Option<Vec<HistoryEvent>> {
    let (version, mut rest) = plain.split_first()?;
    if ![VERSION, VERSION_WITH_GAPS].contains(version) {
        return None;
    }
    let count = read_varint(&mut rest).filter(|count| *count <= EVENTS_MAX)?;
    let first = read_varint(&mut rest)?;
    let (began, mut rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(read_varint(&mut rest)?).ok()?;
    let (changes, mut rest) = rest.split_at_checked(length)?;
    let changes: Vec<StateChange> = serde_json::from_slice(changes).ok()?;
    let indexes: Option<Vec<u64>> = (0..count).map(|_| read_varint(&mut rest)).collect();
    let mut at = i64::from_le_bytes(*began);
    let mut events: Vec<HistoryEvent> = Vec::new();
    for (sequence, number) in (first..).zip(indexes?) {
        at = at.saturating_add(i64::try_from(read_varint(&mut rest)?).ok()?);
        events.push(HistoryEvent {
            sequence,
            at: Timestamp::from_unix_millis(at),
            change: changes.get(usize::try_from(number).ok()?)?.clone(),
        });
    }
    if *version == VERSION_WITH_GAPS {
        let mut sequence = first;
        for event in events.iter_mut().skip(1) {
            sequence = sequence.checked_add(read_varint(&mut rest)?)?;
            event.sequence = sequence;
        }
    }
    Some(events)
}

/// LEB128: seven bits per byte, lowest first.
fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn compress(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let parameters = BrotliEncoderParams {
        quality: 9,
        lgwin: 18,
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    let mut block = Vec::new();
    let mut writer = brotli::CompressorWriter::with_params(&mut block, 4096, &parameters);
    writer.write_all(plain)?;
    drop(writer);
    Ok(block)
}

#[cfg(test)]
mod tests {
    use galera::view::{NodeState, ReasonCode, VerdictReason, VerdictState};
    use proptest::prelude::*;

    use super::*;

    fn any_change() -> impl Strategy<Value = StateChange> {
        let verdict = || prop::sample::select(VerdictState::ALL.to_vec());
        let node = || prop::option::of(prop::sample::select(NodeState::ALL.to_vec()));
        let reason = ".{0,40}".prop_map(|message| VerdictReason {
            code: ReasonCode::MemberUnreachable,
            node: None,
            message,
        });
        let reasons = prop::collection::vec(reason, 0..3);
        prop_oneof![
            (prop::option::of(verdict()), verdict(), reasons)
                .prop_map(|(from, to, reasons)| StateChange::Verdict { from, to, reasons }),
            (1_u8..5, prop::option::of(".{0,8}"), node(), node()).prop_map(
                |(host, name, from, to)| {
                    StateChange::Node {
                        node: format!("10.0.0.{host}").parse().unwrap(),
                        name,
                        from,
                        to,
                    }
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn blocks_round_trip(
            first in 1..u64::MAX / 2,
            began in -1_000_000_000_000..4_000_000_000_000_i64,
            parts in prop::collection::vec((0..100_000_i64, any_change(), 1..3_u64), 0..50),
            with_gaps in any::<bool>(),
        ) {
            let (mut at, mut sequence) = (began, first);
            let events: Vec<HistoryEvent> = parts.into_iter().map(|(pause, change, distance)| {
                at += pause;
                sequence += if with_gaps { distance } else { 1 };
                HistoryEvent { sequence, at: Timestamp::from_unix_millis(at), change }
            }).collect();
            prop_assert_eq!(decode(&encode(&events).unwrap()).unwrap(), events);
        }

        #[test]
        fn decoding_arbitrary_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&compress(&bytes).unwrap());
            for version in [VERSION, VERSION_WITH_GAPS] {
                let mut versioned = vec![version];
                versioned.extend(&bytes);
                let _ = decode(&compress(&versioned).unwrap());
            }
        }
    }

    #[test]
    fn an_event_takes_less_than_six_bytes() {
        let mut at = 1_795_420_800_000;
        let events: Vec<HistoryEvent> = (1..=EVENTS_PER_BLOCK)
            .map(|sequence| {
                // Times without a pattern that compression could exploit.
                at += i64::try_from(sequence.wrapping_mul(2_654_435_761) % 172_800).unwrap();
                let host = sequence % 3 + 1;
                let (from, to) = match sequence % 6 {
                    0..3 => (NodeState::Synced, NodeState::Unreachable),
                    _ => (NodeState::Unreachable, NodeState::Synced),
                };
                HistoryEvent {
                    sequence,
                    at: Timestamp::from_unix_millis(at),
                    change: StateChange::Node {
                        node: format!("db{host}.example.org").parse().unwrap(),
                        name: Some(format!("n{host}")),
                        from: Some(from),
                        to: Some(to),
                    },
                }
            })
            .collect();
        let size = encode(&events).unwrap().len();
        assert!(size < 6 * events.len(), "{size} bytes");
    }
}
