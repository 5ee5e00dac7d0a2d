//! A page as it is sent: everything that is made of it, made once and only when somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use app::status::StatusPage;
use galera::Timestamp;
use galera::publish::status_pages::{Page, Told, Visibility};

use super::badge::{BadgeOf, badge};
use super::board::Stored;
use super::feed::feed;
use super::packed::Packed;
use super::secret;
use super::summary::summary;

/// Badges of one page that are kept.
const BADGES_MAX: usize = 500;

/// What every page needs of the console.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The URL of the pages' style sheet.
    pub css: String,
    /// The URL of their script.
    pub js: String,
    /// The console's own address, where it is known.
    pub url: Option<String>,
}

/// Where something of a page is asked for: relative addresses depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/status/slug` and `/status/slug/…`.
    Slug,
    /// `/s/secret/` and `/s/secret/…`.
    Secret,
}

/// A page as of a moment.
#[derive(Debug)]
pub struct Print {
    /// The page.
    pub page: Arc<Stored<Page>>,
    /// What it says.
    pub told: Told,
    /// Names what it says: another version says something else.
    pub version: String,
    /// When that was found to be so.
    pub as_of: Timestamp,
    look: Arc<Look>,
    html: [OnceLock<Packed>; 2],
    made: Arc<Made>,
}

/// What does not depend on when the page was last looked after.
#[derive(Debug, Default)]
struct Made {
    summary: OnceLock<Packed>,
    feed: [OnceLock<Packed>; 2],
    badges: Mutex<BTreeMap<BadgeOf, Arc<Packed>>>,
}

impl Print {
    pub(super) fn new(
        page: Arc<Stored<Page>>,
        told: Told,
        as_of: Timestamp,
        look: Arc<Look>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (&told, &look.css, &look.js).hash(&mut hasher);
        Self {
            version: format!("{:016x}", hasher.finish()),
            page,
            told,
            as_of,
            look,
            html: Default::default(),
            made: Arc::default(),
        }
    }

    /// The same page, found to be so later.
    pub(super) fn again(&self, as_of: Timestamp) -> Self {
        Self {
            page: Arc::clone(&self.page),
            told: self.told.clone(),
            version: self.version.clone(),
            as_of,
            look: Arc::clone(&self.look),
            html: Default::default(),
            made: Arc::clone(&self.made),
        }
    }

    /// The page itself.
    #[must_use]
    pub fn html(&self, place: Place) -> &Packed {
        self.html[place as usize].get_or_init(|| {
            let below = format!("{}/", self.page.value.slug);
            let page = StatusPage {
                told: &self.told,
                version: &self.version,
                as_of: self.as_of,
                base: match place {
                    Place::Slug => &below,
                    Place::Secret => "",
                },
                css: &self.look.css,
                js: &self.look.js,
                listed: self.page.value.settings.visibility == Visibility::Public,
            };
            Packed::new("text/html; charset=utf-8", page.html())
        })
    }

    /// What Statuspage's readers read.
    #[must_use]
    pub fn summary(&self) -> &Packed {
        self.made.summary.get_or_init(|| {
            let base = self.look.url.as_deref().unwrap_or_default();
            let url = format!("{base}/status/{}", self.page.value.slug);
            let text = summary(&self.told, &url, self.page.value.created_at);
            Packed::new("application/json", text)
        })
    }

    /// The Atom feed.
    #[must_use]
    pub fn feed(&self, place: Place) -> &Packed {
        self.made.feed[place as usize].get_or_init(|| {
            let page = match place {
                Place::Slug => format!("../{}", self.page.value.slug),
                Place::Secret => "./".to_owned(),
            };
            let text = feed(&self.told, &page, self.page.value.created_at);
            Packed::new("application/atom+xml; charset=utf-8", text)
        })
    }

    /// A badge; `None` when the page shows no such cluster.
    #[must_use]
    pub fn badge(&self, of: BadgeOf) -> Option<Arc<Packed>> {
        let mut badges = self
            .made
            .badges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = badges.get(&of) {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(Packed::new("image/svg+xml", badge(&self.told, &of)?));
        if badges.len() < BADGES_MAX {
            badges.insert(of, Arc::clone(&made));
        }
        Some(made)
    }
}

/// Every page, ready to be sent.
#[derive(Debug, Default)]
pub struct Prints {
    pub(super) pages: BTreeMap<String, Arc<Print>>,
    /// Slugs by the hashes of the secrets that lead to them, with when those end.
    pub(super) links: HashMap<String, (String, Option<Timestamp>)>,
}

impl Prints {
    pub(super) fn new(pages: BTreeMap<String, Arc<Print>>) -> Self {
        let mut links = HashMap::new();
        for (slug, print) in &pages {
            let page = &print.page.value;
            if page.settings.visibility != Visibility::Link {
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
    pub fn page(&self, slug: &str) -> Option<&Arc<Print>> {
        self.pages.get(slug)
    }

    /// The page that `secret` leads to at `now`.
    #[must_use]
    pub fn behind(&self, secret: &str, now: Timestamp) -> Option<&Arc<Print>> {
        let (slug, expires) = self.links.get(&secret::hash(secret))?;
        let valid = expires.is_none_or(|at| now < at);
        self.pages.get(slug).filter(|_| valid)
    }
}

#[cfg(test)]
mod tests;
