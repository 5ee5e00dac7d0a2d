//! The messages of the API about accounts, sessions and second factors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::{ClusterScope, GroupName, Role, RoleGrant};
use crate::timestamp::Timestamp;

/// Whose an account is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// A person, who signs in.
    #[default]
    Person,
    /// A program, which has tokens only: no password, no second factor, no session.
    Service,
    /// A person, who signs in with the identity provider: no password, no token.
    External,
}

impl AccountKind {
    /// Whether it is a person's who has a password here.
    #[must_use]
    pub fn is_person(&self) -> bool {
        *self == Self::Person
    }

    /// Whether it is a program's.
    #[must_use]
    pub fn is_service(&self) -> bool {
        *self == Self::Service
    }
}

/// An account as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountView {
    pub name: String,
    #[serde(default)]
    pub kind: AccountKind,
    /// All roles, wherever they count.
    pub roles: Vec<Role>,
    /// Where each role counts; absent if all count on every cluster and for the whole console.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<RoleGrant>,
    /// The groups that approval policies may name; of an account of an identity provider those of its roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
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
    /// Each roles with where they count, as a sentence; absent if all count on every cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Where notifications for this account are sent.
    pub email: Option<String>,
    /// Live sessions, newest first.
    pub sessions: Vec<OwnSessionView>,
    pub second_factor: OwnFactorView,
    pub step_up: StepUpView,
    /// Where its user signs in; `None` for an account with a password here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalAccountView>,
    /// What happened to the account lately, newest first, from the audit trail.
    #[serde(default)]
    pub recent_events: Vec<AccountEventView>,
}

/// How an account of an identity provider has its roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExternalAccountView {
    /// The provider's `iss`.
    pub issuer: String,
    /// Its `sub` of the person.
    pub subject: String,
    /// What the sign-in page calls the provider.
    pub provider: String,
    /// Each roles with where they count and the group that they come from, as a sentence.
    pub grants: Vec<String>,
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

/// Whether a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    Active,
    /// Its owner or an administrator revoked it.
    Revoked,
    Expired,
    /// Its account was removed or disabled, or got another password or second factor.
    Ended,
}

impl TokenState {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }
}

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// The part of the token that is no secret.
    pub id: String,
    pub name: String,
    /// The account that it belongs to.
    pub account: String,
    pub state: TokenState,
    /// What it may do, as far as its account still may.
    pub roles: Vec<Role>,
    /// Names, patterns or labels; empty for all clusters and the console itself.
    pub clusters: ClusterScope,
    pub created_at: Timestamp,
    /// The account that created it, or the command line.
    pub created_by: String,
    pub expires_at: Timestamp,
    /// Recorded at most once a minute.
    pub last_used_at: Option<Timestamp>,
    /// Where it was used last.
    pub last_used_from: Option<String>,
}

/// Tokens, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    pub tokens: Vec<TokenView>,
}

/// A new token, which is shown only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewTokenView {
    /// The whole token, for `Authorization: Bearer`.
    pub secret: String,
    pub token: TokenView,
}
