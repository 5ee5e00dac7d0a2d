//! What the browser keeps between leaving for the provider and coming back.

use std::time::Duration;

use accounts::Authenticator;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;
use galera::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How long a person may take at the provider.
pub const LOGIN_LIFETIME: Duration = Duration::from_secs(600);
/// What the cookie is sealed for.
const PURPOSE: &str = "sign-on";

/// One sign-in that was begun in this browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LoginState {
    pub(super) state: String,
    pub(super) nonce: String,
    /// The secret of PKCE.
    pub(super) verifier: String,
    /// The page to show afterwards.
    pub(super) next: String,
    /// Whether the person must prove their identity again.
    pub(super) proof: bool,
    pub(super) begun_at: Timestamp,
}

impl LoginState {
    pub(super) fn new(next: &str, proof: bool, begun_at: Timestamp) -> Self {
        let random = || BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>());
        Self {
            state: random(),
            nonce: random(),
            verifier: random(),
            next: next.to_owned(),
            proof,
            begun_at,
        }
    }

    /// The challenge of PKCE (S256).
    pub(super) fn challenge(&self) -> String {
        BASE64URL_NOPAD.encode(&Sha256::digest(&self.verifier))
    }

    pub(super) fn seal(&self, authenticator: &Authenticator) -> Option<String> {
        let text = serde_json::to_vec(self).ok()?;
        authenticator.seal_browser_state(PURPOSE, &text)
    }

    pub(super) fn open(authenticator: &Authenticator, sealed: &str) -> Option<Self> {
        let text = authenticator.open_browser_state(PURPOSE, sealed)?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether `state` is the one of this sign-in.
    pub(super) fn is_of(&self, state: &str) -> bool {
        verify_slices_are_equal(self.state.as_bytes(), state.as_bytes()).is_ok()
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.begun_at.age(now) > LOGIN_LIFETIME
    }
}
