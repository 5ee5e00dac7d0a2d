//! Password policy and hashing (argon2id).

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};

/// Minimum length of a new password, in characters.
pub const PASSWORD_MIN_CHARACTERS: usize = 12;
/// Maximum length of any password, in bytes; longer ones are rejected before they are hashed.
pub const PASSWORD_MAX_BYTES: usize = 1024;

/// Guesses that an attacker who knows common passwords and words needs at least, as a power of ten.
const GUESSES_MIN_LOG10: f64 = 8.0;
/// Words that every attacker tries at a console of Galera clusters.
const CONTEXT_WORDS: [&str; 11] = [
    "admin", "cluster", "console", "database", "etcd", "galera", "mariadb", "mysql", "operator",
    "root", "wsrep",
];

/// Why a new password was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Has this many characters, fewer than [`PASSWORD_MIN_CHARACTERS`].
    #[error("the password has {0} characters; use at least {PASSWORD_MIN_CHARACTERS}")]
    TooShort(usize),
    /// Has this many bytes, more than [`PASSWORD_MAX_BYTES`].
    #[error("the password has {0} bytes; use at most {PASSWORD_MAX_BYTES}")]
    TooLong(usize),
    /// Guessed early by an attacker who tries common passwords; the text says why, as far as is known.
    #[error(
        "the password is easily guessed{0}; use four or more unrelated words, or one from a password manager"
    )]
    Guessable(String),
    /// Guessed early by an attacker who knows the account and the console.
    #[error(
        "the password is easily guessed: without the account's name and words such as \"galera\" or the console's host name too little remains; use four or more unrelated words, or one from a password manager"
    )]
    ContextWords,
    /// Contains a line break or another control character.
    #[error("the password contains a line break or another control character; remove it")]
    ControlCharacter,
}

/// What an attacker knows about a password besides common ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordContext(Vec<String>);

impl PasswordContext {
    /// The context of a console at `host`, such as `console.example.org`; its labels are words as well.
    #[must_use]
    pub fn new(host: Option<&str>) -> Self {
        let host = host.map(str::to_lowercase).unwrap_or_default();
        let labels = host.split(|c: char| !c.is_alphanumeric());
        let words = std::iter::once(host.as_str()).chain(labels);
        // Shorter ones are part of many words.
        Self(
            words
                .filter(|word| word.len() >= 4)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Every word, the longest first, for the account `username`.
    fn words<'a>(&'a self, username: &'a str) -> Vec<&'a str> {
        let name_parts = username
            .split(['.', '_', '-'])
            .filter(|part| part.len() >= 3);
        let own = self.0.iter().map(String::as_str);
        let mut words: Vec<&str> = std::iter::once(username)
            .chain(name_parts)
            .chain(own)
            .chain(CONTEXT_WORDS)
            .filter(|word| !word.is_empty())
            .collect();
        words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
        words
    }
}

/// Checks whether `password` may become the password of `username`. Takes some milliseconds.
pub(super) fn check_policy(
    username: &str,
    password: &str,
    context: &PasswordContext,
) -> Result<(), PasswordError> {
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
    let words = context.words(username);
    let estimate = zxcvbn::zxcvbn(password, &words);
    if estimate.guesses_log10() < GUESSES_MIN_LOG10 {
        let warning = estimate.feedback().and_then(|feedback| feedback.warning());
        let reason = warning.map(|warning| format!(" ({})", as_clause(&warning.to_string())));
        return Err(PasswordError::Guessable(reason.unwrap_or_default()));
    }
    let mut rest = password.to_lowercase();
    for word in &words {
        rest = rest.replace(word, "");
    }
    // Removing a word may only make a password worse: what was between two of them need not be one word.
    if rest.len() < password.len() && zxcvbn::zxcvbn(&rest, &[]).guesses_log10() < GUESSES_MIN_LOG10
    {
        return Err(PasswordError::ContextWords);
    }
    Ok(())
}

/// A sentence as part of another one.
fn as_clause(sentence: &str) -> String {
    let mut characters = sentence.trim_end_matches('.').chars();
    let first = characters.next().map(|c| c.to_lowercase().to_string());
    format!("{}{}", first.unwrap_or_default(), characters.as_str())
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

    fn check(password: &str) -> Result<(), PasswordError> {
        let context = PasswordContext::new(Some("console.example.org"));
        check_policy("dora.klein", password, &context)
    }

    #[test]
    fn new_passwords_have_a_length_and_no_control_characters() {
        for (password, expected) in [
            ("short", Err(PasswordError::TooShort(5))),
            ("äöüäöüäöüäö", Err(PasswordError::TooShort(11))),
            ("correct horse battery", Ok(())),
            ("twelve\ncharacters", Err(PasswordError::ControlCharacter)),
        ] {
            assert_eq!(check(password), expected, "{password}");
        }
        let long = "ab".repeat(513);
        assert_eq!(check(&long), Err(PasswordError::TooLong(1026)));
    }

    #[test]
    fn common_passwords_are_refused_with_the_reason() {
        for password in [
            "password1234",
            "Password1234",
            "P@ssw0rd1234!",
            "qwertyuiop123",
            "123456789012",
            "aaaaaaaaaaaaaaaa",
            "iloveyou2024",
        ] {
            let error = check(password).unwrap_err();
            assert!(
                matches!(error, PasswordError::Guessable(_)),
                "{password}: {error}"
            );
            assert!(
                error
                    .to_string()
                    .contains("use four or more unrelated words"),
                "{error}"
            );
        }
        let text = check("password1234").unwrap_err().to_string();
        assert!(text.contains("this is a very common password"), "{text}");
    }

    #[test]
    fn words_of_the_context_do_not_count() {
        for password in [
            "mariadb-galera1",
            "galera-admin-2026",
            "dora.klein-2026!",
            "Klein-Dora-Galera",
            "console.example.org7",
            "Example-Console-2026",
        ] {
            let error = check(password).unwrap_err();
            let refused = matches!(
                error,
                PasswordError::ContextWords | PasswordError::Guessable(_)
            );
            assert!(refused, "{password}: {error}");
        }
        for password in ["galera tulip saxophone drizzle", "vQ9-console-hRtz!pw3"] {
            assert_eq!(check(password), Ok(()), "{password}");
        }
        assert_eq!(
            PasswordContext::new(Some("db.io")),
            PasswordContext(vec!["db.io".to_owned()])
        );
    }

    #[test]
    fn odd_input_is_judged_quickly() {
        for password in ["\u{202e}".repeat(40), "💧🔥".repeat(60), "ab1!".repeat(256)] {
            let _ = check(&password);
        }
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
    fn a_weak_password_that_an_earlier_version_accepted_still_verifies() {
        assert!(check("password1234").is_err());
        let stored = hash("password1234").unwrap();
        assert!(verify("password1234", Some(&stored)));
    }

    #[test]
    fn a_hash_of_another_cost_still_verifies() {
        let stored = "$argon2id$v=19$m=8,t=1,p=1$Z2F0ZXdheS1maXh0dXJlcw$VTMSw76aCLcdR4qAX257OjTwJgx4/4roLixXNk6OL9w";
        assert!(verify("correct horse battery", Some(stored)));
        assert!(!verify("correct horse", Some(stored)));
    }
}
