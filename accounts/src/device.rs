//! Known devices: a browser that an account has signed in with holds a signed cookie, and its attempts are throttled
//! separately. So an attacker cannot keep the owner of an account out by failing on its name.
//!
//! The token names the account and its credential, which changes with the password: it ends with that, with the account, and
//! after [`DEVICE_LIFETIME`]. It grants nothing but a separate budget of attempts.

use std::fmt::Write;
use std::time::Duration;

use galera::Timestamp;
use galera::access::CredentialTag;
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::records::UserName;
use super::token::{ALGORITHM, ISSUER, TokenSigner};

/// How long a device stays known after a sign-in.
pub(crate) const DEVICE_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

const AUDIENCE: &str = "galera-console/device";
/// Bytes of the hash that names the cookie of an account.
const SUFFIX_BYTES: usize = 4;

/// A token for the cookie of a known device.
#[derive(Clone, Debug)]
pub struct DeviceToken {
    /// The end of the cookie's name, as of `device_cookie_suffix`.
    pub cookie_suffix: String,
    pub token: String,
    pub lifetime: Duration,
}

/// The end of the name of the account's cookie, so that one browser can be known for several accounts; `None` if `username` is
/// not a valid name.
#[must_use]
pub(crate) fn device_cookie_suffix(username: &str) -> Option<String> {
    let name: UserName = username.parse().ok()?;
    let digest = Sha256::digest(name.as_str());
    let mut suffix = String::with_capacity(2 * SUFFIX_BYTES);
    for byte in digest.iter().take(SUFFIX_BYTES) {
        write!(suffix, "{byte:02x}").ok()?;
    }
    Some(suffix)
}

/// A device that an account has signed in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDevice {
    pub id: Uuid,
    /// When its token was issued, at the last sign-in on it; `None` for a token of an earlier version.
    pub issued_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct DeviceClaims {
    iss: String,
    aud: String,
    sub: UserName,
    /// The device's id.
    did: Uuid,
    /// The tag of the account's credential.
    cred: CredentialTag,
    /// When it was issued, in milliseconds since 1970: `iat` would be in seconds.
    #[serde(default)]
    issued_ms: Option<i64>,
    exp: i64,
}

/// A token for a new device of `name`.
pub(crate) fn issue(
    signer: &TokenSigner,
    name: &UserName,
    credential: &CredentialTag,
    now: Timestamp,
) -> Option<DeviceToken> {
    let expires = now.plus(DEVICE_LIFETIME);
    let claims = DeviceClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: name.clone(),
        did: Uuid::new_v4(),
        cred: credential.clone(),
        issued_ms: Some(now.unix_millis()),
        exp: expires.unix_millis().div_euclid(1000),
    };
    let token = jsonwebtoken::encode(&Header::new(ALGORITHM), &claims, &signer.encoding).ok()?;
    Some(DeviceToken {
        cookie_suffix: device_cookie_suffix(name.as_str())?,
        token,
        lifetime: DEVICE_LIFETIME,
    })
}

/// The device, if `token` was issued for `name` with its present credential.
pub(crate) fn verify(
    signer: &TokenSigner,
    token: &str,
    name: &UserName,
    credential: &CredentialTag,
) -> Option<KnownDevice> {
    let mut validation = Validation::new(ALGORITHM);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = jsonwebtoken::decode::<DeviceClaims>(token, &signer.decoding, &validation).ok()?;
    let claims = claims.claims;
    (claims.sub == *name && claims.cred == *credential).then(|| KnownDevice {
        id: claims.did,
        issued_at: claims.issued_ms.map(Timestamp::from_unix_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::super::cache::now;
    use super::*;

    fn tag(text: &str) -> CredentialTag {
        CredentialTag::new(text)
    }

    #[test]
    fn a_device_is_known_to_its_account_and_credential_only() {
        let signer = TokenSigner::new(b"key one");
        let (dora, emil): (UserName, UserName) = ("dora".parse().unwrap(), "emil".parse().unwrap());
        let issued = issue(&signer, &dora, &tag("c1"), now()).unwrap();
        let token = issued.token.as_str();
        assert!(verify(&signer, token, &dora, &tag("c1")).is_some());
        assert_eq!(verify(&signer, token, &emil, &tag("c1")), None);
        assert_eq!(verify(&signer, token, &dora, &tag("c2")), None);
        assert_eq!(
            verify(&TokenSigner::new(b"key two"), token, &dora, &tag("c1")),
            None
        );
        let expired = Timestamp::from_unix_millis(now().unix_millis() - 91 * 86_400_000);
        let expired = issue(&signer, &dora, &tag("c1"), expired).unwrap();
        assert_eq!(verify(&signer, &expired.token, &dora, &tag("c1")), None);
        for bad in ["", "a.b.c", &token[1..], &"x".repeat(100_000)] {
            assert_eq!(verify(&signer, bad, &dora, &tag("c1")), None);
        }
    }

    #[test]
    fn a_device_token_is_not_a_session_and_a_session_not_a_device() {
        use super::super::token::SessionClaims;
        let signer = TokenSigner::new(b"key one");
        let dora: UserName = "dora".parse().unwrap();
        let device = issue(&signer, &dora, &tag("c1"), now()).unwrap();
        assert!(signer.verify(&device.token).is_err());
        let expires = now().plus(Duration::from_secs(60));
        let claims = SessionClaims::new(dora.clone(), Uuid::nil(), now(), expires);
        let session = signer.sign(&claims).unwrap();
        assert_eq!(verify(&signer, &session, &dora, &tag("c1")), None);
    }

    #[test]
    fn names_that_are_equal_have_the_same_cookie() {
        let suffix = device_cookie_suffix("dora").unwrap();
        assert_eq!(suffix.len(), 8);
        assert_eq!(device_cookie_suffix(" DORA "), Some(suffix));
        assert_eq!(device_cookie_suffix("<script>"), None);
    }
}
