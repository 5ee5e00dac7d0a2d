//! How a reader gets at a page; asked again for as long as they stay.

use std::sync::Arc;

use console_core::clock::now;
use console_core::session::SessionGuard;
use galera::access::Operation;
use galera::publish::status_pages::Visibility;
use http::HeaderMap;

use crate::http::{AppState, cookie};
use crate::status::{Place, Print, Prints};

/// A way to a page.
pub(super) enum Door {
    /// A page that is open to everybody, by its slug.
    Open(String),
    /// Any page, by its slug, for somebody who is signed in.
    Member(String, SessionGuard),
    /// The page behind a secret.
    Secret(String),
}

/// Why there is no way.
pub(super) enum Shut {
    /// The page needs somebody who is signed in.
    ToStrangers,
    /// There is no page, or none that may be known of.
    ToAll,
}

impl Door {
    /// The way to the page `slug` for whoever sends `headers`.
    pub(super) async fn at(
        app: &AppState,
        slug: String,
        headers: &HeaderMap,
    ) -> Result<Self, Shut> {
        let prints = app.status.prints();
        let visibility = prints
            .page(&slug)
            .map(|print| print.page.value.settings.visibility);
        if visibility == Some(Visibility::Public) {
            return Ok(Self::Open(slug));
        }
        // Whoever sends no cookie is a stranger to every page alike.
        let member = member(app, headers).await;
        match (visibility, member) {
            (Some(_), Some(session)) => Ok(Self::Member(slug, session)),
            (Some(Visibility::Members), None) => Err(Shut::ToStrangers),
            _ => Err(Shut::ToAll),
        }
    }

    /// The page, while this way leads to it.
    pub(super) fn print(&self, prints: &Prints) -> Option<Arc<Print>> {
        let at = now();
        match self {
            Self::Open(slug) => {
                let public = |print: &&Arc<Print>| {
                    print.page.value.settings.visibility == Visibility::Public
                };
                prints.page(slug).filter(public).cloned()
            }
            Self::Member(slug, session) => {
                let lives = !session.has_ended() && at < session.expires_at;
                prints.page(slug).filter(|_| lives).cloned()
            }
            Self::Secret(secret) => prints.behind(secret, at).cloned(),
        }
    }

    /// Where the reader is.
    pub(super) const fn place(&self) -> Place {
        match self {
            Self::Open(_) | Self::Member(..) => Place::Slug,
            Self::Secret(_) => Place::Secret,
        }
    }
}

/// Somebody who is signed in and may look at clusters.
async fn member(app: &AppState, headers: &HeaderMap) -> Option<SessionGuard> {
    let token = cookie::token(headers, app.is_https())?;
    let session = app.authority.recognise(token).await.ok()?;
    session.principal.permit(Operation::See).ok()?;
    Some(session)
}
