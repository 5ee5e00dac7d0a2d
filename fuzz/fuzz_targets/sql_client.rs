//! Bytes of a database server. The first byte selects what they replace: the whole conversation, the answer to a
//! query, or the payloads after a correct greeting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sql_client::hostile::{conversation, replay, replay_framed};
use sql_client::limits::{COLUMNS_MAX, ROWS_MAX};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let [sign_in, _] = conversation();
    // Each also checks that the client does not send its password.
    let result = runtime.block_on(async {
        match kind % 3 {
            0 => replay(bytes, bytes).await,
            1 => replay(&sign_in, bytes).await,
            _ => replay_framed(bytes).await,
        }
    });
    if let Ok(rows) = result {
        assert!(rows.len() <= ROWS_MAX);
        assert!(rows.iter().all(|row| row.len() <= COLUMNS_MAX));
    }
});
