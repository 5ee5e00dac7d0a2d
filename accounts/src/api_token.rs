//! API tokens as text, and what is stored of them.
//!
//! A token is `gct_ID_SECRET`: 16 hexadecimal digits that name its record, then 64 of the secret (256 bits) and 8 of a
//! checksum. Scanners of source code recognize the prefix, and a mistyped or cut token is refused by its checksum alone.
//! Of the secret only a keyed hash is stored.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use galera::Timestamp;
use galera::access::{ClusterScope, Role, RoleGrant};
use galera::publish::accounts::TokenState;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::records::{UserName, UserRecord};

/// How every token begins.
pub const TOKEN_PREFIX: &str = "gct_";
/// Longest name of a token, in characters.
pub(crate) const TOKEN_NAME_MAX: usize = 64;
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
/// Part of what is hashed: the format of tokens.
const FORMAT: &[u8] = b"galera-console api token 1";

/// Names the record of a token; no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

/// The text is not the id of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid token id {0:?}; `galera-console token list` lists all tokens")]
pub struct TokenIdError(pub String);

impl TokenId {
    /// The id, 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the id of a [`console_core::session::SessionGuard`].
    pub(crate) fn to_uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from_str_radix(&self.0, 16).unwrap_or_default())
    }
}

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        match HEXLOWER.decode(text.as_bytes()) {
            Ok(bytes) if bytes.len() == ID_BYTES => Ok(Self(text.to_owned())),
            _ => Err(TokenIdError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenTextError {
    /// It does not have the format of a token.
    Malformed,
    /// It has the format, but was changed or cut.
    Checksum,
}

/// A token, with its secret.
pub(crate) struct TokenText {
    pub(crate) id: TokenId,
    secret: [u8; SECRET_BYTES],
}

impl TokenText {
    /// A new token.
    pub(crate) fn generate() -> Self {
        Self {
            id: TokenId(HEXLOWER.encode(&rand::random::<[u8; ID_BYTES]>())),
            secret: rand::random(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, TokenTextError> {
        use TokenTextError::Malformed;
        let (id, rest) = text
            .strip_prefix(TOKEN_PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(Malformed)?;
        let id: TokenId = id.parse().map_err(|_| Malformed)?;
        let bytes = HEXLOWER.decode(rest.as_bytes()).map_err(|_| Malformed)?;
        let (secret, checksum) = bytes.split_at_checked(SECRET_BYTES).ok_or(Malformed)?;
        let token = Self {
            id,
            secret: secret.try_into().map_err(|_| Malformed)?,
        };
        match checksum.len() == CHECKSUM_BYTES {
            true if *checksum == token.checksum() => Ok(token),
            true => Err(TokenTextError::Checksum),
            false => Err(Malformed),
        }
    }

    fn without_checksum(&self) -> String {
        format!(
            "{TOKEN_PREFIX}{}_{}",
            self.id,
            HEXLOWER.encode(&self.secret)
        )
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        let digest = Sha256::digest(self.without_checksum());
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
        checksum
    }

    /// The token as it is shown once.
    pub(crate) fn expose(&self) -> String {
        format!(
            "{}{}",
            self.without_checksum(),
            HEXLOWER.encode(&self.checksum())
        )
    }

    /// What is hashed: the secret of this token of this account, so that a hash cannot be moved to another record.
    fn message(&self, account: &UserName) -> Vec<u8> {
        let parts = [
            FORMAT,
            self.id.as_str().as_bytes(),
            account.as_str().as_bytes(),
        ];
        let mut message = parts.join(&0);
        message.push(0);
        message.extend(self.secret);
        message
    }
}

/// A keyed hash of a token's secret. Each has a separate key, so that rotations of the state secret, which encrypts the record,
/// leave it as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenHash {
    key: String,
    hmac_sha256: String,
}

impl TokenHash {
    pub(crate) fn of(token: &TokenText, account: &UserName) -> Self {
        let key: [u8; 32] = rand::random();
        let signed = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            &token.message(account),
        );
        Self {
            key: HEXLOWER.encode(&key),
            hmac_sha256: HEXLOWER.encode(signed.as_ref()),
        }
    }

    /// Whether `token` of `account` has this hash, in constant time.
    pub(crate) fn matches(&self, token: &TokenText, account: &UserName) -> bool {
        let key = HEXLOWER.decode(self.key.as_bytes());
        let hash = HEXLOWER.decode(self.hmac_sha256.as_bytes());
        let (Ok(key), Ok(hash)) = (key, hash) else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        hmac::verify(&key, &token.message(account), &hash).is_ok()
    }
}

/// An API token, at `<state>/tokens/<id>` under a lease that outlives it a little.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub account: UserName,
    /// The account's [`UserRecord::credential`] when the token was created.
    pub(crate) credential: Uuid,
    /// What the owner calls it.
    pub name: String,
    /// What it may do, as far as its account still may.
    pub roles: Vec<Role>,
    /// The clusters that it is limited to.
    #[serde(default)]
    pub clusters: ClusterScope,
    pub(crate) hash: TokenHash,
    pub created_at: Timestamp,
    /// The account that created it, or the command line.
    pub created_by: String,
    pub expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRecord")
            .field("account", &self.account)
            .field("name", &self.name)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl TokenRecord {
    /// Whether the token can be used while its account is `user`.
    #[must_use]
    pub fn state(&self, user: Option<&UserRecord>, now: Timestamp) -> TokenState {
        let continues = user.is_some_and(|user| {
            // Roles that the identity provider gave last for as long as a session.
            !user.disabled && user.credential == self.credential && user.external.is_none()
        });
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if now >= self.expires_at {
            TokenState::Expired
        } else if !continues {
            TokenState::Ended
        } else {
            TokenState::Active
        }
    }

    /// The roles of the token that `user` has now.
    pub(crate) fn roles_of(&self, user: &UserRecord) -> Vec<Role> {
        let roles = self.roles.iter().copied();
        roles.filter(|role| user.roles.contains(role)).collect()
    }

    /// Where the roles of the token that `user` has now count; empty if wherever its `clusters` permit.
    pub(crate) fn grants_of(&self, user: &UserRecord) -> Vec<RoleGrant> {
        let narrowed = user.grants.iter().filter_map(|grant| {
            let roles = grant.roles.iter().copied();
            let roles: Vec<Role> = roles.filter(|role| self.roles.contains(role)).collect();
            (!roles.is_empty()).then(|| RoleGrant::of(roles, grant.clusters.clone()))
        });
        narrowed.collect()
    }
}

/// Addresses of one token that are remembered, and audited when they are new.
pub(crate) const ADDRESSES_MAX: usize = 32;

/// The last use of a token, at `<state>/token-uses/<id>` under the token's lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUseRecord {
    pub at: Timestamp,
    pub address: IpAddr,
    /// Where it was used, as networks that one host may have; at most 32.
    #[serde(default)]
    pub(crate) networks: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_round_trips_and_hides_nothing_in_its_format() {
        let token = TokenText::generate();
        let text = token.expose();
        assert_eq!(text.len(), 4 + 16 + 1 + 64 + 8);
        assert!(text.starts_with("gct_"));
        let parsed = TokenText::parse(&text).map_err(|error| format!("{error:?}"));
        let parsed = parsed.unwrap();
        assert_eq!((parsed.id, parsed.secret), (token.id, token.secret));
    }

    #[test]
    fn a_changed_token_is_refused_by_its_checksum() {
        let text = TokenText::generate().expose();
        for index in 4..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(TokenText::parse(&changed).is_err(), "{index}");
        }
        for bad in [
            "",
            "gct_",
            "gct__",
            "x",
            "gct_ä_ö",
            &text[1..],
            &text[..text.len() - 2],
        ] {
            assert_eq!(
                TokenText::parse(bad).err(),
                Some(TokenTextError::Malformed),
                "{bad}"
            );
        }
        let upper = text.replace("gct_", "").to_uppercase();
        assert!(TokenText::parse(&format!("gct_{upper}")).is_err());
    }

    #[test]
    fn a_hash_is_of_one_token_of_one_account() {
        let (token, other) = (TokenText::generate(), TokenText::generate());
        let hash = TokenHash::of(&token, &name("otto"));
        assert!(hash.matches(&token, &name("otto")));
        assert!(!hash.matches(&token, &name("anna")));
        assert!(!hash.matches(&other, &name("otto")));
        let mixed = TokenText {
            id: token.id,
            secret: other.secret,
        };
        assert!(!hash.matches(&mixed, &name("otto")));
        let record = serde_json::to_string(&hash).unwrap();
        assert!(!record.contains(&HEXLOWER.encode(&token.secret)));
    }

    #[test]
    fn a_damaged_hash_matches_nothing() {
        let token = TokenText::generate();
        let hash = TokenHash {
            key: String::new(),
            hmac_sha256: String::new(),
        };
        assert!(!hash.matches(&token, &name("otto")));
    }
}
