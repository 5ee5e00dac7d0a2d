//! grastate.dat: undefined parts never become a position or a valid bootstrap flag.
#![no_main]

use galera::observe::saved_state::GraState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let state = GraState::parse(bytes);
    assert_eq!(
        state.position().is_some(),
        state.uuid.is_some() && state.seqno.is_some()
    );
    assert!(!state.has_valid_bootstrap_flag() || state.position().is_some());
});
