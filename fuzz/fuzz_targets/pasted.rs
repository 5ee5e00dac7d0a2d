//! Saved state that an operator pastes for a node without an agent: never a panic, never a position with an undefined
//! part.
#![no_main]

use galera::Position;
use galera::recover::attestation::{Attestation, SAVED_STATE_MAX, parse_pasted_state};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match parse_pasted_state(&text) {
        Ok(pasted) => {
            let position = pasted.position.expect("parsed state has a position");
            assert!(!position.uuid.is_nil() && position.seqno != u64::MAX);
            assert_eq!(position.to_string().parse::<Position>(), Ok(position));
            assert!(text.len() <= SAVED_STATE_MAX);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The same bytes as a complete attestation.
    if let Ok(attestation) = serde_json::from_slice::<Attestation>(bytes) {
        let again = serde_json::to_vec(&attestation).expect("an attestation is JSON");
        assert_eq!(
            serde_json::from_slice::<Attestation>(&again).ok(),
            Some(attestation)
        );
    }
});
