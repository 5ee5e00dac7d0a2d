//! A page as it is sent: everything that is made of it, made once and only when somebody asks.

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

/// Badges of one page that are kept.
const BADGES_MAX: usize = 500;

/// What every page needs of the console.
#[derive(Clone, Debug, Default)]
pub struct PageAssets {
    /// The URL of the pages' style sheet.
    pub css: String,
    /// The URL of their script.
    pub js: String,
    /// The console's own address, where it is known.
    pub console_url: Option<String>,
}

/// Where something of a page is asked for: relative addresses depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageLocation {
    /// `/status_page/slug` and `/status_page/slug/…`.
    Slug,
    /// `/s/link_secret/` and `/s/link_secret/…`.
    Secret,
}

/// A page as of a moment.
#[derive(Debug)]
pub struct RenderedPage {
    /// The page.
    pub page: Arc<Versioned<StatusPageRecord>>,
    /// What it says.
    pub content: PublicPage,
    /// Names what it says: another version says something else.
    pub version: String,
    /// When that was found to be so.
    pub as_of: Timestamp,
    assets: Arc<PageAssets>,
    html: [OnceLock<CompressedBody>; 2],
    parts: Arc<RenderedParts>,
}

/// What does not depend on when the page was last looked after.
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

    /// The same page, found to be so later.
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

    /// The page itself.
    #[must_use]
    pub fn html(&self, place: PageLocation) -> &CompressedBody {
        self.html[place as usize].get_or_init(|| {
            let below = format!("{}/", self.page.value.slug);
            let page = StatusPage {
                status: &self.content,
                version: &self.version,
                as_of: self.as_of,
                base_path: match place {
                    PageLocation::Slug => &below,
                    PageLocation::Secret => "",
                },
                css: &self.assets.css,
                js: &self.assets.js,
                listed: self.page.value.settings.visibility == PageVisibility::Public,
            };
            CompressedBody::new("text/html; charset=utf-8", page.html())
        })
    }

    /// What Statuspage's readers read.
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
    pub fn feed(&self, place: PageLocation) -> &CompressedBody {
        self.parts.feed[place as usize].get_or_init(|| {
            let page = match place {
                PageLocation::Slug => format!("../{}", self.page.value.slug),
                PageLocation::Secret => "./".to_owned(),
            };
            let text = render_feed(&self.content, &page, self.page.value.created_at);
            CompressedBody::new("application/atom+xml; charset=utf-8", text)
        })
    }

    /// A badge; `None` when the page shows no such cluster.
    #[must_use]
    pub fn badge(&self, of: BadgeSubject) -> Option<Arc<CompressedBody>> {
        let mut badges = self
            .parts
            .badges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = badges.get(&of) {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(CompressedBody::new(
            "image/svg+xml",
            render_badge(&self.content, &of)?,
        ));
        if badges.len() < BADGES_MAX {
            badges.insert(of, Arc::clone(&made));
        }
        Some(made)
    }
}

/// Every page, ready to be sent.
#[derive(Debug, Default)]
pub struct RenderedPages {
    pub(super) pages: BTreeMap<String, Arc<RenderedPage>>,
    /// Slugs by the hashes of the secrets that lead to them, with when those end.
    pub(super) links: HashMap<String, (String, Option<Timestamp>)>,
}

impl RenderedPages {
    pub(super) fn new(pages: BTreeMap<String, Arc<RenderedPage>>) -> Self {
        let mut links = HashMap::new();
        for (slug, print) in &pages {
            let page = &print.page.value;
            if page.settings.visibility != PageVisibility::AccessLink {
                continue;
            }
            for link in page.links.iter().filter(|link| link.revoked_at.is_none()) {
                links.insert(link.hash.clone(), (slug.clone(), link.expires_at));
            }
        }
        Self { pages, links }
    }

    /// The page that is called `slug`.
    #[must_use]
    pub fn page(&self, slug: &str) -> Option<&Arc<RenderedPage>> {
        self.pages.get(slug)
    }

    /// The page that `link_secret` leads to at `now`.
    #[must_use]
    pub fn page_for_secret(&self, secret: &str, now: Timestamp) -> Option<&Arc<RenderedPage>> {
        let (slug, expires) = self.links.get(&link_secret::hash(secret))?;
        let valid = expires.is_none_or(|at| now < at);
        self.pages.get(slug).filter(|_| valid)
    }
}

#[cfg(test)]
mod tests;
