//! Where the documents of a topic come from.

use std::future::pending;
use std::sync::Arc;

use console_core::published::Published;
use galera::ClusterName;
use galera::access::ClusterScope;
use galera::publish::api::Overview;
use galera::publish::live::{OverviewQuery, OverviewRow, TopicDocument, head_document};
use galera::view::ClusterView;
use monitor::ClusterDirectory;
use tokio::sync::watch;

use super::SharedInner;
use crate::actions::ActionsSnapshot;
use crate::live::message::TopicName;

type Feed<T> = watch::Receiver<Arc<Published<T>>>;

/// The source of one topic.
pub(super) struct TopicSource {
    inner: Arc<SharedInner>,
    scope: ClusterScope,
    kind: SourceKind,
}

enum SourceKind {
    Head(Feed<Overview>),
    Overview(Feed<Overview>, OverviewQuery),
    Actions(Option<watch::Receiver<Arc<ActionsSnapshot>>>),
    Cluster {
        name: ClusterName,
        directory: watch::Receiver<Arc<ClusterDirectory>>,
        /// `None` while the cluster is unknown.
        feed: Option<Feed<ClusterView>>,
    },
}

impl TopicSource {
    pub(super) fn new(inner: Arc<SharedInner>, name: &TopicName, scope: ClusterScope) -> Self {
        let monitor = &inner.monitor;
        let kind = match name {
            TopicName::Head => SourceKind::Head(monitor.overview()),
            TopicName::Overview(query) => {
                SourceKind::Overview(monitor.overview(), OverviewQuery::clone(query))
            }
            TopicName::Actions => {
                let actions = inner.actions.as_ref();
                SourceKind::Actions(actions.map(crate::actions::ActionService::subscribe))
            }
            TopicName::Cluster(name) => SourceKind::Cluster {
                name: name.clone(),
                directory: monitor.directory(),
                feed: None,
            },
        };
        Self { inner, scope, kind }
    }

    /// The current document; `None` while the cluster is unknown.
    pub(super) fn read(&mut self) -> Option<TopicDocument> {
        match &mut self.kind {
            SourceKind::Head(feed) if self.scope.is_all() => {
                Some(head_document(&feed.borrow_and_update().value))
            }
            SourceKind::Head(feed) => {
                let visible = feed.borrow_and_update().value.in_scope(&self.scope);
                Some(head_document(&visible))
            }
            SourceKind::Overview(feed, query) => {
                let overview = Arc::clone(&feed.borrow_and_update());
                if !self.scope.is_all() {
                    let visible = overview.value.in_scope(&self.scope);
                    let rows = OverviewRow::all(&visible, &[]);
                    return Some(query.document(&rows, &visible.notices));
                }
                let rows = self.inner.rows(&overview);
                Some(query.document(&rows, &overview.value.notices))
            }
            SourceKind::Actions(snapshots) => {
                let current = snapshots
                    .as_mut()
                    .map(|snapshots| Arc::clone(&snapshots.borrow_and_update()))
                    .unwrap_or_default();
                let actions = current.for_live_viewers();
                let scope = &self.scope;
                let actions = actions.filter(|action| scope.permits(&action.value.action.cluster));
                Some(TopicDocument::of_actions(actions.map(|action| {
                    (action.value.action.id.to_string(), &action.value)
                })))
            }
            SourceKind::Cluster {
                name,
                directory,
                feed,
            } => {
                directory.mark_unchanged();
                if !self.scope.permits(name) {
                    return None;
                }
                // The feed of a cluster that vanished and returned is another one.
                if feed.as_ref().is_none_or(|open| open.has_changed().is_err()) {
                    *feed = self.inner.monitor.cluster_feed(name);
                }
                let view = Arc::clone(&feed.as_mut()?.borrow_and_update());
                Some(TopicDocument::of_cluster(&view.value))
            }
        }
    }

    /// Waits until the document may have changed.
    pub(super) async fn changed(&mut self) {
        let open = match &mut self.kind {
            SourceKind::Head(feed) | SourceKind::Overview(feed, _) => feed.changed().await.is_ok(),
            SourceKind::Actions(Some(snapshots)) => snapshots.changed().await.is_ok(),
            SourceKind::Actions(None) => false,
            SourceKind::Cluster {
                feed: Some(feed), ..
            } => {
                // A feed that ends is a cluster that vanished.
                let _ = feed.changed().await;
                true
            }
            SourceKind::Cluster { directory, .. } => directory.changed().await.is_ok(),
        };
        if !open {
            pending::<()>().await;
        }
    }
}
