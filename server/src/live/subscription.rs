//! The topics of one viewer: each change is due once, with the latest value.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use console_core::published::Published;
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use galera::publish::api::Overview;
use galera::view::ClusterView;
use galera::{ActionId, ClusterName};
use monitor::{ClusterDirectory, Monitor};
use tokio::sync::watch;

use super::message::{TopicName, unknown_cluster};
use crate::actions::{ActionService, ActionsSnapshot, PublishedAction};

/// Actions that a viewer's task records as sent.
const SENT_MAX: usize = 500;

type TopicFeed<T> = watch::Receiver<Arc<Published<T>>>;

enum TopicState {
    Overview(TopicFeed<Overview>),
    Actions {
        snapshots: watch::Receiver<Arc<ActionsSnapshot>>,
        /// The version of each action last sent to the viewer.
        sent: HashMap<ActionId, PublishedAction>,
    },
    Cluster {
        name: ClusterName,
        /// `None` while the cluster is unknown.
        feed: Option<TopicFeed<ClusterView>>,
        /// Whether `unknown_cluster` was sent to the viewer.
        reported_unknown: bool,
    },
}

/// The topics that a viewer subscribed to; empty at first.
pub(super) struct TopicSubscription {
    monitor: Monitor,
    actions: Option<ActionService>,
    directory: watch::Receiver<Arc<ClusterDirectory>>,
    topics: Vec<TopicState>,
    /// The topic checked first, so that a busy one never starves the others.
    next_index: usize,
}

impl TopicSubscription {
    pub(super) fn new(monitor: Monitor, actions: Option<ActionService>) -> Self {
        Self {
            actions,
            directory: monitor.directory(),
            monitor,
            topics: Vec::new(),
            next_index: 0,
        }
    }

    /// Replaces the topics; each one is due immediately.
    pub(super) fn replace(&mut self, names: Vec<TopicName>) {
        self.next_index = 0;
        self.topics = names
            .into_iter()
            .filter_map(|name| match name {
                TopicName::Overview => {
                    let mut feed = self.monitor.overview();
                    feed.mark_changed();
                    Some(TopicState::Overview(feed))
                }
                TopicName::Cluster(name) => Some(TopicState::Cluster {
                    name,
                    feed: None,
                    reported_unknown: false,
                }),
                TopicName::Actions => self.actions.as_ref().map(|actions| TopicState::Actions {
                    snapshots: actions.subscribe(),
                    sent: HashMap::new(),
                }),
            })
            .collect();
    }

    /// Waits for the next message for the viewer. Cancel-safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Utf8Bytes {
        loop {
            self.directory.mark_unchanged();
            let count = self.topics.len();
            for step in 0..count {
                let index = (self.next_index + step) % count;
                if let Some(frame) = self.topics[index].take_due(&self.monitor) {
                    self.next_index = index + 1;
                    return frame;
                }
            }
            self.changed().await;
        }
    }

    /// Waits until a topic may have a new value.
    async fn changed(&mut self) {
        if self.topics.is_empty() {
            return pending().await;
        }
        let mut changes: Vec<BoxFuture<'_, Option<usize>>> = Vec::with_capacity(self.topics.len());
        let mut unknown = false;
        for (index, topic) in self.topics.iter_mut().enumerate() {
            match topic {
                TopicState::Overview(feed) => {
                    changes.push(feed.changed().map(move |_| Some(index)).boxed());
                }
                TopicState::Actions { snapshots, .. } => {
                    changes.push(snapshots.changed().map(move |_| Some(index)).boxed());
                }
                TopicState::Cluster {
                    feed: Some(feed), ..
                } => changes.push(feed.changed().map(move |_| Some(index)).boxed()),
                TopicState::Cluster { feed: None, .. } => unknown = true,
            }
        }
        if unknown {
            let directory = &mut self.directory;
            let appeared = async move {
                match directory.changed().await {
                    Ok(()) => None,
                    Err(_) => pending().await,
                }
            };
            changes.push(appeared.boxed());
        }
        let (changed, ..) = select_all(changes).await;
        // `changed` has marked the value as seen, but it is still due.
        match changed.map(|index| &mut self.topics[index]) {
            Some(TopicState::Overview(feed)) => feed.mark_changed(),
            Some(TopicState::Cluster {
                feed: Some(feed), ..
            }) => feed.mark_changed(),
            _ => {}
        }
    }
}

impl TopicState {
    /// The latest value if the viewer has not received it yet.
    fn take_due(&mut self, monitor: &Monitor) -> Option<Utf8Bytes> {
        match self {
            Self::Overview(feed) => take_newest(feed).ok().flatten(),
            Self::Actions { snapshots, sent } => next_action(snapshots, sent),
            Self::Cluster {
                name,
                feed,
                reported_unknown: reported,
            } => {
                if let Some(open) = feed {
                    match take_newest(open) {
                        Ok(frame) => return frame,
                        // No longer published: unknown until it reappears.
                        Err(_) => *feed = None,
                    }
                }
                match monitor.cluster_feed(name) {
                    Some(mut fresh) => {
                        fresh.mark_changed();
                        *reported = false;
                        let frame = take_newest(&mut fresh).ok().flatten();
                        *feed = Some(fresh);
                        frame
                    }
                    None if !*reported => {
                        *reported = true;
                        Some(unknown_cluster(name).frame())
                    }
                    None => None,
                }
            }
        }
    }
}

/// The first action whose current version was not sent yet. Forgets actions that are no longer listed.
fn next_action(
    snapshots: &mut watch::Receiver<Arc<ActionsSnapshot>>,
    sent: &mut HashMap<ActionId, PublishedAction>,
) -> Option<Utf8Bytes> {
    let current = Arc::clone(&snapshots.borrow_and_update());
    if sent.len() > SENT_MAX {
        sent.retain(|id, _| current.get(id).is_some());
    }
    let due = current.for_live_viewers().find(|shown| {
        sent.get(&shown.value.action.id)
            .is_none_or(|known| !Arc::ptr_eq(known, shown))
    })?;
    sent.insert(due.value.action.id.clone(), Arc::clone(due));
    Some(due.frame())
}

fn take_newest<T: console_core::published::LiveTopic>(
    feed: &mut TopicFeed<T>,
) -> Result<Option<Utf8Bytes>, watch::error::RecvError> {
    if !feed.has_changed()? {
        return Ok(None);
    }
    let published = Arc::clone(&feed.borrow_and_update());
    Ok(Some(published.frame()))
}
