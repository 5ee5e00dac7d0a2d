//! The topics of one viewer: each change is due once, with the latest value.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use axum::extract::ws::Message;
use console_core::published::Published;
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use galera::access::ClusterScope;
use galera::publish::api::Overview;
use galera::publish::live::FrameEncoding;
use galera::view::ClusterView;
use galera::{ActionId, ClusterName};
use monitor::{ClusterDirectory, Monitor};
use tokio::sync::watch;

use super::LiveSources;
use super::message::{FrameForm, LiveSubscription, SubscribeError, TopicName, unknown_cluster};
use super::shared::{SharedTopics, TopicContent, TopicReceiver, WindowPermit};
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
    /// A topic of protocol 2.
    Document(DocumentTopic),
}

/// A topic of protocol 2 as one viewer follows it.
struct DocumentTopic {
    text: String,
    encoding: Option<FrameEncoding>,
    /// `None` once the topic's worker has ended, which only a fault of the console can cause.
    receiver: Option<TopicReceiver>,
    /// Counts a window of the overview for the account.
    permit: Option<WindowPermit>,
    /// The revision last sent to the viewer.
    sent: Option<u64>,
    /// Whether `unknown_cluster` was sent to the viewer.
    reported_unknown: bool,
}

/// The topics that a viewer subscribed to; empty at first.
pub(super) struct TopicSubscription {
    monitor: Monitor,
    actions: Option<ActionService>,
    shared: SharedTopics,
    /// The viewer's account.
    account: Arc<str>,
    /// The clusters that the viewer's credential is limited to.
    scope: ClusterScope,
    directory: watch::Receiver<Arc<ClusterDirectory>>,
    topics: Vec<TopicState>,
    /// The topic checked first, so that a busy one never starves the others.
    next_index: usize,
}

impl TopicSubscription {
    pub(super) fn new(sources: LiveSources, account: Arc<str>, scope: ClusterScope) -> Self {
        Self {
            actions: sources.actions,
            shared: sources.topics,
            account,
            scope,
            directory: sources.monitor.directory(),
            monitor: sources.monitor,
            topics: Vec::new(),
            next_index: 0,
        }
    }

    /// Replaces the topics; each one is due immediately. Returns an error for each that cannot be served.
    pub(super) fn replace(&mut self, wanted: LiveSubscription) -> Vec<SubscribeError> {
        self.next_index = 0;
        let mut errors = Vec::new();
        // The former topics are kept until the new ones are followed, so that a worker that both need continues. Their windows
        // no longer count.
        for topic in &mut self.topics {
            if let TopicState::Document(topic) = topic {
                drop(topic.permit.take());
            }
        }
        let topics = match wanted.form {
            FrameForm::Values => {
                let names = wanted.topics.into_iter().map(|(_, name)| name);
                names.filter_map(|name| self.value_topic(name)).collect()
            }
            FrameForm::Documents(encoding) => {
                let topics = wanted.topics.into_iter().filter_map(|(text, name)| {
                    let followed = self.shared.follow(&text, &name, &self.scope, &self.account);
                    let (receiver, permit) = followed.map_err(|error| errors.push(error)).ok()?;
                    Some(TopicState::Document(DocumentTopic {
                        text,
                        encoding,
                        receiver: Some(receiver),
                        permit,
                        sent: None,
                        reported_unknown: false,
                    }))
                });
                topics.collect()
            }
        };
        self.topics = topics;
        errors
    }

    fn value_topic(&self, name: TopicName) -> Option<TopicState> {
        match name {
            TopicName::Overview(_) => {
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
            TopicName::Head => None,
        }
    }

    /// Waits for the next message for the viewer. Cancel-safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Message {
        loop {
            self.directory.mark_unchanged();
            let count = self.topics.len();
            for step in 0..count {
                let index = (self.next_index + step) % count;
                if let Some(frame) = self.topics[index].take_due(&self.monitor, &self.scope) {
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
                TopicState::Document(topic) => {
                    if let Some(receiver) = &mut topic.receiver {
                        changes.push(receiver.changed().map(move |_| Some(index)).boxed());
                    }
                }
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
        if changes.is_empty() {
            return pending().await;
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
    fn take_due(&mut self, monitor: &Monitor, scope: &ClusterScope) -> Option<Message> {
        match self {
            Self::Overview(feed) => take_newest_overview(feed, scope),
            Self::Actions { snapshots, sent } => next_action(snapshots, sent, scope),
            Self::Document(topic) => topic.take_due(),
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
                // One of another scope is unknown to the viewer.
                let known = scope.permits(name).then(|| monitor.cluster_feed(name));
                match known.flatten() {
                    Some(mut fresh) => {
                        fresh.mark_changed();
                        *reported = false;
                        let frame = take_newest(&mut fresh).ok().flatten();
                        *feed = Some(fresh);
                        frame
                    }
                    None if !*reported => {
                        *reported = true;
                        Some(Message::Text(unknown_cluster(name.as_str()).frame()))
                    }
                    None => None,
                }
            }
        }
    }
}

impl DocumentTopic {
    /// The frame that the viewer lacks.
    fn take_due(&mut self) -> Option<Message> {
        let receiver = self.receiver.as_mut()?;
        let ended = receiver.has_changed().is_err();
        let publication = Arc::clone(&receiver.borrow_and_update());
        let error = match &publication.content {
            _ if ended => {
                self.receiver = None;
                let detail =
                    "the topic is no longer updated; subscribe again, and see the console's log";
                SubscribeError::new("internal", detail.to_owned())
            }
            TopicContent::Pending => return None,
            TopicContent::UnknownCluster => {
                self.sent = None;
                if std::mem::replace(&mut self.reported_unknown, true) {
                    return None;
                }
                let name = self.text.split_once('/').map_or("", |(_, name)| name);
                unknown_cluster(name)
            }
            TopicContent::Document(_) => {
                self.reported_unknown = false;
                let frame = publication.frame_since(self.sent)?;
                self.sent = Some(publication.revision);
                return Some(frame.message(self.encoding));
            }
        };
        Some(Message::Text(error.about(&self.text).frame()))
    }
}

/// The first action whose current version was not sent yet. Forgets actions that are no longer listed.
fn next_action(
    snapshots: &mut watch::Receiver<Arc<ActionsSnapshot>>,
    sent: &mut HashMap<ActionId, PublishedAction>,
    scope: &ClusterScope,
) -> Option<Message> {
    let current = Arc::clone(&snapshots.borrow_and_update());
    if sent.len() > SENT_MAX {
        sent.retain(|id, _| current.get(id).is_some());
    }
    let due = current.for_live_viewers().find(|shown| {
        let action = &shown.value.action;
        scope.permits(&action.cluster)
            && sent
                .get(&shown.value.action.id)
                .is_none_or(|known| !Arc::ptr_eq(known, shown))
    })?;
    sent.insert(due.value.action.id.clone(), Arc::clone(due));
    Some(Message::Text(due.frame()))
}

/// The newest overview, as far as the viewer's credential permits.
fn take_newest_overview(feed: &mut TopicFeed<Overview>, scope: &ClusterScope) -> Option<Message> {
    if scope.is_all() {
        return take_newest(feed).ok().flatten();
    }
    if !feed.has_changed().ok()? {
        return None;
    }
    let published = Arc::clone(&feed.borrow_and_update());
    let visible = Published::new(published.revision, published.value.in_scope(scope));
    Some(Message::Text(visible.frame()))
}

fn take_newest<T: console_core::published::LiveTopic>(
    feed: &mut TopicFeed<T>,
) -> Result<Option<Message>, watch::error::RecvError> {
    if !feed.has_changed()? {
        return Ok(None);
    }
    let published = Arc::clone(&feed.borrow_and_update());
    Ok(Some(Message::Text(published.frame())))
}
