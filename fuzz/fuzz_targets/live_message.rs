//! What a browser sends over the WebSocket, and what the server sends it.
#![no_main]

use galera::publish::api::{LiveMessage, Subscribe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = serde_json::from_slice::<Subscribe>(bytes) {
        let json = serde_json::to_vec(&message).expect("a subscription is JSON");
        assert_eq!(
            serde_json::from_slice::<Subscribe>(&json).ok(),
            Some(message)
        );
    }
    if let Ok(message) = serde_json::from_slice::<LiveMessage>(bytes) {
        let _ = serde_json::to_vec(&message).expect("a message is JSON");
    }
});
