//! gvwstate.dat: a startable view has everything that a server needs to restore it, and a complete one names all members.
#![no_main]

use galera::observe::saved_state::GvwState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let state = GvwState::parse(bytes);
    assert!(
        !state.startable
            || (state.my_uuid.is_some() && state.view_id.is_some() && !state.members.is_empty())
    );
    assert!(!state.complete || (state.startable && state.members_at_least <= state.members.len()));
});
