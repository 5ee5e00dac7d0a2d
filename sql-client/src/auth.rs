//! Authentication plugins. All of them answer a challenge; one may ask for the password itself, and gets it from a
//! verified server only.
//!
//! Deliberately not supported: `sha256_password`, `mysql_clear_password` and `dialog` send the password, and
//! `mysql_old_password` reveals it.

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{digest, pbkdf2, rand};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};
use tokio::sync::Semaphore;

use crate::error::{Error, bounded_text};
use crate::fields::PacketFields;
use crate::limits::PARSEC_EXPONENT_MAX;

const NATIVE: &str = "mysql_native_password";
const CACHING_SHA2: &str = "caching_sha2_password";
const ED25519: &str = "client_ed25519";
const PARSEC: &str = "parsec";

/// Parsec's salt, in bytes.
const PARSEC_SALT: usize = 18;

/// Derivations that run at the same time: a server chooses how expensive they are.
static DERIVATIONS: Semaphore = Semaphore::const_new(1);

/// A supported plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthPlugin {
    Native,
    CachingSha2,
    Ed25519,
    Parsec,
}

impl AuthPlugin {
    /// The plugin called `name`.
    pub(crate) fn named(name: &[u8]) -> Result<Self, Error> {
        for plugin in [Self::Native, Self::CachingSha2, Self::Ed25519, Self::Parsec] {
            if plugin.name().as_bytes() == name {
                return Ok(plugin);
            }
        }
        Err(Error::UnsupportedPlugin(bounded_text(name)))
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Native => NATIVE,
            Self::CachingSha2 => CACHING_SHA2,
            Self::Ed25519 => ED25519,
            Self::Parsec => PARSEC,
        }
    }
}

/// What the server sends next.
enum AuthStage {
    /// Accepted or refused.
    Verdict,
    /// Whether caching_sha2_password found the password in its cache.
    CacheLookup,
    /// Parsec's salt, after which the challenge is signed.
    Salt([u8; 32]),
}

/// One plugin's conversation.
pub(crate) struct AuthExchange<'a> {
    password: &'a str,
    /// Whether the server may get the password itself.
    verified: bool,
    stage: AuthStage,
}

impl<'a> AuthExchange<'a> {
    /// Begins `plugin`'s conversation. Also returns the answer to `challenge`.
    ///
    /// # Errors
    /// A challenge of the wrong length.
    pub(crate) fn begin(
        plugin: AuthPlugin,
        challenge: &[u8],
        password: &'a str,
        verified: bool,
    ) -> Result<(Self, Vec<u8>), Error> {
        let (stage, answer) = match plugin {
            AuthPlugin::Native => (AuthStage::Verdict, native(password, &exactly(challenge)?)),
            AuthPlugin::CachingSha2 => (
                AuthStage::CacheLookup,
                caching_sha2(password, &exactly(challenge)?),
            ),
            AuthPlugin::Ed25519 => (AuthStage::Verdict, ed25519(password, &exactly(challenge)?)),
            // An empty answer asks for the salt.
            AuthPlugin::Parsec => (AuthStage::Salt(exactly(challenge)?), Vec::new()),
        };
        let exchange = Self {
            password,
            verified,
            stage,
        };
        Ok((exchange, answer))
    }

    /// Continues with a packet that neither accepts, refuses nor switches; `None` if nothing is answered.
    ///
    /// # Errors
    /// A packet that the plugin does not have, and a demand for the password by a server that is not verified.
    pub(crate) async fn proceed(&mut self, packet: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match (&self.stage, packet) {
            (AuthStage::CacheLookup, [1, 3]) => {
                self.stage = AuthStage::Verdict;
                Ok(None)
            }
            (AuthStage::CacheLookup, [1, 4]) => {
                if !self.verified {
                    return Err(Error::PasswordWithheld {
                        plugin: CACHING_SHA2,
                    });
                }
                self.stage = AuthStage::Verdict;
                Ok(Some([self.password.as_bytes(), &[0]].concat()))
            }
            (AuthStage::Salt(challenge), _) => {
                let challenge = *challenge;
                self.stage = AuthStage::Verdict;
                parsec(self.password, challenge, packet).await.map(Some)
            }
            _ => Err(Error::protocol("unexpected packet during sign-in")),
        }
    }
}

/// A challenge of exactly `N` bytes; a NUL after it does not belong to it.
///
/// # Errors
/// Another length: the answer to a short challenge could be used again.
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    let exact = |bytes: &[u8]| <[u8; N]>::try_from(bytes).ok();
    exact(bytes)
        .or_else(|| bytes.strip_suffix(&[0]).and_then(exact))
        .ok_or_else(|| {
            Error::Protocol(
                format!("the challenge has {} bytes instead of {N}", bytes.len()).into(),
            )
        })
}

/// SHA1(password) XOR SHA1(challenge, SHA1(SHA1(password))); empty for an empty password.
fn native(password: &str, challenge: &[u8; 20]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let sha1 = |parts: &[&[u8]]| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts);
    let once = sha1(&[password.as_bytes()]);
    let twice = sha1(&[once.as_ref()]);
    xor(&once, &sha1(&[challenge, twice.as_ref()]))
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)), challenge); empty for an empty password.
fn caching_sha2(password: &str, challenge: &[u8; 20]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let sha256 = |parts: &[&[u8]]| hash(&digest::SHA256, parts);
    let once = sha256(&[password.as_bytes()]);
    let twice = sha256(&[once.as_ref()]);
    xor(&once, &sha256(&[twice.as_ref(), challenge]))
}

/// What a server stores of `password` for the plugin `mysql_native_password`: `*` and 40 hexadecimal digits, as the SQL
/// function `PASSWORD` returns it; empty for an empty password. A statement with it (`IDENTIFIED BY PASSWORD`) shows no
/// log and no other member the password.
#[must_use]
pub fn native_password_hash(password: &str) -> String {
    if password.is_empty() {
        return String::new();
    }
    let once = hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[password.as_bytes()]);
    let twice = hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[once.as_ref()]);
    let digits = twice.as_ref().iter().map(|byte| format!("{byte:02X}"));
    format!("*{}", digits.collect::<String>())
}

fn hash(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

fn xor(a: &digest::Digest, b: &digest::Digest) -> Vec<u8> {
    let pairs = a.as_ref().iter().zip(b.as_ref());
    pairs.map(|(a, b)| a ^ b).collect()
}

/// The Ed25519 signature of the challenge, with SHA512(password) as the expanded key.
fn ed25519(password: &str, challenge: &[u8; 32]) -> Vec<u8> {
    let key = ExpandedSecretKey::from_bytes(&Sha512::digest(password.as_bytes()).into());
    let public = VerifyingKey::from(&key);
    raw_sign::<Sha512>(&key, challenge, &public)
        .to_bytes()
        .to_vec()
}

/// A challenge of the client and the Ed25519 signature of both challenges, with a key that is derived from the password
/// and the server's salt.
async fn parsec(password: &str, challenge: [u8; 32], packet: &[u8]) -> Result<Vec<u8>, Error> {
    // Some versions put the byte 1 in front, which marks data of a plugin.
    let salt = match packet {
        [1, rest @ ..] => rest,
        salt => salt,
    };
    let mut fields = PacketFields::new(salt);
    let (function, exponent) = (fields.u8()?, fields.u8()?);
    let salt: [u8; PARSEC_SALT] = exactly(fields.rest())?;
    if function != b'P' || exponent > PARSEC_EXPONENT_MAX {
        return Err(Error::Protocol(
            format!("parsec's key derivation is not supported (function {function}, exponent {exponent})").into(),
        ));
    }
    let rounds = NonZeroU32::new(1024 << u32::from(exponent)).unwrap_or(NonZeroU32::MIN);
    let seed = derived_key(Arc::from(password), salt, rounds).await?;
    let mut own_challenge = [0; 32];
    rand::fill(&mut own_challenge).map_err(|_| Error::protocol("no random numbers"))?;
    let signature = SigningKey::from_bytes(&seed).sign(&[challenge, own_challenge].concat());
    Ok([&own_challenge[..], &signature.to_bytes()].concat())
}

async fn derived_key(
    password: Arc<str>,
    salt: [u8; PARSEC_SALT],
    rounds: NonZeroU32,
) -> Result<[u8; 32], Error> {
    let failed = |_| Error::protocol("the key derivation was interrupted");
    let permit = DERIVATIONS
        .acquire()
        .await
        .map_err(|_| Error::protocol("the key derivation was interrupted"))?;
    let deriving = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut key = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA512,
            rounds,
            &salt,
            password.as_bytes(),
            &mut key,
        );
        key
    });
    deriving.await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signature;

    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).unwrap() as u8;
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
            .collect()
    }

    #[test]
    fn a_challenge_of_another_length_is_refused() {
        let refused = |length: usize| exactly::<20>(&vec![7; length]).is_err();
        assert!(refused(0) && refused(8) && refused(19) && refused(21) && refused(64));
        assert_eq!(exactly::<20>(&[7; 20]).unwrap(), [7; 20]);
        assert_eq!(exactly::<2>(&[7, 8, 0]).unwrap(), [7, 8]);
    }

    #[test]
    fn the_hash_is_that_of_the_sql_function() {
        // SELECT PASSWORD('secret')
        assert_eq!(
            native_password_hash("secret"),
            "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"
        );
        assert_eq!(native_password_hash(""), "");
    }

    /// The answer XOR the right-hand side gives SHA1(password), whose hash a server stores.
    #[test]
    fn the_native_answer_proves_the_password() {
        let challenge = [9; 20];
        let answer = native("secret", &challenge);
        let stored = {
            let once = hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[b"secret"]);
            hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[once.as_ref()])
        };
        // PASSWORD('secret') of MariaDB.
        assert_eq!(
            stored.as_ref(),
            unhex("14e65567abdb5135d0cfd9a70b3032c179a49ee7")
        );
        let mask = hash(
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            &[&challenge, stored.as_ref()],
        );
        let once: Vec<u8> = answer
            .iter()
            .zip(mask.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let proven = hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[&once]);
        assert_eq!(proven.as_ref(), stored.as_ref());
        assert!(native("", &challenge).is_empty() && caching_sha2("", &challenge).is_empty());
    }

    /// The key that MariaDB's documentation gives for ed25519_password('secret').
    #[test]
    fn ed25519_signs_the_challenge_with_the_hashed_password() {
        let stored = unhex("648814444520e4f56043a2ec9215e63be7992d2d270bc6dee873e36164786096");
        let public = VerifyingKey::try_from(&stored[..]).unwrap();
        let signature = Signature::from_slice(&ed25519("secret", &[5; 32])).unwrap();
        public.verify_strict(&[5; 32], &signature).unwrap();
    }

    #[tokio::test]
    async fn parsec_refuses_unknown_and_expensive_derivations() {
        for packet in [
            &[b'P', 9][..],
            &[b'P', 255],
            &[b'Q', 0],
            &[],
            b"P",
            &[1, b'P', 32],
        ] {
            let packet = [packet, &[3; PARSEC_SALT]].concat();
            assert!(parsec("secret", [4; 32], &packet).await.is_err());
        }
        assert!(parsec("secret", [4; 32], b"P\0short").await.is_err());
    }

    /// The account that MariaDB's documentation creates with PASSWORD('MyPassword123!').
    #[tokio::test]
    async fn parsec_signs_both_challenges_with_the_derived_key() {
        let salt = unhex("9615f236fd5c231a41f049d3c51ece37b4bb");
        let stored = unhex("d65deb5915b5fe3c38e72aef61707c7a1d36c3393b95c25ccf808c716c366fef");
        let public = VerifyingKey::try_from(&stored[..]).unwrap();
        for front in [&[b'P', 0][..], &[1, b'P', 0]] {
            let packet = [front, &salt].concat();
            let answer = parsec("MyPassword123!", [4; 32], &packet).await.unwrap();
            let signed = [&[4; 32], &answer[..32]].concat();
            let signature = Signature::from_slice(&answer[32..]).unwrap();
            public.verify_strict(&signed, &signature).unwrap();
        }
    }
}
