//! Signs in people whom an identity provider names: makes and changes their accounts, and ends their sessions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use console_core::keyspace::AccountKeys;
use console_core::session::SessionGuard;
use data_encoding::HEXLOWER;
use galera::Timestamp;
use galera::access::{RoleGrant, granted_roles};
use galera::publish::accounts::AccountKind;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{CreateOutcome, Precondition, Transaction, TransactionOutcome, WriteOp};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::errors::{OwnAccountError, SignInError};
use super::sessions::SessionOrigin;
use super::{ATTEMPTS, Authenticator, IssuedSession, SignInClient, keys_missing};
use crate::cache::now;
use crate::failed_sign_ins::FailureReason;
use crate::records::{ExternalIdentity, IdentityRecord, SessionRecord, UserName, UserRecord};
use crate::store::{factor_key, role_names, user_key};
use crate::throttle::network_of;
use crate::token::SignInClaims;

/// Longest ID token that is kept for signing out at the provider, in bytes.
const ID_TOKEN_MAX: usize = 16 * 1024;
/// Names that are tried for a new account whose first choice is taken.
const NAMES_MAX: usize = 50;
/// Longest first choice of a name, in characters; a number may follow.
const NAME_MAX: usize = 60;

/// A person whom the provider has just named.
#[derive(Clone)]
pub struct ExternalSignIn {
    pub identity: ExternalIdentity,
    /// What the provider calls the person, for the name of a new account.
    pub name: String,
    /// A verified address, for the record of a new account.
    pub email: Option<String>,
    /// The roles of the person; empty if no rule of the roles file matches.
    pub grants: Vec<RoleGrant>,
    /// When the person last proved their identity to the provider; `None` if it does not say.
    pub proven_at: Option<Timestamp>,
    /// The provider's name of its session.
    pub provider_session: Option<String>,
    /// Whether the provider checked a second factor, as the roles file accepts it.
    pub provider_factor: bool,
    /// The ID token, for signing out at the provider.
    pub id_token: String,
    /// Longest life of the session.
    pub session_max: Duration,
}

/// The account of a person, as found or made.
struct ExternalAccount {
    name: UserName,
    user: UserRecord,
    revision: i64,
}

impl Authenticator {
    /// Opens a session of the person, whose account is made at the first time and has the roles of `sign_in` from now on.
    ///
    /// # Errors
    /// [`SignInError::NoExternalRole`] without a role, which then also leaves its open sessions;
    /// [`SignInError::SecondFactorRequired`] where the account has a second factor here; others.
    pub async fn sign_in_external(
        &self,
        sign_in: &ExternalSignIn,
        client: &SignInClient,
    ) -> Result<IssuedSession, SignInError> {
        if let Some(error) = self.cache.etcd_error() {
            return Err(SignInError::Unavailable(error));
        }
        let result = self.try_sign_in_external(sign_in, client).await;
        let ExternalIdentity { issuer, subject } = &sign_in.identity;
        let address = client.address;
        match &result {
            Ok(issued) => {
                let user = &*issued.session.principal.username;
                tracing::info!(user, issuer, subject, %address, "{user} signed in from {address} with the identity provider");
                let mut detail = self.external_detail(sign_in);
                detail.insert("address".to_owned(), address.to_string());
                detail.insert("device".to_owned(), "new".to_owned());
                self.record_event(AuditEvent::SIGNED_IN, user, detail).await;
            }
            Err(SignInError::SecondFactorRequired { .. }) => {
                tracing::info!(issuer, subject, %address, "The identity provider named {subject}; a code is needed");
            }
            Err(error) => {
                tracing::warn!(issuer, subject, %address, "Sign-in of {subject} with the identity provider refused: {error}");
            }
        }
        let reason = match &result {
            Err(SignInError::Disabled) => Some(FailureReason::Disabled),
            Err(SignInError::NoExternalRole) => Some(FailureReason::NoExternalRole),
            _ => None,
        };
        if let Some(reason) = reason {
            let account = self.account_of(&sign_in.identity).await.ok().flatten();
            let account = account.map(|account| account.name);
            self.failures
                .count(account, network_of(address), reason, now());
        }
        result
    }

    async fn try_sign_in_external(
        &self,
        sign_in: &ExternalSignIn,
        client: &SignInClient,
    ) -> Result<IssuedSession, SignInError> {
        let account = self.take_over_grants(sign_in).await?;
        let account = account.ok_or(SignInError::NoExternalRole)?;
        if account.user.disabled {
            return Err(SignInError::Disabled);
        }
        if sign_in.grants.is_empty() {
            return Err(SignInError::NoExternalRole);
        }
        let origin = SessionOrigin {
            // Without a time nothing is proven recently.
            proven_at: Some(sign_in.proven_at.unwrap_or(Timestamp::from_unix_millis(0))),
            provider_session: sign_in.provider_session.clone(),
            provider_factor: sign_in.provider_factor,
            lifetime: Some(sign_in.session_max),
        };
        let ExternalAccount {
            name,
            user,
            revision,
        } = account;
        let opened = self
            .open_session(&name, user.clone(), revision, None, client, origin.clone())
            .await;
        match opened {
            Ok(issued) => {
                self.keep_id_token(&issued.session, &sign_in.id_token).await;
                Ok(issued)
            }
            Err(SignInError::SecondFactorRequired { .. }) => {
                let keys = self.cache.keys().ok_or_else(keys_missing)?;
                let expires = now().plus(super::CHALLENGE_LIFETIME);
                let claims = SignInClaims {
                    origin: Some(origin),
                    ..SignInClaims::new(name, user.credential_tag(), expires)
                };
                let challenge = keys.sign_challenge(&claims).map_err(|error| {
                    SignInError::Internal(format!("a token could not be signed: {error}"))
                })?;
                Err(SignInError::SecondFactorRequired { challenge })
            }
            Err(error) => Err(error),
        }
    }

    /// The account of the person with the roles of `sign_in`; `None` if there is none and no role for it.
    async fn take_over_grants(
        &self,
        sign_in: &ExternalSignIn,
    ) -> Result<Option<ExternalAccount>, SignInError> {
        for _ in 0..ATTEMPTS {
            let found = self.account_of(&sign_in.identity).await?;
            let Some(account) = found else {
                if sign_in.grants.is_empty() {
                    return Ok(None);
                }
                if let Some(made) = self.make_account(sign_in).await? {
                    return Ok(Some(made));
                }
                continue;
            };
            if account.user.disabled || account.user.grants == sign_in.grants {
                return Ok(Some(account));
            }
            if let Some(changed) = self.change_grants(sign_in, account).await? {
                return Ok(Some(changed));
            }
        }
        Err(SignInError::Busy)
    }

    async fn identity_record(
        &self,
        identity: &ExternalIdentity,
    ) -> Result<Option<(IdentityRecord, i64)>, SignInError> {
        let key = AccountKeys::new(&self.state_prefix).identity(&identity.digest());
        let unusable = |cause: &str| SignInError::IdentityUnusable {
            identity: identity.clone(),
            cause: cause.to_owned(),
        };
        let entry = match self.registry.get(key).await {
            Err(registry::Error::Tampered { .. }) => {
                return Err(unusable("was changed outside the console"));
            }
            entry => entry?,
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        let record: IdentityRecord =
            serde_json::from_slice(&entry.value).map_err(|_| unusable("is damaged"))?;
        if record.identity != *identity {
            return Err(unusable("names another person"));
        }
        Ok(Some((record, entry.mod_revision)))
    }

    /// The account of `identity`. One that names another person, or is no account of a provider, is never returned.
    async fn account_of(
        &self,
        identity: &ExternalIdentity,
    ) -> Result<Option<ExternalAccount>, SignInError> {
        let Some((record, _)) = self.identity_record(identity).await? else {
            return Ok(None);
        };
        let Some((user, revision)) = self.load_user(&record.account).await? else {
            let key = user_key(&self.state_prefix, &record.account);
            if let Ok(None) = self.registry.get(key).await {
                return Ok(None);
            }
            return Err(SignInError::IdentityUnusable {
                identity: identity.clone(),
                cause: format!(
                    "names the account {}, which cannot be read; remove that account",
                    record.account
                ),
            });
        };
        if user.external.as_ref() != Some(identity) {
            return Err(SignInError::IdentityUnusable {
                identity: identity.clone(),
                cause: format!("names the account {} of another person", record.account),
            });
        }
        Ok(Some(ExternalAccount {
            name: record.account,
            user,
            revision,
        }))
    }

    /// Makes the account of a person who signs in for the first time; `None` if another replica did.
    async fn make_account(
        &self,
        sign_in: &ExternalSignIn,
    ) -> Result<Option<ExternalAccount>, SignInError> {
        let keys = AccountKeys::new(&self.state_prefix);
        let identity_key = keys.identity(&sign_in.identity.digest());
        let known = self.identity_record(&sign_in.identity).await?;
        let known = known.map(|(_, revision)| revision);
        let unclaimed = match known {
            // Its account is missing.
            Some(revision) => Precondition::Unchanged(identity_key.clone().into_bytes(), revision),
            None => Precondition::Absent(identity_key.clone().into_bytes()),
        };
        let at = now();
        let limited = sign_in.grants.iter().any(|grant| !grant.clusters.is_all());
        let user = UserRecord {
            kind: AccountKind::External,
            password_hash: String::new(),
            credential: Uuid::new_v4(),
            roles: granted_roles(&sign_in.grants),
            grants: sign_in.grants.clone(),
            external: Some(sign_in.identity.clone()),
            email: sign_in.email.clone().filter(|_| !limited),
            factor: None,
            disabled: false,
            created_at: at,
            changed_at: at,
        };
        for number in 1..=NAMES_MAX {
            let name = account_name(&sign_in.name, &sign_in.identity.issuer, number);
            let identity = IdentityRecord {
                identity: sign_in.identity.clone(),
                account: name.clone(),
            };
            let user_key = user_key(&self.state_prefix, &name).into_bytes();
            let transaction = Transaction::new()
                .when(Precondition::Absent(user_key.clone()))
                .when(unclaimed.clone())
                .then([
                    WriteOp::put(user_key, encode(&user)?, None),
                    WriteOp::put(identity_key.clone(), encode(&identity)?, None),
                    WriteOp::delete(factor_key(&self.state_prefix, &name)),
                ]);
            let mut detail = self.external_detail(sign_in);
            detail.insert("roles".to_owned(), role_names(&user.roles));
            detail.insert("kind".to_owned(), "external".to_owned());
            let audit = external_audit(AuditEvent::ACCOUNT_ADDED, &name, detail, at);
            match self.commit(&transaction, audit).await? {
                Some(revision) => {
                    return Ok(Some(ExternalAccount {
                        name,
                        user,
                        revision,
                    }));
                }
                // Taken by another account, or another replica was faster.
                None => {
                    let now_known = self.identity_record(&sign_in.identity).await?;
                    if now_known.map(|(_, revision)| revision) != known {
                        return Ok(None);
                    }
                }
            }
        }
        Err(SignInError::Internal(format!(
            "no name is free for {}",
            sign_in.name
        )))
    }

    /// Gives the account the roles of `sign_in`; without any, its sessions end. `None` if it changed in the meantime.
    async fn change_grants(
        &self,
        sign_in: &ExternalSignIn,
        account: ExternalAccount,
    ) -> Result<Option<ExternalAccount>, SignInError> {
        let ExternalAccount {
            name,
            user,
            revision,
        } = account;
        let at = now();
        let mut next = UserRecord {
            roles: granted_roles(&sign_in.grants),
            grants: sign_in.grants.clone(),
            changed_at: at,
            ..user.clone()
        };
        if sign_in.grants.is_empty() {
            next.credential = Uuid::new_v4();
        }
        let key = user_key(&self.state_prefix, &name);
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.clone().into_bytes(), revision))
            .then([WriteOp::put(key, encode(&next)?, None)]);
        let mut detail = self.external_detail(sign_in);
        detail.insert("before".to_owned(), grant_names(&user.grants));
        detail.insert("roles".to_owned(), grant_names(&next.grants));
        let audit = external_audit(AuditEvent::ACCOUNT_ROLES_CHANGED, &name, detail, at);
        let Some(revision) = self.commit(&transaction, audit).await? else {
            return Ok(None);
        };
        self.cache.learn_account(&name, next.clone(), revision, at);
        Ok(Some(ExternalAccount {
            name,
            user: next,
            revision,
        }))
    }

    async fn commit(
        &self,
        transaction: &Transaction,
        audit: AuditRecord,
    ) -> Result<Option<i64>, SignInError> {
        let outcome = self.trail.commit(transaction, &[audit]).await;
        let outcome = outcome.map_err(|error| match error {
            console_core::audit::AuditError::Registry(error) => SignInError::from(error),
            error => SignInError::Unavailable(error.to_string()),
        })?;
        Ok(match outcome {
            TransactionOutcome::Committed { revision } => Some(revision),
            TransactionOutcome::Refused { .. } => None,
        })
    }

    fn external_detail(&self, sign_in: &ExternalSignIn) -> BTreeMap<String, String> {
        let mut detail = BTreeMap::from([
            ("issuer".to_owned(), shortened(&sign_in.identity.issuer)),
            ("subject".to_owned(), shortened(&sign_in.identity.subject)),
        ]);
        let groups: Vec<&str> = sign_in
            .grants
            .iter()
            .filter_map(|grant| grant.group.as_deref())
            .collect();
        if !groups.is_empty() {
            detail.insert("groups".to_owned(), shortened(&groups.join(",")));
        }
        detail
    }

    /// Keeps the ID token of a session for as long as that. Without it, signing out at the provider asks the person there.
    async fn keep_id_token(&self, session: &SessionGuard, id_token: &str) {
        let Some(lease) = self.cache.session_lease(session.id) else {
            return;
        };
        if id_token.len() > ID_TOKEN_MAX {
            return;
        }
        let key = AccountKeys::new(&self.state_prefix).provider_session(session.id);
        let written = self
            .registry
            .put(key, id_token.as_bytes().to_vec(), Some(lease));
        if let Err(error) = written.await {
            tracing::warn!(%error, "Could not keep an ID token: {error}");
        }
    }

    /// The ID token that `session` began with; `None` if it is not kept.
    pub async fn provider_id_token(&self, session: &SessionGuard) -> Option<String> {
        let key = AccountKeys::new(&self.state_prefix).provider_session(session.id);
        let entry = self.registry.get(key).await.ok()??;
        String::from_utf8(entry.value).ok()
    }

    /// Ends the sessions that the provider has ended: the one that it calls `provider_session`, else all of `identity`, in every
    /// replica. Returns how many.
    ///
    /// # Errors
    /// When etcd is unreachable; some sessions may then have ended.
    pub async fn end_provider_sessions(
        &self,
        identity: Option<&ExternalIdentity>,
        provider_session: Option<&str>,
    ) -> Result<usize, SignInError> {
        let account = match identity {
            Some(identity) => match self.identity_record(identity).await? {
                Some((record, _)) => Some(record.account),
                None => return Ok(0),
            },
            None => None,
        };
        let prefix = AccountKeys::new(&self.state_prefix).sessions();
        let mut ended: BTreeMap<UserName, usize> = BTreeMap::new();
        for entry in self.registry.list(prefix.clone()).await?.entries {
            let id = String::from_utf8_lossy(&entry.key)
                .strip_prefix(&prefix)
                .and_then(|id| id.parse::<Uuid>().ok());
            let record: Option<SessionRecord> = serde_json::from_slice(&entry.value).ok();
            let (Some(id), Some(record)) = (id, record) else {
                continue;
            };
            let of_account = account.as_ref().is_none_or(|name| record.username == *name);
            let of_session = match provider_session {
                Some(session) => record.provider_session.as_deref() == Some(session),
                None => account.is_some(),
            };
            if !(of_account && of_session && record.username.is_external()) {
                continue;
            }
            self.registry.revoke(entry.lease).await?;
            self.cache.remove_session(id);
            *ended.entry(record.username).or_default() += 1;
        }
        for (name, sessions) in &ended {
            tracing::info!(user = %name, sessions, "The identity provider ended {sessions} sessions of {name}");
            let detail = BTreeMap::from([
                ("sessions".to_owned(), sessions.to_string()),
                ("by".to_owned(), "identity provider".to_owned()),
            ]);
            self.record_event(AuditEvent::SESSIONS_ENDED, name.as_str(), detail)
                .await;
        }
        Ok(ended.values().sum())
    }

    /// Whether `message` is accepted for the first time, in any replica, within `period`.
    ///
    /// # Errors
    /// When etcd does not answer: then it must not be accepted.
    pub async fn accept_once(&self, message: &str, period: Duration) -> Result<bool, SignInError> {
        let digest = HEXLOWER.encode(&Sha256::digest(message));
        let key = AccountKeys::new(&self.state_prefix).accepted_once(&digest);
        let lease = self.registry.grant_without_keep_alive(period).await?;
        let created = self.registry.create(key, Vec::new(), Some(lease)).await?;
        Ok(matches!(created, CreateOutcome::Created { .. }))
    }

    /// Counts a sign-in that the provider or the browser's answer made impossible.
    pub fn count_external_failure(&self, address: IpAddr) {
        let network = network_of(address);
        self.failures
            .count(None, network, FailureReason::ExternalAnswer, now());
    }

    /// Who signs in to the account of `session` with the provider, and where the roles count.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn external_profile(
        &self,
        session: &SessionGuard,
    ) -> Result<Option<(ExternalIdentity, Vec<RoleGrant>)>, OwnAccountError> {
        let (_, user, _) = self.own_account(session).await?;
        Ok(user.external.map(|identity| (identity, user.grants)))
    }
}

fn external_audit(
    event: AuditEvent,
    name: &UserName,
    detail: BTreeMap<String, String>,
    at: Timestamp,
) -> AuditRecord {
    AuditRecord {
        at,
        actor: "identity provider".to_owned(),
        event,
        cluster: None,
        subject: Some(name.to_string()),
        detail,
    }
}

fn encode<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, SignInError> {
    serde_json::to_vec(record).map_err(|error| SignInError::Internal(error.to_string()))
}

/// A text of the provider as it is recorded.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(255).collect()
}

/// The roles with their clusters as one text.
fn grant_names(grants: &[RoleGrant]) -> String {
    let names: Vec<String> = grants
        .iter()
        .map(|grant| match grant.clusters.is_all() {
            true => role_names(&grant.roles),
            false => format!("{} on {}", role_names(&grant.roles), grant.clusters),
        })
        .collect();
    names.join("; ")
}

/// The `number`th choice of a name for a person whom the provider at `issuer` calls `name`: with an `@`, which no other account
/// has.
fn account_name(name: &str, issuer: &str, number: usize) -> UserName {
    let plain = |text: &str| -> String {
        text.to_ascii_lowercase()
            .chars()
            .map(|c| match c {
                'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
                _ => '-',
            })
            .collect()
    };
    let host = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let (local, domain) = match name.trim().rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => (local, domain),
        _ => (name.trim().trim_matches('@'), host),
    };
    let local = plain(if local.is_empty() { "user" } else { local });
    let domain: String = plain(domain).chars().take(NAME_MAX - 20).collect();
    let room = NAME_MAX - domain.len() - 1;
    let local: String = local.chars().take(room).collect();
    let suffix = match number {
        1 => String::new(),
        number => format!("-{number}"),
    };
    let text = format!("{local}{suffix}@{domain}");
    // Only characters of names are left, and at most 64 of them.
    text.parse().unwrap_or_else(|_| UserName::fallback(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_provider_is_never_that_of_another_account() {
        let issuer = "https://idp.example.org:8443/realms/main";
        let long = "x".repeat(300);
        for (name, first, second) in [
            ("Anna", "anna@idp.example.org", "anna-2@idp.example.org"),
            ("anna@example.org", "anna@example.org", "anna-2@example.org"),
            ("a@b@example.org", "a-b@example.org", "a-b-2@example.org"),
            (
                "root ü",
                "root--@idp.example.org",
                "root---2@idp.example.org",
            ),
            ("", "user@idp.example.org", "user-2@idp.example.org"),
            ("@", "user@idp.example.org", "user-2@idp.example.org"),
            ("../x", "..-x@idp.example.org", "..-x-2@idp.example.org"),
        ] {
            assert_eq!(account_name(name, issuer, 1).as_str(), first);
            assert_eq!(account_name(name, issuer, 2).as_str(), second);
        }
        for name in [long.as_str(), &format!("{long}@{long}"), "ä", "\u{0}"] {
            for issuer in ["", "x", issuer, &long] {
                for number in [1, NAMES_MAX] {
                    let made = account_name(name, issuer, number);
                    assert!(made.is_external() && made.as_str().len() <= 64, "{made}");
                }
            }
        }
    }

    #[test]
    fn digests_of_identities_do_not_collide_at_the_border() {
        let digest = |issuer: &str, subject: &str| {
            let identity = ExternalIdentity {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
            };
            identity.digest()
        };
        assert_ne!(digest("https://a", "b"), digest("https://ab", ""));
        assert_ne!(digest("https://a", "b"), digest("https://b", "b"));
    }
}
