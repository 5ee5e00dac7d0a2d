//! The messages of the API about accounts, sessions and second factors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::Role;
use crate::timestamp::Timestamp;

/// An account as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountView {
    pub name: String,
    pub roles: Vec<Role>,
    /// Where notifications for this account are sent.
    pub email: Option<String>,
    pub disabled: bool,
    /// Whether a second factor is enrolled.
    pub second_factor: bool,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
}

/// All accounts, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountList {
    pub accounts: Vec<AccountView>,
    /// Names of accounts whose records cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// The own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnAccountView {
    pub username: String,
    pub roles: Vec<Role>,
    /// Where notifications for this account are sent.
    pub email: Option<String>,
    /// Live sessions, newest first.
    pub sessions: Vec<OwnSessionView>,
    pub second_factor: OwnFactorView,
    pub step_up: StepUpView,
    /// What happened to the account lately, newest first, from the audit trail.
    #[serde(default)]
    pub recent_events: Vec<AccountEventView>,
}

/// An audit entry about the own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountEventView {
    /// The number of the entry.
    pub sequence: u64,
    pub at: Timestamp,
    /// Who did it: the account itself, an administrator, or the command line.
    pub actor: String,
    /// The name of the event.
    pub event: String,
    /// Such as the address, and whether the device was new.
    pub detail: BTreeMap<String, String>,
}

/// A session of the own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnSessionView {
    pub id: String,
    /// Whether it is the one of this request.
    pub current: bool,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The client's address when it signed in.
    pub address: Option<String>,
    pub user_agent: Option<String>,
}

/// The second factor of the own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnFactorView {
    /// Whether a role of the account requires one.
    pub required: bool,
    /// When it was enrolled; `None` without one.
    pub enrolled_at: Option<Timestamp>,
    /// Unused recovery codes.
    pub recovery_codes_left: usize,
    /// An enrolment that waits for its first code; only after a recent proof.
    pub enrolment: Option<EnrolmentView>,
}

/// A secret for an authenticator app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentView {
    /// In base 32, for typing.
    pub secret: String,
    /// The `otpauth:` URI, for a QR code.
    pub uri: String,
    /// Until when a code confirms it.
    pub expires_at: Timestamp,
}

/// New recovery codes, which are shown only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryCodesView {
    pub recovery_codes: Vec<String>,
}

/// Until when this session permits what needs a recent proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepUpView {
    /// When its user last entered a password or code.
    pub proven_at: Timestamp,
    /// `None` for the whole session.
    pub valid_until: Option<Timestamp>,
}
