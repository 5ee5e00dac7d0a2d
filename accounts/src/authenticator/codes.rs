//! Codes of the second factor. What is accepted is compared in etcd, so that no two replicas accept one code.

use std::time::Instant;

use registry::{Precondition, Transaction, WriteOp};

use super::Authenticator;
use super::errors::SignInError;
use crate::cache::now;
use crate::factor::{CodeKind, FactorRecord};
use crate::records::{UserName, UserRecord};
use crate::store::factor_key;

/// The second factor of an account as of a reading.
pub(super) struct FactorReading {
    pub(super) record: FactorRecord,
    /// What a transaction compares: that nothing changed since.
    pub(super) unchanged: Precondition,
}

/// What a transaction must compare and write for a code to be accepted.
pub(super) struct CodeAcceptance {
    pub(super) transaction: Transaction,
    /// `None` for an account without a second factor.
    pub(super) kind: Option<CodeKind>,
}

impl Authenticator {
    /// Reads the second factor of the account `name`, linearizably.
    pub(super) async fn read_factor(&self, name: &UserName) -> Result<FactorReading, SignInError> {
        let key = factor_key(&self.state_prefix, name);
        let unusable = || SignInError::FactorUnusable(name.clone());
        let entry = match self.registry.get(key.clone()).await {
            Err(registry::Error::Tampered { .. }) => return Err(unusable()),
            entry => entry?,
        };
        let key = key.into_bytes();
        Ok(match entry {
            Some(entry) => FactorReading {
                record: serde_json::from_slice(&entry.value).map_err(|_| unusable())?,
                unchanged: Precondition::Unchanged(key, entry.mod_revision),
            },
            None => FactorReading {
                record: FactorRecord::default(),
                unchanged: Precondition::Absent(key),
            },
        })
    }

    /// Checks `code` against the second factor of the account, if it has one.
    pub(super) async fn check_code(
        &self,
        name: &UserName,
        user: &UserRecord,
        code: Option<&str>,
    ) -> Result<CodeAcceptance, SignInError> {
        let reading = self.read_factor(name).await?;
        let Some(active) = &reading.record.active else {
            // The account's record says that there is one.
            return match user.factor {
                Some(_) => Err(SignInError::FactorUnusable(name.clone())),
                None => Ok(CodeAcceptance {
                    transaction: Transaction::new(),
                    kind: None,
                }),
            };
        };
        // An earlier factor that was put back. Version 0.1 drops the id when it writes the account.
        if user.factor.is_some_and(|id| id != active.id) {
            return Err(SignInError::FactorUnusable(name.clone()));
        }
        let Some(code) = code.map(str::trim).filter(|code| !code.is_empty()) else {
            return Err(SignInError::SecondFactorRequired {
                challenge: self.challenge(name, user)?,
            });
        };
        self.throttle
            .begin_code(name.as_str(), Instant::now())
            .map_err(SignInError::Throttled)?;
        let (next, kind) = active.accept(name, code, now())?;
        self.throttle.record_right_code(name.as_str());
        let next = FactorRecord {
            active: Some(next),
            ..reading.record.clone()
        };
        Ok(CodeAcceptance {
            transaction: Transaction::new()
                .when(reading.unchanged)
                .then([self.factor_write(name, &next)?]),
            kind: Some(kind),
        })
    }

    pub(super) fn factor_write(
        &self,
        name: &UserName,
        record: &FactorRecord,
    ) -> Result<WriteOp, SignInError> {
        let value =
            serde_json::to_vec(record).map_err(|error| SignInError::Internal(error.to_string()))?;
        Ok(WriteOp::put(
            factor_key(&self.state_prefix, name),
            value,
            None,
        ))
    }
}
