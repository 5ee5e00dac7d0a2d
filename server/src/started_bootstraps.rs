//! Passes bootstraps whose outcome is not proven from the actions to the monitor: their components may be Primary out of
//! sight (I43).

use galera::observe::started_bootstrap::StartedBootstrap;
use monitor::{Monitor, StartedBootstraps};

use crate::actions::{ActionService, ActionsSnapshot};

/// Follows the actions until the service ends.
pub(crate) async fn follow(actions: ActionService, monitor: Monitor) {
    let mut snapshots = actions.subscribe();
    loop {
        let started = of_actions(&snapshots.borrow_and_update());
        monitor.set_started_bootstraps(started);
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

fn of_actions(actions: &ActionsSnapshot) -> StartedBootstraps {
    let mut started = StartedBootstraps::new();
    for published in actions.newest_first() {
        let action = &published.value.action;
        if let Some(bootstrap) = action.started_bootstrap() {
            let of_cluster: &mut Vec<StartedBootstrap> =
                started.entry(action.cluster.clone()).or_default();
            of_cluster.push(bootstrap);
        }
    }
    started
}
