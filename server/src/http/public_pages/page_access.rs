//! How a reader may access a page; checked again for every event of an open page.

use std::sync::Arc;

use console_core::clock::now;
use console_core::session::SessionGuard;
use galera::access::Operation;
use galera::publish::status_pages::PageVisibility;
use http::HeaderMap;

use crate::http::{AppState, cookie};
use crate::status_pages::{PageLocation, RenderedPage, RenderedPages};

/// The kind of access to a page.
pub(super) enum PageAccess {
    /// A public page, by slug.
    Public(String),
    /// Any page, by slug, for a signed-in user who may view all of its clusters.
    Member(String, Box<SessionGuard>),
    /// The page of a secret link.
    SecretLink(String),
}

/// Why access is denied.
pub(super) enum PageAccessError {
    /// The page is for signed-in users.
    SignInRequired,
    /// There is no page, or its existence must not be revealed.
    NotFound,
}

impl PageAccess {
    /// The access to page `slug` for a request with `headers`.
    pub(super) async fn resolve(
        app: &AppState,
        slug: String,
        headers: &HeaderMap,
    ) -> Result<Self, PageAccessError> {
        let pages = app.status_pages.rendered_pages();
        let visibility = pages
            .page(&slug)
            .map(|page| page.page.value.settings.visibility);
        if visibility == Some(PageVisibility::Public) {
            return Ok(Self::Public(slug));
        }
        // Without a cookie every non-public page takes the same path.
        let member = signed_in_viewer(app, headers).await;
        match (visibility, member) {
            (Some(_), Some(session)) => Ok(Self::Member(slug, Box::new(session))),
            (Some(PageVisibility::Members), None) => Err(PageAccessError::SignInRequired),
            _ => Err(PageAccessError::NotFound),
        }
    }

    /// The page, as long as the access is still valid.
    pub(super) fn rendered_page(&self, pages: &RenderedPages) -> Option<Arc<RenderedPage>> {
        let at = now();
        match self {
            Self::Public(slug) => {
                let public = |page: &&Arc<RenderedPage>| {
                    page.page.value.settings.visibility == PageVisibility::Public
                };
                pages.page(slug).filter(public).cloned()
            }
            Self::Member(slug, session) => {
                let is_live = !session.has_ended() && at < session.expires_at;
                let may_read = |page: &&Arc<RenderedPage>| {
                    let shown = page.page.value.settings.clusters.iter();
                    let scope = &session.principal.clusters;
                    is_live && scope.permits_each(shown.map(|listed| &listed.cluster))
                };
                pages.page(slug).filter(may_read).cloned()
            }
            Self::SecretLink(secret) => pages.page_for_secret(secret, at).cloned(),
        }
    }

    /// Under which URL the reader sees the page.
    pub(super) const fn location(&self) -> PageLocation {
        match self {
            Self::Public(_) | Self::Member(..) => PageLocation::Slug,
            Self::SecretLink(_) => PageLocation::Secret,
        }
    }
}

/// The session of a signed-in user who may view clusters.
async fn signed_in_viewer(app: &AppState, headers: &HeaderMap) -> Option<SessionGuard> {
    let token = cookie::token(headers, app.is_https())?;
    let session = app.authenticator.resolve_session(token).await.ok()?;
    session.principal.permit(Operation::View).ok()?;
    Some(session)
}
