//! The topics of one viewer: whatever changed is due once, with its newest value.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use console_core::published::Published;
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use galera::ClusterName;
use galera::publish::api::Overview;
use galera::view::ClusterView;
use monitor::{Directory, Hub};
use tokio::sync::watch;

use super::message::{TopicName, unknown_cluster};
use crate::actions::{Actions, Shelf, Shown};

/// Actions that one viewer's task remembers having sent.
const SENT_MAX: usize = 500;

type Feed<T> = watch::Receiver<Arc<Published<T>>>;

enum Topic {
    Overview(Feed<Overview>),
    Actions {
        shelf: watch::Receiver<Arc<Shelf>>,
        /// What the viewer was sent of each action.
        sent: HashMap<String, Shown>,
    },
    Cluster {
        name: ClusterName,
        /// `None` while the cluster is not known.
        feed: Option<Feed<ClusterView>>,
        /// Whether the viewer was told that the cluster is not known.
        told: bool,
    },
}

/// What a viewer wants to see; empty at first.
pub(super) struct Subscription {
    hub: Hub,
    actions: Option<Actions>,
    directory: watch::Receiver<Arc<Directory>>,
    topics: Vec<Topic>,
    /// The topic that is looked at first, so that a busy one never starves the others.
    turn: usize,
}

impl Subscription {
    pub(super) fn new(hub: Hub, actions: Option<Actions>) -> Self {
        Self {
            actions,
            directory: hub.directory(),
            hub,
            topics: Vec::new(),
            turn: 0,
        }
    }

    /// Replaces the topics; each one is due at once.
    pub(super) fn replace(&mut self, names: Vec<TopicName>) {
        self.turn = 0;
        self.topics = names
            .into_iter()
            .filter_map(|name| match name {
                TopicName::Overview => {
                    let mut feed = self.hub.overview();
                    feed.mark_changed();
                    Some(Topic::Overview(feed))
                }
                TopicName::Cluster(name) => Some(Topic::Cluster {
                    name,
                    feed: None,
                    told: false,
                }),
                TopicName::Actions => self.actions.as_ref().map(|actions| Topic::Actions {
                    shelf: actions.subscribe(),
                    sent: HashMap::new(),
                }),
            })
            .collect();
    }

    /// The next message for the viewer; waits until there is one. Nothing is lost when the call is cancelled.
    pub(super) async fn next(&mut self) -> Utf8Bytes {
        loop {
            self.directory.mark_unchanged();
            let count = self.topics.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                if let Some(frame) = self.topics[index].due(&self.hub) {
                    self.turn = index + 1;
                    return frame;
                }
            }
            self.changed().await;
        }
    }

    /// Waits until a topic may have something new.
    async fn changed(&mut self) {
        if self.topics.is_empty() {
            return pending().await;
        }
        let mut changes: Vec<BoxFuture<'_, Option<usize>>> = Vec::with_capacity(self.topics.len());
        let mut unknown = false;
        for (index, topic) in self.topics.iter_mut().enumerate() {
            match topic {
                Topic::Overview(feed) => {
                    changes.push(feed.changed().map(move |_| Some(index)).boxed());
                }
                Topic::Actions { shelf, .. } => {
                    changes.push(shelf.changed().map(move |_| Some(index)).boxed());
                }
                Topic::Cluster {
                    feed: Some(feed), ..
                } => changes.push(feed.changed().map(move |_| Some(index)).boxed()),
                Topic::Cluster { feed: None, .. } => unknown = true,
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
        // Waiting has taken note of the change; it is still due.
        match changed.map(|index| &mut self.topics[index]) {
            Some(Topic::Overview(feed)) => feed.mark_changed(),
            Some(Topic::Cluster {
                feed: Some(feed), ..
            }) => feed.mark_changed(),
            _ => {}
        }
    }
}

impl Topic {
    /// The newest value when the viewer has not got it yet.
    fn due(&mut self, hub: &Hub) -> Option<Utf8Bytes> {
        match self {
            Self::Overview(feed) => newest(feed).ok().flatten(),
            Self::Actions { shelf, sent } => next_action(shelf, sent),
            Self::Cluster { name, feed, told } => {
                if let Some(open) = feed {
                    match newest(open) {
                        Ok(frame) => return frame,
                        // Nobody publishes it any more: it is unknown until it comes back.
                        Err(_) => *feed = None,
                    }
                }
                match hub.cluster(name) {
                    Some(mut fresh) => {
                        fresh.mark_changed();
                        *told = false;
                        let frame = newest(&mut fresh).ok().flatten();
                        *feed = Some(fresh);
                        frame
                    }
                    None if !*told => {
                        *told = true;
                        Some(unknown_cluster(name).frame())
                    }
                    None => None,
                }
            }
        }
    }
}

/// The first action that the viewer has not got as it is now. One that is no longer told of is forgotten.
fn next_action(
    shelf: &mut watch::Receiver<Arc<Shelf>>,
    sent: &mut HashMap<String, Shown>,
) -> Option<Utf8Bytes> {
    let present = Arc::clone(&shelf.borrow_and_update());
    if sent.len() > SENT_MAX {
        sent.retain(|id, _| present.get(id).is_some());
    }
    let due = present.live().find(|shown| {
        sent.get(&shown.value.action.id)
            .is_none_or(|known| !Arc::ptr_eq(known, shown))
    })?;
    sent.insert(due.value.action.id.clone(), Arc::clone(due));
    Some(due.frame())
}

fn newest<T: console_core::published::Topic>(
    feed: &mut Feed<T>,
) -> Result<Option<Utf8Bytes>, watch::error::RecvError> {
    if !feed.has_changed()? {
        return Ok(None);
    }
    let published = Arc::clone(&feed.borrow_and_update());
    Ok(Some(published.frame()))
}
