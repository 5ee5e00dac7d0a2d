//! The adapter against several etcd members: fail-over, members that hang, access. What one store does is in `tests/conformance`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a failed step is a failed test"
)]

mod access;
mod accounts;
mod certificates;
mod leases;
mod outages;
mod reads;
mod role_layout;
mod storage;
mod v2;
mod writes;

use std::time::Duration;

use registry::{KeyChange, WatchEvent, WatchSubscription};

/// The next event, within a generous deadline.
async fn next_event(subscription: &mut WatchSubscription) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(120), subscription.next())
        .await
        .expect("no event within 30 s")
        .expect("a subscription does not end while it is held")
}

/// The next event, which must be a reset: its keys.
async fn next_reset(subscription: &mut WatchSubscription) -> Vec<String> {
    match next_event(subscription).await {
        WatchEvent::Reset { entries, .. } => entries.iter().map(|entry| text(&entry.key)).collect(),
        other => panic!("not a reset: {other:?}"),
    }
}

/// Collects the values put, in order, until `count` have arrived; anything but changes fails.
async fn next_values(subscription: &mut WatchSubscription, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        match next_event(subscription).await {
            WatchEvent::Changes { changes, .. } => {
                values.extend(changes.iter().filter_map(put_value))
            }
            other => panic!("after {} values: {other:?}", values.len()),
        }
    }
    values
}

fn put_value(change: &KeyChange) -> Option<String> {
    match change {
        KeyChange::Put(entry) => Some(text(&entry.value)),
        KeyChange::Delete { .. } => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
