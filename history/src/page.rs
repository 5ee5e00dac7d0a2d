//! Paging through the history backwards or forwards from any position, over memory and blocks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console_core::keyspace::HistoryKeys;
use galera::publish::api::HistoryPage;
use galera::record::history::{ChangeKind, HistoryEvent};
use galera::{ClusterName, NodeId, Timestamp};
use registry::Registry;

use super::absent_blocks::AbsentBlocks;
use super::cluster_log::ClusterLog;
use super::{EventHistory, HistoryError, block};

/// Maximum number of events in a page.
pub const PAGE_MAX: usize = 1_000;
/// Maximum number of blocks that one request searches; a filter may match rarely.
const BLOCKS_PER_REQUEST_MAX: usize = 40;
/// After this time a filtered search returns what it found so far, with the position to continue from.
const SEARCH_BUDGET: Duration = Duration::from_millis(50);
/// Maximum number of decoded blocks in memory. Blocks never change.
const CACHED_BLOCKS_MAX: usize = 64;

/// A filter and a position in a cluster's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only events before this sequence.
    pub before: Option<u64>,
    /// Only events after this sequence, those next to it.
    pub after: Option<u64>,
    /// Only events at or before this time.
    pub at: Option<Timestamp>,
    /// Maximum number of events returned.
    pub limit: usize,
    pub kind: Option<ChangeKind>,
    pub node: Option<NodeId>,
    /// Only changes to this state, by its wire name.
    pub state: Option<String>,
}

impl HistoryQuery {
    fn is_filtered(&self) -> bool {
        self.kind.is_some() || self.node.is_some() || self.state.is_some()
    }

    fn matches(&self, event: &HistoryEvent) -> bool {
        let change = &event.change;
        let node = self.node.as_ref();
        self.kind.is_none_or(|kind| change.kind() == kind)
            && node.is_none_or(|node| change.node() == Some(node))
            && self
                .state
                .as_ref()
                .is_none_or(|state| change.new_state_str() == state)
    }
}

/// A run of events that are blocks together.
enum EventChunk {
    Block(Arc<Vec<HistoryEvent>>),
    Tail(Vec<Arc<HistoryEvent>>),
}

impl EventChunk {
    fn events(&self) -> Box<dyn DoubleEndedIterator<Item = &HistoryEvent> + Send + '_> {
        match self {
            Self::Block(events) => Box::new(events.iter()),
            Self::Tail(events) => Box::new(events.iter().map(Arc::as_ref)),
        }
    }
}

impl EventHistory {
    /// The matching events, newest first.
    ///
    /// # Errors
    /// [`HistoryError::NotLoaded`]; once loaded, only when a block has to be blocks from etcd.
    pub async fn page(
        &self,
        cluster: &ClusterName,
        query: &HistoryQuery,
    ) -> Result<HistoryPage, HistoryError> {
        if !self.is_loaded() {
            return Err(HistoryError::NotLoaded);
        }
        let Some(log) = self.cluster_log(cluster) else {
            return Ok(event_page(Vec::new(), 0, 1));
        };
        match query.after {
            Some(after) => self.page_forward(cluster, &log, query, after).await,
            None => self.page_backward(cluster, &log, query).await,
        }
    }

    /// The events after `sequence`, oldest first, for a reader with a cursor. Deleted events are skipped.
    ///
    /// # Errors
    /// When a block cannot be blocks from etcd.
    pub async fn events_after(
        &self,
        cluster: &ClusterName,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<HistoryEvent>, HistoryError> {
        let Some(log) = self.cluster_log(cluster) else {
            return Ok(Vec::new());
        };
        let query = HistoryQuery {
            limit,
            ..HistoryQuery::default()
        };
        let mut page = self.page_forward(cluster, &log, &query, sequence).await?;
        page.events.reverse();
        Ok(page.events)
    }

    async fn page_backward(
        &self,
        cluster: &ClusterName,
        log: &ClusterLog,
        query: &HistoryQuery,
    ) -> Result<HistoryPage, HistoryError> {
        let first = log.head.first.max(1);
        // Sequence of the next event to examine.
        let mut next = log.head.sequence;
        if let Some(before) = query.before {
            next = next.min(before.saturating_sub(1));
        }
        if let Some(at) = query.at {
            next = next.min(self.blocks.last_at_or_before(cluster, log, at).await?);
        }
        let mut events = Vec::new();
        let began = Instant::now();
        for _ in 0..BLOCKS_PER_REQUEST_MAX {
            if next < first || (query.is_filtered() && began.elapsed() > SEARCH_BUDGET) {
                break;
            }
            let (chunk, from) = self.blocks.chunk(cluster, log, next).await?;
            for event in chunk
                .events()
                .rev()
                .skip_while(|event| event.sequence > next)
            {
                if event.sequence < first {
                    break;
                }
                if query.matches(event) {
                    events.push(event.clone());
                }
                if events.len() >= query.limit {
                    return Ok(event_page(events, event.sequence - 1, first));
                }
            }
            next = from.saturating_sub(1);
        }
        Ok(event_page(events, next, first))
    }

    async fn page_forward(
        &self,
        cluster: &ClusterName,
        log: &ClusterLog,
        query: &HistoryQuery,
        after: u64,
    ) -> Result<HistoryPage, HistoryError> {
        let first = log.head.first.max(1);
        let mut next = after.saturating_add(1).max(first);
        let mut events: Vec<HistoryEvent> = Vec::new();
        let began = Instant::now();
        for _ in 0..BLOCKS_PER_REQUEST_MAX {
            let is_full = events.len() >= query.limit;
            let is_late = query.is_filtered() && began.elapsed() > SEARCH_BUDGET;
            if next > log.head.sequence || is_full || is_late {
                break;
            }
            let (chunk, _) = self.blocks.chunk(cluster, log, next).await?;
            let matching = chunk
                .events()
                .filter(|event| event.sequence >= next && query.matches(event));
            events.extend(matching.take(query.limit - events.len()).cloned());
            next = match block::containing(next) {
                _ if next > log.head.sealed => log.head.sequence + 1,
                number => block::first_sequence(number + 1),
            };
        }
        events.reverse();
        let oldest = events.last().map_or(next, |event| event.sequence);
        Ok(event_page(events, oldest.saturating_sub(1), first))
    }
}

fn event_page(events: Vec<HistoryEvent>, next: u64, first: u64) -> HistoryPage {
    HistoryPage {
        events,
        next_before: (next >= first).then(|| next + 1),
    }
}

/// Recently blocks blocks.
#[derive(Debug)]
pub(super) struct BlockCache {
    registry: Registry,
    keys: HistoryKeys,
    absent: AbsentBlocks,
    blocks: Mutex<VecDeque<(String, Arc<Vec<HistoryEvent>>)>>,
}

impl BlockCache {
    pub(super) fn new(registry: Registry, keys: HistoryKeys, absent: AbsentBlocks) -> Self {
        Self {
            registry,
            keys,
            absent,
            blocks: Mutex::default(),
        }
    }

    /// The events around `sequence`, and the sequence of the first of them.
    async fn chunk(
        &self,
        cluster: &ClusterName,
        log: &ClusterLog,
        sequence: u64,
    ) -> Result<(EventChunk, u64), HistoryError> {
        if sequence > log.head.sealed {
            let tail = log.events().map(|(_, event)| Arc::clone(event)).collect();
            return Ok((EventChunk::Tail(tail), log.head.sealed + 1));
        }
        let number = block::containing(sequence);
        let events = self.block(cluster, number).await?;
        Ok((EventChunk::Block(events), block::first_sequence(number)))
    }

    /// A block of the log; empty when it was deleted or changed outside the console.
    pub(super) async fn block(
        &self,
        cluster: &ClusterName,
        number: u64,
    ) -> Result<Arc<Vec<HistoryEvent>>, HistoryError> {
        let key = self.keys.block(cluster, number);
        if let Some(events) = self.get_cached(&key) {
            return Ok(events);
        }
        let entry = match self.registry.get(key.clone()).await {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                self.absent.add(cluster, number);
                return Ok(Arc::default());
            }
            // Named like every record that was changed outside the console.
            Err(registry::Error::Tampered { .. }) => return Ok(Arc::default()),
            Err(error) => return Err(error.into()),
        };
        match block::decode(&entry.value) {
            Ok(events) => {
                let events = Arc::new(events);
                self.insert(key, Arc::clone(&events));
                Ok(events)
            }
            Err(reason) => Err(HistoryError::Damaged { key, reason }),
        }
    }

    fn get_cached(&self, key: &str) -> Option<Arc<Vec<HistoryEvent>>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let index = blocks.iter().position(|(cached, _)| cached == key)?;
        let found = blocks.remove(index)?;
        let events = Arc::clone(&found.1);
        blocks.push_front(found);
        Some(events)
    }

    fn insert(&self, key: String, events: Arc<Vec<HistoryEvent>>) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.push_front((key, events));
        blocks.truncate(CACHED_BLOCKS_MAX);
    }

    /// Sequence of the last event at or before `at`; 0 when there is none.
    async fn last_at_or_before(
        &self,
        cluster: &ClusterName,
        log: &ClusterLog,
        at: Timestamp,
    ) -> Result<u64, HistoryError> {
        let tail = log.events().map(|(_, event)| event);
        if let Some(event) = tail.take_while(|event| event.at <= at).last() {
            return Ok(event.sequence);
        }
        // Binary search: blocks from `low` on may hold it, those from `high` on do not.
        let (mut low, mut high) = (
            block::containing(log.head.first.max(1)),
            log.head.sealed / block::EVENTS_PER_BLOCK,
        );
        let mut found = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            let events = self.block(cluster, middle).await?;
            match events
                .partition_point(|event| event.at <= at)
                .checked_sub(1)
            {
                Some(index) => {
                    found = events.get(index).map_or(found, |event| event.sequence);
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        Ok(found)
    }
}
