//! The links of notifications by which approvers open a request.
//!
//! Chat services and mail scanners fetch every link, so GET changes nothing: it shows what is requested. The form on that page
//! uses the link up and redirects to the action, where the approver decides as without a link, with the same checks.

use app::fragments::approval_link::{review, used_up};
use axum::Router;
use axum::extract::Path;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use console_core::approval_link::PresentedLink;
use console_core::clock::now;
use console_core::session::{Principal, SessionGuard};
use galera::ActionId;
use galera::Timestamp;
use galera::access::{GrantTarget, Operation};
use galera::record::audit::SealVerdict;
use galera::recover::action::{Action, ActionRefusal, ActionState, Actor};
use html_escape::{encode_double_quoted_attribute, encode_text};
use http::StatusCode;
use notify::NotifyError;
use serde::Deserialize;

use super::AppState;
use super::extract::FormBody;
use super::forms::encode_segment;
use super::identity::{CurrentSession, identify};
use super::pages::require_session;
use super::plain_page::{FormTarget, plain_page};
use super::problem::{ApiError, ApiResult};
use super::sign_in::{encode_query, see_other};
use crate::actions::{ActionError, PublishedAction};

/// The page of a link, for signed-in users; others sign in first.
pub(super) fn pages(state: &AppState) -> Router<AppState> {
    Router::new()
        .route("/approve/{token}", get(show))
        .layer(from_fn_with_state(state.clone(), require_session))
        .layer(from_fn_with_state(state.clone(), identify))
}

/// The form of that page.
pub(super) fn forms() -> Router<AppState> {
    Router::new().route("/approve", post(open))
}

async fn show(
    app: AppState,
    CurrentSession(session): CurrentSession,
    Path(token): Path<String>,
) -> ApiResult<Response> {
    match read_link(&app, &session, &token).await? {
        Ok(link) => {
            let (title, content) = review(&link.request.value.action, &token);
            let forms = FormTarget::OwnHost;
            Ok(plain_page(&app, StatusCode::OK, &title, &content, forms))
        }
        Err(refusal) => Ok(refusal.page(&app)),
    }
}

#[derive(Deserialize)]
struct OpenForm {
    token: String,
}

async fn open(
    app: AppState,
    session: Result<CurrentSession, ApiError>,
    FormBody(form): FormBody<OpenForm>,
) -> ApiResult<Response> {
    let session = match session {
        Ok(CurrentSession(session)) => session,
        // The session ended while the page was open.
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            let page = format!("/approve/{}", encode_segment(&form.token));
            let next = encode_query(&page);
            return see_other(&format!("/sign-in?error={}&next={next}", error.code()));
        }
        Err(error) => return Err(error),
    };
    let link = match read_link(&app, &session, &form.token).await? {
        Ok(link) => link,
        Err(refusal) => return Ok(refusal.page(&app)),
    };
    let action = &link.request.value.action;
    let opened = app
        .actions
        .open_link(&link.by, &action.id, &link.target, &link.target_name);
    match opened.await {
        Ok(()) => see_other(&format!("/actions/{}", action.id)),
        Err(ActionError::Refused(refusal)) => {
            Ok(LinkRefusal::of_action(&refusal, &action.id).page(&app))
        }
        Err(error) => Err(error.into()),
    }
}

/// A link that its reader may use.
struct ReadableLink {
    request: PublishedAction,
    by: Actor,
    target: String,
    target_name: String,
}

/// Verifies `token` for the user of `session`.
async fn read_link(
    app: &AppState,
    session: &SessionGuard,
    token: &str,
) -> ApiResult<Result<ReadableLink, LinkRefusal>> {
    let Some(seals) = &app.approval_links else {
        return Ok(Err(LinkRefusal::Off));
    };
    let Some(presented) = PresentedLink::parse(token) else {
        return Ok(Err(LinkRefusal::Invalid));
    };
    if !seals.know_secret_of(&presented) {
        return Ok(Err(LinkRefusal::UnknownSecret));
    }
    let link = &presented.link;
    let request = match app.actions.get(link.action.as_str()).await {
        Ok(request) => request,
        Err(ActionError::UnknownAction(_)) => return Ok(Err(LinkRefusal::Invalid)),
        Err(error) => return Err(error.into()),
    };
    let action = &request.value.action;
    if seals.verify(&presented, &action.plan.digest) != SealVerdict::Valid {
        return Ok(Err(LinkRefusal::Invalid));
    }
    let Some(principal) = reader_of(session, action) else {
        return Ok(Err(LinkRefusal::Invalid));
    };
    let by = match check_reader(&principal, action, &link.target, link.expires_at) {
        Ok(by) => by,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let named = app.notifications.target_name(&link.target).await;
    let Some(target_name) = named.map_err(|error: NotifyError| ApiError::from(error))? else {
        return Ok(Err(LinkRefusal::TargetRemoved(action.id.clone())));
    };
    Ok(Ok(ReadableLink {
        target: link.target.clone(),
        by,
        target_name,
        request,
    }))
}

/// The user of `session` with the roles on the cluster of `action`; `None` if that is outside of what the user may see.
fn reader_of(session: &SessionGuard, action: &Action) -> Option<Principal> {
    let principal = &session.principal;
    let narrowed = principal.narrowed(GrantTarget::Cluster(&action.cluster))?;
    narrowed
        .clusters
        .permits(&action.cluster)
        .then_some(narrowed)
}

/// Checks what the action's record decides, so that a page can name it before the link is used.
fn check_reader(
    principal: &Principal,
    action: &Action,
    target: &str,
    expires_at: Timestamp,
) -> Result<Actor, LinkRefusal> {
    let id = || action.id.clone();
    if action.state != ActionState::Pending {
        return Err(LinkRefusal::Decided(id(), action.state));
    }
    if now() >= expires_at {
        return Err(LinkRefusal::Expired(id()));
    }
    if principal.permit(Operation::ApproveAction).is_err() {
        return Err(LinkRefusal::NotApprover(id()));
    }
    let is_reader = |name: &str| name.eq_ignore_ascii_case(&principal.username);
    if is_reader(&action.requested_by) {
        return Err(LinkRefusal::OwnRequest(id()));
    }
    let mut opened = action.opened_links.iter();
    if let Some(used) = opened.find(|used| used.target == target) {
        let by = if is_reader(&used.by) { "You" } else { &used.by };
        return Err(LinkRefusal::Used(id(), by.to_owned(), used.at));
    }
    if action.approvals.iter().any(|given| is_reader(&given.by)) {
        return Err(LinkRefusal::AlreadyApproved(id()));
    }
    Ok(Actor {
        name: principal.username.to_string(),
        roles: principal.roles.clone(),
        credential: principal.credential.clone(),
        groups: principal.groups.to_vec(),
    })
}

/// Why a link does not open its request.
enum LinkRefusal {
    Off,
    /// Not made by this console, for another request, plan or target, or for one that the reader may not see.
    Invalid,
    UnknownSecret,
    Decided(ActionId, ActionState),
    Expired(ActionId),
    NotApprover(ActionId),
    OwnRequest(ActionId),
    AlreadyApproved(ActionId),
    Used(ActionId, String, Timestamp),
    TargetRemoved(ActionId),
    /// A cause that the record of the action decided in the meantime.
    Refused(ActionId, String),
}

impl LinkRefusal {
    fn of_action(refusal: &ActionRefusal, id: &ActionId) -> Self {
        match refusal {
            ActionRefusal::LinkUsed { by, at, .. } => Self::Used(id.clone(), by.clone(), *at),
            ActionRefusal::Final { state, .. } | ActionRefusal::WrongState { state, .. } => {
                Self::Decided(id.clone(), *state)
            }
            ActionRefusal::Expired { .. } => Self::Expired(id.clone()),
            other => Self::Refused(id.clone(), super::problem::to_sentence(&other.to_string())),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Off | Self::Invalid | Self::UnknownSecret => StatusCode::NOT_FOUND,
            Self::Expired(_) => StatusCode::GONE,
            Self::NotApprover(_) | Self::OwnRequest(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::CONFLICT,
        }
    }

    /// The cause in a sentence or two.
    fn text(&self) -> String {
        match self {
            Self::Off => "Approval links are off on this console.".to_owned(),
            Self::Invalid => "This link is not one of this console, was changed, or is of a request that you may not see. Open the newest notification, or look for the request under Actions.".to_owned(),
            Self::UnknownSecret => "This link was made with a state secret that this console does not have: the secret was replaced since, or the link is of another console. Look for the request under Actions.".to_owned(),
            Self::Decided(_, ActionState::Expired) => "The request was not approved in time and has expired. Request it again, which repeats every check.".to_owned(),
            Self::Decided(_, ActionState::Superseded) => "The cluster changed, and the request was superseded. Request it again, which repeats every check.".to_owned(),
            Self::Decided(_, state) => format!("The request no longer waits for approval; its state is {}.", state.as_str()),
            Self::Expired(_) => "This link has expired. If the request is still waiting for approval, open it in the console.".to_owned(),
            Self::NotApprover(_) => "Your account does not have the approver role on this cluster, and the link is not used up. Pass it on to an approver, or view the request.".to_owned(),
            Self::OwnRequest(_) => "You requested this action, and another person must approve it. The link is not used up.".to_owned(),
            Self::AlreadyApproved(_) => "You have already approved this request; it needs the approval of another person. The link is not used up.".to_owned(),
            Self::Used(_, by, at) => used_up(by, *at),
            Self::TargetRemoved(_) => "The notification target that this link was sent to was removed, and its links with it. Open the request in the console.".to_owned(),
            Self::Refused(_, cause) => cause.clone(),
        }
    }

    fn action(&self) -> Option<&ActionId> {
        match self {
            Self::Off | Self::Invalid | Self::UnknownSecret => None,
            Self::Decided(id, _)
            | Self::Expired(id)
            | Self::NotApprover(id)
            | Self::OwnRequest(id)
            | Self::AlreadyApproved(id)
            | Self::Used(id, ..)
            | Self::TargetRemoved(id)
            | Self::Refused(id, _) => Some(id),
        }
    }

    fn page(&self, app: &AppState) -> Response {
        const TITLE: &str = "Approval link not accepted";
        let (path, label) = match self.action() {
            Some(id) => (format!("/actions/{id}"), "Open the request"),
            None => ("/actions".to_owned(), "Actions"),
        };
        let (text, path) = (
            self.text(),
            encode_double_quoted_attribute(&path).into_owned(),
        );
        let text = encode_text(&text);
        let content = format!(
            "<section class=\"problem\"><h1>{TITLE}</h1><p>{text}</p><p><a href=\"{path}\">{label}</a></p></section>"
        );
        plain_page(app, self.status(), TITLE, &content, FormTarget::None).into_response()
    }
}
