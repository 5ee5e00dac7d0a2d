//! What users change of their own accounts: password and second factor. The session that changes them continues, all
//! others of the account end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use console_core::audit::AuditError;
use console_core::session::SessionGuard;
use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, RegistryEntry, Transaction, TransactionOutcome, WriteOp};
use uuid::Uuid;

use super::errors::OwnAccountError;
use super::step_up::session_write;
use super::{ATTEMPTS, Authenticator, HashClass};
use crate::cache::now;
use crate::factor::{ActiveFactor, ENROLMENT_TIMEOUT, FactorRecord, PendingFactor, RecoveryCodes};
use crate::password;
use crate::records::{SessionRecord, UserName, UserRecord};
use crate::store::{factor_key, session_key, user_key};

/// The issuer that authenticator apps show.
const ISSUER: &str = "Galera Console";

/// The second factor of an account as its user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactorState {
    pub enrolled_at: Timestamp,
    /// Unused recovery codes.
    pub recovery_codes_left: usize,
}

/// What only its user sees of an account.
#[derive(Clone)]
pub struct OwnProfile {
    /// Where notifications for it are sent.
    pub email: Option<String>,
    /// The enrolled second factor.
    pub factor: Option<FactorState>,
    /// An enrolment that waits for its first code.
    pub enrolment: Option<EnrolmentOffer>,
}

/// A secret for an authenticator app, shown until the first code confirms it.
#[derive(Clone)]
pub struct EnrolmentOffer {
    /// In base 32, for typing.
    pub secret: String,
    /// The `otpauth:` URI, for a QR code.
    pub uri: String,
    /// Until when a code confirms it.
    pub expires_at: Timestamp,
}

/// An account and its second factor before a change.
struct OwnRecords<'a> {
    name: &'a UserName,
    user: UserRecord,
    factor: FactorRecord,
}

/// What a change writes.
struct OwnChange<T> {
    /// The account afterwards; `None` to leave it and its sessions.
    user: Option<UserRecord>,
    /// The second factor afterwards; `None` to leave it.
    factor: Option<FactorRecord>,
    event: AuditEvent,
    result: T,
}

impl Authenticator {
    /// The account of the user of `session`.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn own_profile(&self, session: &SessionGuard) -> Result<OwnProfile, OwnAccountError> {
        let (name, user, _) = self.own_account(session).await?;
        let record = self.read_factor(&name).await?.record;
        let factor = record.active.map(|active| FactorState {
            enrolled_at: active.enrolled_at,
            recovery_codes_left: active.recovery_hashes.len(),
        });
        let now = now();
        let pending = record.pending.filter(|pending| is_current(pending, now));
        Ok(OwnProfile {
            email: user.email,
            factor,
            enrolment: pending.map(|pending| offer(&name, &pending)),
        })
    }

    /// Changes the password of the user of `session` from `current` to `new`.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn change_own_password(
        &self,
        session: &SessionGuard,
        current: &str,
        new: &str,
        address: IpAddr,
    ) -> Result<(), OwnAccountError> {
        let (name, user, _) = self.own_account(session).await?;
        if let Err(error) = self.check_own_password(session, &user, current).await {
            if matches!(error, OwnAccountError::WrongPassword) {
                let reason = BTreeMap::from([
                    ("reason".to_owned(), error.to_string()),
                    ("address".to_owned(), address.to_string()),
                ]);
                self.record_event(AuditEvent::STEP_UP_FAILED, name.as_str(), reason)
                    .await;
            }
            return Err(error);
        }
        let hash = self.hash_new_password(&name, new).await?;
        self.change_own(session, |records, _| {
            let user = UserRecord {
                password_hash: hash.clone(),
                ..records.user
            };
            Ok(OwnChange {
                user: Some(user),
                factor: None,
                event: AuditEvent::ACCOUNT_PASSWORD_CHANGED,
                result: (),
            })
        })
        .await
    }

    /// Checks and hashes a new password of the account `name`.
    ///
    /// # Errors
    /// [`OwnAccountError::Password`], [`OwnAccountError::Busy`].
    async fn hash_new_password(
        &self,
        name: &UserName,
        new: &str,
    ) -> Result<String, OwnAccountError> {
        let (name, new) = (name.as_str().to_owned(), new.to_owned());
        let context = self.policy.password_context.clone();
        let hashed = self
            .on_hash_thread(HashClass::Reserved, move || {
                password::check_policy(&name, &new, &context)?;
                Ok(password::hash(&new))
            })
            .await?;
        hashed
            .map_err(OwnAccountError::Password)?
            .map_err(|error| OwnAccountError::Internal(error.to_string()))
    }

    /// Starts the enrolment of a second factor, which [`Self::confirm_enrolment`] completes. One that is enrolled stays
    /// valid until then.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn start_enrolment(
        &self,
        session: &SessionGuard,
    ) -> Result<EnrolmentOffer, OwnAccountError> {
        let (name, _, _) = self.own_account(session).await?;
        for _ in 0..ATTEMPTS {
            let reading = self.read_factor(&name).await?;
            let pending = PendingFactor::start(now());
            let record = FactorRecord {
                pending: Some(pending.clone()),
                ..reading.record
            };
            let transaction = Transaction::new()
                .when(reading.unchanged)
                .then([self.factor_write(&name, &record)?]);
            if let TransactionOutcome::Committed { .. } =
                self.registry.transact(&transaction).await?
            {
                return Ok(offer(&name, &pending));
            }
        }
        Err(OwnAccountError::Contended)
    }

    /// Completes the enrolment with the first code, which proves that the app has the secret. It replaces the factor before.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn confirm_enrolment(
        &self,
        session: &SessionGuard,
        code: &str,
    ) -> Result<RecoveryCodes, OwnAccountError> {
        self.change_own(session, |records, now| {
            let pending = records.factor.pending;
            let pending = pending.filter(|pending| is_current(pending, now));
            let pending = pending.ok_or(OwnAccountError::NotEnrolling)?;
            let (active, codes) = ActiveFactor::enrol(records.name, &pending, code, now)?;
            Ok(OwnChange {
                user: Some(UserRecord {
                    factor: Some(active.id),
                    ..records.user
                }),
                factor: Some(FactorRecord {
                    active: Some(active),
                    pending: None,
                }),
                event: AuditEvent::FACTOR_ENROLLED,
                result: codes,
            })
        })
        .await
    }

    /// Removes the second factor of the user of `session`.
    ///
    /// # Errors
    /// [`OwnAccountError`]; [`OwnAccountError::FactorNeeded`] where a role requires one.
    pub async fn remove_own_factor(&self, session: &SessionGuard) -> Result<(), OwnAccountError> {
        self.change_own(session, |records, _| {
            if records.factor.active.is_none() && records.user.factor.is_none() {
                return Err(OwnAccountError::NoFactor);
            }
            let required = |role| self.policy.second_factor_roles.contains(role);
            if records.user.roles.iter().any(required) {
                return Err(OwnAccountError::FactorNeeded);
            }
            Ok(OwnChange {
                user: Some(UserRecord {
                    factor: None,
                    ..records.user
                }),
                factor: Some(FactorRecord::default()),
                event: AuditEvent::FACTOR_REMOVED,
                result: (),
            })
        })
        .await
    }

    /// Replaces the recovery codes of the user of `session`.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn renew_recovery_codes(
        &self,
        session: &SessionGuard,
    ) -> Result<RecoveryCodes, OwnAccountError> {
        self.change_own(session, |records, _| {
            let active = records.factor.active.ok_or(OwnAccountError::NoFactor)?;
            let (active, codes) = active.with_new_recovery_codes(records.name);
            Ok(OwnChange {
                user: None,
                factor: Some(FactorRecord {
                    active: Some(active),
                    ..records.factor
                }),
                event: AuditEvent::RECOVERY_CODES_RENEWED,
                result: codes,
            })
        })
        .await
    }

    /// Commits what `decide` makes of the account of `session`, with an audit entry. A changed account gets another
    /// credential, which ends its sessions, and `session` is written with that one.
    async fn change_own<T>(
        &self,
        session: &SessionGuard,
        decide: impl Fn(OwnRecords<'_>, Timestamp) -> Result<OwnChange<T>, OwnAccountError>,
    ) -> Result<T, OwnAccountError> {
        for _ in 0..ATTEMPTS {
            let (name, user, revision) = self.own_account(session).await?;
            let reading = self.read_factor(&name).await?;
            let at = now();
            let records = OwnRecords {
                name: &name,
                user,
                factor: reading.record,
            };
            let change = decide(records, at)?;
            let account = user_key(&self.state_prefix, &name);
            let mut transaction = Transaction::new()
                .when(Precondition::Unchanged(
                    account.clone().into_bytes(),
                    revision,
                ))
                .when(reading.unchanged);
            match &change.factor {
                Some(record) if *record == FactorRecord::default() => {
                    let key = factor_key(&self.state_prefix, &name);
                    transaction = transaction.then([WriteOp::delete(key)]);
                }
                Some(record) => transaction = transaction.then([self.factor_write(&name, record)?]),
                None => {}
            }
            let mut continued = None;
            if let Some(user) = change.user {
                let session = self.continued_session(session, user, at).await?;
                let value = serde_json::to_vec(&session.user)
                    .map_err(|error| OwnAccountError::Internal(error.to_string()))?;
                let ContinuedSession { entry, record, .. } = &session;
                transaction = transaction
                    .when(Precondition::Unchanged(
                        entry.key.clone(),
                        entry.mod_revision,
                    ))
                    .then([
                        WriteOp::put(account, value, None),
                        session_write(entry.key.clone(), record, entry.lease)?,
                    ]);
                continued = Some(session);
            }
            let audit = AuditRecord {
                at,
                actor: name.to_string(),
                event: change.event.clone(),
                cluster: None,
                subject: Some(name.to_string()),
                detail: BTreeMap::new(),
            };
            let outcome = self.trail.commit(&transaction, &[audit]).await;
            let TransactionOutcome::Committed { revision } = outcome.map_err(audit_error)? else {
                continue;
            };
            if let Some(continued) = continued {
                self.cache.insert_ahead_of_watch(
                    session.id,
                    continued.record,
                    continued.entry.lease,
                    Some((continued.user, revision)),
                    at,
                );
            }
            return Ok(change.result);
        }
        Err(OwnAccountError::Contended)
    }

    /// `user` with another credential, and the record of `session` with that one.
    async fn continued_session(
        &self,
        session: &SessionGuard,
        user: UserRecord,
        at: Timestamp,
    ) -> Result<ContinuedSession, OwnAccountError> {
        let user = UserRecord {
            credential: Uuid::new_v4(),
            changed_at: at,
            ..user
        };
        let key = session_key(&self.state_prefix, session.id);
        let entry = self.registry.get(key).await?;
        let entry = entry.ok_or(OwnAccountError::Ended)?;
        let record: SessionRecord =
            serde_json::from_slice(&entry.value).map_err(|_| OwnAccountError::Ended)?;
        let record = SessionRecord {
            credential: user.credential,
            ..record
        };
        Ok(ContinuedSession {
            user,
            entry,
            record,
        })
    }
}

/// A session that outlives the change of its account.
struct ContinuedSession {
    user: UserRecord,
    /// The session as it is stored.
    entry: RegistryEntry,
    /// The session with the credential of `user`.
    record: SessionRecord,
}

fn audit_error(error: AuditError) -> OwnAccountError {
    match error {
        AuditError::Registry(error) => error.into(),
        AuditError::Contended => OwnAccountError::Contended,
        error @ AuditError::Damaged { .. } => OwnAccountError::Internal(error.to_string()),
    }
}

fn is_current(pending: &PendingFactor, now: Timestamp) -> bool {
    pending.started_at.age(now) < ENROLMENT_TIMEOUT
}

fn offer(name: &UserName, pending: &PendingFactor) -> EnrolmentOffer {
    EnrolmentOffer {
        secret: pending.secret.base32(),
        uri: pending.secret.uri(ISSUER, name),
        expires_at: pending.started_at.plus(ENROLMENT_TIMEOUT),
    }
}
