//! The API that manages accounts, for administrators. Every change needs a recent proof.

use accounts::store::{AccountChange, AccountStore, AccountStoreError};
use accounts::{UserName, UserRecord};
use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use galera::access::{
    AssignmentError, ClusterScope, GROUPS_MAX, GroupName, GroupNameError, Operation, Role,
    RoleAssignment, RoleGrant,
};
use galera::publish::accounts::{AccountKind, AccountList, AccountView};
use http::StatusCode;
use serde::{Deserialize, Deserializer};

use super::AppState;
use super::extract::JsonBody;
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};

/// Lists the accounts.
#[utoipa::path(
    get, path = "/api/v1/accounts", operation_id = "list_accounts", tag = "accounts",
    responses((status = 200, description = "By name.", body = AccountList)),
    extensions(("x-problems" = json!([problems::ACCOUNTS]))),
)]
pub(super) async fn list(app: AppState, session: CurrentSession) -> ApiResult<Json<AccountList>> {
    session.authorize(Operation::ManageAccounts)?;
    let mut list = AccountList {
        accounts: Vec::new(),
        damaged: Vec::new(),
    };
    for (name, record) in app.accounts.list().await? {
        match record {
            Ok(record) => list.accounts.push(account_view(&name, &record)),
            Err(_) => list.damaged.push(name.to_string()),
        }
    }
    Ok(Json(list))
}

/// Shows an account.
#[utoipa::path(
    get, path = "/api/v1/accounts/{name}", operation_id = "show_account", tag = "accounts",
    responses((status = 200, description = "The account.", body = AccountView)),
    extensions(("x-problems" = json!([problems::ACCOUNTS, "404 unknown_account"]))),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    Path(name): Path<String>,
) -> ApiResult<Json<AccountView>> {
    session.authorize(Operation::ManageAccounts)?;
    let name = parse_name(&name)?;
    let record = app.accounts.get(&name).await?;
    Ok(Json(account_view(&name, &record)))
}

/// Roles on some clusters.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    roles: Vec<Role>,
    /// Names, patterns or labels; empty for all clusters and the console itself.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    clusters: ClusterScope,
}

/// The grants of a request.
fn parse_grants(grants: Vec<GrantRequest>) -> Vec<RoleGrant> {
    let grants = grants.into_iter();
    grants
        .map(|grant| RoleGrant::of(grant.roles, grant.clusters))
        .collect()
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddAccountRequest {
    name: String,
    #[serde(default)]
    kind: AccountKind,
    /// Of a person only.
    #[serde(default)]
    password: Option<String>,
    /// May be empty if there are grants.
    roles: Vec<Role>,
    /// On which clusters the roles count: names, patterns or labels; empty for all clusters and the console itself.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    clusters: ClusterScope,
    /// Further roles, each on some clusters.
    #[serde(default)]
    grants: Vec<GrantRequest>,
    /// At most 20, which approval policies may name.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: Vec<String>,
    #[serde(default)]
    email: Option<String>,
}

/// Adds an account.
#[utoipa::path(
    post, path = "/api/v1/accounts", operation_id = "add_account", tag = "accounts",
    request_body = AddAccountRequest,
    responses((status = 201, description = "The new account.", body = AccountView)),
    extensions(("x-problems" = json!([
        problems::ACCOUNTS, "403 step_up_required", "409 account_exists", "422 external_account", "422 invalid_account_name", "422 invalid_email",
        "422 invalid_group",
        "422 no_password", "422 no_role", "422 service_account", "422 too_many_clusters", "422 weak_password",
    ]))),
)]
pub(super) async fn add(
    app: AppState,
    session: CurrentSession,
    JsonBody(body): JsonBody<AddAccountRequest>,
) -> ApiResult<Response> {
    let store = authorize_change(&app, &session).await?;
    let name: UserName = body
        .name
        .parse()
        .map_err(|error: accounts::UserNameError| {
            ApiError::unprocessable("invalid_account_name", to_sentence(&error.to_string()))
        })?;
    let email = body.email.as_deref().map(parse_email).transpose()?;
    let groups = parse_groups(&body.groups)?;
    let roles = RoleAssignment {
        roles: body.roles,
        clusters: Some(body.clusters),
        grants: parse_grants(body.grants),
    };
    match (body.kind, &body.password) {
        (AccountKind::Person, Some(password)) => {
            store
                .add_person(&name, password, &roles, email.flatten(), now())
                .await?;
        }
        (AccountKind::Person, None) => {
            let detail =
                "The account needs a password; a program needs none with \"kind\": \"service\".";
            return Err(ApiError::unprocessable("no_password", detail));
        }
        (AccountKind::External, _) => {
            let detail =
                "The identity provider names its people; they get an account when they sign in.";
            return Err(ApiError::unprocessable("external_account", detail));
        }
        (AccountKind::Service, None) if email.flatten().is_none() => {
            store.add_service(&name, &roles, now()).await?;
        }
        (AccountKind::Service, _) => {
            let detail =
                "A service account has neither a password nor an e-mail address; leave both out.";
            return Err(ApiError::unprocessable("service_account", detail));
        }
    }
    let record = match groups.is_empty() {
        true => store.get(&name).await?,
        false => {
            let change = AccountChange {
                groups: Some(groups),
                ..AccountChange::default()
            };
            store.change(&name, &change, now()).await?
        }
    };
    Ok((StatusCode::CREATED, Json(account_view(&name, &record))).into_response())
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeAccountRequest {
    #[serde(default)]
    roles: Option<Vec<Role>>,
    /// The clusters on which the roles count; empty for all. Left out, the limit of the account stays.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    clusters: Option<ClusterScope>,
    /// Further roles, each on some clusters. With roles or grants, all former ones are replaced.
    #[serde(default)]
    grants: Option<Vec<GrantRequest>>,
    /// The groups from now on, at most 20; empty for none.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    disabled: Option<bool>,
    #[serde(default)]
    password: Option<String>,
    /// Null removes the address.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
}

/// Distinguishes null from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes an account as a whole.
#[utoipa::path(
    patch, path = "/api/v1/accounts/{name}", operation_id = "change_account", tag = "accounts",
    request_body = ChangeAccountRequest,
    responses((status = 200, description = "The account afterwards.", body = AccountView)),
    extensions(("x-problems" = json!([
        problems::ACCOUNTS, "403 step_up_required", "404 unknown_account", "409 last_admin", "422 clusters_not_stated", "422 external_account", "422 invalid_email",
        "422 invalid_group", "422 no_role", "422 service_account", "422 too_many_clusters", "422 weak_password",
    ]))),
)]
pub(super) async fn update(
    app: AppState,
    session: CurrentSession,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<ChangeAccountRequest>,
) -> ApiResult<Json<AccountView>> {
    let email = match &body.email {
        Some(Some(address)) => Some(parse_email(address)?),
        Some(None) => Some(None),
        None => None,
    };
    let change = AccountChange {
        roles: role_change(body.roles, body.clusters, body.grants),
        groups: body.groups.as_deref().map(parse_groups).transpose()?,
        disabled: body.disabled,
        password: body.password,
        email,
        ..AccountChange::default()
    };
    apply(&app, &session, &name, &change).await.map(Json)
}

/// The roles from now on; `None` if they stay.
fn role_change(
    roles: Option<Vec<Role>>,
    clusters: Option<ClusterScope>,
    grants: Option<Vec<GrantRequest>>,
) -> Option<RoleAssignment> {
    if roles.is_none() && clusters.is_none() && grants.is_none() {
        return None;
    }
    // The roles beside explicit grants have no limit unless it is stated.
    let clusters = clusters.or_else(|| grants.is_some().then(ClusterScope::all));
    Some(RoleAssignment {
        roles: roles.unwrap_or_default(),
        clusters,
        grants: parse_grants(grants.unwrap_or_default()),
    })
}

/// Removes an account.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{name}", operation_id = "remove_account", tag = "accounts",
    responses((status = 204, description = "Removed.")),
    extensions(("x-problems" = json!([problems::ACCOUNTS, "403 step_up_required", "404 unknown_account", "409 last_admin"]))),
)]
pub(super) async fn remove(
    app: AppState,
    session: CurrentSession,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    let store = authorize_change(&app, &session).await?;
    store.remove(&parse_name(&name)?, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resets an account's second factor.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{name}/factor", operation_id = "reset_account_factor", tag = "accounts",
    responses((status = 200, description = "The account afterwards.", body = AccountView)),
    extensions(("x-problems" = json!([problems::ACCOUNTS, "403 step_up_required", "404 unknown_account"]))),
)]
pub(super) async fn reset_factor(
    app: AppState,
    session: CurrentSession,
    Path(name): Path<String>,
) -> ApiResult<Json<AccountView>> {
    let change = AccountChange {
        reset_factor: true,
        ..AccountChange::default()
    };
    apply(&app, &session, &name, &change).await.map(Json)
}

/// Ends an account's sessions.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{name}/sessions", operation_id = "end_account_sessions", tag = "accounts",
    responses((status = 204, description = "All its sessions ended.")),
    extensions(("x-problems" = json!([problems::ACCOUNTS, "403 step_up_required", "404 unknown_account"]))),
)]
pub(super) async fn end_sessions(
    app: AppState,
    session: CurrentSession,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    let change = AccountChange {
        end_sessions: true,
        ..AccountChange::default()
    };
    apply(&app, &session, &name, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn apply(
    app: &AppState,
    session: &CurrentSession,
    name: &str,
    change: &AccountChange,
) -> ApiResult<AccountView> {
    let store = authorize_change(app, session).await?;
    let name = parse_name(name)?;
    let record = store.change(&name, change, now()).await?;
    Ok(account_view(&name, &record))
}

/// The accounts, to be changed by the administrator of `session`.
async fn authorize_change(app: &AppState, session: &CurrentSession) -> ApiResult<AccountStore> {
    let by = session.authorize(Operation::ManageAccounts)?;
    session.require_recent_proof(app).await?;
    Ok(app.accounts.acting_as(&by.name))
}

/// An invalid name is reported as unknown.
fn parse_name(name: &str) -> ApiResult<UserName> {
    name.parse().map_err(|_| {
        let shown: String = name.chars().take(80).collect();
        unknown_account(&format!("{shown:?}"))
    })
}

fn unknown_account(shown: &str) -> ApiError {
    ApiError::not_found(
        "unknown_account",
        format!("Unknown account {shown}; /api/v1/accounts lists all accounts."),
    )
}

fn parse_groups(groups: &[String]) -> ApiResult<Vec<GroupName>> {
    if groups.len() > GROUPS_MAX {
        return Err(AccountStoreError::TooManyGroups(groups.len()).into());
    }
    let groups = groups.iter().map(|group| group.parse());
    groups
        .collect::<Result<_, GroupNameError>>()
        .map_err(|error| ApiError::unprocessable("invalid_group", to_sentence(&error.to_string())))
}

/// The address; `None` for an empty text.
fn parse_email(text: &str) -> ApiResult<Option<String>> {
    match text.trim() {
        "" => Ok(None),
        text => notify::parse_email_address(text)
            .map(Some)
            .map_err(|error| {
                ApiError::unprocessable("invalid_email", to_sentence(&error.to_string()))
            }),
    }
}

fn account_view(name: &UserName, record: &UserRecord) -> AccountView {
    AccountView {
        name: name.to_string(),
        kind: record.kind,
        roles: record.roles.clone(),
        grants: record.grants.clone(),
        groups: record.groups(),
        email: record.email.clone(),
        disabled: record.disabled,
        second_factor: record.factor.is_some(),
        created_at: record.created_at,
        changed_at: record.changed_at,
    }
}

impl From<AccountStoreError> for ApiError {
    fn from(error: AccountStoreError) -> Self {
        match error {
            AccountStoreError::Exists(name) => Self::conflict(
                "account_exists",
                format!(
                    "Account {name} already exists; change it with PATCH /api/v1/accounts/{name}."
                ),
            ),
            AccountStoreError::Unknown(name) => unknown_account(name.as_str()),
            AccountStoreError::LastAdmin(name) => Self::conflict(
                "last_admin",
                format!(
                    "{name} is the last enabled account with the admin role; grant another account that role first."
                ),
            ),
            AccountStoreError::Roles(error) => error.into(),
            AccountStoreError::ReservedName(_) => {
                Self::unprocessable("invalid_account_name", to_sentence(&error.to_string()))
            }
            AccountStoreError::ExternalPassword(_) | AccountStoreError::ExternalRoles(_) => {
                Self::unprocessable("external_account", to_sentence(&error.to_string()))
            }
            AccountStoreError::TooManyGroups(_) => {
                Self::unprocessable("invalid_group", to_sentence(&error.to_string()))
            }
            AccountStoreError::NoPassword(name) => Self::unprocessable(
                "service_account",
                format!(
                    "{name} is a service account, which has no password; create a token for it with POST /api/v1/tokens."
                ),
            ),
            AccountStoreError::Password(error) => {
                Self::unprocessable("weak_password", to_sentence(&error.to_string()))
            }
            AccountStoreError::Contended(_) => {
                Self::conflict("contended", to_sentence(&error.to_string()))
            }
            AccountStoreError::Damaged(..) => {
                Self::conflict("account_damaged", to_sentence(&error.to_string()))
            }
            AccountStoreError::Registry(error) => Self::etcd_failed(
                &error,
                "etcd is unreachable, and accounts cannot be read or changed without it; try again in a moment.",
            ),
            AccountStoreError::Audit(error) => error.into(),
            AccountStoreError::Hash(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<AssignmentError> for ApiError {
    fn from(error: AssignmentError) -> Self {
        let detail = to_sentence(&error.to_string());
        match error {
            AssignmentError::NoRole => Self::unprocessable("no_role", detail),
            AssignmentError::LimitNotStated(_) => {
                Self::unprocessable("clusters_not_stated", detail)
            }
            AssignmentError::TooMany => Self::unprocessable("too_many_clusters", detail),
        }
    }
}
