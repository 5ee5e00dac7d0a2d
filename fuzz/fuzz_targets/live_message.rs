//! WebSocket messages in both directions.
#![no_main]

use galera::publish::api::{LiveMessage, SubscribeRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = serde_json::from_slice::<SubscribeRequest>(bytes) {
        let json = serde_json::to_vec(&message).expect("a subscription is JSON");
        assert_eq!(
            serde_json::from_slice::<SubscribeRequest>(&json).ok(),
            Some(message)
        );
    }
    if let Ok(message) = serde_json::from_slice::<LiveMessage>(bytes) {
        let _ = serde_json::to_vec(&message).expect("a message is JSON");
    }
});
