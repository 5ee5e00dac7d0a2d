//! The session token: a JWT with a fixed algorithm, issuer, audience and leeway.

use std::time::Duration;

use galera::Timestamp;
use galera::access::CredentialTag;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::records::UserName;

pub(crate) const ALGORITHM: Algorithm = Algorithm::HS256;
pub(crate) const ISSUER: &str = "galera-console";
const AUDIENCE: &str = "galera-console/session";
/// The audience of a sign-in that still needs a code.
const SIGN_IN_AUDIENCE: &str = "galera-console/sign-in";
/// Tolerated clock difference between replicas, in seconds.
const LEEWAY_SECONDS: u64 = 5;

/// The claims of a session token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClaims {
    /// Always `galera-console`.
    pub iss: String,
    /// Always `galera-console/session`.
    pub aud: String,
    /// The account's name.
    pub sub: UserName,
    /// The session's id.
    pub sid: Uuid,
    /// Issued at, in seconds since the Unix epoch.
    pub iat: i64,
    /// Expires at, in seconds since the Unix epoch.
    pub exp: i64,
}

impl SessionClaims {
    /// Claims of a session of `username`; times are truncated to seconds.
    #[must_use]
    pub fn new(username: UserName, session: Uuid, issued: Timestamp, expires: Timestamp) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: username,
            sid: session,
            iat: issued.unix_millis().div_euclid(1000),
            exp: expires.unix_millis().div_euclid(1000),
        }
    }
}

/// The claims of a sign-in whose password was right and that still needs a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInClaims {
    /// Always `galera-console`.
    pub iss: String,
    /// Always `galera-console/sign-in`.
    pub aud: String,
    /// The account's name.
    pub sub: UserName,
    /// The tag of the credential that was right.
    pub credential: CredentialTag,
    /// Expires at, in seconds since the Unix epoch.
    pub exp: i64,
    /// How the session begins; `None` with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<SessionOrigin>,
}

/// How a session begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOrigin {
    /// When its user proved to be the account's owner; `None` for now.
    pub proven_at: Option<Timestamp>,
    /// The provider's name of its session.
    pub provider_session: Option<String>,
    /// Whether the provider checked a second factor.
    pub provider_factor: bool,
    /// Longest life of the session; `None` for that of all.
    pub lifetime: Option<Duration>,
}

impl SignInClaims {
    /// Claims of a sign-in of `username` until `expires`.
    #[must_use]
    pub fn new(username: UserName, credential: CredentialTag, expires: Timestamp) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: SIGN_IN_AUDIENCE.to_owned(),
            sub: username,
            credential,
            exp: expires.unix_millis().div_euclid(1000),
            origin: None,
        }
    }
}

/// Why a token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the session has expired")]
    Expired,
    /// Not issued by this console, or tampered with.
    #[error("the session token was not issued by this console")]
    Forged,
    /// The key that it names is not valid, or not any longer.
    #[error("the session token was signed with a key that is no longer valid")]
    UnknownKey,
}

/// The key that `token` names; `None` if it names none.
pub(crate) fn key_id_of(token: &str) -> Result<Option<String>, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Forged)?;
    Ok(header.kid)
}

/// Signs and verifies tokens with one key.
pub struct TokenSigner {
    pub(crate) encoding: EncodingKey,
    pub(crate) decoding: DecodingKey,
    validation: Validation,
    sign_in_validation: Validation,
}

fn validation(audience: &str) -> Validation {
    let mut validation = Validation::new(ALGORITHM);
    validation.leeway = LEEWAY_SECONDS;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

impl TokenSigner {
    /// A signer for HMAC key `key`.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            validation: validation(AUDIENCE),
            sign_in_validation: validation(SIGN_IN_AUDIENCE),
        }
    }

    /// Encodes and signs `claims`.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn sign(&self, claims: &SessionClaims) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&Header::new(ALGORITHM), claims, &self.encoding)
    }

    /// Encodes and signs `claims`, naming this key as `kid`.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn sign_as(
        &self,
        claims: &SessionClaims,
        kid: &str,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&header(kid), claims, &self.encoding)
    }

    pub(crate) fn sign_challenge(
        &self,
        claims: &SignInClaims,
        kid: &str,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&header(kid), claims, &self.encoding)
    }

    pub(crate) fn verify_challenge(&self, token: &str) -> Result<SignInClaims, TokenError> {
        decode(token, &self.decoding, &self.sign_in_validation)
    }

    /// The claims of `token`, if it was signed with this key and has not expired.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str) -> Result<SessionClaims, TokenError> {
        decode(token, &self.decoding, &self.validation)
    }
}

fn header(kid: &str) -> Header {
    Header {
        kid: Some(kid.to_owned()),
        ..Header::new(ALGORITHM)
    }
}

fn decode<T: DeserializeOwned + Clone>(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<T, TokenError> {
    match jsonwebtoken::decode::<T>(token, key, validation) {
        Ok(data) => Ok(data.claims),
        Err(error) if *error.kind() == ErrorKind::ExpiredSignature => Err(TokenError::Expired),
        Err(_) => Err(TokenError::Forged),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> i64 {
        let elapsed = std::time::UNIX_EPOCH.elapsed().unwrap();
        i64::try_from(elapsed.as_secs()).unwrap()
    }

    fn claims(expires_in: i64) -> SessionClaims {
        let at = |seconds: i64| Timestamp::from_unix_millis(seconds * 1000);
        SessionClaims::new(
            "dora".parse().unwrap(),
            Uuid::from_u128(7),
            at(now()),
            at(now() + expires_in),
        )
    }

    fn encode(header: &Header, claims: &Value, key: &[u8]) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(key)).unwrap()
    }

    #[test]
    fn a_signed_token_verifies() {
        let signer = TokenSigner::new(b"key one");
        let token = signer.sign(&claims(60)).unwrap();
        assert_eq!(signer.verify(&token), Ok(claims(60)));
    }

    #[test]
    fn a_sign_in_that_needs_a_code_is_no_session() {
        let signer = TokenSigner::new(b"key one");
        let until = Timestamp::from_unix_millis((now() + 60) * 1000);
        let name = || "dora".parse().unwrap();
        let challenge = SignInClaims::new(name(), CredentialTag::new("aa"), until);
        let token = signer.sign_challenge(&challenge, "1").unwrap();
        assert_eq!(signer.verify_challenge(&token), Ok(challenge));
        assert_eq!(signer.verify(&token), Err(TokenError::Forged));
        let session = signer.sign_as(&claims(60), "1").unwrap();
        assert_eq!(signer.verify_challenge(&session), Err(TokenError::Forged));
    }

    #[test]
    fn expiry_allows_only_the_leeway() {
        let signer = TokenSigner::new(b"key one");
        assert!(signer.verify(&signer.sign(&claims(-3)).unwrap()).is_ok());
        assert_eq!(
            signer.verify(&signer.sign(&claims(-10)).unwrap()),
            Err(TokenError::Expired)
        );
    }

    #[test]
    fn every_forgery_is_rejected() {
        let signer = TokenSigner::new(b"key one");
        let good = serde_json::to_value(claims(60)).unwrap();
        let header = Header::new(ALGORITHM);
        let altered = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            encode(&header, &claims, b"key one")
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            encode(&header, &claims, b"key one")
        };
        let genuine = signer.sign(&claims(60)).unwrap();
        let (_, rest) = genuine.split_once('.').unwrap();
        let (body, _) = rest.split_once('.').unwrap();
        // {"alg":"none","typ":"JWT"}
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        for (what, token) in [
            ("no algorithm", none),
            ("another key", encode(&header, &good, b"key two")),
            (
                "another algorithm of the family",
                encode(&Header::new(Algorithm::HS512), &good, b"key one"),
            ),
            ("another issuer", altered("iss", json!("elsewhere"))),
            (
                "another audience",
                altered("aud", json!("galera-console/share")),
            ),
            ("an invalid account", altered("sub", json!("../x"))),
            ("an invalid session", altered("sid", json!("7"))),
            ("text as expiry", altered("exp", json!("never"))),
            ("no expiry", without("exp")),
            ("no issuer", without("iss")),
            ("no audience", without("aud")),
            ("no account", without("sub")),
            ("no session", without("sid")),
            ("no token", String::new()),
            ("not a token", "a.b.c".to_owned()),
            ("a cut signature", genuine[..genuine.len() - 4].to_owned()),
        ] {
            assert_eq!(signer.verify(&token), Err(TokenError::Forged), "{what}");
        }
    }
}
