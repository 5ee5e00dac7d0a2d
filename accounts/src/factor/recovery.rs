//! Recovery codes: sign-in without the authenticator app, once for each.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest as _, Sha256};

use crate::records::UserName;

/// Recovery codes of an account, each valid once.
pub const RECOVERY_CODES: usize = 10;
/// Random bytes of a recovery code: enough that a fast hash of it cannot be reversed.
const RECOVERY_CODE_BYTES: usize = 10;

/// Recovery codes to be shown once, such as `ABCD-EFGH-IJKL-MNOP`.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCodes(Vec<String>);

impl fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCodes(…)")
    }
}

impl RecoveryCodes {
    pub(super) fn generate() -> Self {
        let code = || {
            let bytes: [u8; RECOVERY_CODE_BYTES] = rand::random();
            let text = BASE32_NOPAD.encode(&bytes);
            let groups: Vec<&str> = (0..text.len())
                .step_by(4)
                .map(|i| &text[i..i + 4])
                .collect();
            groups.join("-")
        };
        Self(std::iter::repeat_with(code).take(RECOVERY_CODES).collect())
    }

    /// The codes.
    #[must_use]
    pub fn into_codes(self) -> Vec<String> {
        self.0
    }

    pub(super) fn hashes(&self, account: &UserName) -> Vec<String> {
        self.0
            .iter()
            .map(|code| recovery_hash(account, &normalize(code)))
            .collect()
    }
}

/// The code without what people insert to read it.
pub(super) fn normalize(code: &str) -> String {
    code.chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// What is stored of a recovery code. It has 80 random bits, so that a slow hash would add nothing.
pub(super) fn recovery_hash(account: &UserName, normalized: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"galera-console recovery code\0")
        .chain_update(account.as_str())
        .chain_update(b"\0")
        .chain_update(normalized)
        .finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
