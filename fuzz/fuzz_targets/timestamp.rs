//! Points in time: text round-trips, and arithmetic never overflows.
#![no_main]

use galera::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, i64, i64, u64)| {
    let (text, one, other, millis) = input;
    if let Some(at) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at), "{at}");
    }
    let (one, other) = (
        Timestamp::from_unix_millis(one),
        Timestamp::from_unix_millis(other),
    );
    let _ = (one.to_string(), one.age(other), one.to_short_string(other));
    let duration = std::time::Duration::from_millis(millis);
    assert!(one.plus(duration) >= one && one.minus(duration) <= one);
});
