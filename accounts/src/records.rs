//! The records of accounts and sessions in etcd.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use galera::ClusterName;
use galera::Timestamp;
use galera::access::{
    ClusterLabels, CredentialTag, GroupName, Operation, Role, RoleGrant, check_permission,
    granted_roles, roles_on,
};
use galera::publish::accounts::AccountKind;
use galera::publish::notification::Audience;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The text is not a valid account name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid account name {0:?}; use 1 to 64 of the characters a-z, 0-9, '.', '_' and '-'")]
pub struct UserNameError(pub String);

/// An account's name: 1 to 64 of `a-z 0-9 . _ -`, converted to lower case. Only the name of an account of an identity provider
/// has an `@`, so that it is never that of another account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// The lower-case name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name for a person whose name has no usable characters.
    #[must_use]
    pub(crate) fn fallback(number: usize) -> Self {
        Self(format!("user-{number}@provider"))
    }

    /// Whether it is the name of an account of an identity provider.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.0.contains('@')
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let name = text.trim().to_ascii_lowercase();
        let allowed = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '@')
        };
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(UserNameError(text.chars().take(80).collect()));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for UserName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A person, as an identity provider names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExternalIdentity {
    /// The provider's `iss`.
    pub issuer: String,
    /// The provider's `sub`: never assigned to another person.
    pub subject: String,
}

impl ExternalIdentity {
    /// The name of its record: a digest, because issuer and subject are any text.
    #[must_use]
    pub(crate) fn digest(&self) -> String {
        let length = u64::try_from(self.issuer.len()).unwrap_or(u64::MAX);
        let digest = Sha256::new()
            .chain_update(length.to_be_bytes())
            .chain_update(&self.issuer)
            .chain_update(&self.subject)
            .finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Which account an [`ExternalIdentity`] signs in to, at `<state>/identities/<digest>`: no identity has two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    #[serde(flatten)]
    pub identity: ExternalIdentity,
    pub account: UserName,
}

/// An account, at `<state>/users/<name>`.
///
/// `roles` in etcd are those that count everywhere, so that a console of a version without `grants` permits nothing more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct UserRecord {
    /// Whose it is; a service account has tokens only.
    #[serde(default, skip_serializing_if = "AccountKind::is_person")]
    pub kind: AccountKind,
    /// The password's argon2id hash as a PHC string; empty for an account without one.
    pub password_hash: String,
    /// Changes with every new password, which ends the sessions and tokens of the previous one.
    pub credential: Uuid,
    /// All roles, wherever they count.
    pub roles: Vec<Role>,
    /// Where each role counts; empty if all count everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<RoleGrant>,
    /// The groups of an account with a password, which approval policies may name. Accounts of an identity provider have those of
    /// their grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Who signs in to it with the identity provider; `None` for other accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalIdentity>,
    /// Where notifications for this account are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The enrolled second factor, whose record is at `<state>/factors/<name>`. Here too, so that deleting that record
    /// does not make the password suffice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<Uuid>,
    /// A disabled account cannot sign in.
    pub disabled: bool,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
}

impl Serialize for UserRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.grants.is_empty() {
            return Self::serialize(self, serializer);
        }
        let everywhere = self.grants.iter().filter(|grant| grant.clusters.is_all());
        let everywhere: Vec<RoleGrant> = everywhere.cloned().collect();
        let stored = Self {
            roles: granted_roles(&everywhere),
            ..self.clone()
        };
        Self::serialize(&stored, serializer)
    }
}

impl<'de> Deserialize<'de> for UserRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut record = Self::deserialize(deserializer)?;
        if !record.grants.is_empty() {
            record.roles = granted_roles(&record.grants);
        }
        Ok(record)
    }
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("roles", &self.roles)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

impl UserRecord {
    /// The e-mail address of this enabled account, called `name`, if `audience` includes it.
    #[must_use]
    pub(crate) fn email_for(&self, name: &UserName, audience: &Audience) -> Option<&str> {
        let included = match audience {
            Audience::Everyone => true,
            Audience::Approvers { except } => {
                name.as_str() != except
                    && check_permission(&self.roles, Operation::ApproveAction).is_ok()
            }
            Audience::Person { name: person } => name.as_str() == person,
        };
        // A notification may concern any cluster.
        let limited = self.grants.iter().any(|grant| !grant.clusters.is_all());
        let included = included && !self.disabled && !limited;
        self.email.as_deref().filter(|_| included)
    }

    /// The roles that count on `cluster`, with what `labels` give it.
    #[must_use]
    pub(crate) fn roles_on(&self, cluster: &ClusterName, labels: &ClusterLabels) -> Vec<Role> {
        if self.grants.is_empty() {
            return self.roles.clone();
        }
        let grants = self.grants.iter().map(|grant| grant.with_labels(labels));
        roles_on(&grants.collect::<Vec<_>>(), cluster)
    }

    /// The groups that it is in, in order: its own, or those of its grants.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupName> {
        let granted = self.grants.iter().filter_map(|grant| grant.group.as_ref());
        let granted = granted.filter_map(|group| group.parse().ok());
        let mut groups: Vec<GroupName> = match self.external {
            Some(_) => granted.collect(),
            None => self.groups.clone(),
        };
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The tag of this account's credential: part of its digest, because tags are published and credentials are not.
    #[must_use]
    pub fn credential_tag(&self) -> CredentialTag {
        let digest = Sha256::digest(self.credential.as_bytes());
        CredentialTag::new(
            digest
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }

    /// Whether this account can currently manage accounts, also while no identity provider answers.
    #[must_use]
    pub(crate) fn is_active_admin(&self) -> bool {
        let everywhere =
            |grant: &RoleGrant| grant.clusters.is_all() && grant.roles.contains(&Role::Admin);
        let manages = match self.grants.as_slice() {
            [] => self.roles.contains(&Role::Admin),
            grants => grants.iter().any(everywhere),
        };
        !self.disabled && self.kind.is_person() && manages
    }
}

/// A session, at `<state>/sessions/<id>` under a lease with the same lifetime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub username: UserName,
    /// The account's [`UserRecord::credential`] at sign-in.
    pub credential: Uuid,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The public name of the key that signed its token; version 0.1 recorded none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// When its user last proved to be the account's owner after signing in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Timestamp>,
    /// The provider's name of its session there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_session: Option<String>,
    /// Whether the provider checked a second factor, as the roles file accepts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provider_factor: bool,
    /// Where its user signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl SessionRecord {
    /// When its user last proved to be the account's owner.
    #[must_use]
    pub(crate) fn last_proof(&self) -> Timestamp {
        self.proven_at.unwrap_or(self.created_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_cased_and_bounded() {
        assert_eq!("Dora.K".parse::<UserName>().unwrap().as_str(), "dora.k");
        for bad in ["", " ", "a b", "a/b", "<script>", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn email_addresses_match_the_audience() {
        let now = Timestamp::from_unix_millis(0);
        let record = |roles: &[Role], disabled: bool| UserRecord {
            kind: AccountKind::Person,
            password_hash: String::new(),
            credential: Uuid::nil(),
            roles: roles.to_vec(),
            grants: Vec::new(),
            groups: Vec::new(),
            external: None,
            email: Some("x@example.org".to_owned()),
            factor: None,
            disabled,
            created_at: now,
            changed_at: now,
        };
        let name: UserName = "anna".parse().unwrap();
        let approvers = |except: &str| Audience::Approvers {
            except: except.to_owned(),
        };
        let reached = |roles: &[Role], audience: &Audience| {
            record(roles, false).email_for(&name, audience).is_some()
        };
        assert!(reached(&[Role::Viewer], &Audience::Everyone));
        assert!(reached(&[Role::Approver], &approvers("olga")));
        assert!(!reached(
            &[Role::Approver, Role::Operator],
            &approvers("anna")
        ));
        assert!(!reached(&[Role::Operator, Role::Admin], &approvers("olga")));
        for (person, expected) in [("anna", true), ("olga", false)] {
            let audience = Audience::Person {
                name: person.to_owned(),
            };
            assert_eq!(reached(&[Role::Viewer], &audience), expected, "{person}");
        }
        let disabled = record(&[Role::Viewer], true);
        assert_eq!(disabled.email_for(&name, &Audience::Everyone), None);
    }

    #[test]
    fn people_of_a_provider_have_the_groups_of_their_grants() {
        let now = Timestamp::from_unix_millis(0);
        let grant = |group: Option<&str>| RoleGrant {
            group: group.map(str::to_owned),
            ..RoleGrant::of(vec![Role::Approver], Default::default())
        };
        let mut record = UserRecord {
            kind: AccountKind::Person,
            password_hash: String::new(),
            credential: Uuid::nil(),
            roles: vec![Role::Approver],
            grants: vec![grant(Some("dba")), grant(None), grant(Some("cn=x,dc=y"))],
            groups: vec!["sre".parse().unwrap()],
            external: None,
            email: None,
            factor: None,
            disabled: false,
            created_at: now,
            changed_at: now,
        };
        let names = |record: &UserRecord| {
            let groups = record.groups();
            let groups: Vec<&str> = groups.iter().map(GroupName::as_str).collect();
            groups.join(" ")
        };
        assert_eq!(names(&record), "sre");
        record.external = Some(ExternalIdentity {
            issuer: "https://idp.example.org".to_owned(),
            subject: "1".to_owned(),
        });
        // A name that no policy can contain is left out.
        assert_eq!(names(&record), "dba");
        let json = serde_json::to_value(&record).unwrap();
        let mut older = json.clone();
        older.as_object_mut().unwrap().remove("groups");
        older.as_object_mut().unwrap().remove("external");
        let older: UserRecord = serde_json::from_value(older).unwrap();
        assert_eq!(names(&older), "");
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let now = Timestamp::from_unix_millis(0);
        let user = UserRecord {
            kind: AccountKind::Person,
            password_hash: "$argon2id$secret".to_owned(),
            credential: Uuid::nil(),
            roles: vec![Role::Viewer],
            grants: Vec::new(),
            groups: Vec::new(),
            external: None,
            email: None,
            factor: None,
            disabled: false,
            created_at: now,
            changed_at: now,
        };
        assert!(!format!("{user:?}").contains("argon2id"));
    }
}
