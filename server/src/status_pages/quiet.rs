//! When notices about a cluster are kept back.

use std::sync::Arc;

use notify::MaintenanceCheck;

use super::StatusPageService;

/// Quiet while a cluster is in maintenance, and before it is known whether it is.
#[must_use]
pub fn maintenance(status: &StatusPageService) -> MaintenanceCheck {
    let status = status.clone();
    Arc::new(move |cluster, at| {
        let shelf = status.snapshot();
        !shelf.loaded || shelf.in_maintenance(cluster, at).is_some()
    })
}
