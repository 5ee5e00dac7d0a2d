//! Recent proof that a session is used by the account's owner.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use console_core::session::SessionGuard;
use galera::Timestamp;
use galera::record::audit::AuditEvent;
use registry::{Precondition, TransactionOutcome, WriteOp};

use super::errors::{OwnAccountError, SignInError};
use super::{ATTEMPTS, Authenticator, HashClass};
use crate::cache::now;
use crate::factor::CodeKind;
use crate::records::{SessionRecord, UserName, UserRecord};
use crate::store::session_key;

/// What a user gives to prove to be the account's owner. With a second factor only a code counts.
#[derive(Clone, Default)]
pub struct OwnerProof {
    pub password: Option<String>,
    pub code: Option<String>,
}

/// How much later than the clock of this replica a proof of another one may be. Further ahead one of the clocks is wrong, and the
/// proof would stay recent for longer by as much.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// Whether `proof` is a recent one at `now`.
fn is_recent(proof: Timestamp, now: Timestamp, interval: Duration) -> bool {
    proof.age(now) < interval && now.age(proof) <= CLOCK_DIFFERENCE_MAX
}

impl Authenticator {
    /// Checks that the user of `session` proved recently to be the account's owner.
    ///
    /// # Errors
    /// [`OwnAccountError::StepUpRequired`]; etcd errors.
    pub async fn require_recent_proof(
        &self,
        session: &SessionGuard,
    ) -> Result<(), OwnAccountError> {
        let Some(interval) = self.policy.step_up_interval else {
            return Ok(());
        };
        let now = now();
        if is_recent(session.last_proof, now, interval) {
            return Ok(());
        }
        // Another replica may have just accepted a proof.
        let session = self.refresh_session(session.id, now).await?;
        let session = session.ok_or(OwnAccountError::Ended)?;
        if is_recent(session.last_proof, now, interval) {
            return Ok(());
        }
        match session.principal.is_external {
            true => Err(OwnAccountError::SignInAgain(interval)),
            false => Err(OwnAccountError::StepUpRequired(interval)),
        }
    }

    /// Accepts a proof that the user of `session` is the account's owner, and returns the session with it.
    ///
    /// # Errors
    /// [`OwnAccountError`].
    pub async fn step_up(
        &self,
        session: &SessionGuard,
        proof: &OwnerProof,
        address: IpAddr,
    ) -> Result<SessionGuard, OwnAccountError> {
        let name = &*session.principal.username;
        let result = self.try_step_up(session, proof).await;
        let (event, detail) = match &result {
            Ok((_, kind)) => {
                let proof = match kind {
                    None => "password",
                    Some(CodeKind::Totp) => "code",
                    Some(CodeKind::Recovery { .. }) => "recovery code",
                };
                (AuditEvent::STEP_UP, ("proof", proof.to_owned()))
            }
            Err(error @ (OwnAccountError::WrongPassword | OwnAccountError::Code(_))) => {
                (AuditEvent::STEP_UP_FAILED, ("reason", error.to_string()))
            }
            Err(_) => return result.map(|(session, _)| session),
        };
        let mut detail = BTreeMap::from([(detail.0.to_owned(), detail.1)]);
        detail.insert("address".to_owned(), address.to_string());
        self.record_event(event, name, detail).await;
        result.map(|(session, _)| session)
    }

    async fn try_step_up(
        &self,
        session: &SessionGuard,
        proof: &OwnerProof,
    ) -> Result<(SessionGuard, Option<CodeKind>), OwnAccountError> {
        let (name, user, revision) = self.own_account(session).await?;
        let has_factor =
            user.factor.is_some() || self.read_factor(&name).await?.record.active.is_some();
        if !has_factor {
            if user.external.is_some() {
                return Err(OwnAccountError::ExternalAccount);
            }
            let password = proof.password.as_deref().ok_or(OwnAccountError::NoProof)?;
            self.check_own_password(session, &user, password).await?;
        }
        for _ in 0..ATTEMPTS {
            let accepted = self.check_code(&name, &user, proof.code.as_deref()).await?;
            let entry = self
                .registry
                .get(session_key(&self.state_prefix, session.id));
            let entry = entry.await?.ok_or(OwnAccountError::Ended)?;
            let record: SessionRecord =
                serde_json::from_slice(&entry.value).map_err(|_| OwnAccountError::Ended)?;
            let at = now();
            let record = SessionRecord {
                proven_at: Some(at),
                ..record
            };
            let account = crate::store::user_key(&self.state_prefix, &name).into_bytes();
            let transaction = accepted
                .transaction
                .when(Precondition::Unchanged(
                    entry.key.clone(),
                    entry.mod_revision,
                ))
                .when(Precondition::Unchanged(account, revision))
                .then([session_write(entry.key, &record, entry.lease)?]);
            if let TransactionOutcome::Refused { .. } = self.registry.transact(&transaction).await?
            {
                continue;
            }
            self.record_code(&name, accepted.kind).await;
            self.cache.insert_ahead_of_watch(
                session.id,
                record,
                entry.lease,
                Some((user, revision)),
                at,
            );
            let session = self.cache.session(session.id, at);
            return Ok((session.map_err(|_| OwnAccountError::Ended)?, accepted.kind));
        }
        Err(OwnAccountError::Contended)
    }

    /// The account of `session` with its revision, read linearizably.
    pub(super) async fn own_account(
        &self,
        session: &SessionGuard,
    ) -> Result<(UserName, UserRecord, i64), OwnAccountError> {
        let name: UserName = session
            .principal
            .username
            .parse()
            .map_err(|_| OwnAccountError::Ended)?;
        let (user, revision) = self
            .load_user(&name)
            .await?
            .filter(|(user, _)| {
                !user.disabled && user.credential_tag() == session.principal.credential
            })
            .ok_or(OwnAccountError::Ended)?;
        Ok((name, user, revision))
    }

    /// Checks the password of a signed-in user. Wrong ones are counted for the session: failed sign-ins of others on the same
    /// name must not keep its owner from approving.
    pub(super) async fn check_own_password(
        &self,
        session: &SessionGuard,
        user: &UserRecord,
        password: &str,
    ) -> Result<(), OwnAccountError> {
        if user.external.is_some() {
            return Err(OwnAccountError::ExternalAccount);
        }
        if password.len() > crate::PASSWORD_MAX_BYTES {
            return Err(OwnAccountError::WrongPassword);
        }
        let counted = format!("session {}", session.id);
        self.throttle
            .begin_code(&counted, Instant::now())
            .map_err(OwnAccountError::Throttled)?;
        let hash = Some(user.password_hash.clone());
        if self
            .verify_password(password.to_owned(), hash, HashClass::Reserved)
            .await?
        {
            self.throttle.record_right_code(&counted);
            Ok(())
        } else {
            Err(OwnAccountError::WrongPassword)
        }
    }
}

pub(super) fn session_write(
    key: Vec<u8>,
    record: &SessionRecord,
    lease: registry::LeaseId,
) -> Result<WriteOp, SignInError> {
    let value =
        serde_json::to_vec(record).map_err(|error| SignInError::Internal(error.to_string()))?;
    Ok(WriteOp::put(key, value, Some(lease)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_of_a_clock_that_is_ahead_is_not_recent_for_longer() {
        let now = Timestamp::from_unix_millis(1_795_420_800_000);
        let interval = Duration::from_secs(900);
        let second = Duration::from_secs(1);
        for (proof, recent) in [
            (now, true),
            (now.minus(interval - second), true),
            (now.minus(interval), false),
            (now.plus(CLOCK_DIFFERENCE_MAX), true),
            (now.plus(CLOCK_DIFFERENCE_MAX + second), false),
            (now.plus(Duration::from_secs(3600)), false),
        ] {
            assert_eq!(is_recent(proof, now, interval), recent, "{proof}");
        }
    }
}
