//! The key that signs the orders of consoles, and what agents trust.

use std::sync::{Arc, OnceLock};

use galera::observe::registration::OrderVerifier;
use order_signature::{OrderSigningKey, TrustedKeys};

/// The console's key: the same for every schedule of the process.
///
/// # Panics
/// If the system has no random numbers.
pub fn order_key() -> &'static Arc<OrderSigningKey> {
    static KEY: OnceLock<Arc<OrderSigningKey>> = OnceLock::new();
    KEY.get_or_init(|| match OrderSigningKey::generate() {
        Ok(key) => Arc::new(key),
        Err(error) => panic!("{error}"),
    })
}

/// Its public key, as agents read it from a file.
///
/// # Panics
/// If the public key cannot be read back.
pub fn trusted_keys() -> Arc<dyn OrderVerifier> {
    static KEYS: OnceLock<Arc<TrustedKeys>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let pem = order_key().public().to_pem();
        match TrustedKeys::from_pem(pem.as_bytes()) {
            Ok(keys) => Arc::new(keys),
            Err(error) => panic!("{error}"),
        }
    });
    Arc::clone(keys) as Arc<dyn OrderVerifier>
}
