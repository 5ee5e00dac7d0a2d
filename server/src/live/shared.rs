//! Topics of protocol 2: one worker for each topic that has viewers, whatever their number.
//!
//! The worker turns each value of its source into a document and publishes it with its predecessors, from which the
//! frames are made: once for each base, when the first viewer needs it. States are published immediately, documents of
//! which only numbers differ once a second.

mod publication;
mod source;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use console_core::published::Published;
use galera::access::ClusterScope;
use galera::publish::api::Overview;
use galera::publish::live::OverviewRow;
use monitor::Monitor;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub(super) use publication::{TopicContent, TopicPublication};

use super::message::{SubscribeError, TopicName, too_many_windows};
use crate::actions::ActionService;
use source::TopicSource;

/// Different windows of the overview that one account may have at the same time, beside [`DEFAULT_WINDOW`].
const WINDOWS_MAX: usize = 32;
/// The window of a browser's overview without a selection. It is always served, because its worker is shared by all viewers
/// of a scope.
const DEFAULT_WINDOW: &str = "overview?count=50";

/// Receives the publications of a topic.
pub(super) type TopicReceiver = watch::Receiver<Arc<TopicPublication>>;
type TopicSender = watch::Sender<Arc<TopicPublication>>;
type AccountWindows = HashMap<Arc<str>, HashMap<TopicKey, usize>>;

/// The topics that have viewers.
#[derive(Clone)]
pub struct SharedTopics {
    inner: Arc<SharedInner>,
}

struct SharedInner {
    monitor: Monitor,
    actions: Option<ActionService>,
    topics: Mutex<HashMap<TopicKey, Arc<TopicSender>>>,
    /// The rows of the newest overview, shared by all windows.
    rows: Mutex<OverviewRows>,
    /// The windows of the overview of each account that has any, with the number of its subscriptions.
    windows: Mutex<AccountWindows>,
}

/// What viewers share: a topic, as seen with one scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TopicKey {
    /// The text of the topic, which frames repeat.
    text: String,
    scope: ClusterScope,
}

/// The rows of one publication of the overview.
#[derive(Clone, Default)]
struct OverviewRows {
    revision: u64,
    rows: Arc<Vec<OverviewRow>>,
}

impl SharedTopics {
    #[must_use]
    pub fn new(monitor: Monitor, actions: Option<ActionService>) -> Self {
        Self {
            inner: Arc::new(SharedInner {
                monitor,
                actions,
                topics: Mutex::default(),
                rows: Mutex::default(),
                windows: Mutex::default(),
            }),
        }
    }

    /// Follows the topic `name`, written as `text`, as far as `scope` permits, for `account`. The first viewer of a topic starts its worker, which ends with the last.
    ///
    /// # Errors
    /// A [`SubscribeError`] if the account has too many different windows of the overview.
    pub(super) fn follow(
        &self,
        text: &str,
        name: &TopicName,
        scope: &ClusterScope,
        account: &Arc<str>,
    ) -> Result<(TopicReceiver, Option<WindowPermit>), SubscribeError> {
        let key = TopicKey {
            text: text.to_owned(),
            scope: scope.clone(),
        };
        let permit = self.permit_window(&key, account)?;
        let mut topics = self.inner.topics();
        if let Some(sender) = topics.get(&key) {
            return Ok((sender.subscribe(), permit));
        }
        let (sender, receiver) = watch::channel(Arc::new(TopicPublication::pending(text)));
        let sender = Arc::new(sender);
        topics.insert(key.clone(), Arc::clone(&sender));
        let source = TopicSource::new(Arc::clone(&self.inner), name, scope.clone());
        let entry = TopicEntry {
            inner: Arc::clone(&self.inner),
            key,
            sender,
        };
        TaskTracker::new().spawn(worker::run(source, entry));
        Ok((receiver, permit))
    }

    /// Counts the topic for `account` if it is a window of the overview.
    fn permit_window(
        &self,
        key: &TopicKey,
        account: &Arc<str>,
    ) -> Result<Option<WindowPermit>, SubscribeError> {
        if !key.text.starts_with("overview?") || key.text == DEFAULT_WINDOW {
            return Ok(None);
        }
        let mut windows = self.inner.windows();
        let of_account = windows.entry(Arc::clone(account)).or_default();
        if of_account.len() >= WINDOWS_MAX && !of_account.contains_key(key) {
            return Err(too_many_windows(&key.text, WINDOWS_MAX));
        }
        *of_account.entry(key.clone()).or_default() += 1;
        Ok(Some(WindowPermit {
            inner: Arc::clone(&self.inner),
            account: Arc::clone(account),
            key: key.clone(),
        }))
    }

    /// Number of topics that have a worker.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.inner.topics().len()
    }
}

impl SharedInner {
    fn topics(&self) -> MutexGuard<'_, HashMap<TopicKey, Arc<TopicSender>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn windows(&self) -> MutexGuard<'_, AccountWindows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of `overview`, or of a newer one.
    fn rows(&self, overview: &Published<Overview>) -> Arc<Vec<OverviewRow>> {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revision < overview.revision || known.rows.is_empty() {
            let rows = OverviewRow::all(&overview.value, &known.rows);
            *known = OverviewRows {
                revision: overview.revision,
                rows: Arc::new(rows),
            };
        }
        Arc::clone(&known.rows)
    }
}

/// A subscription to a window of the overview, which counts for its account until it is dropped.
pub(super) struct WindowPermit {
    inner: Arc<SharedInner>,
    account: Arc<str>,
    key: TopicKey,
}

impl Drop for WindowPermit {
    fn drop(&mut self) {
        let mut windows = self.inner.windows();
        let Some(of_account) = windows.get_mut(&self.account) else {
            return;
        };
        if let Some(count) = of_account.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                of_account.remove(&self.key);
            }
        }
        if of_account.is_empty() {
            windows.remove(&self.account);
        }
    }
}

/// A topic in the list of those that have a worker; removed with its worker, even if that panics.
struct TopicEntry {
    inner: Arc<SharedInner>,
    key: TopicKey,
    sender: Arc<TopicSender>,
}

impl TopicEntry {
    /// Removes the topic unless it has a viewer. Returns whether it was removed.
    fn retire(&self) -> bool {
        let mut topics = self.inner.topics();
        let unused = self.sender.receiver_count() == 0;
        if unused {
            topics.remove(&self.key);
        }
        unused
    }
}

impl Drop for TopicEntry {
    fn drop(&mut self) {
        let mut topics = self.inner.topics();
        let ours = topics.get(&self.key);
        if ours.is_some_and(|sender| Arc::ptr_eq(sender, &self.sender)) {
            topics.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod properties;
