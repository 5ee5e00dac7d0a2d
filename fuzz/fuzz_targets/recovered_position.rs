//! Logs of `--wsrep-recover`: the last position counts, whatever precedes it.
#![no_main]

use galera::observe::saved_state::parse_recovered_position;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|log: &[u8]| {
    let _ = parse_recovered_position(log);
    let mut log = log.to_vec();
    log.extend_from_slice(b"\nWSREP: Recovered position: 6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b:9\n");
    let position = parse_recovered_position(&log).and_then(|recovered| recovered.position);
    assert_eq!(position.map(|position| position.seqno), Some(9));
});
