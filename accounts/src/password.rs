//! Passwords: the rule for new ones, and argon2id.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};

/// Fewest characters of a new password.
pub const PASSWORD_MIN_CHARACTERS: usize = 12;
/// Most bytes of any password; longer ones are refused before they are hashed.
pub const PASSWORD_MAX_BYTES: usize = 1024;

/// Why a new password is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short.
    #[error("the password has {0} characters; use at least {PASSWORD_MIN_CHARACTERS}")]
    TooShort(usize),
    /// Too long.
    #[error("the password has {0} bytes; use at most {PASSWORD_MAX_BYTES}")]
    TooLong(usize),
    /// The account's own name.
    #[error("the password is made of the account's name; use another one")]
    ContainsName,
    /// One character over and over.
    #[error("the password repeats one character; use another one")]
    RepeatedCharacter,
    /// Characters that cannot be typed.
    #[error(
        "the password contains a line break or another control character; use characters that can be typed"
    )]
    ControlCharacter,
}

/// Whether `password` may become the password of `username`.
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
    // `adminadminadmin` or `admin12345678` is the first thing that is tried.
    let without_name = password.to_lowercase().replace(username, "");
    if without_name.chars().count() < 4 {
        return Err(PasswordError::ContainsName);
    }
    Ok(())
}

/// 46 MiB, one pass: as strong as argon2's default of 19 MiB and two passes (OWASP lists both). The larger block is beyond
/// what glibc's allocator ever keeps, so that a console shrinks back after every sign-in; with 19 MiB every thread that
/// hashed once would hold on to its block.
fn hasher() -> Argon2<'static> {
    const KIBIBYTES: u32 = 47_104;
    let params = Params::new(KIBIBYTES, 1, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password as a PHC string. Takes tens of milliseconds and 46 MiB: call it off the async threads.
pub(super) fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = hasher().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether `password` is the one that was hashed. Without a hash (an unknown account) the same work is done for nothing,
/// so that the answer takes as long. As slow as [`hash`].
pub(super) fn verify(password: &str, hash: Option<&str>) -> bool {
    static DUMMY_HASH: LazyLock<Option<String>> =
        LazyLock::new(|| self::hash("nobody has this password").ok());
    let Some(candidate) = hash.or(DUMMY_HASH.as_deref()) else {
        return false;
    };
    let matches = hasher()
        .verify_password(password.as_bytes(), candidate)
        .is_ok();
    matches && hash.is_some()
}

/// Computes the hash that unknown accounts are checked against, so that the first of them takes no longer than others.
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
        assert!(!verify("nobody has this password", None));
    }
}
