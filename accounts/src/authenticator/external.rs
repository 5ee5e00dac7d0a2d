//! Signs in people whom an identity provider names: makes and changes their accounts, and ends their sessions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use console_core::keyspace::AccountKeys;
use console_core::session::SessionGuard;
use galera::Timestamp;
use galera::access::{RoleGrant, granted_roles};
use galera::publish::accounts::AccountKind;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use uuid::Uuid;

use super::errors::{OwnAccountError, SignInError};
use super::sessions::SessionOrigin;
use super::{ATTEMPTS, Authenticator, IssuedSession, SignInClient};
use crate::cache::now;
use crate::external_name::account_name;
use crate::failed_sign_ins::FailureReason;
use crate::records::{ExternalIdentity, IdentityRecord, UserName, UserRecord};
use crate::store::{factor_key, grant_names, role_names, user_key};
use crate::throttle::network_of;
use crate::token::SignInClaims;

/// Names that are tried for a new account whose first choice is taken.
const NAMES_MAX: usize = 50;

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
                let keys = self.cache.keys().ok_or(SignInError::SigningKeyMissing)?;
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

    pub(super) async fn identity_record(
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
            groups: Vec::new(),
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
