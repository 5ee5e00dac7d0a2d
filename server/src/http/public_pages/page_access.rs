//! How a reader gets at a page; asked again for as long as they stay.

use std::sync::Arc;

use console_core::clock::now;
use console_core::session::SessionGuard;
use galera::access::Operation;
use galera::publish::status_pages::PageVisibility;
use http::HeaderMap;

use crate::http::{AppState, cookie};
use crate::status_pages::{PageLocation, RenderedPage, RenderedPages};

/// A way to a page.
pub(super) enum PageAccess {
    /// A page that is open to everybody, by its slug.
    Public(String),
    /// Any page, by its slug, for somebody who is signed in.
    Member(String, SessionGuard),
    /// The page behind a secret.
    SecretLink(String),
}

/// Why there is no way.
pub(super) enum PageAccessError {
    /// The page needs somebody who is signed in.
    SignInRequired,
    /// There is no page, or none that may be known of.
    NotFound,
}

impl PageAccess {
    /// The way to the page `slug` for whoever sends `headers`.
    pub(super) async fn resolve(
        app: &AppState,
        slug: String,
        headers: &HeaderMap,
    ) -> Result<Self, PageAccessError> {
        let prints = app.status_pages.rendered_pages();
        let visibility = prints
            .page(&slug)
            .map(|print| print.page.value.settings.visibility);
        if visibility == Some(PageVisibility::Public) {
            return Ok(Self::Public(slug));
        }
        // Whoever sends no cookie is a stranger to every page alike.
        let member = signed_in_viewer(app, headers).await;
        match (visibility, member) {
            (Some(_), Some(session)) => Ok(Self::Member(slug, session)),
            (Some(PageVisibility::Members), None) => Err(PageAccessError::SignInRequired),
            _ => Err(PageAccessError::NotFound),
        }
    }

    /// The page, while this way leads to it.
    pub(super) fn rendered_page(&self, prints: &RenderedPages) -> Option<Arc<RenderedPage>> {
        let at = now();
        match self {
            Self::Public(slug) => {
                let public = |print: &&Arc<RenderedPage>| {
                    print.page.value.settings.visibility == PageVisibility::Public
                };
                prints.page(slug).filter(public).cloned()
            }
            Self::Member(slug, session) => {
                let lives = !session.has_ended() && at < session.expires_at;
                prints.page(slug).filter(|_| lives).cloned()
            }
            Self::SecretLink(secret) => prints.page_for_secret(secret, at).cloned(),
        }
    }

    /// Where the reader is.
    pub(super) const fn place(&self) -> PageLocation {
        match self {
            Self::Public(_) | Self::Member(..) => PageLocation::Slug,
            Self::SecretLink(_) => PageLocation::Secret,
        }
    }
}

/// Somebody who is signed in and may look at clusters.
async fn signed_in_viewer(app: &AppState, headers: &HeaderMap) -> Option<SessionGuard> {
    let token = cookie::token(headers, app.is_https())?;
    let session = app.authenticator.resolve_session(token).await.ok()?;
    session.principal.permit(Operation::View).ok()?;
    Some(session)
}
