//! Status pages: kept in etcd, changed by compare, known to every replica in memory, and served from ready-made bytes.
//!
//! What a page, an incident, a maintenance and an announcement are is decided in `galera::publish::status_pages`; here they are stored,
//! watched, composed with what is known of the clusters, and turned into bytes.
//!
//! Invariants: no reader of a page waits for etcd; every change by a person is one transaction with its entry of the audit
//! trail, and compares what it read; a link's secret is kept nowhere.

mod badge;
mod board;
mod desk;
mod feed;
mod keys;
mod packed;
mod past;
mod press;
mod print;
mod qr;
mod quiet;
mod records;
mod secret;
mod store;
mod summary;
mod warden;

use console_core::audit::AuditError;
use galera::publish::status_pages::StatusPageRefusal;

pub use badge::BadgeSubject;
pub use board::{StatusPageSnapshot, Versioned};
pub use desk::{StatusPageConfig, StatusPageDeps, StatusPageService};
pub use packed::{CompressedBody, ContentEncoding};
pub use past::VerdictHistory;
pub use print::{PageAssets, PageLocation, RenderedPage, RenderedPages};
pub use qr::qr_code;
pub use quiet::maintenance;
pub use secret::LinkSecret;

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
