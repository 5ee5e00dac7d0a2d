//! Status pages: stored in etcd, mirrored in memory by every replica, and served from prepared bytes.
//!
//! `galera::publish::status_pages` defines pages, incidents, maintenance and announcements and their rules. A change passes
//! these in order: [`StatusPageService`] validates it, `StatusPageStore` writes it with its audit record, the watch updates
//! `StatusPageCache`, and `PageRenderer` composes the [`StatusPageSnapshot`] with the monitor's views and the
//! [`VerdictHistory`] into [`RenderedPages`], whose HTML, feed, summary and badges are [`CompressedBody`]s.
//! `AutoIncidentWorker` opens and resolves incidents on the leader.
//!
//! Invariants: no reader of a page waits for etcd; every change by a user is one transaction with its audit record, and
//! compares the revision that it is based on; a link's secret is not stored.

mod audit_records;
mod auto_incidents;
mod badge;
mod cache;
mod compressed_body;
mod feed;
mod item;
mod link_secret;
mod maintenance_check;
mod qr;
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
pub use maintenance_check::maintenance;
pub use qr::qr_code;
pub use rendered_page::{PageAssets, PageLocation, RenderedPage, RenderedPages};
pub use service::{StatusPageConfig, StatusPageDeps, StatusPageService};
pub use verdict_history::VerdictHistory;

/// Why a request about status pages failed.
#[derive(Debug, thiserror::Error)]
pub enum StatusPageError {
    #[error(transparent)]
    Refused(#[from] StatusPageRefusal),
    #[error("there is no {what} {id}")]
    NotFound {
        /// Kind of item, e.g. `status page`.
        what: &'static str,
        /// Its slug or ID as requested, quoted.
        id: String,
    },
    #[error("the status page {0} already exists; choose another slug or change that page")]
    SlugTaken(String),
    /// It was changed since the revision that the request is based on.
    #[error("it was changed by someone else in the meantime; reload it and try again")]
    Changed,
    /// Concurrent changes kept winning.
    #[error("it is being changed by others; reload it and try again")]
    Contended,
    #[error(transparent)]
    Trail(#[from] AuditError),
}

impl From<registry::Error> for StatusPageError {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}
