//! Positions and sequence numbers: text round-trips, and positions are ordered only within one history.
#![no_main]

use galera::position::{Position, parse_seqno};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: (&str, &str)| {
    assert_ne!(parse_seqno(text.0), Some(u64::MAX));
    let (Ok(one), Ok(other)) = (text.0.parse::<Position>(), text.1.parse::<Position>()) else {
        return;
    };
    assert_eq!(one.to_string().parse(), Ok(one.clone()));
    assert!(!one.uuid.is_nil());
    assert_eq!(one.compare(&other).is_some(), one.uuid == other.uuid);
    assert_eq!(
        one.compare(&other),
        other.compare(&one).map(std::cmp::Ordering::reverse)
    );
});
