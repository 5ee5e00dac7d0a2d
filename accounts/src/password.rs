//! Password policy and hashing (argon2id).

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};

/// Minimum length of a new password, in characters.
pub const PASSWORD_MIN_CHARACTERS: usize = 12;
/// Maximum length of any password, in bytes; longer ones are rejected before they are hashed.
pub const PASSWORD_MAX_BYTES: usize = 1024;

/// Why a new password was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Has this many characters, fewer than [`PASSWORD_MIN_CHARACTERS`].
    #[error("the password has {0} characters; use at least {PASSWORD_MIN_CHARACTERS}")]
    TooShort(usize),
    /// Has this many bytes, more than [`PASSWORD_MAX_BYTES`].
    #[error("the password has {0} bytes; use at most {PASSWORD_MAX_BYTES}")]
    TooLong(usize),
    /// Consists mainly of the account's name.
    #[error("the password consists mainly of the account's name; choose another one")]
    ContainsName,
    /// A single repeated character.
    #[error("the password repeats a single character; choose another one")]
    RepeatedCharacter,
    /// Contains a line break or another control character.
    #[error("the password contains a line break or another control character; remove it")]
    ControlCharacter,
}

/// Checks whether `password` may become the password of `username`.
pub(super) fn check_policy(username: &str, password: &str) -> Result<(), PasswordError> {
    let characters = password.chars().count();
    if password.len() > PASSWORD_MAX_BYTES {
        return Err(PasswordError::TooLong(password.len()));
    }
    if characters < PASSWORD_MIN_CHARACTERS {
        return Err(PasswordError::TooShort(characters));
    }
    if password.chars().any(char::is_control) {
        return Err(PasswordError::ControlCharacter);
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return Err(PasswordError::RepeatedCharacter);
    }
    // `adminadminadmin` and the like are the first guesses of an attacker.
    let without_name = password.to_lowercase().replace(username, "");
    if without_name.chars().count() < 4 {
        return Err(PasswordError::ContainsName);
    }
    Ok(())
}

/// 46 MiB and one pass: as strong as argon2's default of 19 MiB and two passes (OWASP lists both). glibc's allocator
/// always returns a block of this size to the system, so memory shrinks again after every sign-in; with 19 MiB each
/// thread that hashed once would keep its block.
fn hasher() -> Argon2<'static> {
    const KIBIBYTES: u32 = 47_104;
    let params = Params::new(KIBIBYTES, 1, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password into a PHC string. Takes tens of milliseconds and 46 MiB: do not call it on an async thread.
pub(super) fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = hasher().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether `password` matches `hash`. Without a hash (an unknown account) a dummy hash is verified instead, so that the
/// result takes equally long. As slow as [`hash`].
pub(super) fn verify(password: &str, hash: Option<&str>) -> bool {
    static DUMMY_HASH: LazyLock<Option<String>> =
        LazyLock::new(|| self::hash("the password of no account").ok());
    let Some(candidate) = hash.or(DUMMY_HASH.as_deref()) else {
        return false;
    };
    let matches = hasher()
        .verify_password(password.as_bytes(), candidate)
        .is_ok();
    matches && hash.is_some()
}

/// Computes the dummy hash in advance, so that the first unknown account takes no longer than others.
pub(super) fn warm_up() {
    verify("", None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_passwords_follow_the_policy() {
        for (password, expected) in [
            ("short", Err(PasswordError::TooShort(5))),
            ("äöüäöüäöüäö", Err(PasswordError::TooShort(11))),
            ("correct horse", Ok(())),
            ("aaaaaaaaaaaaaaaa", Err(PasswordError::RepeatedCharacter)),
            ("dora-dora-dora", Err(PasswordError::ContainsName)),
            ("DORADORADORA123", Err(PasswordError::ContainsName)),
            ("twelve\ncharacters", Err(PasswordError::ControlCharacter)),
        ] {
            assert_eq!(check_policy("dora", password), expected, "{password}");
        }
        assert_eq!(
            check_policy("dora", &"ab".repeat(513)),
            Err(PasswordError::TooLong(1026))
        );
    }

    #[test]
    fn only_the_right_password_verifies() {
        let stored = hash("correct horse").unwrap();
        assert!(
            stored.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"),
            "{stored}"
        );
        assert!(verify("correct horse", Some(&stored)));
        assert!(!verify("Correct horse", Some(&stored)));
        assert!(!verify("correct horse", Some("garbage")));
        assert!(!verify("the password of no account", None));
    }

    #[test]
    fn a_hash_of_another_cost_still_verifies() {
        let stored = "$argon2id$v=19$m=8,t=1,p=1$Z2F0ZXdheS1maXh0dXJlcw$VTMSw76aCLcdR4qAX257OjTwJgx4/4roLixXNk6OL9w";
        assert!(verify("correct horse battery", Some(stored)));
        assert!(!verify("correct horse", Some(stored)));
    }
}
