//! Links in notifications by which an approver opens a requested action.
//!
//! A link gives no right: it names an action, and shows that a console with the state secret sent it, for this plan, to this
//! target, until that time. Its token is the same at every attempt to send the notification and by every replica, so nothing of
//! it is stored; that it was used is part of the action's record.

use std::fmt;
use std::sync::Arc;

use galera::record::audit::{EntrySeal, SealVerdict};
use galera::recover::plan::PlanDigest;
use galera::{ActionId, Timestamp};
use registry::Registry;

use crate::state_secret::{StateSecretSealer, StateSecrets};

/// Longest token, in bytes; the console's own have about 130.
pub const TOKEN_LENGTH_MAX: usize = 256;
/// Part of what is authenticated: the format of tokens.
const FORMAT: &str = "galera-console approval link 1";

/// What a link names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalLink {
    pub action: ActionId,
    /// The id of the notification target that it is sent to.
    pub target: String,
    /// From then on it is not accepted.
    pub expires_at: Timestamp,
}

/// A link as it was presented: what it names is not authentic before [`ApprovalLinkSeals::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedLink {
    pub link: ApprovalLink,
    seal: EntrySeal,
}

impl fmt::Debug for PresentedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the tag, which makes it a link.
        f.debug_tuple("PresentedLink").field(&self.link).finish()
    }
}

impl PresentedLink {
    /// Parses `KID.ACTION.TARGET.MILLISECONDS.TAG`; `None` if `token` is not one.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() > TOKEN_LENGTH_MAX {
            return None;
        }
        let mut fields = token.split('.');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        let (kid, action, target) = (field()?, field()?, field()?);
        let (expires_at, tag) = (field()?, field()?);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if fields.next().is_some() || !target.bytes().all(is_plain) {
            return None;
        }
        Some(Self {
            link: ApprovalLink {
                action: action.parse().ok()?,
                target: target.to_owned(),
                expires_at: Timestamp::from_unix_millis(expires_at.parse().ok()?),
            },
            seal: EntrySeal {
                kid: kid.to_owned(),
                tag: tag.to_owned(),
            },
        })
    }
}

/// Makes and verifies links with the state secret, if there is one.
#[derive(Clone, Debug, Default)]
pub struct ApprovalLinkSeals(Option<Arc<StateSecrets>>);

impl ApprovalLinkSeals {
    /// With the secrets that seal the records of `registry`.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        Self(StateSecretSealer::secrets_of(registry))
    }

    /// With these secrets.
    #[must_use]
    pub fn with(secrets: StateSecrets) -> Self {
        Self(Some(Arc::new(secrets)))
    }

    /// Whether links can be made.
    #[must_use]
    pub fn are_available(&self) -> bool {
        self.0.is_some()
    }

    /// The token of `link` to the action with the plan `digest`; `None` without a state secret.
    #[must_use]
    pub fn token(&self, link: &ApprovalLink, digest: &PlanDigest) -> Option<String> {
        let seal = self.0.as_ref()?.sign_approval_link(&message(link, digest));
        let ApprovalLink { action, target, .. } = link;
        let millis = link.expires_at.unix_millis();
        Some(format!(
            "{}.{action}.{target}.{millis}.{}",
            seal.kid, seal.tag
        ))
    }

    /// Whether a console with one of these secrets made `presented` for the plan `digest`.
    #[must_use]
    pub fn verify(&self, presented: &PresentedLink, digest: &PlanDigest) -> SealVerdict {
        let Some(secrets) = &self.0 else {
            return SealVerdict::UnknownSecret;
        };
        secrets.verify_approval_link(&message(&presented.link, digest), &presented.seal)
    }

    /// Whether one of these secrets has the name that `presented` states.
    #[must_use]
    pub fn know_secret_of(&self, presented: &PresentedLink) -> bool {
        let secrets = self.0.as_ref();
        secrets.is_some_and(|secrets| secrets.contains(&presented.seal.kid))
    }
}

/// What the tag covers. Only the last member may contain a line feed.
fn message(link: &ApprovalLink, digest: &PlanDigest) -> Vec<u8> {
    let millis = link.expires_at.unix_millis();
    let (action, target) = (&link.action, &link.target);
    format!("{FORMAT}\n{action}\n{target}\n{millis}\n{digest}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(text: &str, previous: Option<&str>) -> ApprovalLinkSeals {
        ApprovalLinkSeals::with(StateSecrets::derive(text, previous).unwrap())
    }

    fn link() -> ApprovalLink {
        ApprovalLink {
            action: "01a1ee565e01-00000000".parse().unwrap(),
            target: "0123456789ab".to_owned(),
            expires_at: Timestamp::from_unix_millis(1_795_000_900_000),
        }
    }

    #[test]
    fn a_token_is_accepted_for_what_it_was_made_for_only() {
        let (one, digest) = (seals("one", None), PlanDigest::new("d1"));
        let token = one.token(&link(), &digest).unwrap();
        assert_eq!(one.token(&link(), &digest).unwrap(), token);
        let presented = PresentedLink::parse(&token).unwrap();
        assert_eq!(presented.link, link());
        assert_eq!(one.verify(&presented, &digest), SealVerdict::Valid);
        // After a rotation, until the former secret is removed.
        let rotated = seals("two", Some("one"));
        assert_eq!(rotated.verify(&presented, &digest), SealVerdict::Valid);
        let others = [
            seals("three", Some("two")),
            seals("other", None),
            ApprovalLinkSeals::default(),
        ];
        for other in others {
            let verdict = other.verify(&presented, &digest);
            assert_eq!(verdict, SealVerdict::UnknownSecret);
        }
        let another = PlanDigest::new("d2");
        assert_eq!(one.verify(&presented, &another), SealVerdict::Invalid);
        let forge = |alter: fn(&mut PresentedLink)| {
            let mut forged = presented.clone();
            alter(&mut forged);
            assert_eq!(
                one.verify(&forged, &digest),
                SealVerdict::Invalid,
                "{forged:?}"
            );
        };
        forge(|link| link.link.action = "01a1ee565e01-00000001".parse().unwrap());
        forge(|link| link.link.target = "0123456789ac".to_owned());
        forge(|link| link.link.expires_at = Timestamp::from_unix_millis(1_795_000_900_001));
        forge(|link| link.seal.tag.truncate(8));
        forge(|link| link.seal.tag.clear());
        forge(|link| link.seal.tag = link.seal.tag.to_uppercase());
        assert!(!format!("{presented:?}").contains(&presented.seal.tag));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = seals("one", None).token(&link(), &PlanDigest::new("d"));
        let token = token.unwrap();
        assert!(PresentedLink::parse(&token).is_some());
        let long = format!("{token}{}", "0".repeat(TOKEN_LENGTH_MAX));
        let moved = token.replace("0123456789ab", "a/b");
        let more = format!("{token}.x");
        for bad in ["", ".", "a.b.c.d.e", "....", &long, &moved, &more, "\n"] {
            assert!(PresentedLink::parse(bad).is_none(), "{bad:?}");
        }
        for length in 0..token.len() {
            let part = PresentedLink::parse(&token[..length]);
            assert!(part.is_none_or(|part| part.seal.tag.len() < 64));
        }
    }
}
