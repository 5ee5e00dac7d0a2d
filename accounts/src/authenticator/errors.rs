//! Why a user is not signed in, or may not do something now.

use std::time::Duration;

use registry::StorageAlarm;

use crate::factor::CodeError;
use crate::password::PasswordError;
use crate::records::{ExternalIdentity, UserName};

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown account or wrong password; the two are deliberately indistinguishable.
    #[error("invalid user name or password")]
    InvalidCredentials,
    /// The password is right, and the account has a second factor of which no code was given.
    #[error("a code of the second factor is required")]
    SecondFactorRequired {
        /// Proves for some minutes that the password was right.
        challenge: String,
    },
    /// The password is right and the code is wrong, or was used before.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The second factor's record is missing or was changed outside the console.
    #[error("the record of the second factor of {0} is missing or was changed outside the console")]
    FactorUnusable(UserName),
    /// The proof that the password was right has expired.
    #[error("the sign-in took too long")]
    ChallengeExpired,
    /// No rule of the roles file gives the person a role.
    #[error("the identity provider names no group of the person that has a role here")]
    NoExternalRole,
    /// Accounts with a password are switched off.
    #[error("accounts with a password are switched off (--local-accounts off)")]
    LocalAccountsOff,
    /// The record that names the account of a person cannot be used.
    #[error("the record of {} of {} {cause}", identity.subject, identity.issuer)]
    IdentityUnusable {
        identity: ExternalIdentity,
        cause: String,
    },
    /// The password is right, but the account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// Too many failed attempts; holds the remaining wait.
    #[error("too many failed attempts; wait {} s", .0.as_secs() + 1)]
    Throttled(Duration),
    /// Too many concurrent sign-ins.
    #[error("too many concurrent sign-ins")]
    Busy,
    /// etcd is unreachable.
    #[error("etcd is unreachable: {0}")]
    Unavailable(String),
    /// etcd holds no usable key that signs sessions: it was deleted, or changed outside the console, and is being replaced.
    #[error("etcd holds no usable key that signs sessions")]
    SigningKeyMissing,
    /// etcd refuses requests because of an alarm.
    #[error("{cause}")]
    Alarm {
        /// The alarm.
        alarm: StorageAlarm,
        /// The error with its remedy.
        cause: String,
    },
    /// A fault of the console itself.
    #[error("{0}")]
    Internal(String),
}

impl From<registry::Error> for SignInError {
    fn from(error: registry::Error) -> Self {
        let cause = error.to_string();
        match error.alarm() {
            Some(alarm) => Self::Alarm { alarm, cause },
            None => Self::Unavailable(cause),
        }
    }
}

/// Why a request has no live session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the session has expired")]
    Expired,
    /// Not issued by this console, or tampered with.
    #[error("the session token was not issued by this console")]
    Forged,
    /// Signed with a key that was replaced and is no longer valid.
    #[error("the session's key is no longer valid")]
    KeyReplaced,
    /// Signed out, unused for too long, or the account was disabled or removed, or its password changed.
    #[error("the session has ended")]
    Ended,
    /// Accounts and sessions have not been loaded from etcd yet.
    #[error("sessions cannot be checked: {0}")]
    Unavailable(String),
}

/// Why a user could not prove to be the account's owner, or change the own account.
#[derive(Debug, thiserror::Error)]
pub enum OwnAccountError {
    /// The given password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// The account has a second factor, of which a code is required.
    #[error("a code of the second factor is required")]
    CodeRequired,
    /// The code is wrong, or was used before.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Neither a password nor a code was given.
    #[error("a password or a code is required")]
    NoProof,
    /// The last proof is too old.
    #[error("the last proof is older than {} min", .0.as_secs().div_ceil(60))]
    StepUpRequired(Duration),
    /// As [`Self::StepUpRequired`], of an account without a password here.
    #[error("the last proof is older than {} min", .0.as_secs().div_ceil(60))]
    SignInAgain(Duration),
    /// The account has no password here.
    #[error("the account signs in with the identity provider")]
    ExternalAccount,
    /// The new password violates the policy.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No enrolment was started, or it waited too long for its first code.
    #[error("no enrolment is waiting for a code")]
    NotEnrolling,
    /// The account has no second factor.
    #[error("the account has no second factor")]
    NoFactor,
    /// A role of the account requires a second factor.
    #[error("a role of the account requires a second factor")]
    FactorNeeded,
    /// The second factor's record is missing or was changed outside the console.
    #[error("the record of the second factor of {0} is missing or was changed outside the console")]
    FactorUnusable(UserName),
    /// The account has no such session.
    #[error("no such session")]
    UnknownSession,
    /// The session ended in the meantime.
    #[error("the session has ended")]
    Ended,
    /// Too many failed attempts; holds the remaining wait.
    #[error("too many failed attempts; wait {} s", .0.as_secs() + 1)]
    Throttled(Duration),
    /// Too many concurrent sign-ins.
    #[error("too many concurrent sign-ins")]
    Busy,
    /// The account is being changed concurrently.
    #[error("the account is being changed concurrently")]
    Contended,
    /// etcd is unreachable.
    #[error("etcd is unreachable: {0}")]
    Unavailable(String),
    /// etcd refuses requests because of an alarm.
    #[error("{cause}")]
    Alarm {
        /// The alarm.
        alarm: StorageAlarm,
        /// The error with its remedy.
        cause: String,
    },
    /// A fault of the console itself.
    #[error("{0}")]
    Internal(String),
}

impl From<registry::Error> for OwnAccountError {
    fn from(error: registry::Error) -> Self {
        let cause = error.to_string();
        match error.alarm() {
            Some(alarm) => Self::Alarm { alarm, cause },
            None => Self::Unavailable(cause),
        }
    }
}

impl From<SignInError> for OwnAccountError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::InvalidCredentials => Self::WrongPassword,
            SignInError::SecondFactorRequired { .. } => Self::CodeRequired,
            SignInError::Code(error) => Self::Code(error),
            SignInError::FactorUnusable(name) => Self::FactorUnusable(name),
            SignInError::Disabled | SignInError::ChallengeExpired => Self::Ended,
            SignInError::Throttled(wait) => Self::Throttled(wait),
            SignInError::Busy => Self::Busy,
            error @ (SignInError::NoExternalRole
            | SignInError::LocalAccountsOff
            | SignInError::IdentityUnusable { .. }) => Self::Internal(error.to_string()),
            SignInError::Unavailable(cause) => Self::Unavailable(cause),
            error @ SignInError::SigningKeyMissing => Self::Unavailable(error.to_string()),
            SignInError::Alarm { alarm, cause } => Self::Alarm { alarm, cause },
            SignInError::Internal(cause) => Self::Internal(cause),
        }
    }
}
