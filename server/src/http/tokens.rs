//! The API of API tokens: everyone's own, and for administrators those of all accounts. Sessions only, so that a token makes no
//! other one.

use std::time::Duration;

use accounts::{NewToken, TokenId, TokenStoreError, UserName};
use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use galera::Timestamp;
use galera::access::{ClusterScope, Operation, Role};
use galera::publish::accounts::{AccountKind, NewTokenView, TokenList, TokenView};
use http::StatusCode;
use serde::Deserialize;

use super::AppState;
use super::extract::{JsonBody, QueryParams};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenListQuery {
    /// An account, or `*` for all.
    account: Option<String>,
}

/// Lists the own API tokens, or for administrators those of an account or of all.
#[utoipa::path(
    get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "tokens",
    params(TokenListQuery),
    responses((status = 200, description = "The tokens, without their secrets.", body = TokenList)),
    extensions(("x-problems" = json!([problems::AUDITED, "409 account_damaged", "422 invalid_account_name"]))),
)]
pub(super) async fn list(
    app: AppState,
    session: CurrentSession,
    QueryParams(query): QueryParams<TokenListQuery>,
) -> ApiResult<Json<TokenList>> {
    let own = own_name(&session)?;
    let account = match query.account.as_deref() {
        None | Some("") => Some(own),
        Some("*") => {
            session.authorize(Operation::ManageAccounts)?;
            None
        }
        Some(name) => {
            let name = parse_account(name)?;
            if name != own {
                session.authorize(Operation::ManageAccounts)?;
            }
            Some(name)
        }
    };
    let tokens = app.tokens.list(account.as_ref(), now()).await?;
    Ok(Json(TokenList { tokens }))
}

/// Shows an API token.
#[utoipa::path(
    get, path = "/api/v1/tokens/{id}", operation_id = "show_token", tag = "tokens",
    responses((status = 200, description = "The token, without its secret.", body = TokenView)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_token", "409 account_damaged"]))),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<TokenView>> {
    Ok(Json(find(&app, &session, &id).await?.1))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateTokenRequest {
    name: String,
    /// A service account; by default the own account.
    #[serde(default)]
    account: Option<String>,
    roles: Vec<Role>,
    /// Names, patterns or labels; empty for all clusters and the console itself.
    #[serde(default)]
    clusters: ClusterScope,
    /// One of both is required.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    days: Option<u32>,
}

/// Creates an API token. The response is the only place where it is shown.
#[utoipa::path(
    post, path = "/api/v1/tokens", operation_id = "create_token", tag = "tokens",
    request_body = CreateTokenRequest,
    responses((status = 201, description = "The token with its secret.", body = NewTokenView)),
    extensions(("x-problems" = json!([
        problems::AUDITED, "403 not_a_service_account", "403 step_up_required", "404 unknown_account", "409 account_damaged", "409 token_exists", "422 external_account",
        "409 too_many_tokens", "422 invalid_account_name", "422 invalid_expiry", "422 invalid_token_name", "422 no_expiry", "422 no_role",
        "422 role_not_owned", "422 too_many_clusters",
    ]))),
)]
pub(super) async fn create(
    app: AppState,
    session: CurrentSession,
    JsonBody(body): JsonBody<CreateTokenRequest>,
) -> ApiResult<Response> {
    session.require_recent_proof(&app).await?;
    let at = now();
    let own = own_name(&session)?;
    let account = match body.account.as_deref() {
        None | Some("") => own.clone(),
        Some(name) => parse_account(name)?,
    };
    if account != own {
        session.authorize(Operation::ManageAccounts)?;
        if app.accounts.get(&account).await?.kind != AccountKind::Service {
            return Err(ApiError::forbidden(
                "not_a_service_account",
                format!("{account} is a person's account; only its owner creates tokens for it."),
            ));
        }
    }
    let expires_at = match (body.expires_at, body.days) {
        (Some(end), None) => end,
        (None, Some(days)) => at.plus(Duration::from_secs(u64::from(days) * 86_400)),
        _ => {
            let detail = "State when the token ends: either expires_at, or days from now.";
            return Err(ApiError::unprocessable("no_expiry", detail));
        }
    };
    let new = NewToken {
        name: body.name.trim().to_owned(),
        roles: body.roles,
        clusters: body.clusters,
        expires_at,
    };
    let store = app.tokens.acting_as(own.as_str());
    let created = store.create(&account, new, at).await?;
    app.authenticator.learn_created_token(&created).await;
    let view = NewTokenView {
        secret: created.secret,
        token: created.view,
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Revokes an API token: it stops immediately, on every replica.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "tokens",
    responses((status = 204, description = "Revoked.")),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_token", "409 account_damaged"]))),
)]
pub(super) async fn revoke(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let (id, _) = find(&app, &session, &id).await?;
    let own = own_name(&session)?;
    app.tokens
        .acting_as(own.as_str())
        .revoke(&id, now())
        .await?;
    app.authenticator.learn_revoked_token(&id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The token `id`, if it is the user's own or the user is an administrator; otherwise it is unknown.
async fn find(
    app: &AppState,
    session: &CurrentSession,
    id: &str,
) -> ApiResult<(TokenId, TokenView)> {
    let unknown =
        || TokenStoreError::Unknown(format!("{:?}", id.chars().take(40).collect::<String>()));
    let own = own_name(session)?;
    let parsed: TokenId = id.parse().map_err(|_| unknown())?;
    let account = match session.authorize(Operation::ManageAccounts) {
        Ok(_) => None,
        Err(_) => Some(&own),
    };
    let tokens = app.tokens.list(account, now()).await?;
    let found = tokens.into_iter().find(|token| token.id == id);
    Ok((parsed, found.ok_or_else(unknown)?))
}

fn own_name(session: &CurrentSession) -> ApiResult<UserName> {
    let name = &session.0.principal.username;
    name.parse()
        .map_err(|error: accounts::UserNameError| ApiError::internal(error.to_string()))
}

fn parse_account(name: &str) -> ApiResult<UserName> {
    name.parse().map_err(|error: accounts::UserNameError| {
        ApiError::unprocessable("invalid_account_name", to_sentence(&error.to_string()))
    })
}

impl From<TokenStoreError> for ApiError {
    fn from(error: TokenStoreError) -> Self {
        let detail = to_sentence(&error.to_string());
        match error {
            TokenStoreError::Unknown(shown) => Self::not_found(
                "unknown_token",
                format!("Unknown token {shown}; /api/v1/tokens lists your tokens."),
            ),
            TokenStoreError::UnknownAccount(name) => Self::not_found(
                "unknown_account",
                format!("No enabled account {name}; /api/v1/accounts lists all accounts."),
            ),
            TokenStoreError::ExternalAccount(_) => Self::unprocessable("external_account", detail),
            TokenStoreError::InvalidName => Self::unprocessable("invalid_token_name", detail),
            TokenStoreError::NameTaken { .. } => Self::conflict("token_exists", detail),
            TokenStoreError::NoRole(_) => Self::unprocessable("no_role", detail),
            TokenStoreError::RoleMissing { .. } => Self::unprocessable("role_not_owned", detail),
            TokenStoreError::TooManyClusters => Self::unprocessable("too_many_clusters", detail),
            TokenStoreError::Expiry { .. } => Self::unprocessable("invalid_expiry", detail),
            TokenStoreError::TooMany(_) => Self::conflict("too_many_tokens", detail),
            TokenStoreError::Damaged(_) => Self::conflict("account_damaged", detail),
            TokenStoreError::Contended => Self::conflict("contended", detail),
            TokenStoreError::Registry(error @ registry::Error::Tampered { .. }) => {
                Self::conflict("record_tampered", to_sentence(&error.to_string()))
            }
            TokenStoreError::Registry(error) => Self::etcd_failed(
                &error,
                "etcd is unreachable, and tokens cannot be read or changed without it; try again in a moment.",
            ),
            TokenStoreError::Audit(error) => error.into(),
        }
    }
}
