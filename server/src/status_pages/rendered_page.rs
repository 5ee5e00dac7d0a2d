//! A page in all of its formats, each rendered once and only on demand.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use app::status_page::StatusPage;
use console_core::repository::Versioned;
use galera::Timestamp;
use galera::publish::status_pages::{PageVisibility, PublicPage, StatusPageRecord};

use super::badge::{BadgeSubject, render_badge};
use super::compressed_body::CompressedBody;
use super::feed::render_feed;
use super::link_secret;
use super::summary::render_summary;

/// Maximum number of cached badges per page.
const BADGES_MAX: usize = 500;

/// URLs that every page refers to.
#[derive(Clone, Debug, Default)]
pub struct PageAssets {
    /// URL of the style sheet.
    pub css: String,
    /// URL of the script.
    pub js: String,
    /// Public URL of the console, if configured.
    pub console_url: Option<String>,
}

/// Where a page is served; its relative links depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageLocation {
    /// `/status/{slug}` and `/status/{slug}/…`.
    Slug,
    /// `/s/{secret}/` and `/s/{secret}/…`.
    Secret,
}

/// A page at one time.
#[derive(Debug)]
pub struct RenderedPage {
    pub page: Arc<Versioned<StatusPageRecord>>,
    /// What it shows.
    pub content: PublicPage,
    /// Hash of the content and the assets.
    pub version: String,
    /// When the content was last checked.
    pub as_of: Timestamp,
    assets: Arc<PageAssets>,
    html: [OnceLock<CompressedBody>; 2],
    parts: Arc<RenderedParts>,
}

/// Formats that do not depend on `as_of`.
#[derive(Debug, Default)]
struct RenderedParts {
    summary: OnceLock<CompressedBody>,
    feed: [OnceLock<CompressedBody>; 2],
    badges: Mutex<BTreeMap<BadgeSubject, Arc<CompressedBody>>>,
}

impl RenderedPage {
    pub(super) fn new(
        page: Arc<Versioned<StatusPageRecord>>,
        content: PublicPage,
        as_of: Timestamp,
        assets: Arc<PageAssets>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (&content, &assets.css, &assets.js).hash(&mut hasher);
        Self {
            version: format!("{:016x}", hasher.finish()),
            page,
            content,
            as_of,
            assets,
            html: Default::default(),
            parts: Arc::default(),
        }
    }

    /// The same page, checked again at `as_of`.
    pub(super) fn refreshed(&self, as_of: Timestamp) -> Self {
        Self {
            page: Arc::clone(&self.page),
            content: self.content.clone(),
            version: self.version.clone(),
            as_of,
            assets: Arc::clone(&self.assets),
            html: Default::default(),
            parts: Arc::clone(&self.parts),
        }
    }

    /// The HTML page.
    #[must_use]
    pub fn html(&self, location: PageLocation) -> &CompressedBody {
        self.html[location as usize].get_or_init(|| {
            let slug_path = format!("{}/", self.page.value.slug);
            let page = StatusPage {
                status: &self.content,
                version: &self.version,
                as_of: self.as_of,
                base_path: match location {
                    PageLocation::Slug => &slug_path,
                    PageLocation::Secret => "",
                },
                css: &self.assets.css,
                js: &self.assets.js,
                listed: self.page.value.settings.visibility == PageVisibility::Public,
            };
            CompressedBody::new("text/html; charset=utf-8", page.html())
        })
    }

    /// The summary in Statuspage's format.
    #[must_use]
    pub fn summary(&self) -> &CompressedBody {
        self.parts.summary.get_or_init(|| {
            let base = self.assets.console_url.as_deref().unwrap_or_default();
            let url = format!("{base}/status/{}", self.page.value.slug);
            let text = render_summary(&self.content, &url, self.page.value.created_at);
            CompressedBody::new("application/json", text)
        })
    }

    /// The Atom feed.
    #[must_use]
    pub fn feed(&self, location: PageLocation) -> &CompressedBody {
        self.parts.feed[location as usize].get_or_init(|| {
            let page = match location {
                PageLocation::Slug => format!("../{}", self.page.value.slug),
                PageLocation::Secret => "./".to_owned(),
            };
            let text = render_feed(&self.content, &page, self.page.value.created_at);
            CompressedBody::new("application/atom+xml; charset=utf-8", text)
        })
    }

    /// A badge; `None` when the page does not show the cluster.
    #[must_use]
    pub fn badge(&self, subject: BadgeSubject) -> Option<Arc<CompressedBody>> {
        let mut badges = self
            .parts
            .badges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = badges.get(&subject) {
            return Some(Arc::clone(cached));
        }
        let badge = Arc::new(CompressedBody::new(
            "image/svg+xml",
            render_badge(&self.content, &subject)?,
        ));
        if badges.len() < BADGES_MAX {
            badges.insert(subject, Arc::clone(&badge));
        }
        Some(badge)
    }
}

/// All rendered pages.
#[derive(Debug, Default)]
pub struct RenderedPages {
    pub(super) pages: BTreeMap<String, Arc<RenderedPage>>,
    /// Slug and expiry by the hash of the link's secret.
    pub(super) links: HashMap<String, (String, Option<Timestamp>)>,
}

impl RenderedPages {
    pub(super) fn new(pages: BTreeMap<String, Arc<RenderedPage>>) -> Self {
        let mut links = HashMap::new();
        for (slug, rendered) in &pages {
            let page = &rendered.page.value;
            if page.settings.visibility != PageVisibility::Link {
                continue;
            }
            for link in page.links.iter().filter(|link| link.revoked_at.is_none()) {
                links.insert(link.hash.clone(), (slug.clone(), link.expires_at));
            }
        }
        Self { pages, links }
    }

    #[must_use]
    pub fn page(&self, slug: &str) -> Option<&Arc<RenderedPage>> {
        self.pages.get(slug)
    }

    /// The page whose access link has `secret` and is valid at `now`.
    #[must_use]
    pub fn page_for_secret(&self, secret: &str, now: Timestamp) -> Option<&Arc<RenderedPage>> {
        let (slug, expires) = self.links.get(&link_secret::hash(secret))?;
        let valid = expires.is_none_or(|at| now < at);
        self.pages.get(slug).filter(|_| valid)
    }
}

#[cfg(test)]
mod tests;
