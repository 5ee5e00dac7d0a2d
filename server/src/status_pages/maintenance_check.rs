//! When notifications about a cluster are muted.

use std::sync::Arc;

use notify::MaintenanceCheck;

use super::StatusPageService;

/// Returns a check that is true while a cluster is in maintenance, and while the status pages are not loaded yet.
#[must_use]
pub fn maintenance(status: &StatusPageService) -> MaintenanceCheck {
    let status = status.clone();
    Arc::new(move |cluster, at| {
        let snapshot = status.snapshot();
        !snapshot.loaded || snapshot.in_maintenance(cluster, at).is_some()
    })
}
