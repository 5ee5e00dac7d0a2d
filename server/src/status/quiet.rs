//! When notices about a cluster are kept back.

use std::sync::Arc;

use notify::Quiet;

use super::StatusDesk;

/// Quiet while a cluster is in maintenance, and before it is known whether it is.
#[must_use]
pub fn maintenance(status: &StatusDesk) -> Quiet {
    let status = status.clone();
    Arc::new(move |cluster, at| {
        let shelf = status.shelf();
        !shelf.known || shelf.in_maintenance(cluster, at).is_some()
    })
}
