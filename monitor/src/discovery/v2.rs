//! Clusters of the registry in etcd v2: the same monitors as those of v3.

use galera::ClusterName;
use registry::v2::{V2Event, V2Subscription};

use super::ClusterDiscovery;
use crate::input::MonitorInput;

/// The next event; none ever without a subscription.
pub(super) async fn next_event(subscription: &mut Option<V2Subscription>) -> Option<V2Event> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

impl ClusterDiscovery {
    pub(super) async fn on_v2(&mut self, event: V2Event) {
        let change = self.v2.apply(event);
        if change.access {
            let names: Vec<ClusterName> = self.monitored.keys().cloned().collect();
            for name in names {
                let access = self.v2.access().clone();
                self.send_input(&name, MonitorInput::V2Access(access)).await;
            }
        }
        for name in change.clusters {
            match self.v2.keys(&name).cloned() {
                Some(keys) if self.monitored.contains_key(&name) => {
                    self.send_input(&name, MonitorInput::V2Keys(keys)).await;
                }
                // A monitor starts with the keys that are known.
                Some(_) => self.start_monitoring(&name),
                None => {
                    self.send_input(&name, MonitorInput::V2Keys(Vec::new()))
                        .await;
                    self.stop_if_removed(&name);
                }
            }
        }
        self.start_waiting().await;
        self.update_notices();
        self.publisher.set_notices("registry-v2", self.v2.notices());
    }
}
