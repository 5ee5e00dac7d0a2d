//! Status pages: kept in etcd, changed by compare, known to every replica in memory, and served from ready-made bytes.
//!
//! What a page, an incident, a maintenance and an announcement are is decided in `galera::publish::status_pages`; here they are stored,
//! watched, composed with what is known of the clusters, and turned into bytes.
//!
//! Invariants: no reader of a page waits for etcd; every change by a person is one transaction with its entry of the audit
//! trail, and compares what it read; a link's secret is kept nowhere.

mod audit_records;
mod auto_incidents;
mod badge;
mod cache;
mod compressed_body;
mod feed;
mod item;
mod link_secret;
mod qr;
mod quiet;
mod rendered_page;
mod renderer;
mod service;
mod store;
mod summary;
mod verdict_history;

use console_core::audit::AuditError;
use galera::publish::status_pages::StatusPageRefusal;

pub use badge::BadgeSubject;
pub use cache::StatusPageSnapshot;
pub use compressed_body::{CompressedBody, ContentEncoding};
pub use link_secret::LinkSecret;
pub use qr::qr_code;
pub use quiet::maintenance;
pub use rendered_page::{PageAssets, PageLocation, RenderedPage, RenderedPages};
pub use service::{StatusPageConfig, StatusPageDeps, StatusPageService};
pub use verdict_history::VerdictHistory;

/// Why something about status pages was not done.
#[derive(Debug, thiserror::Error)]
pub enum StatusPageError {
    /// It breaks a rule.
    #[error(transparent)]
    Refused(#[from] StatusPageRefusal),
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// How it was called.
        id: String,
    },
    /// The slug is taken.
    #[error("there is a status page called {0} already; choose another slug, or change that page")]
    SlugTaken(String),
    /// Somebody else changed it since it was read.
    #[error("somebody else changed it meanwhile; look at it again")]
    Changed,
    /// It is changed by others all the time.
    #[error("it is being changed by others at the same moment; look at it and try again")]
    Contended,
    /// etcd or the trail in it.
    #[error(transparent)]
    Trail(#[from] AuditError),
}

impl From<registry::Error> for StatusPageError {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}
