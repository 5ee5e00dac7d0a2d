//! gvwstate.dat: a complete view has everything that a server needs to restore it.
#![no_main]

use galera::observe::saved_state::GvwState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let state = GvwState::parse(bytes);
    assert!(
        !state.complete
            || (state.my_uuid.is_some() && state.view_id.is_some() && !state.members.is_empty())
    );
});
