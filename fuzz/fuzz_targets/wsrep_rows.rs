//! Rows of `SHOW GLOBAL STATUS`, one per line, name and value separated by a tab.
#![no_main]

use galera::observe::wsrep::{MEMBERS_MAX, TEXT_MAX, WsrepStatus};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let rows = text
        .split('\n')
        .map(|line| line.split_once('\t').unwrap_or((line, "")));
    let status = WsrepStatus::from_rows(rows);
    assert!(status.incoming_addresses.len() <= MEMBERS_MAX);
    assert!(status.same_view(&status));
    for text in [
        &status.local_state_comment,
        &status.cluster_status_text,
        &status.node_name,
    ] {
        assert!(text.as_deref().unwrap_or_default().chars().count() <= TEXT_MAX + 1);
    }
    let _ = (status.node_state(), status.position());
});
